"""What a study trains: its runs in order, and how their learning rates are chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.config import FIRST_TUNING_SEED, REST, StudyConfig

__all__ = [
    "Cell",
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
    def is_tuning(self) -> bool:
        """Whether the run only helps to choose a learning rate."""
        return self.seed >= FIRST_TUNING_SEED


class Cell(NamedTuple):
    """The runs that share a learning rate.

    Args:
        loss: its name.
        fraction: π.
        fold: that the runs are tested on; 0 without folds. A rate that all folds shared would be
            chosen by the scores of images that some run is tested on.
    """

    loss: str
    fraction: float
    fold: int = 0


# How often a grid is extended to one side. A loss that never learns would have no end.
_MOST_EXTENSIONS = 6

Rates = Mapping[Cell, float]


def final_runs(config: StudyConfig, rates: Rates | None = None) -> list[RunSpec]:
    """List the runs that are reported.

    A seed's runs come together, so that an interrupted study still has complete pairs.

    Args:
        config: the study.
        rates: the learning rate of each cell; ``None`` where only the runs' names matter.
    """
    rates = _first_rates(config) if rates is None else rates
    return [
        RunSpec(
            loss, config.model, fraction, seed, rates[Cell(loss, fraction, config.fold_of(seed))]
        )
        for seed in _final_seeds(config)
        for fraction in config.fractions
        for loss in config.losses
    ]


def _final_seeds(config: StudyConfig) -> range:
    return range(config.first_seed, config.first_seed + config.seeds)


def _cells(config: StudyConfig) -> list[Cell]:
    folds = dict.fromkeys(map(config.fold_of, _final_seeds(config)))
    return [
        Cell(loss, fraction, fold)
        for fraction in config.fractions
        for loss in config.losses
        for fold in folds
    ]


def _grid(config: StudyConfig, loss: str) -> tuple[float, ...]:
    own = config.of_arm(loss)
    # What is solved to rest has no learning rate to choose.
    return own.learning_rates[:1] if own.optimiser == REST else own.learning_rates


def _first_rates(config: StudyConfig) -> dict[Cell, float]:
    return {cell: _grid(config, cell.loss)[0] for cell in _cells(config)}


def _tuned_with(config: StudyConfig, cell: Cell, rate: float) -> list[RunSpec]:
    # Of consecutive seeds, every fold has the same number.
    count = config.tuning_seeds * (config.folds or 1)
    seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + count)
    return [
        RunSpec(cell.loss, config.model, cell.fraction, seed, rate)
        for seed in seeds
        if config.fold_of(seed) == cell.fold
    ]


def tuning_runs(config: StudyConfig) -> list[RunSpec]:
    """List the runs that choose the learning rates: none where there is no choice."""
    return [
        spec
        for cell in _cells(config)
        if len(_grid(config, cell.loss)) > 1
        for rate in _grid(config, cell.loss)
        for spec in _tuned_with(config, cell, rate)
    ]


def tuning_extension(config: StudyConfig, scores: Mapping[RunSpec, float]) -> list[RunSpec]:
    """List the runs one step beyond the rates that were tried, where the best is at their edge.

    Ask again with the scores of these runs, until the list is empty. Then the best learning rate of
    every loss and fraction is interior, or the grid has grown by `_MOST_EXTENSIONS` to that side.
    """
    if not config.extend_grid:
        return []
    found: list[RunSpec] = []
    for cell, means in _mean_scores(config, scores).items():
        best, rates, grid = _best(means), sorted(means), _grid(config, cell.loss)
        for edge, inner, sign in ((rates[0], rates[1], -1), (rates[-1], rates[-2], 1)):
            tried = sum((rate - grid[0]) * sign > 0 for rate in rates if rate not in grid)
            if best == edge and tried < _MOST_EXTENSIONS:
                # Rounded: 1e-2 · (1e-2 / 3e-3) has too many digits to read.
                found += _tuned_with(config, cell, float(f"{edge**2 / inner:.2g}"))
    return found


def _mean_scores(
    config: StudyConfig, scores: Mapping[RunSpec, float]
) -> dict[Cell, dict[float, float]]:
    """Average the scores over seeds, by cell and rate. A run that diverged (NaN) scores 0."""
    found: dict[Cell, dict[float, list[float]]] = {}
    for spec, score in scores.items():
        cell = Cell(spec.loss, spec.foreground_fraction, config.fold_of(spec.seed))
        of_cell = found.setdefault(cell, {})
        of_cell.setdefault(spec.learning_rate, []).append(0.0 if math.isnan(score) else score)
    return {
        cell: {rate: math.fsum(values) / len(values) for rate, values in rates.items()}
        for cell, rates in found.items()
    }


def _best(means: Mapping[float, float]) -> float:
    return max(sorted(means), key=lambda rate: means[rate])


def chosen_rates(config: StudyConfig, scores: Mapping[RunSpec, float]) -> Rates:
    """Choose the learning rate of every cell.

    Args:
        config: the study.
        scores: validation Dice at the tuned threshold of every tuning run. The mean over the seeds
            decides. NaN (a run that diverged) counts as 0. Empty where there is no choice.

    Returns:
        Learning rates by cell; the smaller of two that are equally good.
    """
    means = _mean_scores(config, scores)
    return _first_rates(config) | {cell: _best(of_cell) for cell, of_cell in means.items()}


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
