"""Pictures of test Dice: against the foreground fraction, and the differences between losses."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from experiments.analysis.contrasts import baseline_of
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import DIFFERENCE, mean_interval
from experiments.analysis.tables import paired_differences
from experiments.reporting.plots.intervals import against_fraction, error_of
from experiments.reporting.plots.style import legend_below, look_of, new_figure, styled
from experiments.reporting.rendering import interval_text, label, percent

__all__ = ["dice_against_fraction", "differences"]

_AT_HALF, _TUNED = "Threshold 0.5", "Threshold tuned on validation images"


def _dice_range(model: ModelRuns) -> tuple[float, float]:
    """Choose the range of the axis, in steps of a tenth: most of 0 to 1 may be empty."""
    scores = model.runs[["dice", "dice_tuned"]].to_numpy(np.float64)
    low, high = np.nanmin(scores, initial=1.0), np.nanmax(scores, initial=0.0)
    bottom = max(0.0, math.floor(10 * (low - 0.03)) / 10)
    top = min(1.0, math.ceil(10 * (high + 0.03)) / 10)
    return (bottom - 0.03 * (top - bottom), top) if bottom < top else (-0.03, 1.03)


@styled
def dice_against_fraction(model: ModelRuns) -> Figure:
    """Draw test Dice against the foreground fraction, at 0.5 and at the tuned threshold.

    Means with 95 % t intervals, every seed as a faint dot, the hierarchical bootstrap over seeds
    and images as a band, and the Bayes-optimal Dice where it is known.
    """
    figure, axes = new_figure(8.8, 4.1, 1, 2, sharey=True)
    for ax, metric, title in ((axes[0, 0], "dice", _AT_HALF), (axes[0, 1], "dice_tuned", _TUNED)):
        against_fraction(ax, model, metric, images=True)
        if model.has("bayes_dice_scored"):
            best = [
                np.nanmean(
                    np.concatenate(
                        [model.scores(loss, f, "bayes_dice_scored") for loss in model.config.losses]
                    )
                )
                for f in model.fractions
            ]
            ax.plot(model.fractions, best, "k--", lw=1.3, label="Bayes-optimal (C15)")
        ax.set_title(title)
    axes[0, 0].set_ylim(*_dice_range(model))
    axes[0, 0].set_ylabel("Dice on test images")
    legend_below(figure, axes[0, 0])
    return figure


@styled
def differences(model: ModelRuns) -> Figure | None:
    """Draw every loss at 0.5 minus the baseline at its tuned threshold, seed by seed.

    One line per loss and fraction with its 95 % t interval, on the equivalence margin; ``None``
    where there is nothing to compare.
    """
    config, baseline = model.config, baseline_of(model.config)
    others = [loss for loss in config.losses if loss != baseline]
    if not others:
        return None
    lines = [(fraction, loss) for fraction in model.fractions for loss in others]
    height = 0.27 * len(lines) + 0.14 * len(model.fractions) + 1.2
    figure, axes = new_figure(8.0, height)
    ax = axes[0, 0]
    ax.axvspan(-config.margin, config.margin, color="#eeeeee", zorder=0)
    ax.axvline(0, color="black", lw=0.9)
    y, ticks, names = 0.0, [], []
    ends = [-0.06, 0.06]
    for place, (fraction, loss) in enumerate(lines):
        if place and lines[place - 1][0] != fraction:
            y += 0.6
            ax.axhline(y - 0.8, color="#cccccc", lw=0.7)
        look = look_of(config.losses, loss)
        seeds = paired_differences(model.runs, (loss, "dice"), (baseline, "dice_tuned"), fraction)
        interval = mean_interval(seeds, DIFFERENCE)
        ax.plot(seeds, np.full(len(seeds), y), ".", color=look.colour, alpha=0.3, ms=6)
        if interval.n:
            ax.errorbar(
                interval.mean, y, xerr=np.array([error_of(interval)]).T, color=look.colour,
                marker=look.marker, ms=6, capsize=3, lw=1.6,
            )  # fmt: skip
            ends += [*seeds, *(e for e in interval[:3] if not np.isnan(e))]
        words = interval_text(interval, sign=True)
        ax.annotate(words, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
        ticks.append(y)
        names.append(f"{label(loss)}, {percent(fraction)}")
        y += 1
    ax.set_yticks(ticks, names)
    ax.set_ylim(y - 0.4, -0.6)
    # An interval over two or three seeds can be wider than Dice itself is.
    room = 0.04 * (max(ends) - min(ends))
    ax.set_xlim(max(min(ends) - room, -1.05), min(max(ends) + room, 1.05))
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(
        f"test Dice at 0.5 minus that of {label(baseline)} at its tuned threshold"
        f"  (grey: ± {config.margin:g})"
    )
    return figure
