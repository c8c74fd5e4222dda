"""The rooms keep their one-way flow, and the contracts that say so can break."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("dice_jax", "experiments", "benchmarks")


PROGRAM = "from importlinter.cli import lint_imports as f; raise SystemExit(f(no_cache=True))"


def lint(folder):
    # With -c, the packages of the working directory come first.
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_contracts_hold():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("dice_jax/sums/region.py", "from dice_jax import losses", "one way"),
        ("dice_jax/_pass/op.py", "import dice_jax.sums.region", "one way"),
        ("dice_jax/new_room/__init__.py", "", "one way"),
        ("dice_jax/theory/optima.py", "from dice_jax.analysis import plots", "one way"),
        ("experiments/learning/training.py", "import experiments.runs.plan", "Pages stand"),
        (
            "experiments/analysis/tables.py",
            "from experiments.reporting import rendering",
            "Pages stand",
        ),
        ("experiments/new_room.py", "", "Pages stand"),
        ("benchmarks/harness/case.py", "from benchmarks import contenders", "A row stands"),
        ("dice_jax/losses/overlap.py", "import experiments", "knows neither"),
        (
            "experiments/learning/models.py",
            "import benchmarks.contenders.objectives",
            "knows neither",
        ),
        (
            "dice_jax/images/skeleton.py",
            "def f():\n    import scipy",
            "JAX and NumPy alone",
        ),
        (
            "experiments/config.py",
            "from dice_jax.losses.overlap import dice_loss",
            "public names only",
        ),
    ],
)
def test_each_contract_can_break(tmp_path, file, line, contract):
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "results", "notebooks")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    broken = tmp_path / file
    broken.parent.mkdir(exist_ok=True)
    before = broken.read_text() if broken.exists() else ""
    broken.write_text(f"{before}\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    # Long names are wrapped.
    words = " ".join(result.stdout.split())
    assert contract in words.partition("Broken contracts")[2]
