"""What a study trains: its runs in order, and how their learning rates are chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from experiments.config import StudyConfig

__all__ = [
    "Rates",
    "RunSpec",
    "chosen_rates",
    "final_runs",
    "run_groups",
    "step_cost",
    "tuning_extension",
    "tuning_runs",
]


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One training. Runs that differ only in the loss are paired.

    Args:
        loss: its name.
        model: its name.
        foreground_fraction: π, as requested.
        seed: of the data, the initialisation and the order.
        learning_rate: the optimiser's peak learning rate.
    """

    loss: str
    model: str
    foreground_fraction: float
    seed: int
    learning_rate: float

    @property
    def name(self) -> str:
        """The run's file name, without its suffix and without the learning rate."""
        return f"{self.model}_{self.loss}_{self.foreground_fraction!r}_seed{self.seed}"

    @property
    def cell(self) -> tuple[str, float]:
        """The loss and the fraction, which share a learning rate."""
        return self.loss, self.foreground_fraction

    @property
    def is_tuning(self) -> bool:
        """Whether the run only helps to choose a learning rate."""
        return self.seed == _TUNING_SEED


# No final run has this seed: a learning rate must not be chosen on the data that it is scored on.
_TUNING_SEED = 1_000_000

# The learning rate of a loss at a fraction.
Rates = Mapping[tuple[str, float], float]


def final_runs(config: StudyConfig, rates: Rates | None = None) -> list[RunSpec]:
    """List the runs that are reported.

    A seed's runs come together, so that an interrupted study still has complete pairs.

    Args:
        config: the study.
        rates: the learning rate of each loss and fraction; ``None`` where only the runs' names
            matter.
    """
    rates = dict.fromkeys(_cells(config), config.learning_rates[0]) if rates is None else rates
    return [
        RunSpec(loss, config.model, fraction, seed, rates[loss, fraction])
        for seed in range(config.seeds)
        for loss, fraction in _cells(config)
    ]


def _cells(config: StudyConfig) -> list[tuple[str, float]]:
    return [(loss, fraction) for fraction in config.fractions for loss in config.losses]


def tuning_runs(config: StudyConfig) -> list[RunSpec]:
    """List the runs that choose the learning rates: none where there is no choice."""
    if len(config.learning_rates) == 1:
        return []
    return [
        RunSpec(loss, config.model, fraction, _TUNING_SEED, rate)
        for loss, fraction in _cells(config)
        for rate in config.learning_rates
    ]


def tuning_extension(config: StudyConfig, scores: Mapping[RunSpec, float]) -> list[RunSpec]:
    """List the runs one step beyond the grid, where the best learning rate is at its edge."""
    grid = config.learning_rates
    if not config.extend_grid or len(grid) == 1:
        return []
    beyond = {grid[0]: grid[0] ** 2 / grid[1], grid[-1]: grid[-1] ** 2 / grid[-2]}
    return [
        # Rounded: 1e-2 · (1e-2 / 3e-3) has too many digits to read.
        RunSpec(loss, config.model, fraction, _TUNING_SEED, float(f"{beyond[rate]:.2g}"))
        for (loss, fraction), rate in chosen_rates(config, scores).items()
        if rate in beyond
    ]


def chosen_rates(config: StudyConfig, scores: Mapping[RunSpec, float]) -> Rates:
    """Choose the learning rate of every loss and fraction.

    Args:
        config: the study.
        scores: validation Dice at the tuned threshold of every tuning run; NaN (diverged) counts
            as the worst. Empty where there is no choice.

    Returns:
        Learning rates by loss and fraction; the smaller of two that are equally good.
    """
    rates = dict.fromkeys(_cells(config), config.learning_rates[0])
    best = dict.fromkeys(rates, -math.inf)
    for spec in sorted(scores, key=lambda spec: spec.learning_rate):
        if scores[spec] > best[spec.cell]:
            best[spec.cell], rates[spec.cell] = scores[spec], spec.learning_rate
    return rates


# The most runs, and the most pixels in all their batches, that one compiled program trains. This
# bounds the memory of the network's intermediate arrays, some kilobytes a pixel.
_RUNS_AT_ONCE = 32
_PIXELS_AT_ONCE = 2**22


def run_groups(config: StudyConfig, specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Cut runs into groups of one loss that one compiled program trains at once.

    All groups of a study have one size, so that a loss compiles once. The last group of a loss
    repeats its last run to reach that size, which costs less than a compilation.
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


# Nanoseconds for one pixel in one step on a CPU. Only their proportions matter: they weigh the
# steps of different models in the estimate of the time left.
_COSTS = {"bias": 40.0, "linear": 120.0, "unet": 1100.0}


def step_cost(config: StudyConfig) -> float:
    """Estimate the work of one optimiser step, in a unit that all models share."""
    pixels = config.batch_size * math.prod(config.image_shape)
    return _COSTS[config.model] * pixels * 1e-9
