"""A study that is killed many times ends with the files of one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def contents(out):
    """Every file of a directory, without the times that a run took."""
    held = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".lock"):
        held[path.relative_to(out).as_posix()] = path.read_bytes()
        if path.suffix == ".json":
            run = json.loads(path.read_text())
            run.pop("seconds", None)
            held[path.relative_to(out).as_posix()] = run
    return held


@pytest.mark.slow
@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.huge)])
def test_killed_at_random_moments(tmp_path, kills):
    seed = int(os.environ.get("DICE_JAX_KILL_SEED", "1"))
    command = [sys.executable, "-m", "tests.experiments.runs.killed_study", tmp_path, kills, seed]
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, "JAX_NUMPY_DTYPE_PROMOTION": "strict"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split(" kills")[0]) >= kills
    # Some of the kills fell into a training, which went on from its middle.
    assert (tmp_path / "RESUMED").exists(), done.stdout
    unbroken = contents(tmp_path / "unbroken")
    assert len([name for name in unbroken if name.startswith(("runs/", "tuning/"))]) == 2 + 4 + 2
    assert contents(tmp_path / "unbroken_again") == unbroken
    killed = sorted(tmp_path.glob("killed_*"))
    assert killed
    for out in killed:
        found = contents(out)
        assert found.keys() == unbroken.keys()
        for name in unbroken:
            assert found[name] == unbroken[name], name
