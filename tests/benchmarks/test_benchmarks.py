"""The benchmark's harness: turns, statistics, what is left out, and one row from end to end."""

import contextlib
import dataclasses
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

pytest.importorskip("rich")

from rich.console import Console

from benchmarks import __main__ as command
from benchmarks.contenders.objectives import SIGMOID_DICE_BCE, SOFTMAX_DICE, SOFTMAX_DICE_CE
from benchmarks.families.compilation import compilation_case
from benchmarks.families.half import half_case
from benchmarks.families.linearity import linearity_case
from benchmarks.families.pixels import pixel_case
from benchmarks.families.tiling import tiling_case
from benchmarks.families.two_devices import two_devices_case
from benchmarks.harness import runs, table
from benchmarks.harness.case import Case, Contender, Family, Settings, Unavailable, measure
from benchmarks.harness.problems import Problem
from benchmarks.harness.timing import Budget, Timed, interleave, timed_turn

FEW = Budget(least=2, most=2, seconds=0.0)


class Clock:
    """A clock that only calls move."""

    def __init__(self):
        self.now, self.called = 0.0, []

    def __call__(self):
        return self.now

    def taking(self, name, *seconds):
        left = list(seconds)

        def call():
            self.called.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_calls_are_timed_in_turns_and_each_one_is_warm():
    clock = Clock()
    calls = {
        "A": Timed(clock.taking("A", 1.0), clock=clock),
        "B": Timed(clock.taking("B", 3.0), clock=clock),
    }
    seconds = interleave(calls, Budget(least=3, most=3), clock=clock)
    assert clock.called == list("AABB") * 4
    assert seconds == {"A": [1.0] * 3, "B": [3.0] * 3}


def test_preparation_replaces_the_warm_call_and_is_not_timed():
    clock = Clock()
    timed = Timed(clock.taking("work", 1.0), clock.taking("prepare", 10.0), clock)
    seconds = interleave({"A": timed}, FEW, clock=clock)
    assert clock.called == ["prepare", "work"] * 3
    assert seconds["A"] == [1.0, 1.0]


def test_a_turn_warms_up_once_but_prepares_every_time():
    clock = Clock()
    assert timed_turn(Timed(clock.taking("A", 5.0, 1.0, 2.0), clock=clock), 2) == [1.0, 2.0]
    assert clock.called == list("AAA")
    clock = Clock()
    timed = Timed(clock.taking("A", 1.0, 2.0), clock.taking("P", 10.0), clock)
    assert timed_turn(timed, 2) == [1.0, 2.0]
    assert clock.called == list("PAPA")


@pytest.mark.parametrize(
    ("per_round", "rounds"), [(1e-6, 40), (0.0, 40), (1.0, 20), (3.0, 7), (100.0, 7)]
)
def test_a_budget_buys_as_many_rounds_as_fit(per_round, rounds):
    assert Budget(least=7, most=40, seconds=20.0).rounds(per_round) == rounds


def _result(value, *gradient):
    return lambda: (value, np.array(gradient, dtype=np.float32))


def _case(**contenders):
    builders = {name: (lambda c=c: c) for name, c in contenders.items()}
    return Case(name="row", work="nothing", builders=builders)


def _nothing():
    return None


def test_a_contender_of_another_function_is_left_out_with_the_reason():
    closed = []
    good = _result(1.0, 2.0, -4.0)
    row = measure(
        _case(
            ours=Contender(_nothing, result=good, close=lambda: closed.append("ours")),
            same=Contender(_nothing, result=_result(1.00005, 2.0003, -4.0)),
            value=Contender(
                _nothing, result=_result(1.001, 2.0, -4.0), close=lambda: closed.append("value")
            ),
            gradient=Contender(_nothing, result=_result(1.0, 2.001, -4.0)),
            nan=Contender(_nothing, result=_result(1.0, 2.0, math.nan)),
            shape=Contender(_nothing, result=_result(1.0, 2.0)),
            yardstick=Contender(_nothing),
        ),
        FEW,
    )
    assert [c["name"] for c in row["contenders"]] == ["ours", "same", "yardstick"]
    reasons = dict(
        note.split(" is left out, it computes something else: ") for note in row["notes"]
    )
    assert set(reasons) == {"value", "gradient", "nan", "shape"}
    assert reasons["value"] == "its value is 1.001, not 1"
    assert "0.00025" in reasons["gradient"]
    assert closed == ["value", "ours"]


