"""Pictures of training: learning curves, and how much the learning rate matters."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from experiments.analysis.model_runs import ModelRuns
from experiments.reporting.plots.style import drawn, legend_below, look_of, panels, styled
from experiments.reporting.rendering import label

__all__ = ["band", "history", "learning_curves", "learning_rates"]


def history(
    model: ModelRuns, loss: str, fraction: float, name: str, *, failed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Stack one logged quantity of a cell's runs: the steps [S], and the numbers [seeds, S].

    Of the runs that trained, or of those that collapsed or diverged.
    """
    cell = [r for r in model.cell(loss, fraction) if (r["status"] != "finished") == failed]
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
    """Draw hard Dice at 0.5 of the training batches over the steps, one panel per fraction.

    Means and ranges are of the runs that trained; runs that collapsed or diverged are dotted.
    """
    figure, found = panels(model.fractions, 2.6)
    losses = drawn(model.config.losses)
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        for loss in losses:
            colour = look_of(losses, loss).colour
            band(ax, *history(model, loss, fraction, "dice"), color=colour, label=label(loss))
            steps, rows = history(model, loss, fraction, "dice", failed=True)
            ax.plot(steps, rows.T, color=colour, lw=0.9, ls=":")
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_ylim(-0.03, 1.03)
    for (ax,) in found[::3]:
        ax.set_ylabel("Dice of the batch at 0.5")
    if any(run["status"] != "finished" for run in model.results):
        found[0][0].plot([], [], color="#555555", lw=0.9, ls=":", label="a run that failed")
    legend_below(figure, found[0][0])
    return figure


@styled
def learning_rates(model: ModelRuns) -> Figure | None:
    """Draw validation Dice at the tuned threshold against the learning rate, the choice ringed.

    Means over the tuning seeds, collapsed runs included and counted; one panel per fraction.
    ``None`` where there was no choice.
    """
    if not model.tuning_results:
        return None
    figure, found = panels(model.fractions, 2.5)
    losses = drawn(model.config.losses)
    rates = sorted({r["learning_rate"] for r in model.tuning_results})
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        for loss in losses:
            look = look_of(losses, loss)
            cell = [r for r in model.tuning_results
                    if (r["loss"], r["foreground_fraction"]) == (loss, fraction)]  # fmt: skip
            tried = sorted({r["learning_rate"] for r in cell})
            runs = [[r for r in cell if r["learning_rate"] == rate] for rate in tried]
            # A run that diverged scores 0.
            means = [
                np.mean([r["metrics"]["validation_dice_tuned"] or 0 for r in of]) for of in runs
            ]
            ax.plot(tried, means, color=look.colour, marker=look.marker, ms=4.5, lw=1.4,
                    label=label(loss))  # fmt: skip
            chosen = [r["learning_rate"] for r in model.cell(loss, fraction)[:1]]
            for rate, mean, of_rate in zip(tried, means, runs, strict=True):
                if rate in chosen:
                    ax.plot(rate, mean, "o", mfc="none", mec=look.colour, ms=11, mew=1.3)
                if failed := sum(r["status"] != "finished" for r in of_rate):
                    ax.annotate(
                        f"✕ {failed}", (rate, mean), (0, -11), textcoords="offset points",
                        ha="center", fontsize=9, color=look.colour,
                    )  # fmt: skip
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(rates[:: math.ceil(len(rates) / 8)]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        if len(rates) > 4:
            ax.tick_params(axis="x", labelrotation=35)
        ax.set_xlabel("learning rate")
        ax.margins(y=0.12)
    for (ax,) in found[::3]:
        ax.set_ylabel("validation Dice,\ntuned threshold")
    legend_below(figure, found[0][0])
    return figure
