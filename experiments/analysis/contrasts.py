"""The comparisons that a study is made for: paired by seed, with a verdict and collapses apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.analysis.estimands import blind_run, collapse_rate, smallest_equivalence_margin
from experiments.analysis.model_runs import ModelRuns, tested_images
from experiments.analysis.statistics import (
    DIFFERENCE,
    LEAST_SEEDS,
    LEVEL,
    NO_INTERVAL,
    Interval,
    bootstrap_interval,
    difference_p_value,
    equivalence_p_value,
    holm,
    interval_columns,
    mean_interval,
    resolvable_margin,
)
from experiments.analysis.tables import cell_of
from experiments.config import REST, StudyConfig
from experiments.learning.arms import options_of
from experiments.learning.models import MODELS

__all__ = [
    "HALF_AGAINST_TUNED",
    "Contrast",
    "Thresholds",
    "baseline_contrasts",
    "baseline_of",
    "contrast_table",
    "contrasts",
    "primary_loss",
    "rate_contrasts",
    "thresholds_of",
]


class Thresholds(NamedTuple):
    """The thresholds of a loss and of the baseline: ``half``, ``tuned``, or ``largest`` class."""

    loss: str
    baseline: str

    @property
    def metrics(self) -> tuple[str, str]:
        """The metric of each."""
        return _METRICS[self.loss], _METRICS[self.baseline]


_METRICS = {"half": "dice", "tuned": "dice_tuned", "largest": "dice"}
# The primary one: the baseline may choose its threshold, at no cost in training.
HALF_AGAINST_TUNED = Thresholds("half", "tuned")
_BOTH_TUNED, _BOTH_HALF = Thresholds("tuned", "tuned"), Thresholds("half", "half")
_BINARY = (HALF_AGAINST_TUNED, _BOTH_TUNED, _BOTH_HALF)
_CLASSES = (Thresholds("largest", "largest"),)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A loss minus a baseline, in test Dice, at one fraction.

    Args:
        model: its name.
        data: the folder of the images, or the shape of synthetic ones.
        fraction: π.
        loss: its name.
        baseline: what is subtracted.
        thresholds: of both.
        rate: the learning rate of both; ``None``: each has the rate that was chosen for it.
        difference: the mean over the seeds for which neither run collapsed or diverged, with its
            t interval.
        over_images: the same mean with a bootstrap interval over seeds, groups and test images.
            Without a value where every seed has images of its own: the spread over seeds then holds
            that of the images.
        blind: the expected difference of a single run of each, failed runs counted: a collapsed
            run with its score, and one that diverged as 0. With a bootstrap interval.
        collapse: the share of the loss's runs that collapsed or diverged, with its exact interval.
        baseline_collapse: the same of the baseline.
        lost: pairs that are not in ``difference`` because a run collapsed or diverged.
        deviation: the standard deviation of the paired differences over seeds.
        p_value: of the paired t test, adjusted by Holm over the family; NaN with fewer than
            `LEAST_SEEDS` pairs.
        equivalence_p_value: of the equivalence test at ``margin``, adjusted likewise.
        smallest_margin: the smallest margin at which the equivalence test succeeds, not adjusted,
            and which holds ``over_images``.
        resolvable: the smallest margin that so many seeds of this spread would resolve, with 80 %
            power, if there were no difference.
        margin: of the study, fixed before it.
    """

    model: str
    data: str
    fraction: float
    loss: str
    baseline: str
    thresholds: Thresholds
    rate: float | None
    difference: Interval
    over_images: Interval
    blind: Interval
    collapse: Interval
    baseline_collapse: Interval
    lost: int
    deviation: float
    p_value: float
    equivalence_p_value: float
    smallest_margin: float
    resolvable: float
    margin: float

    @property
    def verdict(self) -> str:
        """The conclusion: higher, lower, equivalent, undecided, or untested."""
        if np.isnan(self.p_value):
            return "untested"
        over_images = self.over_images
        # Seeds that share their test images say nothing of other images: both must be sure.
        if self.p_value < LEVEL and not over_images.low <= 0 <= over_images.high:
            return "higher" if self.difference.mean > 0 else "lower"
        return "equivalent" if self.small else "undecided"

    @property
    def blind_verdict(self) -> str:
        """The conclusion with failed runs counted, by the interval of ``blind``.

        Higher, lower or undecided.
        """
        if self.blind.n < LEAST_SEEDS or self.blind.low <= 0 <= self.blind.high:
            return "undecided"
        return "higher" if self.blind.mean > 0 else "lower"

    @property
    def small(self) -> bool:
        """Whether the difference was shown to be within the margin."""
        low, high = self.over_images.low, self.over_images.high
        beyond = low < -self.margin or high > self.margin
        return bool(self.equivalence_p_value < LEVEL and not beyond)

    @property
    def shown(self) -> Interval:
        """The interval to show: over images where the seeds share them, otherwise over seeds."""
        return self.over_images if self.over_images.n else self.difference

    @property
    def words(self) -> str:
        """The verdict as a table has it, for example ``"equivalent within 0.01"``."""
        if self.verdict == "equivalent":
            return f"equivalent within {self.margin:g}"
        if self.verdict in ("higher", "lower") and self.small:
            return f"{self.verdict}, by less than {self.margin:g}"
        return self.verdict


