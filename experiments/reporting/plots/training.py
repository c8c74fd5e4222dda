"""Pictures of training: learning curves, and how much the learning rate matters."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.tables import cell_of
from experiments.reporting.plots.style import legend_below, look_of, panels, styled
from experiments.reporting.rendering import label

__all__ = ["band", "history", "learning_curves", "learning_rates"]


def history(
    model: ModelRuns, loss: str, fraction: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Stack one logged quantity of a cell: the steps [S], and the numbers [seeds, S]."""
    cell = model.cell(loss, fraction)
    rows = [
        [np.nan if entry.get(name) is None else entry[name] for entry in result["history"]]
        for result in cell
    ]
    steps = [entry["step"] for entry in cell[0]["history"]] if cell else []
    return np.array(steps), np.array(rows, dtype=np.float64).reshape(len(rows), len(steps))


def band(
    ax: Axes, steps: np.ndarray, rows: np.ndarray, *, alpha: float = 0.13, **line: Any
) -> None:
    """Draw the mean over seeds of rows [seeds, S], and the range of the seeds around it."""
    if not len(rows) or np.isnan(rows).all():
        return
    with warnings.catch_warnings():
        # A step at which no seed has a number (0/0, infinite) leaves a gap, without a warning.
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, low, high = np.nanmean(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0)
    ax.plot(steps, mean, lw=1.5, **line)
    ax.fill_between(steps, low, high, color=line["color"], alpha=alpha, lw=0)


@styled
def learning_curves(model: ModelRuns) -> Figure:
    """Draw hard Dice at 0.5 of the training batches over the steps, one panel per fraction."""
    figure, found = panels(model.fractions, 2.6)
    losses = model.config.losses
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        for loss in losses:
            steps, rows = history(model, loss, fraction, "dice")
            band(ax, steps, rows, color=look_of(losses, loss).colour, label=label(loss))
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_ylim(-0.03, 1.03)
    for (ax,) in found[::3]:
        ax.set_ylabel("Dice of the batch at 0.5")
    legend_below(figure, found[0][0])
    return figure


@styled
def learning_rates(model: ModelRuns) -> Figure | None:
    """Draw validation Dice at the tuned threshold against the learning rate, the choice ringed.

    One panel per fraction; ``None`` where there was no choice.
    """
    if not model.tuning_results:
        return None
    figure, found = panels(model.fractions, 2.5)
    losses = model.config.losses
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        for loss in losses:
            look = look_of(losses, loss)
            cell = cell_of(model.tuning, loss, fraction).sort_values("learning_rate")
            x, y = cell["learning_rate"].to_numpy(), cell["validation_dice_tuned"].to_numpy()
            ax.plot(
                x, y, color=look.colour, marker=look.marker, ms=4.5, lw=1.4, label=label(loss)
            )  # fmt: skip
            if len(y) and not np.isnan(y).all():
                best = int(np.nanargmax(y))
                ax.plot(x[best], y[best], "o", mfc="none", mec=look.colour, ms=11, mew=1.3)
        ax.set_xscale("log")
        rates = sorted(model.tuning["learning_rate"].unique())
        ax.xaxis.set_major_locator(FixedLocator(rates))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        if len(rates) > 4:
            ax.tick_params(axis="x", labelrotation=35)
        ax.set_xlabel("learning rate")
        ax.set_ylim(-0.03, 1.03)
    for (ax,) in found[::3]:
        ax.set_ylabel("validation Dice,\ntuned threshold")
    legend_below(figure, found[0][0])
    return figure
