"""Pictures of other scores: volume, surfaces, empty images, and a bias-only model's one number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.optima import posterior_bias
from experiments.analysis.theory import best_constant, pooled_pixels
from experiments.reporting.plots.rows import (
    draw_rows,
    error_of,
    row_panels,
    scores_of,
    share_range,
)
from experiments.reporting.plots.style import (
    fraction_axis,
    legend_below,
    look_of,
    new_figure,
    styled,
)
from experiments.reporting.rendering import label

__all__ = ["constants", "empties", "surfaces", "volume_bias"]

_BIAS_TICKS = (-1, -0.3, -0.1, -0.05, -0.02, 0, 0.02, 0.05, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


@styled
def constants(model: ModelRuns) -> Figure | None:
    """Draw where a bias-only model ends, with C6's best constants; ``None`` for other models."""
    config = model.config
    if config.model != "bias":
        return None
    figure, axes = new_figure(7.4, 4.4)
    ax = axes[0, 0]
    for loss in config.losses:
        look = look_of(config.losses, loss)
        x, y = [], []
        for fraction in sorted(model.fractions):
            interval = model.interval(loss, fraction, "mean_probability")
            if interval.n:
                x.append(fraction)
                y.append(interval)
        ax.errorbar(
            x, [i.mean for i in y], np.array([error_of(i) for i in y]).reshape(-1, 2).T,
            color=look.colour, marker=look.marker, ms=6, capsize=3, lw=0, elinewidth=1.5,
            label=label(loss),
        )  # fmt: skip
        grid = np.geomspace(min(model.fractions) / 1.5, max(model.fractions) * 1.5, 40)
        best = [best_constant(loss, f, pooled_pixels(config), config.smooth) for f in grid]
        ax.plot(
            grid, [np.nan if b is None else b.prediction for b in best], color=look.colour, lw=1.1,
            ls="-" if best[0] is None or best[0].closed else "--",
        )  # fmt: skip
    fraction_axis(ax, model.fractions)
    ax.set_yscale("log")
    ax.set_ylabel("constant prediction p")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda p, _: f"{p:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.plot([], [], color="#555555", lw=1.1, label="C6, closed form")
    ax.plot([], [], color="#555555", lw=1.1, ls="--", label="minimum of the loss")
    legend_below(figure, ax)
    return figure


@styled
def volume_bias(model: ModelRuns) -> Figure | None:
    """Draw (predicted − true)/true foreground, of p ≥ ½ (above) and of Σp (below)."""
    if not model.has("soft_volume_bias"):
        return None
    figure, lines = _metrics(
        model, {"volume_bias": "volume bias, p ≥ ½", "soft_volume_bias": "volume bias of Σp"}
    )
    for metric, panels in lines.items():
        for ax, fraction in zip(panels, model.fractions, strict=True):
            ax.axvline(0, color="black", lw=0.9)
            for place, loss in enumerate(model.config.losses):
                bias = posterior_bias(model, loss, fraction)
                if bias is not None and bias.metric == metric:
                    ax.plot(bias.value, place, "k|", ms=13, mew=1.6, label="C15: the optimum")
        share_range(panels, -1.05)
        low, high = panels[0].get_xlim()
        # Beyond ± 0.1 there is no room for the ticks near 0.
        least = 0.1 if max(-low, high) > 0.15 else 0
        ticks = [t for t in _BIAS_TICKS if low <= t <= high and (not t or abs(t) >= least)]
        for ax in panels:
            # Symmetric and linear near 0: one bad run must not flatten the others.
            ax.set_xscale("symlog", linthresh=0.1)
            ax.xaxis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / 6)]))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _signed(v)))
    legend_below(figure, *itertools.chain(*lines.values()))
    return figure


def _metrics(model: ModelRuns, words: Mapping[str, str]) -> tuple[Figure, dict[str, list[Axes]]]:
    """Draw some metrics, one below the other; return the figure, and each metric's panels."""
    figure, found = row_panels(model.fractions, model.config.losses, len(words))
    lines = dict(zip(words, map(list, zip(*found, strict=True)), strict=True))
    for metric, panels in lines.items():
        for ax, fraction in zip(panels, model.fractions, strict=True):
            draw_rows(ax, model, scores_of(model, fraction, metric))
            ax.set_xlabel(words[metric])
    return figure, lines


@styled
def surfaces(model: ModelRuns) -> Figure | None:
    """Draw the 95th percentile Hausdorff distance and the surface Dice, at the tuned threshold."""
    if not model.has("hd95_tuned"):
        return None
    words = {"hd95_tuned": "HD95, pixels", "surface_dice_tuned": "surface Dice, 1 pixel"}
    figure, lines = _metrics(model, words)
    share_range(lines["hd95_tuned"], -0.1)
    share_range(lines["surface_dice_tuned"], -0.02, 1.02)
    return figure


@styled
def empties(model: ModelRuns) -> Figure | None:
    """Draw the share of empty test images in which anything was found, at both thresholds."""
    share = "empty_false_positive_share"
    if not model.has(share):
        return None
    figure, lines = _metrics(model, {share: "at 0.5", f"{share}_tuned": "at the tuned threshold"})
    for panels in lines.values():
        share_range(panels, -0.02, 1.02)
    return figure
