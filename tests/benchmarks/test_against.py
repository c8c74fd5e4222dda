"""`--against`: the comparison's arithmetic, the worker processes, and two versions in turns."""

import json
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rich")

from benchmarks import __main__ as command
from benchmarks.contenders.objectives import SOFTMAX_DICE
from benchmarks.families.pixels import pixel_case
from benchmarks.families.registry import FAMILIES
from benchmarks.harness import table
from benchmarks.harness.case import Family, Settings, Unavailable
from benchmarks.harness.comparison import compare
from benchmarks.harness.problems import Problem
from benchmarks.harness.timing import Budget
from benchmarks.harness.versions import Versions, checkout, resolve
from benchmarks.harness.worker import Worker, WorkerError
from tests.programs.stand_ins import Echo, cases

ROOT = Path(__file__).parents[2]


def test_the_ratio_is_the_median_of_the_turns_own_ratios():
    # The machine is ten times slower in two turns. The ratio of the two medians would be 1.5.
    old = [1.0, 10.0, 1.0, 10.0, 1.0]
    new = [1.5, 11.0, 1.4, 12.0, 1.3]
    found = compare(old, new)
    assert found.ratio == pytest.approx(1.3)
    assert found.quartiles == pytest.approx((1.2, 1.4))


def test_few_turns_bound_nothing():
    found = compare([1.0] * 5, [9.0] * 5)
    assert found.slower
    assert found.at_least == 0
    assert not found.surely_slower


@pytest.mark.parametrize(("turns", "rank"), [(6, 1), (8, 1), (9, 2), (20, 6), (40, 14)])
def test_the_bound_is_the_sign_tests_order_statistic(turns, rank):
    # Ranks from the usual tables of the sign test at 5 %, two-sided.
    new = np.random.default_rng(0).permutation(np.arange(1, turns + 1)) / 8
    assert compare([0.125] * turns, new.tolist()).at_least == rank


def test_the_bound_exceeds_the_median_as_rarely_as_it_says():
    rng = np.random.default_rng(0)
    turns = rng.lognormal(sigma=0.5, size=(4000, 12))
    above = [compare([1.0] * 12, row.tolist()).at_least > 1 for row in turns]
    # For 12 turns the bound is the third smallest: exactly 79 of 4096.
    assert np.mean(above) == pytest.approx(79 / 4096, abs=0.006)


def test_five_per_cent_is_the_limit():
    steady = compare([1.0] * 9, [1.049] * 9)
    assert not steady.slower
    assert not steady.surely_slower
    assert compare([1.0] * 9, [1.051] * 9).surely_slower
    noisy = compare([1.0] * 9, [0.9, 0.9, 0.9, 1.0, 1.1, 1.2, 1.2, 1.3, 1.3])
    assert noisy.slower
    assert not noisy.surely_slower


def test_a_worker_answers_and_reports_failures():
    with pytest.raises(Unavailable, match="no such word"):
        Worker(Echo, "absent")
    with pytest.raises(WorkerError, match="TypeError"):
        Worker(Echo)
    worker = Worker(Echo, "ab")
    try:
        assert worker.ask("say", 2) == "abab"
        with pytest.raises(WorkerError, match="AttributeError"):
            worker.ask("sing")
        with pytest.raises(Unavailable, match="not here"):
            worker.ask("refuse")
        assert worker.ask("say", 1) == "ab"
        with pytest.raises(WorkerError, match="ended"):
            worker.ask("end")
    finally:
        worker.close()


# A stand-in for a version of dice_jax: how many seconds a call takes, and what it gives.
STAND_IN = """
SECONDS, VALUE, TEMPORARIES = {seconds}, {value}, {temporaries}
"""


def stand_in(folder, *, seconds=1.0, value=2.0, temporaries=1000, more=""):
    package = folder / "dice_jax"
    package.mkdir(parents=True)
    words = STAND_IN.format(seconds=seconds, value=value, temporaries=temporaries)
    (package / "__init__.py").write_text(words + more)
    return folder.resolve()


FAMILY = Family("family", "Family", cases)
SETTINGS = Settings(budget=Budget(least=7, most=7))


def measure(old, new):
    (case,) = cases(SETTINGS)
    with Versions(old, new) as versions:
        row = versions.measure(FAMILY, case, SETTINGS)
    return row | {"family": FAMILY.name, "family_title": FAMILY.title}


def test_a_slower_version_is_found_out_and_measured_twice(tmp_path):
    old = stand_in(tmp_path / "old")
    new = stand_in(tmp_path / "new", seconds=1.25, temporaries=5000, more="NEW_SECONDS = 1.0")
    row = measure(old, new)
    (entry,) = row["contenders"]
    assert entry["ratio"] == pytest.approx(1.25)
    assert entry["ratios_of_both_tries"] == pytest.approx([1.25, 1.25])
    assert (entry["old"]["median"], entry["new"]["median"]) == (1.0, 1.25)
    assert entry["agreement"] == "bit-equal"
    (note,) = row["notes"]
    assert note.startswith("new is skipped: the old version cannot build it: AttributeError")
    assert "failed" not in row
    slower, twice, memory = table.verdicts({"rows": [row]})
    assert slower.startswith("SLOWER: family/row, dice_jax: 1.250×")
    assert "1.250× and 1.250×" in twice
    assert "0.00 MB → 0.01 MB" in memory