def test_the_baseline_is_built_first_and_reported_in_its_place():
    built = []

    def builder(name):
        def build():
            built.append(name)
            return Contender(_nothing, result=_result(1.0, 1.0))

        return build

    case = Case("row", "", {"a": builder("a"), "b": builder("b")}, baseline="b")
    row = measure(case, FEW)
    assert built == ["b", "a"]
    assert [c["name"] for c in row["contenders"]] == ["a", "b"]
    assert row["contenders"][1]["ratio"] == 1.0


def test_a_missing_peer_costs_one_line_and_a_missing_baseline_the_row():
    def missing():
        raise Unavailable("no such library")

    ours = Contender(_nothing)
    row = measure(Case("row", "", {"ours": lambda: ours, "peer": missing}), FEW)
    assert [c["name"] for c in row["contenders"]] == ["ours"]
    assert row["notes"] == ["peer is skipped: no such library"]
    row = measure(Case("row", "", {"ours": missing, "peer": missing}), FEW)
    assert row["contenders"] == []
    assert row["notes"] == ["no such library"]


def test_contenders_are_closed_when_one_fails():
    closed = []

    def broken():
        raise RuntimeError("broken")

    ours = Contender(_nothing, close=lambda: closed.append("ours"))
    with pytest.raises(RuntimeError, match="broken"):
        measure(Case("row", "", {"ours": lambda: ours, "peer": broken}), FEW)
    assert closed == ["ours"]


def test_ratios_compare_medians_per_unit_of_work(monkeypatch):
    times = {"small": [3.0, 1.0, 100.0], "large": [10.0, 12.0, 11.0]}
    monkeypatch.setattr("benchmarks.harness.case.interleave", lambda *a, **k: times)
    row = measure(
        _case(small=Contender(_nothing, amount=2.0), large=Contender(_nothing, amount=11.0)), FEW
    )
    small, large = row["contenders"]
    assert (small["median"], small["min"]) == (3.0, 1.0)
    assert (large["median"], large["min"]) == (11.0, 10.0)
    assert large["ratio"] == pytest.approx((11.0 / 11.0) / (3.0 / 2.0))


def test_the_least_bytes_are_logits_and_labels_twice_and_the_gradient_once():
    problem = Problem((3, 5), 7)
    logits, labels = problem.arrays()
    assert problem.least_bytes() == 3 * logits.nbytes + 2 * labels.nbytes
    logits, labels = Problem((3, 5), None).arrays()
    assert logits.shape == labels.shape == (3, 5)
    assert set(np.unique(labels)) <= {0, 1}


@pytest.fixture
def no_torch(monkeypatch):
    """Make importing PyTorch fail as where it is not installed."""
    monkeypatch.setitem(sys.modules, "torch", None)


def _names(row):
    return [c["name"] for c in row["contenders"]]


# Run once: compiling takes most of this file's time.
@pytest.fixture(scope="module")
def record():
    pytest.importorskip("optax")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        family = Family("softmax", "Softmax", lambda settings: [])
        case = pixel_case("tiny", SOFTMAX_DICE_CE, Problem((2, 48, 48), 3))
        made = runs.run([(family, case)], Settings(budget=FEW), command="python -m benchmarks")
    return json.loads(json.dumps(made))


def test_a_row_runs_without_torch_and_optax_computes_the_same(record):
    (row,) = record["rows"]
    assert _names(row) == ["dice_jax", "optax", "one softmax", "copy of the least bytes"]
    assert len(row["notes"]) == 2
    assert row["notes"][0].startswith("MONAI is skipped: ")
    assert "torch" in row["notes"][0]
    assert row["contenders"][1]["figures"]["temporary_bytes"] > 0