def baseline_of(config: StudyConfig) -> str:
    """Name the loss that the others are compared with: BCE (or CE) if the study has it."""
    return next((loss for loss in ("bce", "ce") if loss in config.losses), config.losses[0])


def primary_loss(config: StudyConfig) -> str | None:
    """Name the loss that the study is about: Dice if the study has it, else the next one."""
    others = [loss for loss in config.losses if loss != baseline_of(config)]
    return "dice" if "dice" in others else next(iter(others), None)


def thresholds_of(config: StudyConfig) -> tuple[Thresholds, ...]:
    """List the pairs of thresholds that a study compares, the primary one first.

    Cross-entropy as the baseline may choose its threshold. Any other baseline may not, or its
    variants would be at a disadvantage against it.
    """
    if config.classes:
        return _CLASSES
    cross_entropy = options_of(baseline_of(config))[0] == "bce"
    return _BINARY if cross_entropy else (_BOTH_TUNED, HALF_AGAINST_TUNED, _BOTH_HALF)


def baseline_contrasts(
    model: ModelRuns, loss: str, fractions: Sequence[float] | None = None
) -> list[Contrast]:
    """Compare a loss with the baseline at the primary thresholds, at every fraction."""
    fractions = model.fractions if fractions is None else fractions
    thresholds = thresholds_of(model.config)[0]
    return _family(model, (loss, baseline_of(model.config)), thresholds, fractions)


def contrasts(model: ModelRuns) -> list[Contrast]:
    """Compare every loss with the baseline, and with the primary loss, at all thresholds.

    Every run has the learning rate that was chosen for its loss and fraction. The p values of two
    losses at one pair of thresholds are a family: Holm adjusts them over the fractions. Only the
    contrasts of the primary loss at the primary thresholds were fixed before a study; the others
    explore.

    Returns:
        By pair of losses, thresholds and fraction; none of a model that sees no pixels.
    """
    return [
        contrast
        for pair in _pairs(model.config)
        for thresholds in thresholds_of(model.config)
        for contrast in _family(model, pair, thresholds, model.fractions)
    ]


def rate_contrasts(model: ModelRuns) -> list[Contrast]:
    """Compare the losses at every learning rate that both were trained with, on two pairs or more.

    The pairs are of the seeds that choose the learning rates, and of the final runs of losses that
    were given this rate. Holm adjusts over fractions and rates.
    """
    if model.config.optimiser == REST:
        return []
    everything = pd.concat([t for t in (model.tuning, model.runs) if len(t)])
    rates = sorted(set(everything["learning_rate"]))
    at_rate = {rate: everything.query("learning_rate == @rate") for rate in rates}
    found = []
    for pair in _pairs(model.config):
        for thresholds in thresholds_of(model.config):
            family = [
                _Cell(model, pair, thresholds, fraction, rate, table)
                for fraction in model.fractions
                for rate, table in at_rate.items()
            ]
            found += _adjusted([cell for cell in family if len(cell.pairs) > 1])
    return found


def _pairs(config: StudyConfig) -> list[tuple[str, str]]:
    """List a loss and what it is compared with."""
    if not MODELS[config.model].sees_pixels:
        return []
    baseline, primary = baseline_of(config), primary_loss(config)
    others = [loss for loss in config.losses if loss not in (baseline, primary)]
    ordered = others if primary is None else [primary, *others]
    pairs = [(loss, baseline) for loss in ordered]
    return pairs if primary is None else pairs + [(loss, primary) for loss in others]


def _family(
    model: ModelRuns, pair: tuple[str, str], thresholds: Thresholds, fractions: Sequence[float]
) -> list[Contrast]:
    return _adjusted([_Cell(model, pair, thresholds, f, None, model.runs) for f in fractions])


