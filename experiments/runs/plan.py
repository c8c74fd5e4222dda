"""What a study trains: its runs in order, and how their learning rates are chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.config import StudyConfig
from experiments.learning.models import MODELS
from experiments.presets import resolve

__all__ = [
    "Rates",
    "RunSpec",
    "best_runs",
    "chosen_rates",
    "plan",
    "step_cost",
    "tiers",
    "together",
    "tuning_extension",
    "tuning_plan",
]


# Presets that do not run every model unless one is named.
_MODELS_OF_PRESET = {"quick": ("unet",)}


def tiers(
    preset: str = "quick", model: str | None = None, **changes: Any
) -> tuple[StudyConfig, ...]:
    """Take a preset's models and change what was asked for, in each of them.

    Args:
        preset: a name in `presets.PRESETS`.
        model: bias, linear or unet; ``None``: those that the preset runs.
        **changes: fields of `StudyConfig`; ``None`` leaves a field as the preset has it.

    Returns:
        One `StudyConfig` per model, the cheapest first.

    Raises:
        ConfigError: if a name is unknown or the result cannot be run.
    """
    models = _MODELS_OF_PRESET.get(preset, tuple(MODELS)) if model is None else (model,)
    return tuple(resolve(preset, name, **changes) for name in models)


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One training: what is paired across arms is everything but the loss.

    Args:
        loss: the arm's name.
        model: the model's name.
        foreground_fraction: π, as requested.
        seed: of the data, the initialisation and the order.
        learning_rate: Adam's peak learning rate.
    """

    loss: str
    model: str
    foreground_fraction: float
    seed: int
    learning_rate: float

    @property
    def name(self) -> str:
        """The run's file name, without its suffix; a study has one learning rate to a name."""
        return f"{self.model}_{self.loss}_{self.foreground_fraction!r}_seed{self.seed}"

    @property
    def is_tuning(self) -> bool:
        """Whether the run only helps to choose a learning rate."""
        return self.seed == _TUNING_SEED


# A seed that no final run has: choosing a learning rate must not see the data it is scored on.
_TUNING_SEED = 1_000_000

# The learning rate of a loss at a fraction.
Rates = Mapping[tuple[str, float], float]


def plan(config: StudyConfig, rates: Rates | None = None) -> list[RunSpec]:
    """List a study's runs: whole paired seeds first, so that a cut-off study is still paired.

    Args:
        config: the study.
        rates: the learning rate of each cell; ``None``: the grid's first, where it is only the
            names that matter.

    Returns:
        One `RunSpec` per seed, fraction and loss, the loss running fastest.
    """
    rates = dict.fromkeys(_cells(config), config.learning_rates[0]) if rates is None else rates
    return [
        RunSpec(loss, config.model, fraction, seed, rates[loss, fraction])
        for seed in range(config.seeds)
        for loss, fraction in _cells(config)
    ]


def _cells(config: StudyConfig) -> list[tuple[str, float]]:
    return [(loss, fraction) for fraction in config.fractions for loss in config.losses]


def tuning_plan(config: StudyConfig) -> list[RunSpec]:
    """List the runs that choose the learning rates: none where there is no choice.

    Args:
        config: the study.

    Returns:
        One `RunSpec` per loss, fraction and learning rate.
    """
    if len(config.learning_rates) == 1:
        return []
    return [
        RunSpec(loss, config.model, fraction, _TUNING_SEED, rate)
        for loss, fraction in _cells(config)
        for rate in config.learning_rates
    ]


def tuning_extension(config: StudyConfig, scores: Mapping[RunSpec, float]) -> list[RunSpec]:
    """List the runs one step beyond the grid, where the best learning rate is at its edge.

    Args:
        config: the study.
        scores: of every run of `tuning_plan`.

    Returns:
        At most one `RunSpec` per loss and fraction.
    """
    grid = config.learning_rates
    if not config.extend_grid or len(grid) == 1:
        return []
    beyond = {grid[0]: grid[0] ** 2 / grid[1], grid[-1]: grid[-1] ** 2 / grid[-2]}
    best = best_runs(scores)
    return [
        # Rounded: 1e-2 · (1e-2 / 3e-3) has too many digits to read.
        dataclasses.replace(spec, learning_rate=float(f"{beyond[spec.learning_rate]:.2g}"))
        for spec in best
        if spec.learning_rate in beyond
    ]


def best_runs(scores: Mapping[RunSpec, float]) -> list[RunSpec]:
    """Choose the best run of every loss and fraction.

    Args:
        scores: validation Dice at the tuned threshold; NaN (diverged) is worst.

    Returns:
        One `RunSpec` per loss and fraction; of equals the one with the smaller learning rate.
    """
    best: dict[tuple[str, float], RunSpec] = {}
    for spec in sorted(scores, key=lambda spec: spec.learning_rate):
        cell = spec.loss, spec.foreground_fraction
        if cell not in best or _worth(scores[spec]) > _worth(scores[best[cell]]):
            best[cell] = spec
    return list(best.values())


def _worth(score: float) -> float:
    return -math.inf if math.isnan(score) else score


def chosen_rates(config: StudyConfig, scores: Mapping[RunSpec, float]) -> Rates:
    """Choose the learning rate of every loss and fraction.

    Args:
        config: the study.
        scores: of every tuning run, the extension's too; empty where there is no choice.

    Returns:
        Learning rates by loss and fraction.
    """
    if not scores:
        return dict.fromkeys(_cells(config), config.learning_rates[0])
    chosen = best_runs(scores)
    return {(spec.loss, spec.foreground_fraction): spec.learning_rate for spec in chosen}


# Runs that one compiled program trains at once, and the pixels of all their batches: a bound on
# the memory that the network's intermediate arrays take, some kilobytes a pixel.
_RUNS_AT_ONCE = 32
_PIXELS_AT_ONCE = 2**22


def together(config: StudyConfig, specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Cut runs into groups that one compiled program trains at once.

    All groups of a study are of one size, so that a loss compiles once; the last of a loss is
    filled up by repeating a run, which costs less than a compilation.

    Args:
        config: the study.
        specs: runs.

    Returns:
        Groups of one loss each.
    """
    finals = config.seeds * len(config.fractions)
    pixels = config.batch_size * math.prod(config.image_shape)
    most = min(max(_PIXELS_AT_ONCE // pixels, 1), _RUNS_AT_ONCE)
    size = math.ceil(finals / math.ceil(finals / most))
    groups = []
    for loss in dict.fromkeys(spec.loss for spec in specs):
        runs = [spec for spec in specs if spec.loss == loss]
        for first in range(0, len(runs), size):
            group = runs[first : first + size]
            groups.append(group + group[-1:] * (size - len(group)))
    return groups


# Of one pixel in one step, on a CPU, in nanoseconds: only their proportions matter, to tell the
# time that a study of several models has left.
_COSTS = {"bias": 40.0, "linear": 120.0, "unet": 1100.0}


def step_cost(config: StudyConfig) -> float:
    """Estimate the work of one optimiser step, to weigh the steps of different models.

    Args:
        config: of the model.

    Returns:
        The work, in arbitrary units that are the same for all models.
    """
    pixels = config.batch_size * math.prod(config.image_shape)
    return _COSTS[config.model] * pixels * 1e-9
