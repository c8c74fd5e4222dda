"""A study's directory: what it holds, how it is read, and who may write to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import jax

from experiments.config import StudyConfig
from experiments.errors import ConfigError
from experiments.files import remove_unfinished, write_json
from experiments.runs.plan import RunSpec, final_runs
from experiments.runs.status import status_of

__all__ = [
    "check_directory",
    "claimed",
    "counts_path",
    "earlier_configs",
    "environment",
    "finished_runs",
    "load_configs",
    "load_runs",
    "load_tuning",
    "run_path",
]

_RESULTS = ("runs", "tuning", "summary.csv", "report.html")


def environment() -> dict[str, Any]:
    """Describe the versions and devices that a run uses; ``devices`` are those of all processes."""
    device = jax.local_devices()[0]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cpu_cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def load_configs(out: Path) -> tuple[StudyConfig, ...]:
    """Read the settings of a study's directory, one for each model, in the order of training.

    Raises:
        ConfigError: if there are none, or they cannot be read.
    """
    path = out / "config.json"
    try:
        held = json.loads(path.read_text())
        # Early studies had one model and another key.
        models = [held["study"]] if "study" in held else held["tiers"]
        return tuple(StudyConfig.from_json(settings) for settings in models)
    except FileNotFoundError:
        raise ConfigError(f"{out} holds no study: there is no config.json") from None
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a study's settings: {error}") from None


def earlier_configs(out: Path) -> tuple[StudyConfig, ...]:
    """Read the settings of the study that a directory holds; none if it holds none."""
    return load_configs(out) if (out / "config.json").exists() else ()


def load_runs(out: Path, model: str | None = None) -> list[dict[str, Any]]:
    """Read a study's finished runs, of one model or of all, in the order of the plan.

    Raises:
        ConfigError: if there is no study, or a run's file is incomplete.
    """
    configs = [config for config in load_configs(out) if model in (None, config.model)]
    paths = [run_path(out, spec) for config in configs for spec in final_runs(config)]
    return [_read_whole_run(path) for path in paths if path.exists()]


def load_tuning(out: Path, model: str | None = None) -> list[dict[str, Any]]:
    """Read the runs that chose a study's learning rates, in the order of their names.

    Raises:
        ConfigError: if a run's file is incomplete.
    """
    runs = [_read_whole_run(path) for path in sorted((out / "tuning").glob("*.json"))]
    return [run for run in runs if model in (None, run["model"])]


def run_path(out: Path, spec: RunSpec) -> Path:
    """Name the file of a run."""
    if spec.is_tuning:
        return out / "tuning" / f"{spec.name}_rate{spec.learning_rate!r}.json"
    return out / "runs" / f"{spec.name}.json"


def counts_path(out: Path, spec: RunSpec) -> Path:
    """Name the file of a run's pixels, counted by their logit."""
    return out / "counts" / f"{run_path(out, spec).stem}.npz"


def finished_runs(out: Path) -> dict[str, float | None]:
    """List the complete runs of a directory.

    Returns:
        Validation Dice at the tuned threshold by file; ``None`` for a run that diverged.
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


def _read_whole_run(path: Path) -> dict[str, Any]:
    run = _read_run(path)
    if run is None:
        raise ConfigError(f"{path} is incomplete: the study's compare command trains it again")
    if "dice_chance" in run["metrics"]:
        # Judged when it is read, so that all runs of a study are judged by one rule.
        run["status"] = status_of(run["model"], run["status"] == "diverged", run["metrics"])
    return run


@contextlib.contextmanager
def claimed(out: Path, configs: Sequence[StudyConfig]) -> Iterator[None]:
    """Lock a directory for a study, and write the study's settings to it if it is new.

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
        _claim(out, tuple(configs))
        remove_unfinished(out)
        yield


def check_directory(out: Path, configs: Sequence[StudyConfig]) -> None:
    """Check that a study can begin or go on in a directory.

    Raises:
        ConfigError: if it holds another study, or other results.
    """
    there = earlier_configs(out)
    if there and there != tuple(configs):
        raise ConfigError(
            f"{out} holds a different study ({_difference(there, configs)}): nothing was "
            "changed; choose another --out"
        )
    taken = [name for name in _RESULTS if (out / name).exists()]
    if taken and not there:
        raise ConfigError(f"{out} holds {taken[0]} but no config.json: choose another --out")


def _claim(out: Path, configs: tuple[StudyConfig, ...]) -> None:
    check_directory(out, configs)
    if (out / "config.json").exists():
        return
    held = {"tiers": [dataclasses.asdict(c) for c in configs], "environment": environment()}
    write_json(out / "config.json", held)


def _difference(there: Sequence[StudyConfig], asked: Sequence[StudyConfig]) -> str:
    was, now = ([config.model for config in configs] for configs in (there, asked))
    if was != now:
        return f"model: {', '.join(was)}, now {', '.join(now)}"
    for a, b in zip(there, asked, strict=True):
        for name, value in dataclasses.asdict(a).items():
            if value != getattr(b, name):
                return f"{name}: {_short(value)}, now {_short(getattr(b, name))}"
    raise AssertionError("the studies are equal")


def _short(value: Any) -> str:
    words = str(value)
    return words if len(words) <= 60 else f"{words[:60]}…"
