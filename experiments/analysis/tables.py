"""Tables of a study: runs, cells, means with 95 % intervals over seeds, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis.statistics import (
    POSITIVE,
    RELATIVE,
    SHARE,
    Interval,
    Range,
    mean_interval,
)

__all__ = [
    "KEYS",
    "cell_of",
    "paired_differences",
    "range_of",
    "runs_table",
    "score_interval",
    "summary_table",
]

KEYS = ["model", "foreground_fraction", "loss"]

# All other metrics are shares: scores, probabilities, and errors of probabilities.
_RANGES = {
    "learning_rate": POSITIVE,
    "noise": POSITIVE,
    "hd95": POSITIVE,
    "hd95_images": POSITIVE,
    "empty_images": POSITIVE,
    "volume_bias": RELATIVE,
    "soft_volume_bias": RELATIVE,
}


def range_of(metric: str) -> Range:
    """Name the values that a metric can have, for example 0 to 1 for ``"dice_tuned"``."""
    return _RANGES.get(metric.removesuffix("_tuned").removesuffix("_pool"), SHARE)


def score_interval(values: Sequence[float] | np.ndarray, metric: str) -> Interval:
    """Compute the mean of a metric over runs, with a 95 % t interval cut at the metric's range."""
    return mean_interval(values, range_of(metric))


def runs_table(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Lay runs out as a table, one row per run, with its metrics (null is NaN)."""
    rows = [
        {
            **{key: run[key] for key in (*KEYS, "seed", "learning_rate", "status", "seconds")},
            **{k: np.nan if v is None else float(v) for k, v in run["metrics"].items()},
        }
        for run in runs
    ]
    return pd.DataFrame(rows)


def cell_of(runs: pd.DataFrame, loss: str, fraction: float) -> pd.DataFrame:
    """Select the runs of one loss at one fraction from one model's `runs_table`."""
    return runs.query("loss == @loss and foreground_fraction == @fraction")


def summary_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Reduce runs to one row per loss, fraction and model.

    For every metric there are ``_mean``, ``_ci_low`` and ``_ci_high`` (95 %, t, over seeds, within
    the metric's range), and
    there is the number of runs that finished, collapsed and diverged.
    """
    names = [c for c in runs.columns if c not in (*KEYS, "seed", "status", "seconds")]
    rows: list[dict[str, Any]] = []
    for model, fraction, loss in runs[KEYS].drop_duplicates().itertuples(index=False):
        cell = cell_of(runs.query("model == @model"), loss, fraction)
        row: dict[str, Any] = {"loss": loss, "foreground_fraction": fraction, "model": model}
        row["runs"] = len(cell)
        statuses = cell["status"].tolist()
        row |= {s: statuses.count(s) for s in ("finished", "collapsed", "diverged")}
        row["foreground_fraction_achieved"] = np.mean(cell["foreground_fraction_test"].to_numpy())
        for name in names:
            interval = score_interval(cell[name].to_numpy(), name)
            row[f"{name}_mean"] = interval.mean
            row[f"{name}_ci_low"], row[f"{name}_ci_high"] = interval.low, interval.high
        rows.append(row)
    return pd.DataFrame(rows)


def paired_differences(
    runs: pd.DataFrame, first: tuple[str, str], second: tuple[str, str], fraction: float
) -> np.ndarray:
    """Compare two losses at one fraction, seed by seed.

    Args:
        runs: of `runs_table`, of one model.
        first: a loss and a metric, e.g. ``("dice", "dice")``.
        second: what is subtracted, e.g. ``("bce", "dice_tuned")``.
        fraction: π.

    Returns:
        first − second, one number per seed whose runs both have a score.
    """
    a, b = (
        cell_of(runs, loss, fraction).set_index("seed")[metric] for loss, metric in (first, second)
    )
    return (a - b).dropna().to_numpy()
