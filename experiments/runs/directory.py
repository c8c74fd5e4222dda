"""A study's directory: what it holds, how it is read, and who may write to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from experiments.config import StudyConfig
from experiments.errors import ConfigError
from experiments.files import remove_unfinished, write_json
from experiments.runs.environment import environment
from experiments.runs.plan import RunSpec, plan

__all__ = [
    "claimed",
    "final_path",
    "finished_runs",
    "load_config",
    "load_runs",
    "load_tiers",
    "load_tuning",
    "tuning_path",
]

_RESULTS = ("runs", "tuning", "summary.csv", "report.html")


def load_tiers(out: Path) -> tuple[StudyConfig, ...]:
    """Read the settings of a study's directory, one for each model that it trains.

    Args:
        out: the directory.

    Returns:
        The settings, in the order in which they run.

    Raises:
        ConfigError: if there are none, or they cannot be read.
    """
    path = out / "config.json"
    try:
        held = json.loads(path.read_text())
        # A study of one model was written as such, before a study could have several.
        tiers = [held["study"]] if "study" in held else held["tiers"]
        return tuple(StudyConfig.from_json(settings) for settings in tiers)
    except FileNotFoundError:
        raise ConfigError(f"{out} holds no study: there is no config.json") from None
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a study's settings: {error}") from None


def load_config(out: Path) -> StudyConfig:
    """Read the settings of a study's last tier: the dearest, and in a study of one the only.

    Args:
        out: the directory.

    Returns:
        The settings.

    Raises:
        ConfigError: if there are none, or they cannot be read.
    """
    return load_tiers(out)[-1]


def load_runs(out: Path, model: str | None = None) -> list[dict[str, Any]]:
    """Read a study's finished runs, in the order of its plan.

    Args:
        out: the directory.
        model: of the runs; ``None``: all of them, tier by tier.

    Returns:
        One dictionary per finished run.

    Raises:
        ConfigError: if there is no study, or a run's file is torn.
    """
    tiers = [config for config in load_tiers(out) if model in (None, config.model)]
    paths = [final_path(out, spec) for config in tiers for spec in plan(config)]
    return [_whole_run(path) for path in paths if path.exists()]


def load_tuning(out: Path, model: str | None = None) -> list[dict[str, Any]]:
    """Read the runs that chose a study's learning rates.

    Args:
        out: the directory.
        model: of the runs; ``None``: all of them.

    Returns:
        One dictionary per finished tuning run, in the order of their names.

    Raises:
        ConfigError: if a run's file is torn.
    """
    runs = [_whole_run(path) for path in sorted((out / "tuning").glob("*.json"))]
    return [run for run in runs if model in (None, run["model"])]


def final_path(out: Path, spec: RunSpec) -> Path:
    """Name the file of a run that is reported."""
    return out / "runs" / f"{spec.name}.json"


def tuning_path(out: Path, spec: RunSpec) -> Path:
    """Name the file of a run that helps to choose a learning rate."""
    return out / "tuning" / f"{spec.name}_rate{spec.learning_rate!r}.json"


def finished_runs(out: Path) -> dict[str, float | None]:
    """List what is finished in a directory; a torn file is not.

    Args:
        out: the directory.

    Returns:
        Validation Dice at the tuned threshold by file; ``None`` where the run diverged.
    """
    runs = {path: _read_run(path) for path in sorted(out.glob("*/*.json"))}
    return {
        path.relative_to(out).as_posix(): run["metrics"]["validation_dice_tuned"]
        for path, run in runs.items()
        if run is not None and path.parent.name in ("runs", "tuning")
    }


def _read_run(path: Path) -> dict[str, Any] | None:
    try:
        run = json.loads(path.read_text())
    except ValueError:
        return None
    return run if isinstance(run, dict) and "metrics" in run else None


def _whole_run(path: Path) -> dict[str, Any]:
    run = _read_run(path)
    if run is None:
        raise ConfigError(f"{path} is torn: the study's compare command trains that run again")
    return run


@contextlib.contextmanager
def claimed(out: Path, tiers: Sequence[StudyConfig]) -> Iterator[None]:
    """Hold a directory for a study, alone.

    Args:
        out: the directory; made if it is not there.
        tiers: the study's settings, which the directory holds from now on.

    Raises:
        ConfigError: if it holds another study or other results, or another process works on it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ConfigError(f"another process is running the study in {out}") from None
    with lock:
        _claim(out, tuple(tiers))
        remove_unfinished(out)
        yield


def _claim(out: Path, tiers: tuple[StudyConfig, ...]) -> None:
    if (out / "config.json").exists():
        there = load_tiers(out)
        if there != tiers:
            raise ConfigError(
                f"{out} holds a different study ({_difference(there, tiers)}): nothing was "
                "changed; choose another --out"
            )
        return
    taken = [name for name in _RESULTS if (out / name).exists()]
    if taken:
        raise ConfigError(f"{out} holds {taken[0]} but no config.json: choose another --out")
    held = {"tiers": [config.as_json() for config in tiers], "environment": environment()}
    write_json(out / "config.json", held)


def _difference(there: Sequence[StudyConfig], asked: Sequence[StudyConfig]) -> str:
    models = [[config.model for config in tiers] for tiers in (there, asked)]
    if models[0] != models[1]:
        return f"model: {', '.join(models[0])}, now {', '.join(models[1])}"
    was, now = next((a.as_json(), b.as_json()) for a, b in zip(there, asked, strict=True) if a != b)
    name = next(name for name in was if was[name] != now[name])
    return f"{name}: {was[name]}, now {now[name]}"
