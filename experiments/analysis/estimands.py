"""An arm in three numbers: how often it collapses, its score otherwise, and that of any run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from experiments.analysis.statistics import Interval, equivalence_p_value, interval_columns
from experiments.analysis.tables import KEYS, cell_of, paired_differences

__all__ = [
    "Estimands",
    "arm_estimands",
    "blind_run",
    "collapse_rate",
    "estimands_table",
    "given_neither_collapsed",
    "smallest_equivalence_margin",
]


class Estimands(NamedTuple):
    """What is reported of an arm at one fraction.

    Args:
        collapse: the probability that a run collapses or diverges, with its exact interval.
        trained: the mean score of the runs that did not, with a bootstrap interval.
        blind: the expected score of a single run, failed runs counted, with a bootstrap interval.
    """

    collapse: Interval
    trained: Interval
    blind: Interval


def collapse_rate(failed: int, runs: int, confidence: float = 0.95) -> Interval:
    """Compute the share of runs that failed, with the interval of Clopper and Pearson (1934)."""
    if not runs:
        return Interval(np.nan, np.nan, np.nan, 0)
    low, high = stats.binomtest(failed, runs).proportion_ci(confidence, method="exact")
    return Interval(failed / runs, float(low), float(high), runs)


def blind_run(
    scores: np.ndarray, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Compute a mean with its bootstrap interval; NaN (a run that diverged) scores 0.

    A percentile interval of means never leaves the range of the scores, whatever their spread.

    Args:
        scores: one per run.
        confidence: of the interval.
        resamples: how many.
        seed: of the draws.
    """
    x = np.nan_to_num(np.asarray(scores, np.float64), nan=0.0)
    if x.size < 2:
        return Interval(float(x.mean()) if x.size else np.nan, np.nan, np.nan, x.size)
    generator = np.random.default_rng(seed)
    means = x[generator.integers(x.size, size=(resamples, x.size))].mean(axis=1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(x.mean()), float(low), float(high), x.size)


def arm_estimands(runs: pd.DataFrame, arm: str, fraction: float, metric: str) -> Estimands:
    """Compute the three numbers of an arm from one model's `tables.runs_table`."""
    cell = cell_of(runs, arm, fraction)
    scores, finished = cell[metric].to_numpy(np.float64), (cell["status"] == "finished").to_numpy()
    return Estimands(
        collapse_rate(int((~finished).sum()), len(cell)),
        blind_run(scores[finished]),
        blind_run(scores),
    )


def given_neither_collapsed(
    runs: pd.DataFrame, first: tuple[str, str], second: tuple[str, str], fraction: float
) -> np.ndarray:
    """Compare two arms seed by seed, over the seeds for which neither run collapsed or diverged.

    Args:
        runs: of `tables.runs_table`, of one model.
        first: an arm and a metric.
        second: what is subtracted.
        fraction: π.

    Returns:
        first − second, one number per seed.
    """
    return paired_differences(runs.query("status == 'finished'"), first, second, fraction)


def smallest_equivalence_margin(differences: np.ndarray, level: float = 0.05) -> float:
    """Find the smallest margin at which the equivalence test of paired differences succeeds.

    Two one-sided t tests succeed at a margin m exactly if the (1 − 2·level) interval of the mean
    lies inside (−m, m): the larger end of that interval is the answer.
    """
    x = np.asarray(differences, np.float64)
    x = x[~np.isnan(x)]
    if x.size < 2:
        return np.nan
    half = float(stats.t.ppf(1 - level, x.size - 1) * stats.sem(x))
    margin = abs(float(x.mean())) + half
    assert equivalence_p_value(x, margin * (1 + 1e-9) + 1e-300) <= level * (1 + 1e-6)
    return margin


def estimands_table(runs: pd.DataFrame, metric: str = "dice_tuned") -> pd.DataFrame:
    """Lay the three numbers of every arm out as a table, one row per model, fraction and arm."""
    rows = []
    keys = runs[KEYS].drop_duplicates()
    for model, fraction, arm in keys.itertuples(index=False):
        found = arm_estimands(runs.query("model == @model"), arm, fraction, metric)
        row = {"loss": arm, "foreground_fraction": fraction, "model": model}
        for name, interval in found._asdict().items():
            row |= interval_columns(name, interval)
        rows.append(row)
    return pd.DataFrame(rows)
