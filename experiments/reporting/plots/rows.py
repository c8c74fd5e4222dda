"""A row for every loss, a panel for every fraction: runs as dots, means with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.analysis.estimands import given_neither_collapsed
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import DIFFERENCE, NO_INTERVAL, Interval, mean_interval
from experiments.analysis.tables import cell_of, score_interval
from experiments.reporting.plots.style import look_of, panels
from experiments.reporting.rendering import label

__all__ = [
    "Row",
    "differences_of",
    "draw_rows",
    "error_of",
    "row_panels",
    "scores_of",
    "share_range",
]

# In inches: a row, and what a panel has above and below its rows.
_ROW, _FRAME = 0.28, 0.8


class Row(NamedTuple):
    """What one row shows.

    Args:
        values: one per run or pair.
        interval: their mean and its interval.
        failed: how many runs or pairs are left out because a run collapsed or diverged.
        images: the interval over seeds and test images.
    """

    values: np.ndarray
    interval: Interval
    failed: int = 0
    images: Interval = NO_INTERVAL


def error_of(interval: Interval) -> tuple[float, float]:
    """Compute how far an interval reaches below and above its mean: 0 where it has no ends."""
    if np.isnan(interval.low):
        return 0.0, 0.0
    return interval.mean - interval.low, interval.high - interval.mean


def scores_of(model: ModelRuns, fraction: float, metric: str) -> dict[str, Row]:
    """Collect a metric of every loss over the runs that neither collapsed nor diverged."""
    rows = {}
    for loss in model.config.losses:
        trained = model.trained(loss, fraction)
        found = np.array([r["metrics"].get(metric) for r in trained], np.float64)
        values, failed = found[~np.isnan(found)], len(model.cell(loss, fraction)) - len(trained)
        # The bootstrap over images is of all runs.
        images = NO_INTERVAL if failed else model.over_images(loss, fraction, metric)
        rows[loss] = Row(values, score_interval(values, metric), failed, images)
    return rows


def differences_of(
    model: ModelRuns, baseline: str, metrics: tuple[str, str], fraction: float
) -> dict[str, Row]:
    """Collect every other loss's metric minus the baseline's, seed by seed, where both trained."""
    rows = {}
    for loss in (loss for loss in model.config.losses if loss != baseline):
        both = (loss, metrics[0]), (baseline, metrics[1])
        values = given_neither_collapsed(model.runs, *both, fraction)
        cells = [cell_of(model.runs, one, fraction) for one, _ in both]
        pairs = len(set(cells[0]["seed"]) & set(cells[1]["seed"]))
        rows[loss] = Row(values, mean_interval(values, DIFFERENCE), pairs - len(values))
    return rows


def row_panels(
    shown: Sequence[float | str], losses: Sequence[str], metrics: int = 1
) -> tuple[Figure, list[list[Axes]]]:
    """Make panels as `panels` does, with a row for each loss."""
    figure, found = panels(shown, _ROW * len(losses) + _FRAME, rows=metrics)
    for ax in (ax for axes in found for ax in axes):
        ax.set_yticks(range(len(losses)), [label(loss) for loss in losses])
        ax.set_ylim(len(losses) - 0.45, -0.55)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
    return figure, found


def draw_rows(ax: Axes, model: ModelRuns, rows: Mapping[str, Row], *, filled: bool = True) -> None:
    """Draw rows: runs as faint dots, the mean with its interval, and how many runs failed.

    Args:
        ax: the panel.
        model: its losses have their colours in every figure.
        rows: by loss, from top to bottom.
        filled: whether the mark is filled. A hollow one is the second of its row, without dots.
    """
    for place, (loss, row) in enumerate(rows.items()):
        look = look_of(model.config.losses, loss)
        if filled:
            ax.plot(row.values, np.full(len(row.values), place), ".", color=look.colour, alpha=0.25,
                    ms=5, mew=0)  # fmt: skip
            ax.plot(row.images[1:3], [place, place], color=look.colour, alpha=0.15, lw=9,
                    solid_capstyle="butt")  # fmt: skip
        if row.interval.n:
            ax.errorbar(
                row.interval.mean, place + (0 if filled else 0.24),
                xerr=np.array([error_of(row.interval)]).T, color=look.colour, marker=look.marker,
                ms=6, capsize=2.5, lw=1.5, mfc=look.colour if filled else "white",
            )  # fmt: skip
        if row.failed and filled:
            ax.annotate(
                f"✕ {row.failed}", (1.01, place), xycoords=("axes fraction", "data"), va="center",
                fontsize=9, color=look.colour,
            )  # fmt: skip


def share_range(panels: Sequence[Axes], low: float = -math.inf, high: float = math.inf) -> None:
    """Give panels one range of x, that of their data, but not beyond the quantity's own."""
    ends = np.array([ax.dataLim.intervalx for ax in panels])
    ends = ends[np.isfinite(ends).all(axis=1)]
    if not len(ends):
        return
    bottom, top = ends[:, 0].min(), ends[:, 1].max()
    room = 0.05 * (top - bottom) or 0.05
    for ax in panels:
        ax.set_xlim(max(bottom - room, low), min(top + room, high))
        ax.xaxis.set_major_locator(MaxNLocator(4))
