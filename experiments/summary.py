"""Tables of a study: means with 95 % intervals over seeds, and paired differences between arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

__all__ = [
    "Interval",
    "cell_of",
    "mean_interval",
    "paired_difference",
    "runs_table",
    "summary_table",
]

KEYS = ["model", "foreground_fraction", "loss"]


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval.

    Args:
        mean: of the values.
        low: lower end; NaN for fewer than two values.
        high: upper end.
        n: how many values there were.
    """

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Compute a mean with its t interval.

    Args:
        values: one per seed; NaN (a run that diverged) is left out.
        confidence: of the interval.

    Returns:
        An `Interval`.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[~np.isnan(x)]
    if x.size == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, x.size - 1) * stats.sem(x))
    return Interval(mean, mean - half, mean + half, x.size)


def runs_table(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Lay runs out as a table.

    Args:
        runs: as they were written.

    Returns:
        One row per run: what it was, its status, and its metrics (null is NaN).
    """
    rows = [
        {
            **{key: run[key] for key in (*KEYS, "seed", "learning_rate", "status", "seconds")},
            **{k: np.nan if v is None else float(v) for k, v in run["metrics"].items()},
        }
        for run in runs
    ]
    return pd.DataFrame(rows)


def cell_of(runs: pd.DataFrame, loss: str, fraction: float) -> pd.DataFrame:
    """Cut the runs of one loss at one fraction out of a table.

    Args:
        runs: of `runs_table`.
        loss: the arm's name.
        fraction: π, as requested.

    Returns:
        Those rows.
    """
    return runs.query("loss == @loss and foreground_fraction == @fraction")


def summary_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Reduce runs to one row per loss, fraction and model.

    Args:
        runs: of `runs_table`.

    Returns:
        The arms with, for every metric, ``_mean``, ``_ci_low`` and ``_ci_high`` (95 %, t, over
        seeds), and how many runs finished, collapsed and diverged.
    """
    names = [c for c in runs.columns if c not in (*KEYS, "seed", "status", "seconds")]
    rows: list[dict[str, Any]] = []
    for model, fraction, loss in runs[KEYS].drop_duplicates().itertuples(index=False):
        cell = cell_of(runs, loss, fraction)
        row: dict[str, Any] = {"loss": loss, "foreground_fraction": fraction, "model": model}
        row["runs"] = len(cell)
        statuses = cell["status"].tolist()
        row |= {s: statuses.count(s) for s in ("finished", "collapsed", "diverged")}
        row["foreground_fraction_achieved"] = np.mean(cell["foreground_fraction_test"].to_numpy())
        for name in names:
            interval = mean_interval(cell[name].to_numpy())
            row[f"{name}_mean"] = interval.mean
            row[f"{name}_ci_low"], row[f"{name}_ci_high"] = interval.low, interval.high
        rows.append(row)
    return pd.DataFrame(rows)


def paired_difference(
    runs: pd.DataFrame, first: tuple[str, str], second: tuple[str, str], fraction: float
) -> Interval:
    """Compare two arms at one fraction, seed by seed.

    Args:
        runs: of `runs_table`.
        first: a loss and a metric, e.g. ``("dice", "dice")``.
        second: what is subtracted, e.g. ``("bce", "dice_tuned")``.
        fraction: π.

    Returns:
        The mean of first − second over the seeds that both have, with its t interval.
    """
    a, b = (
        cell_of(runs, loss, fraction).set_index("seed")[metric] for loss, metric in (first, second)
    )
    return mean_interval((a - b).dropna().to_numpy())