def test_a_faster_version_is_no_news(tmp_path):
    old = stand_in(tmp_path / "old", seconds=1.25, more="NEW_SECONDS = 1.0")
    row = measure(old, stand_in(tmp_path / "new", more="NEW_SECONDS = 1.0"))
    assert [e["ratio"] for e in row["contenders"]] == pytest.approx([0.8, 1.0])
    assert row["notes"] == []
    assert table.verdicts({"rows": [row]})[0].startswith("No row is more than 5 % slower")


def test_a_version_with_another_value_is_not_timed(tmp_path):
    new = stand_in(tmp_path / "new", value=2.1, more="NEW_SECONDS = 1.0")
    row = measure(stand_in(tmp_path / "old"), new)
    (entry,) = row["contenders"]
    assert row["failed"]
    assert "ratio" not in entry
    assert entry["old"]["seconds"] == []
    (verdict,) = table.verdicts({"rows": [row]})
    assert verdict == ("DIFFERENT: family/row, dice_jax: its value is 2.1, not 2; not timed.")


def test_what_the_new_version_cannot_build_is_a_failure(tmp_path):
    old = stand_in(tmp_path / "old", more="NEW_SECONDS = 1.0")
    row = measure(old, stand_in(tmp_path / "new"))
    assert row["failed"]
    assert row["notes"] == [
        "new failed: AttributeError: module 'dice_jax' has no attribute 'NEW_SECONDS'"
    ]


def test_a_version_is_never_mistaken_for_another(tmp_path):
    (tmp_path / "empty").mkdir()
    row = measure(tmp_path / "empty", stand_in(tmp_path / "new"))
    assert row["failed"]
    assert all("not from" in note for note in row["notes"])


@pytest.mark.parametrize("quick", [True, False])
def test_every_row_names_its_contenders_that_run_dice_jax(quick):
    for family in FAMILIES:
        # As the workers receive it.
        assert pickle.loads(pickle.dumps(family.cases)) is family.cases
        for case in family.cases(Settings(quick=quick)):
            assert set(case.ours) <= set(case.builders), case.name
            ours = {name for name in case.builders if "dice_jax" in name}
            assert ours <= set(case.ours), case.name


@pytest.fixture
def head():
    try:
        return resolve("HEAD")
    except ValueError:
        pytest.skip("this is no git checkout")


def test_a_commit_is_unpacked_and_removed(head):
    with checkout(head) as folder:
        text = (folder / "dice_jax" / "__init__.py").read_text()
    assert not folder.exists()
    shown = ["git", "show", f"{head}:dice_jax/__init__.py"]
    assert text == subprocess.run(shown, cwd=ROOT, capture_output=True, text=True).stdout


def test_an_unknown_commit_is_refused(capsys):
    assert command.main(["--against", "no-such-commit", "--only", "dice-ce-c4"]) == 2
    assert "--against no-such-commit" in capsys.readouterr().err


@pytest.mark.parametrize(("surely", "code"), [(True, 1), (False, 0)])
def test_the_exit_code_says_whether_a_row_is_surely_slower(monkeypatch, head, surely, code):
    entry = {"slower": True, "surely_slower": surely}
    record = {"rows": [{"contenders": [entry]}]}
    monkeypatch.setattr(command, "_measure", lambda *arguments: record)
    monkeypatch.setattr(table, "show", lambda record: None)
    assert command.main(["--against", "HEAD"]) == code


def _tiny(settings):
    return [pixel_case("tiny", SOFTMAX_DICE, Problem((2, 72, 72), 3))]


@pytest.mark.slow
def test_the_command_compares_with_the_last_commit(head, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "FAMILIES", (Family("softmax", "Softmax", _tiny),))
    path = tmp_path / "out.json"
    command.main(["--quick", "--against", "HEAD", "--json", str(path)])
    printed = capsys.readouterr().out
    assert command.main(["--show", str(path)]) == 0
    assert capsys.readouterr().out == printed
    assert f"dice_jax of {head[:12]} (old)" in printed
    record = json.loads(path.read_text())
    assert record["against"] == head
    ((entry,),) = (row["contenders"] for row in record["rows"])
    assert entry["agrees"]
    assert len(entry["old"]["seconds"]) == len(entry["new"]["seconds"]) >= 7
    # The machine may be busy; it is the same program, though, unless somebody is changing it.
    assert 0.2 < entry["ratio"] < 5
