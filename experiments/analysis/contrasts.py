"""The comparisons that a study is made for: paired, and tested if there are enough seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import (
    LEAST_SEEDS,
    LEVEL,
    Interval,
    difference_p_value,
    equivalence_p_value,
    holm,
    mean_interval,
    resolvable_margin,
)
from experiments.analysis.tables import cell_of, paired_differences
from experiments.config import StudyConfig

__all__ = ["Contrast", "baseline_contrasts", "baseline_of", "primary_loss"]


class Contrast(NamedTuple):
    """A loss at threshold 0.5 minus the baseline at its tuned threshold, at one fraction.

    Args:
        loss: its name.
        fraction: π.
        difference: of test Dice, over the seeds that both have.
        lost: seeds without a score because a run diverged.
        p_value: of the paired t test, adjusted by Holm over the fractions; NaN with fewer than
            `LEAST_SEEDS` seeds.
        equivalence_p_value: of the equivalence test at the study's margin, adjusted likewise.
        resolvable: the smallest margin that this many seeds of this spread can resolve.
    """

    loss: str
    fraction: float
    difference: Interval
    lost: int
    p_value: float
    equivalence_p_value: float
    resolvable: float

    @property
    def verdict(self) -> str:
        """The conclusion: higher, lower, equivalent, undecided, or untested."""
        if np.isnan(self.p_value):
            return "untested"
        if self.p_value < LEVEL:
            return "higher" if self.difference.mean > 0 else "lower"
        return "equivalent" if self.small else "undecided"

    @property
    def small(self) -> bool:
        """Whether the difference was shown to be within the margin."""
        return bool(self.equivalence_p_value < LEVEL)


def baseline_of(config: StudyConfig) -> str:
    """Name the loss that the others are compared with: BCE if the study has it."""
    return "bce" if "bce" in config.losses else config.losses[0]


def primary_loss(config: StudyConfig) -> str | None:
    """Name the loss that the study is about: Dice if the study has it, else the next one."""
    others = [loss for loss in config.losses if loss != baseline_of(config)]
    return "dice" if "dice" in others else next(iter(others), None)


def baseline_contrasts(
    model: ModelRuns, loss: str, fractions: Sequence[float] | None = None
) -> list[Contrast]:
    """Compare a loss at 0.5 with the baseline at its tuned threshold, at every fraction."""
    fractions = model.fractions if fractions is None else fractions
    baseline = baseline_of(model.config)
    seeds = [
        paired_differences(model.runs, (loss, "dice"), (baseline, "dice_tuned"), fraction)
        for fraction in fractions
    ]
    tested = [d if len(d) >= LEAST_SEEDS else np.array([]) for d in seeds]
    p_values = holm([difference_p_value(d) for d in tested])
    equivalences = holm([equivalence_p_value(d, model.config.margin) for d in tested])
    return [
        Contrast(
            loss,
            fraction,
            mean_interval(differences),
            _lost(model, (loss, baseline), fraction),
            float(p_value),
            float(equivalence),
            resolvable_margin(
                float(differences.std(ddof=1)) if len(differences) > 1 else np.nan,
                len(differences),
            ),
        )
        for fraction, differences, p_value, equivalence in zip(
            fractions, seeds, p_values, equivalences, strict=True
        )
    ]


def _lost(model: ModelRuns, losses: Sequence[str], fraction: float) -> int:
    """Count the seeds for which a run of these losses diverged."""
    seeds: set[int] = set()
    for loss in losses:
        cell = cell_of(model.runs, loss, fraction)
        seeds |= set(cell[cell["status"] == "diverged"]["seed"])
    return len(seeds)
