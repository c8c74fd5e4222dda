"""The study: paired arms, resume after a kill, no training twice, one directory for one study."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import jax
import numpy as np
import pytest

from experiments.api import run, summary
from experiments.config import ConfigError
from experiments.files import write_whole
from experiments.runs.batches import batch_order
from experiments.runs.directory import load_configs, load_runs
from experiments.runs.plan import final_runs, tuning_runs
from experiments.runs.progress import Progress
from experiments.runs.results import logged
from experiments.runs.status import status_of
from experiments.runs.study import run_study
from tests.experiments.conftest import TINY

ROOT = Path(__file__).parents[3]
CONTRACT_METRICS = {
    "dice", "dice_tuned", "threshold_tuned", "iou", "precision", "recall", "mean_probability",
    "volume_bias", "ece", "brier", "average_precision",
}  # fmt: skip
CONTRACT_HISTORY = {
    "step", "loss", "dice", "foreground_share_probability", "foreground_share_logit",
    "gradient_ratio",
}  # fmt: skip


def _results(out):
    """Everything that a run's numbers are, without the time that it took."""
    results = {}
    for path in sorted([*out.glob("runs/*.json"), *out.glob("tuning/*.json")]):
        results[path.name] = json.loads(path.read_text())
        del results[path.name]["seconds"]
    return results


def _snapshot(out):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.rglob("*") if p.is_file()}


class _Counting(Progress):
    def __init__(self):
        self.steps, self.skipped, self.runs, self.phases = 0, 0, [], []

    def phase(self, name):
        self.phases.append(name)

    def skip(self, steps):
        self.skipped += steps

    def advance(self, steps):
        self.steps += steps

    def finished(self, spec, result):
        self.runs.append(spec.name)


def test_run_files_hold_what_the_contract_names(finished):
    paths = sorted(finished.glob("runs/*.json"))
    assert len(paths) == len(final_runs(TINY)) == 8
    for path in paths:
        result = json.loads(path.read_text())
        assert result["loss"] in TINY.losses
        assert result["model"] == "unet"
        assert result["foreground_fraction"] in TINY.fractions
        assert result["seed"] in (0, 1)
        assert result["learning_rate"] in TINY.learning_rates
        assert result["status"] in ("finished", "collapsed", "diverged")
        assert set(result["metrics"]) >= CONTRACT_METRICS
        assert all(isinstance(result["metrics"][name], int | float) for name in CONTRACT_METRICS)
        # Others may be undefined here: no empty image, no known posterior.
        assert all(isinstance(v, int | float | None) for v in result["metrics"].values())
        assert [entry["step"] for entry in result["history"]] == list(range(TINY.steps))
        assert all(set(entry) >= CONTRACT_HISTORY for entry in result["history"])
        assert result["environment"]["jax"] == jax.__version__
        assert result["environment"]["platform"] == "cpu"
        achieved = result["metrics"]["foreground_fraction_test"]
        assert achieved == pytest.approx(result["foreground_fraction"], rel=0.4)
        assert len(result["per_image"]["dice"]) == TINY.test_images
    assert len(list(finished.glob("tuning/*.json"))) == len(tuning_runs(TINY))


def test_arms_are_paired_by_data_initialisation_and_order(finished):
    """At the first step only the loss differs: the same batch, the same prediction."""
    for fraction in TINY.fractions:
        for seed in (0, 1):
            bce, dice = (
                run
                for run in load_runs(finished)
                if (run["foreground_fraction"], run["seed"]) == (fraction, seed)
            )
            assert {bce["loss"], dice["loss"]} == {"bce", "dice"}
            for name in ("soft_dice", "mean_probability_background", "foreground_fraction"):
                assert bce["history"][0][name] == dice["history"][0][name]
            assert bce["history"][0]["loss"] != dice["history"][0]["loss"]
            for name in ("foreground_fraction_test", "foreground_fraction_train", "noise"):
                assert bce["metrics"][name] == dice["metrics"][name]
            assert bce["per_image"]["size"] == dice["per_image"]["size"]


def test_learning_rate_of_a_cell_is_its_best(finished):
    scores = {}
    for path in finished.glob("tuning/*.json"):
        r = json.loads(path.read_text())
        of_cell = scores.setdefault((r["loss"], r["foreground_fraction"]), {})
        of_cell.setdefault(r["learning_rate"], []).append(r["metrics"]["validation_dice_tuned"])
    for result in load_runs(finished):
        of_cell = scores[result["loss"], result["foreground_fraction"]]
        assert {len(values) for values in of_cell.values()} == {TINY.tuning_seeds}
        best = max(sorted(of_cell), key=lambda rate: np.mean(of_cell[rate]))
        assert result["learning_rate"] == best


