"""Pictures of other scores: volume, surfaces, empty images, and a bias-only model's one number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.optima import posterior_bias
from experiments.analysis.theory import best_constant, pooled_pixels
from experiments.reporting.plots.intervals import against_fraction, error_of
from experiments.reporting.plots.style import (
    fraction_axis,
    legend_below,
    look_of,
    new_figure,
    styled,
)
from experiments.reporting.rendering import label

__all__ = ["constants", "empties", "surfaces", "volume_bias"]

_AT_HALF, _TUNED = "Threshold 0.5", "Threshold tuned on validation images"
_BIAS_TICKS = (-1, -0.3, -0.1, -0.05, 0, 0.05, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


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
    """Draw (predicted − true)/true foreground against the fraction, of p ≥ ½ and of Σp."""
    if not model.has("soft_volume_bias"):
        return None
    figure, axes = new_figure(8.8, 3.9, 1, 2)
    for ax, metric, title in (
        (axes[0, 0], "volume_bias", "Pixels with p ≥ ½"),
        (axes[0, 1], "soft_volume_bias", "Sum of p"),
    ):
        against_fraction(ax, model, metric)
        ax.axhline(0, color="black", lw=0.9)
        for loss in model.config.losses:
            biases = [posterior_bias(model, loss, fraction) for fraction in model.fractions]
            known = [b.value for b in biases if b is not None and b.metric == metric]
            if len(known) == len(model.fractions):
                colour = look_of(model.config.losses, loss).colour
                ax.plot(model.fractions, known, ls="--", lw=1.3, color=colour)
        # Symmetric and linear near 0: one collapsed loss must not flatten the others.
        ax.set_yscale("symlog", linthresh=0.1)
        ax.yaxis.set_major_locator(FixedLocator(_BIAS_TICKS))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _signed(v)))
        ax.set_title(title)
    axes[0, 0].set_ylabel("(found − there) / there")
    if model.config.shape == "posterior":
        axes[0, 0].plot([], [], "--", color="#555555", lw=1.3, label="C15: the optimum")
    legend_below(figure, axes[0, 0])
    return figure


def _pair(model: ModelRuns, metrics: Sequence[tuple[str, str]]) -> tuple[Figure, list[Axes]]:
    figure, axes = new_figure(8.8, 3.8, 1, len(metrics))
    for ax, (metric, title) in zip(axes[0], metrics, strict=True):
        against_fraction(ax, model, metric)
        ax.set_title(title)
    legend_below(figure, axes[0, 0])
    return figure, list(axes[0])


@styled
def surfaces(model: ModelRuns) -> Figure | None:
    """Draw the 95th percentile Hausdorff distance and the surface Dice, at 0.5."""
    if not model.has("hd95"):
        return None
    figure, (distance, surface) = _pair(
        model,
        (
            ("hd95", "Hausdorff distance, 95th percentile"),
            ("surface_dice", "Surface Dice, 1 pixel"),
        ),
    )
    distance.set_ylabel("pixels")
    distance.set_ylim(bottom=0)
    surface.set_ylim(-0.03, 1.03)
    return figure


@styled
def empties(model: ModelRuns) -> Figure | None:
    """Draw the share of empty test images in which anything was found, at both thresholds."""
    if not model.has("empty_false_positive_share"):
        return None
    figure, axes = _pair(
        model,
        (("empty_false_positive_share", _AT_HALF), ("empty_false_positive_share_tuned", _TUNED)),
    )
    for ax in axes:
        ax.set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("empty images with\nany foreground found")
    return figure
