"""Pictures of test Dice: every loss, the differences between losses, and how often runs fail."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from experiments.analysis.contrasts import baseline_of, thresholds_of
from experiments.analysis.estimands import arm_estimands
from experiments.analysis.model_runs import ModelRuns
from experiments.reporting.plots.rows import (
    Row,
    differences_of,
    draw_rows,
    row_panels,
    scores_of,
    share_range,
)
from experiments.reporting.plots.style import legend_below, styled
from experiments.reporting.rendering import THRESHOLDS, label

__all__ = ["class_scores", "collapses", "dice_against_fraction", "differences"]

_BEST = "Bayes-optimal (C15)"


@styled
def dice_against_fraction(model: ModelRuns) -> Figure:
    """Draw test Dice at the tuned threshold (filled) and at 0.5 (hollow), with seeds as dots.

    One panel per fraction, with a row for each loss, and a line at the Bayes-optimal Dice where it
    is known. Runs that collapsed or diverged are counted beside the panel.
    """
    losses = model.config.losses
    figure, found = row_panels(model.fractions, losses)
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        draw_rows(ax, model, scores_of(model, fraction, "dice"), filled=False)
        draw_rows(ax, model, scores_of(model, fraction, "dice_tuned"))
        if model.has("bayes_dice_scored"):
            best = np.concatenate([model.scores(x, fraction, "bayes_dice_scored") for x in losses])
            ax.axvline(
                float(np.nanmean(best)), color="black", ls="--", lw=1.3, label="Bayes-optimal (C15)"
            )
        ax.set_xlabel("test Dice")
    share_range([ax for (ax,) in found], -0.02, 1.02)
    (first,) = found[0]
    first.plot([], [], "o", color="#555555", label="tuned threshold")
    first.plot([], [], "o", color="#555555", mfc="white", label="threshold 0.5")
    legend_below(figure, first)
    return figure


@styled
def differences(model: ModelRuns) -> Figure | None:
    """Draw every loss's test Dice minus the baseline's, seed by seed, on the equivalence margin.

    Over the seeds for which neither run collapsed or diverged. Filled: at
    the study's primary thresholds; hollow: at the next ones. ``None`` with nothing to compare.
    """
    config, baseline = model.config, baseline_of(model.config)
    others = [loss for loss in config.losses if loss != baseline]
    if not others:
        return None
    shown = thresholds_of(config)[:2]
    figure, found = row_panels(model.fractions, others)
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        ax.axvspan(-config.margin, config.margin, color="#eeeeee", zorder=0,
                   label=f"equivalent: within ± {config.margin:g}")  # fmt: skip
        ax.axvline(0, color="black", lw=0.9)
        for place, thresholds in enumerate(shown):
            rows = differences_of(model, baseline, thresholds.metrics, fraction)
            draw_rows(ax, model, rows, filled=not place)
        ax.set_xlabel(f"Dice minus that of {label(baseline)}")
    # An interval over two or three seeds can be wider than Dice itself is.
    share_range([ax for (ax,) in found], -1.02, 1.02)
    (ax,) = found[0]
    for thresholds, fill in zip(shown, ("#555555", "white"), strict=False):
        ax.plot([], [], "o", color="#555555", mfc=fill, label=THRESHOLDS[thresholds])
    legend_below(figure, ax)
    return figure


@styled
def collapses(model: ModelRuns) -> Figure | None:
    """Draw the share of runs that collapsed or diverged, with exact intervals; ``None`` if none."""
    losses, runs = model.config.losses, model.runs
    if all(run["status"] == "finished" for run in model.results):
        return None
    figure, found = row_panels(model.fractions, losses)
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        shares = {loss: arm_estimands(runs, loss, fraction, "dice").collapse for loss in losses}
        draw_rows(ax, model, {loss: Row(np.array([]), share) for loss, share in shares.items()})
        ax.set_xlabel("runs that failed")
    share_range([ax for (ax,) in found], -0.02, 1.02)
    for (ax,) in found:
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return figure


@styled
def class_scores(model: ModelRuns) -> Figure:
    """Draw test Dice of every class, a panel each, with a row for each loss."""
    config = model.config
    names = [f"{value:g}" for value in config.class_values]
    figure, found = row_panels([f"class {name}" for name in names], config.losses)
    for (ax,), name in zip(found, names, strict=True):
        draw_rows(ax, model, scores_of(model, config.fractions[0], f"dice_{name}"))
        ax.set_xlabel("test Dice")
    share_range([ax for (ax,) in found], -0.02, 1.02)
    return figure
