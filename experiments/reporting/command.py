"""The shortest command that runs a study."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from experiments.config import StudyConfig
from experiments.presets import MEASURED, PRESETS, study_configs

__all__ = ["shortest_command"]


def shortest_command(configs: Sequence[StudyConfig]) -> str | None:
    """Find the shortest command that runs a study; ``None`` where no single command does.

    Args:
        configs: its models' settings, in the order of training.
    """
    models = [config.model for config in configs]
    found: list[list[str]] = []
    for preset in PRESETS:
        for model in (None, *models[:1]):
            if model is not None and model not in PRESETS[preset]:
                continue
            base = study_configs(preset, model)
            if [config.model for config in base] != models:
                continue
            changes = _changes(base, configs)
            if changes is not None:
                words = ["python", "-m", "experiments", "compare"]
                words += ["--preset", preset] * (preset != "quick")
                words += ["--model", model] if model else []
                words += [word for name, value in changes.items() for word in _option(name, value)]
                found.append(words)
    return shlex.join(min(found, key=len)) if found else None


def _changes(base: Sequence[StudyConfig], wanted: Sequence[StudyConfig]) -> dict[str, Any] | None:
    """Find what differs from a preset; ``None`` where a change is not the same for all models."""
    changes: dict[str, Any] = {}
    measured = MEASURED if wanted[0].data is not None else ()
    for name in (field.name for field in dataclasses.fields(StudyConfig)):
        was, now = ([getattr(config, name) for config in configs] for configs in (base, wanted))
        if was != now and name not in measured:
            if len(set(now)) > 1:
                return None
            changes[name] = now[0]
    return changes


def _option(name: str, value: Any) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{option}", *(f"{x:g}" if isinstance(x, float) else str(x) for x in values)]
