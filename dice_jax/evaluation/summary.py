"""Scores of many cases -> means, medians, bootstrap intervals, and the worst case."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from dice_jax.evaluation.measures import MEASURES, Measure, Score
from dice_jax.metrics import InstanceCounts

__all__ = ["ClassSummary", "Statistic", "Summary", "summarize"]

Array = np.ndarray[Any, Any]

_RESAMPLES = 2000
_LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A measure over all cases.

    Args:
        mean: over the cases where the class is there.
        low: of the bootstrap interval of the mean; NaN where there are fewer than two cases.
        high: the same.
        median: over the same cases.
        worst: the value that is furthest from the best.
        worst_case: where that is.
    """

    mean: float
    low: float
    high: float
    median: float
    worst: float
    worst_case: str


@dataclasses.dataclass(frozen=True)
class ClassSummary:
    """One class over all cases.

    Args:
        name: of the class.
        present: in how many cases it is there.
        missed: in how many of these nothing was predicted.
        invented: in how many cases it was predicted and is not there.
        pooled_dice: of all pixels of all cases together.
        objects: found, invented and missed in all cases.
        measures: by the keys of `MEASURES`.
    """

    name: str
    present: int
    missed: int
    invented: int
    pooled_dice: float
    objects: InstanceCounts
    measures: dict[str, Statistic]


@dataclasses.dataclass(frozen=True)
class Summary:
    """All classes over all cases.

    Args:
        cases: how many there are.
        groups: how many groups were resampled; the number of cases, if they are not grouped.
        classes: one entry per class.
        overall: means over the classes of their means, and so on; of one class, that class's.
    """

    cases: int
    groups: int
    classes: tuple[ClassSummary, ...]
    overall: dict[str, Statistic]


def summarize(scores: Sequence[Score], groups: dict[str, str] | None = None) -> Summary:
    """Average scores over cases.

    A mean is over the cases where the class is there. An infinite distance, of a class that is
    there and was missed, counts as the diagonal of the image. Intervals of the means are from a
    percentile bootstrap over cases, or over groups of cases.

    Args:
        scores: of every case and class.
        groups: by case: the cases of one group (a patient) are drawn together.

    Returns:
        The summary.
    """
    cases = list(dict.fromkeys(score.case for score in scores))
    names = list(dict.fromkeys(score.name for score in scores))
    of = {(score.case, score.name): score for score in scores}
    table = [[of[case, name] for name in names] for case in cases]
    present = np.array([[score.truth > 0 for score in row] for row in table])
    members = [(groups or {}).get(case, case) for case in cases]
    weights = _resampled(members)
    per_class: list[dict[str, Statistic]] = [{} for _ in names]
    overall: dict[str, Statistic] = {}
    for measure in MEASURES:
        values = np.array([[_finite(score, measure) for score in row] for row in table])
        values[~present] = np.nan
        means, medians = _quiet(np.nanmean, values), _quiet(np.nanmedian, values)
        draws = _means(values, weights)
        for k in range(len(names)):
            worst = _worst(values[:, k], cases, measure)
            ends = _interval(draws[:, k], values[:, k])
            statistic = Statistic(float(means[k]), *ends, float(medians[k]), *worst)
            per_class[k][measure.key] = statistic
        by_case = _quiet(np.nanmean, values, axis=1)
        ends = _interval(_quiet(np.nanmean, draws, axis=1), by_case)
        mean, median = (float(_quiet(np.nanmean, x)) for x in (means, medians))
        overall[measure.key] = Statistic(mean, *ends, median, *_worst(by_case, cases, measure))
    columns = [[row[k] for row in table] for k in range(len(names))]
    return Summary(
        cases=len(cases),
        groups=len(set(members)),
        classes=tuple(map(_class, names, columns, per_class)),
        overall=overall,
    )


def _class(name: str, column: list[Score], measures: dict[str, Statistic]) -> ClassSummary:
    outcomes = [score.outcome for score in column]
    both = sum(score.prediction + score.truth for score in column)
    shared = sum(score.intersection for score in column)
    return ClassSummary(
        name=name,
        present=outcomes.count("found") + outcomes.count("missed"),
        missed=outcomes.count("missed"),
        invented=outcomes.count("invented"),
        pooled_dice=2 * shared / both if both else math.nan,
        objects=sum((score.objects for score in column), InstanceCounts(0, 0, 0, 0.0)),
        measures=measures,
    )


def _finite(score: Score, measure: Measure) -> float:
    value = score.values[measure.key]
    return score.diagonal if measure.unit == "length" and math.isinf(value) else value


def _resampled(members: Sequence[str]) -> Array:
    """[resamples, cases]: how often each case was drawn, the cases of a group together."""
    groups, of_case = np.unique(members, return_inverse=True)
    draws = (
        np.random.default_rng(0)
        .multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=_RESAMPLES)
        .astype(np.float64)
    )
    # A single group says nothing of how groups differ.
    return (draws if len(groups) > 1 else draws[:0])[:, of_case]


def _means(values: Array, weights: Array) -> Array:
    """[resamples, classes]: the mean of every resample; NaN where a class was not drawn."""
    there = np.isfinite(values)
    total = weights @ np.where(there, values, 0.0)
    count = weights @ there.astype(np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _interval(draws: Array, values: Array) -> tuple[float, float]:
    kept = draws[np.isfinite(draws)]
    # One case says nothing of how cases differ.
    if not kept.size or np.isfinite(values).sum() < 2:
        return math.nan, math.nan
    low, high = np.quantile(kept, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _worst(values: Array, cases: Sequence[str], measure: Measure) -> tuple[float, str]:
    distance = np.abs(values - measure.best)
    if np.isnan(distance).all():
        return math.nan, ""
    k = int(np.nanargmax(distance))
    return float(values[k]), cases[k]


def _quiet(function: Any, values: Array, axis: int | None = 0) -> Any:
    """A mean of what is not NaN; NaN, without NumPy's warning, where there is nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return function(values, axis=axis)
