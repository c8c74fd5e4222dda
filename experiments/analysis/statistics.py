"""Intervals and tests of a study: over seeds, Holm, equivalence, a hierarchical bootstrap."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import integrate, optimize, stats
from statsmodels.stats.weightstats import DescrStatsW

from experiments.config import StudyConfig

__all__ = [
    "ANY",
    "DIFFERENCE",
    "EQUIVALENCE_MARGIN",
    "LEAST_SEEDS",
    "LEVEL",
    "NO_INTERVAL",
    "POSITIVE",
    "RELATIVE",
    "SHARE",
    "Interval",
    "Range",
    "bootstrap_interval",
    "difference_p_value",
    "equivalence_p_value",
    "equivalence_power",
    "holm",
    "interval_columns",
    "mean_interval",
    "resolvable_margin",
]

# With fewer paired seeds there are intervals and no test (theory: the protocol).
LEAST_SEEDS = 7
# In Dice, fixed before the study: what 7 seeds can resolve at the pilot's deviation, 0.022.
EQUIVALENCE_MARGIN = StudyConfig.margin
LEVEL = 0.05


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval, of ``n`` values.

    The ends are NaN for fewer than two values.
    """

    mean: float
    low: float
    high: float
    n: int


def interval_columns(name: str, interval: Interval) -> dict[str, float]:
    """Lay an interval out as four columns of a table."""
    return {
        name: interval.mean,
        f"{name}_ci_low": interval.low,
        f"{name}_ci_high": interval.high,
        f"{name}_runs": interval.n,
    }


NO_INTERVAL = Interval(math.nan, math.nan, math.nan, 0)


class Range(NamedTuple):
    """The values that a quantity can have, from ``low`` to ``high``."""

    low: float = -math.inf
    high: float = math.inf


ANY = Range()
SHARE = Range(0, 1)
DIFFERENCE = Range(-1, 1)
POSITIVE = Range(low=0)
# (found − there) / there: of an amount that is at least 0.
RELATIVE = Range(low=-1)

# Numbers of float32 may lie this far beyond the end of their range.
_ROUNDING = 1e-5


def _present(values: Sequence[float] | np.ndarray) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    return x[~np.isnan(x)]


def mean_interval(
    values: Sequence[float] | np.ndarray, within: Range = ANY, *, confidence: float = 0.95
) -> Interval:
    """Compute a mean with its t interval; NaN (a run that diverged) is left out.

    Args:
        values: one per run.
        within: the range of the quantity. The interval is cut at its ends.
        confidence: of the interval.

    Raises:
        ValueError: if a value lies outside of ``within``.
    """
    x = _present(values)
    if x.size == 0:
        return NO_INTERVAL
    if x.min() < within.low - _ROUNDING or x.max() > within.high + _ROUNDING:
        raise ValueError(
            f"values must lie within [{within.low:g}, {within.high:g}], got {x.min():g} to "
            f"{x.max():g}: name the range of this quantity"
        )
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, x.size - 1) * stats.sem(x))
    # The true mean lies in the range, so the cut interval covers it as often as the whole one. A
    # bootstrap of few runs stays in the range too, but is too short: of three runs it covers at
    # most 3/4.
    low, high = max(mean - half, min(within.low, mean)), min(mean + half, max(within.high, mean))
    return Interval(mean, low, high, x.size)


def difference_p_value(differences: Sequence[float] | np.ndarray) -> float:
    """Test whether paired differences have mean 0: the two-sided paired t test, NaN left out."""
    x = _present(differences)
    if x.size < 2:
        return math.nan
    if np.ptp(x) == 0:
        # No spread: SciPy would divide 0 by 0.
        return 1.0 if x[0] == 0 else 0.0
    t = x.mean() / stats.sem(x)
    return 2 * float(stats.t.sf(abs(t), x.size - 1))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust the p values of one family of tests (Holm 1979); NaN (no test) is left out of it."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    # statsmodels' multipletests collects garbage in each call: half a minute in a large study.
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    return adjusted


def equivalence_p_value(differences: Sequence[float] | np.ndarray, margin: float) -> float:
    """Test whether the mean of paired differences lies in (−margin, margin), NaN left out.

    Two one-sided paired t tests; the larger of the two p values (Schuirmann 1987) is returned. A
    small one says "equivalent".
    """
    x = _present(differences)
    if x.size < 2:
        return math.nan
    if np.ptp(x) == 0:
        return 0.0 if abs(x[0]) < margin else 1.0
    return float(DescrStatsW(x).ttost_mean(-margin, margin)[0])