class _Cell:
    """Two losses at one fraction: their pairs of runs, before any test."""

    def __init__(
        self,
        model: ModelRuns,
        pair: tuple[str, str],
        thresholds: Thresholds,
        fraction: float,
        rate: float | None,
        runs: pd.DataFrame,
    ) -> None:
        self.model, self.pair, self.thresholds = model, pair, thresholds
        self.fraction, self.rate = fraction, rate
        self.both = [cell_of(runs, loss, fraction).set_index("seed") for loss in pair]
        self.pairs = self.both[0].index.intersection(self.both[1].index)
        finished = [cell["status"].loc[self.pairs].to_numpy() == "finished" for cell in self.both]
        self.trained = finished[0] & finished[1]
        scores = [
            cell[metric].loc[self.pairs].to_numpy(np.float64)
            for cell, metric in zip(self.both, thresholds.metrics, strict=True)
        ]
        self.differences = (scores[0] - scores[1])[self.trained]
        self.differences = self.differences[~np.isnan(self.differences)]
        self.blind = np.nan_to_num(scores[0]) - np.nan_to_num(scores[1])

    @property
    def tested(self) -> np.ndarray:
        """The differences, if there are enough of them for a test."""
        return self.differences if len(self.differences) >= LEAST_SEEDS else np.array([])

    def over_images(self) -> Interval:
        """Draw the test images too, where seeds share them."""
        if self.rate is not None:
            return NO_INTERVAL
        seeds = set(self.pairs[self.trained])
        runs = [
            {r["seed"]: r for r in self.model.cell(loss, self.fraction) if r["seed"] in seeds}
            for loss in self.pair
        ]
        scores, images = [], []
        for seed in sorted(seeds):
            tested = tested_images(runs[0][seed])
            if tested is None:
                return NO_INTERVAL
            a, b = (
                np.array(of_loss[seed]["per_image"][metric], np.float64)
                for of_loss, metric in zip(runs, self.thresholds.metrics, strict=True)
            )
            scores.append(a - b)
            images.append(tested)
        return bootstrap_interval(scores, images)

    def contrast(self, p_value: float, equivalence: float) -> Contrast:
        config, x, over_images = self.model.config, self.differences, self.over_images()
        spread = float(x.std(ddof=1)) if len(x) > 1 else np.nan
        collapse, baseline_collapse = (
            collapse_rate(sum(status != "finished" for status in cell["status"]), len(cell))
            for cell in self.both
        )
        return Contrast(
            model=config.model,
            data=config.shape if config.data is None else Path(config.data).name,
            fraction=self.fraction,
            loss=self.pair[0],
            baseline=self.pair[1],
            thresholds=self.thresholds,
            rate=self.rate,
            difference=mean_interval(x, DIFFERENCE),
            over_images=over_images,
            blind=blind_run(self.blind),
            collapse=collapse,
            baseline_collapse=baseline_collapse,
            lost=int((~self.trained).sum()),
            deviation=spread,
            p_value=p_value,
            equivalence_p_value=equivalence,
            smallest_margin=_smallest_margin(x, over_images),
            resolvable=float(np.minimum(resolvable_margin(spread, len(x)), 1)),
            margin=config.margin,
        )


def _smallest_margin(differences: np.ndarray, over_images: Interval) -> float:
    """Find the smallest margin at which the seeds, and the images if shared, show equivalence."""
    margins = [smallest_equivalence_margin(differences), -over_images.low, over_images.high]
    # fmax leaves out the ends that there are not. No two Dice scores are farther apart than 1.
    return float(np.minimum(np.fmax.reduce(margins), 1))


def _adjusted(cells: Sequence[_Cell]) -> list[Contrast]:
    """Test the cells as one family."""
    p_values = holm([difference_p_value(cell.tested) for cell in cells])
    equivalences = holm(
        [equivalence_p_value(cell.tested, cell.model.config.margin) for cell in cells]
    )
    return [
        cell.contrast(float(p), float(e))
        for cell, p, e in zip(cells, p_values, equivalences, strict=True)
    ]


def contrast_table(found: Iterable[Contrast]) -> pd.DataFrame:
    """Lay contrasts out as a table, one row each; an interval takes four columns."""
    rows = []
    for c in found:
        row: dict[str, object] = {
            "model": c.model,
            "data": c.data,
            "foreground_fraction": c.fraction,
            "loss": c.loss,
            "baseline": c.baseline,
            "threshold": c.thresholds.loss,
            "baseline_threshold": c.thresholds.baseline,
            "learning_rate": "chosen" if c.rate is None else c.rate,
            "verdict": c.words,
        }
        for name in ("difference", "over_images", "blind", "collapse", "baseline_collapse"):
            row |= interval_columns(name, getattr(c, name))
        for name in (
            "lost",
            "deviation",
            "p_value",
            "equivalence_p_value",
            "smallest_margin",
            "resolvable",
        ):
            row[name] = getattr(c, name)
        rows.append(row | {"margin": c.margin})
    return pd.DataFrame(rows)