def test_the_record_holds_what_a_reader_needs(record):
    kinds = {
        "schema": int,
        "command": str,
        "quick": bool,
        "date": str,
        "versions": dict,
        "hardware": dict,
        "load": list,
        "seconds": float,
        "rows": list,
    }
    for name, kind in kinds.items():
        assert isinstance(record[name], kind), name
    assert record["schema"] == runs.SCHEMA
    assert record["versions"]["jax"] == jax.__version__
    assert record["hardware"]["cores"] >= 1
    assert record["hardware"]["cpu"]
    row_kinds = {"family": str, "family_title": str, "name": str, "work": str, "baseline": str}
    contender_kinds = {
        "name": str,
        "seconds": list,
        "median": float,
        "min": float,
        "ratio": float,
        "amount": float,
        "figures": dict,
        "notes": list,
    }
    for row in record["rows"]:
        for name, kind in row_kinds.items():
            assert isinstance(row[name], kind), name
        for contender in row["contenders"]:
            for name, kind in contender_kinds.items():
                assert isinstance(contender[name], kind), name
            assert len(contender["seconds"]) == FEW.least
            assert contender["min"] == min(contender["seconds"]) <= contender["median"]


def test_the_table_shows_every_contender_and_every_note_once(record):
    console = Console(width=200, record=True, file=io.StringIO())
    twice = record | {"rows": record["rows"] * 2}
    console.print(table.render(twice))
    text = console.export_text()
    for word in ("softmax Dice + CE, 2×48×48, C=3", "optax", "one softmax", "temporary", "1.00×"):
        assert word in text
    assert text.count("MONAI is skipped") == 1


def test_the_command_writes_json_and_survives_a_broken_row(monkeypatch, tmp_path, capsys):
    def broken():
        raise RuntimeError("out of luck\nat length")

    good = Case("good", "fine work", {"ours": lambda: Contender(lambda: None)})
    bad = Case("bad", "no work", {"ours": broken})
    monkeypatch.setattr(command, "FAMILIES", (Family("f", "F", lambda settings: [bad, good]),))
    path = tmp_path / "results" / "out.json"
    assert command.main(["--quick", "--json", str(path)]) == 1
    written = json.loads(path.read_text())
    assert written["command"] == f"python -m benchmarks --quick --json {path}"
    assert [r["name"] for r in written["rows"]] == ["bad", "good"]
    assert written["rows"][0]["notes"] == ["failed: RuntimeError: out of luck"]
    assert "fine work" in capsys.readouterr().out
    assert command.main(["--only", "good"]) == 0
    assert "fine work" in capsys.readouterr().out
    assert command.main(["--show", str(path)]) == 0
    assert "fine work" in capsys.readouterr().out


def test_rows_are_chosen_by_name(capsys):
    assert command.main(["--list", "--only", "sigmoid/", "half"]) == 0
    names = capsys.readouterr().out.split()
    assert names
    assert all(n.startswith("sigmoid/") or "half" in n for n in names)
    assert command.main(["--only", "no-such-row"]) == 2
    assert "no-such-row" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--quick"], ["--huge"]])
def test_names_of_rows_are_unique(arguments, capsys):
    assert command.main([*arguments, "--list"]) == 0
    names = capsys.readouterr().out.split()
    assert len(set(names)) == len(names) > 5


def test_sigmoid_rows_agree_with_optax(no_torch):
    pytest.importorskip("optax")
    row = measure(pixel_case("tiny", SIGMOID_DICE_BCE, Problem((2, 48, 48), None)), FEW)
    assert "optax" in _names(row)


