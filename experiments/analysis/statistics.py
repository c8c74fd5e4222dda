"""Intervals and tests of a study: over seeds, Holm, equivalence, a hierarchical bootstrap."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import integrate, optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from experiments.config import StudyConfig

__all__ = [
    "EQUIVALENCE_MARGIN",
    "LEAST_SEEDS",
    "LEVEL",
    "Interval",
    "bootstrap_interval",
    "difference_p_value",
    "equivalence_p_value",
    "equivalence_power",
    "holm",
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


def _present(values: Sequence[float] | np.ndarray) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    return x[~np.isnan(x)]


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Compute a mean with its t interval; NaN (a run that diverged) is left out."""
    x = _present(values)
    if x.size == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, x.size - 1) * stats.sem(x))
    return Interval(mean, mean - half, mean + half, x.size)


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
    made = ~np.isnan(p)
    if made.any():
        adjusted[made] = multipletests(p[made], method="holm")[1]
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
    *,
    crossed: bool = False,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Compute a mean over images with its hierarchical bootstrap interval.

    Seeds are drawn with replacement, then images within every drawn seed: images of the same seed
    share a network and are not independent.

    Args:
        seeds: per seed, one number per image; NaN (nothing to score) is left out.
        crossed: whether all seeds have the same images, in one order. One draw of images then
            serves every seed, and an image without a score in one seed is left out of all.
        confidence: of the interval.
        resamples: how many.
        seed: of the draws: the same data give the same interval.

    Returns:
        The mean of the seeds' means, with the percentile interval (NaN for fewer than two seeds).
    """
    images = [x for x in map(_present, seeds) if x.size]
    if not images:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(np.mean([x.mean() for x in images]))
    if len(images) == 1:
        return Interval(mean, np.nan, np.nan, 1)
    generator = np.random.default_rng(seed)
    # How often each seed is drawn. Each time, its images are drawn again.
    count = len(images)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    if crossed:
        table = np.stack([x for x in map(np.asarray, seeds) if not np.isnan(x).all()])
        table = table[:, ~np.isnan(table).any(axis=0)]
        width = table.shape[1]
        chosen = generator.multinomial(width, np.full(width, 1 / width), size=resamples)
        means = ((drawn @ table) * chosen).sum(axis=1) / (count * width)
        low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
        return Interval(mean, float(low), float(high), count)
    totals = np.zeros(resamples)
    for x, times in zip(images, drawn.T, strict=True):
        of = np.repeat(np.arange(resamples), times)
        means = x[generator.integers(x.size, size=(of.size, x.size))].mean(axis=1)
        totals += np.bincount(of, weights=means, minlength=resamples)
    low, high = np.quantile(totals / count, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(mean, float(low), float(high), count)
