"""Tables of a study: runs, cells, means with 95 % intervals over seeds, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis.statistics import mean_interval

__all__ = [
    "KEYS",
    "cell_of",
    "paired_differences",
    "runs_table",
    "summary_table",
]

KEYS = ["model", "foreground_fraction", "loss"]


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

    For every metric there are ``_mean``, ``_ci_low`` and ``_ci_high`` (95 %, t, over seeds), and
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
            interval = mean_interval(cell[name].to_numpy())
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