def test_halves_are_checked_against_float32(monkeypatch):
    def missing():
        raise Unavailable("not wanted")

    monkeypatch.setattr("benchmarks.contenders.jax_programs.require_optax", missing)
    row = measure(half_case("tiny", SOFTMAX_DICE, Problem((2, 48, 48), 3)), FEW)
    assert _names(row) == ["dice_jax float32", "dice_jax float16", "dice_jax bfloat16"]


def test_sizes_are_compared_per_pixel():
    row = measure(linearity_case("tiny", SOFTMAX_DICE, 2, [12, 14], yardstick=True), FEW)
    assert row["baseline"] == "2^14 pixels"
    assert [c["amount"] for c in row["contenders"]] == [2**12, 2**14]
    assert row["notes"] == []


def test_start_up_is_timed_from_scratch_and_in_parts():
    traces = []

    def counted(sums):
        traces.append(None)
        return SOFTMAX_DICE.loss(sums)

    objective = dataclasses.replace(SOFTMAX_DICE, loss=counted)
    case = compilation_case("tiny", objective, Problem((2, 8, 8), 2))
    contender = case.builders["dice_jax"]()
    assert contender.prepare is jax.clear_caches
    before: Any = jax.config
    enabled = before.jax_enable_compilation_cache
    seconds = timed_turn(contender.timed(), 3)
    assert len(traces) == 3
    assert before.jax_enable_compilation_cache == enabled
    parts = contender.later_figures()
    assert set(parts) == {"trace_seconds", "lower_seconds", "compile_seconds"}
    assert all(part > 0 for part in parts.values())
    assert sum(parts.values()) <= max(seconds) * 1.01


def test_start_up_reads_nothing_from_the_persistent_cache(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "jax._src.compiler._cache_read", lambda *a, **k: read.append(None) or (None, None)
    )
    with _persistent_cache(tmp_path):
        contender = compilation_case("tiny", SOFTMAX_DICE, Problem((2, 8, 8), 2)).builders[
            "dice_jax"
        ]()
        contender.call()
        assert not read
        jax.jit(lambda x: x + 3)(1.0)
        assert read


@contextlib.contextmanager
def _persistent_cache(folder):
    """JAX's persistent compilation cache, in a folder of this test's own."""
    config: Any = jax.config
    names = ("jax_compilation_cache_dir", "jax_enable_compilation_cache")
    before = {name: getattr(config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_every_choice_of_sizes_is_compiled_with_its_own():
    used, current = [], {}

    @contextlib.contextmanager
    def replaced(**sizes):
        current.update(sizes)
        yield
        current.clear()

    def loss(sums):
        used.append(dict(current))
        return SOFTMAX_DICE.loss(sums)

    objective = dataclasses.replace(SOFTMAX_DICE, loss=loss)
    choices = {"as it is": {}, "tile of 8": {"tile": 8}}
    row = measure(tiling_case("tiny", objective, Problem((2, 8, 8), 2), replaced, choices), FEW)
    assert _names(row) == ["as it is", "tile of 8"]
    assert used == [{}, {"tile": 8}]


@pytest.mark.slow
def test_two_devices_compute_what_one_does_in_processes_of_their_own():
    case = two_devices_case("tiny", SOFTMAX_DICE_CE, Problem((2, 48, 48), 3))
    ours = {name: build for name, build in case.builders.items() if name.startswith("dice_jax")}
    row = measure(dataclasses.replace(case, builders=ours), FEW)
    assert row["notes"] == []
    assert _names(row) == [
        "dice_jax, one device",
        "dice_jax, two devices, shard_map",
        "dice_jax, two devices, plain jit",
    ]
    assert row["contenders"][1]["figures"]["temporary_bytes"] > 0


def test_the_command_of_a_published_record_writes_that_record():
    records = sorted((Path(command.__file__).parent / "results").glob("*.json"))
    assert records
    for path in records:
        record = json.loads(path.read_text())
        # The record of a trial names the command that measures the same again.
        command_line = record["command"] if "command" in record else record["measure_again"]
        assert command_line.endswith(f" --json benchmarks/results/{path.name}")