def test_order_is_epochs_of_all_images_and_differs_between_seeds():
    order = batch_order(TINY, 0)
    assert order.shape == (TINY.steps, TINY.batch_size)
    per_epoch = TINY.train_images // TINY.batch_size
    for first in range(0, TINY.steps - per_epoch + 1, per_epoch):
        epoch = order[first : first + per_epoch].ravel()
        assert sorted(epoch) == list(range(TINY.train_images))
    assert (order == batch_order(TINY, 0)).all()
    assert (order != batch_order(TINY, 1)).any()


def test_finished_directory_does_no_training(finished):
    before = _snapshot(finished)
    counting = _Counting()
    assert run_study((TINY,), finished, counting) == 0
    assert counting.steps == 0
    assert counting.runs == []
    after = _snapshot(finished)
    assert {p: v for p, v in after.items() if p.name != ".lock"} == {
        p: v for p, v in before.items() if p.name != ".lock"
    }


def test_only_what_is_missing_is_trained(finished, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    gone = out / "runs" / f"{final_runs(TINY)[3].name}.json"
    was = json.loads(gone.read_text())
    gone.unlink()
    torn = out / "runs" / f"{final_runs(TINY)[5].name}.json"
    torn.write_bytes(torn.read_bytes()[:999])
    (out / "runs" / f".{gone.name}.123.part").write_text('{"loss": "bce", "met')
    with pytest.raises(ConfigError, match="is incomplete"):
        load_runs(out)
    counting = _Counting()
    assert run_study((TINY,), out, counting) == 2
    assert counting.runs == [final_runs(TINY)[3].name, final_runs(TINY)[5].name]
    now = json.loads(gone.read_text())
    assert was.pop("seconds") > 0
    assert now.pop("seconds") > 0
    assert now == was
    assert _results(out) == _results(finished)
    assert not list(out.rglob("*.part"))


KILLED = """
import os, signal, sys
from pathlib import Path
from experiments.runs.progress import Progress
from experiments.runs.study import run_study
from tests.experiments.conftest import TINY

class Killed(Progress):
    left, parts = int(sys.argv[2]), 0
    def begin(self, specs, steps, cost):
        self.parts = 0
    def advance(self, steps):
        # In the middle of a training, after a checkpoint, after so many runs were written.
        self.parts += 1
        if self.left == 0 and self.parts == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    def finished(self, spec, result):
        self.left -= 1

run_study((TINY,), Path(sys.argv[1]), Killed(), checkpoint_seconds=0)
"""


def test_killed_study_ends_with_the_numbers_of_an_unbroken_one(finished, tmp_path):
    out, done = tmp_path / "killed", 3
    shutil.copytree(finished, out)
    for path in out.glob("runs/*.json"):
        path.unlink()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(out), str(done)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    kept = _results(out)
    assert len(kept) == len(tuning_runs(TINY)) + done
    counting = _Counting()
    assert run_study((TINY,), out, counting) == len(final_runs(TINY)) - done
    assert not {f"{name}.json" for name in counting.runs} & set(kept)
    assert 0 < counting.skipped < TINY.steps
    assert counting.phases == ["compiling", "evaluating"] * len(counting.runs)
    assert not (out / "checkpoints").exists()
    assert _results(out) == _results(finished)


def test_changed_configuration_is_refused_and_nothing_is_overwritten(finished):
    before = _snapshot(finished)
    changed = dataclasses.replace(TINY, steps=9)
    with pytest.raises(ConfigError, match=r"different study \(steps: 8, now 9\)"):
        run_study((changed,), finished, Progress())
    assert _snapshot(finished) == before


def test_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "summary.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"summary\.csv but no config\.json"):
        run_study((TINY,), tmp_path, Progress())
    assert (tmp_path / "summary.csv").read_text() == "mine"


def test_two_processes_on_one_directory_are_told_apart(finished):
    with (
        filelock.FileLock(finished / ".lock"),
        pytest.raises(ConfigError, match="another process"),
    ):
        run_study((TINY,), finished, Progress())


def test_a_torn_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_whole(path, "old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_status_goes_by_average_precision_never_by_dice():
    ranked = {"foreground_fraction_test": 0.01, "average_precision": 0.9, "dice": 0.0}
    blind = {"foreground_fraction_test": 0.3, "average_precision": 0.31, "dice": 0.46}
    assert status_of("unet", False, ranked) == "finished"
    assert status_of("unet", False, blind) == "collapsed"
    assert status_of("bias", False, blind) == "finished"
    # Chance is the foreground fraction: a ranking seven times as good is not a collapse.
    weak = {"foreground_fraction_test": 0.003, "average_precision": 7 * 0.003}
    assert status_of("unet", False, weak) == "finished"
    assert status_of("unet", False, weak | {"average_precision": 0.005}) == "collapsed"
    # Every p is below every threshold: the order of such probabilities is of no use.
    dead = weak | {"dice_tuned": 0.0, "dice_chance": 0.006}
    assert status_of("unet", False, dead) == "collapsed"
    assert status_of("unet", False, dead | {"dice_tuned": 0.08}) == "finished"
    assert status_of("unet", True, ranked) == "diverged"


@pytest.mark.slow
def test_a_diverged_run_is_a_result(tmp_path, unrendered):
    config = dataclasses.replace(
        TINY, model="linear", losses=("bce",), fractions=(0.1,), seeds=1, learning_rates=(1e38,)
    )
    assert run((config,), tmp_path / "out", Progress()) == 1
    (result,) = load_runs(tmp_path / "out")
    assert result["status"] == "diverged"
    assert result["metrics"]["dice"] is None
    assert "diverged" in (tmp_path / "out" / "report.html").read_text()
    assert run((config,), tmp_path / "out", Progress()) == 0


def test_logged_steps_hold_the_first_and_the_last():
    history = {"loss": np.arange(100.0)}
    kept = logged(history, 10)
    assert len(kept) == 10
    assert [entry["step"] for entry in kept] == [entry["loss"] for entry in kept]
    assert (kept[0]["step"], kept[-1]["step"]) == (0, 99)
    assert len(logged(history, 500)) == 100


@pytest.mark.slow
def test_a_study_of_two_models_is_one_directory(tmp_path):
    small = {"losses": ("bce",), "fractions": (0.1,), "seeds": 1, "learning_rates": (0.1,)}
    configs = tuple(dataclasses.replace(TINY, model=model, **small) for model in ("bias", "linear"))
    counting = _Counting()
    assert run_study(configs, tmp_path / "out", counting) == 2
    assert counting.runs == ["bias_bce_0.1_seed0", "linear_bce_0.1_seed0"]
    assert load_configs(tmp_path / "out") == configs
    assert [result["model"] for result in load_runs(tmp_path / "out")] == ["bias", "linear"]
    assert [result["model"] for result in load_runs(tmp_path / "out", "linear")] == ["linear"]
    with pytest.raises(ConfigError, match="model: bias, linear, now bias"):
        run_study(configs[:1], tmp_path / "out", Progress())
    table = summary(tmp_path / "out")
    assert list(table["model"]) == ["bias", "linear"]


def test_a_directory_written_before_a_study_could_have_several_models_loads(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"study": dataclasses.asdict(TINY)}))
    assert load_configs(tmp_path) == (TINY,)
    assert load_configs(ROOT / "experiments" / "results" / "quick")[0].model == "unet"


@pytest.mark.slow
def test_runs_of_one_program_cut_off_in_the_middle(tmp_path, monkeypatch):
    """As on an accelerator: all runs of a loss at once, filled up to one size."""
    monkeypatch.setattr("experiments.runs.study.scans_by_default", lambda: True)
    monkeypatch.setattr("experiments.learning.training.scans_by_default", lambda: True)
    config = dataclasses.replace(
        TINY, model="linear", losses=("dice",), seeds=3, steps=20, tuning_seeds=1
    )
    counting = _Counting()
    assert run_study((config,), tmp_path / "whole", counting) == 4 + 6
    # Two groups of six, one of them with two repetitions.
    assert counting.steps == 2 * config.steps

    class Cut(_Counting):
        parts = 0

        def advance(self, steps):
            self.parts += 1
            if self.parts == 2:
                raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_study((config,), tmp_path / "cut", Cut(), checkpoint_seconds=0)
    counting = _Counting()
    assert run_study((config,), tmp_path / "cut", counting) == 4 + 6
    assert counting.skipped > 0
    assert _results(tmp_path / "cut") == _results(tmp_path / "whole")