def equivalence_power(margin: float, seeds: int, level: float = LEVEL) -> float:
    """Compute how often `equivalence_p_value` succeeds where there is no difference at all.

    Exact for normal differences.

    Args:
        margin: in standard errors, margin·√n / σ.
        seeds: n, how many paired differences.
        level: of the test.
    """
    freedom = seeds - 1
    t = float(stats.t.ppf(1 - level, freedom))

    # The test succeeds where |mean| < margin − t·s: for a given s, a normal probability.
    def given(s: float) -> float:
        inside = 2 * float(stats.norm.cdf(margin - t * s)) - 1
        # s²·freedom is χ²: s has the density below.
        return inside * 2 * s * freedom * float(stats.chi2.pdf(s * s * freedom, freedom))

    return float(integrate.quad(given, 0, margin / t, limit=200)[0])


@functools.cache
def _resolvable(seeds: int, power: float, level: float) -> float:
    def short(margin: float) -> float:
        return equivalence_power(margin, seeds, level) - power

    return float(optimize.root_scalar(short, bracket=(1.0, 200.0), xtol=1e-6).root)


def resolvable_margin(
    deviation: float, seeds: int, *, power: float = 0.8, level: float = LEVEL
) -> float:
    """Find the smallest equivalence margin that a design can resolve.

    With a narrower one, two equal losses would be found equivalent less often than ``power``.

    Args:
        deviation: the standard deviation of the paired differences over seeds.
        seeds: how many.
        power: how often two equal losses are to be found equivalent.
        level: of the test.
    """
    if seeds < 2 or math.isnan(deviation):
        return math.nan
    return _resolvable(seeds, power, level) * deviation / math.sqrt(seeds)


def bootstrap_interval(
    seeds: Sequence[Sequence[float] | np.ndarray],
    images: Sequence[Sequence[tuple[str, str]]] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Compute a mean over images with its hierarchical bootstrap interval.

    Seeds are drawn with replacement, then groups of images (patients), then images within every
    drawn group: images of one seed share a network, and images of one group are alike.

    Args:
        seeds: per seed, one number per image; NaN (nothing to score) is left out.
        images: per seed, the group and the name of each image. One draw of groups and images then
            serves all seeds, because a hard image is hard in every seed (Owen 2007). ``None`` if
            every seed has images of its own.
        confidence: of the interval.
        resamples: how many.
        seed: of the draws: the same data give the same interval.

    Returns:
        The mean of the seeds' means, with the percentile interval (NaN for fewer than two seeds).
    """
    tables = [np.asarray(x, np.float64) for x in seeds]
    kept = [i for i, x in enumerate(tables) if not np.isnan(x).all()]
    tables = [tables[i] for i in kept]
    if not tables:
        return NO_INTERVAL
    mean = float(np.mean([np.nanmean(x) for x in tables]))
    if len(tables) == 1:
        return Interval(mean, np.nan, np.nan, 1)
    generator = np.random.default_rng(seed)
    count = len(tables)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    if images is None:
        means = _of_own_images([_present(x) for x in tables], drawn, generator)
    else:
        means = _of_shared_images(tables, [images[i] for i in kept], drawn, generator)
    low, high = np.nanquantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(mean, float(low), float(high), count)


def _of_own_images(
    tables: Sequence[np.ndarray], drawn: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw images anew each time that a seed is drawn; a mean per resample."""
    resamples, count = drawn.shape
    totals = np.zeros(resamples)
    for x, times in zip(tables, drawn.T, strict=True):
        of = np.repeat(np.arange(resamples), times)
        means = x[generator.integers(x.size, size=(of.size, x.size))].mean(axis=1)
        totals += np.bincount(of, weights=means, minlength=resamples)
    return totals / count


def _of_shared_images(
    tables: Sequence[np.ndarray],
    images: Sequence[Sequence[tuple[str, str]]],
    drawn: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw groups, and images within them, once for all seeds; a mean per resample."""
    names = sorted({image for of_seed in images for image in of_seed})
    column = {image: place for place, image in enumerate(names)}
    groups: dict[str, list[int]] = {}
    for (group, _), place in zip(names, range(len(names)), strict=True):
        groups.setdefault(group, []).append(place)
    resamples = len(drawn)
    times = generator.multinomial(
        len(groups), np.full(len(groups), 1 / len(groups)), size=resamples
    )
    weights = np.empty((resamples, len(names)))
    for places, copies in zip(groups.values(), times.T, strict=True):
        size = len(places)
        # Each copy of a group draws its images anew: together they draw copies · size images.
        weights[:, places] = generator.multinomial(copies * size, np.full(size, 1 / size))
    scores = np.full((len(tables), len(names)), np.nan)
    for row, x, of_seed in zip(scores, tables, images, strict=True):
        row[[column[image] for image in of_seed]] = x
    there = ~np.isnan(scores)
    total, weight = weights @ np.where(there, scores, 0.0).T, weights @ there.T
    # A seed whose images were not drawn has no mean in that resample.
    means = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    counted = drawn * (weight > 0)
    seeds = counted.sum(axis=1)
    sums = (counted * means).sum(axis=1)
    return np.divide(sums, seeds, out=np.full(resamples, np.nan), where=seeds > 0)
