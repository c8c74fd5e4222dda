"""Pictures of gradients: the classes' shares and ratio, the path of p, and every pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import dice_jax as dj
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.theory import foreground_share, region_of, share_at_constant
from experiments.learning.arms import parse_arm
from experiments.reporting.plots.style import (
    drawn,
    legend_below,
    look_of,
    new_figure,
    panels,
    styled,
)
from experiments.reporting.plots.training import band, history
from experiments.reporting.rendering import label, percent

__all__ = ["examples", "gradient_ratio", "gradient_share", "trajectories"]

# How many losses the pixel maps have room for.
_SHOWN_LOSSES = 6


def _dice_share(model: ModelRuns, fraction: float) -> tuple[list[int], list[float]]:
    """Compute C5's share of Dice at every logged step, from the means of p alone."""
    rows: dict[int, list[float]] = {}
    for result in model.trained("dice", fraction):
        for entry in result["history"]:
            region = region_of(model.config, entry)
            share = (
                None if region is None else foreground_share("dice", region, model.config.smooth)
            )
            if share is not None:
                rows.setdefault(entry["step"], []).append(share[1])
    steps = sorted(rows)
    return steps, [float(np.mean(rows[step])) for step in steps]


def _at_the_start(model: ModelRuns, loss: str, fraction: float) -> float | None:
    """Compute C5's share at the start, where all pixels have (nearly) the same p."""
    regions = [region_of(model.config, r["history"][0]) for r in model.trained(loss, fraction)]
    shares = [
        share_at_constant(loss, region.fraction, region.background)
        for region in regions
        if region is not None and region.background
    ]
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


@styled
def gradient_share(model: ModelRuns) -> Figure:
    """Draw the foreground's share of the gradient over the steps, and what theory predicts.

    Per fraction one panel in probability space (dotted: C5 for Dice, from the mean p of the batch's
    foreground and background) and one in logit space (dashed: the ½ of C7). Diamonds are C5 at the
    start.
    """
    figure, found = panels(model.fractions, 2.2, rows=2, sharex=True)
    losses, pooled = drawn(model.config.losses), model.config.pooling == "batch"
    for axes, fraction in zip(found, model.fractions, strict=True):
        for ax, space in zip(axes, ("probability", "logit"), strict=True):
            for loss in losses:
                steps, rows = history(model, loss, fraction, f"foreground_share_{space}")
                colour = look_of(losses, loss).colour
                band(ax, steps, rows, alpha=0.08, color=colour, label=label(loss))
                start = _at_the_start(model, loss, fraction) if pooled else None
                if start is not None:
                    ax.plot(0, start, "D", color=colour, mec="black", mew=0.7, ms=6, clip_on=False)
            ax.set_ylim(-0.03, 1.03)
        top, bottom = axes
        if pooled and model.trained("dice", fraction):
            steps, shares = _dice_share(model, fraction)
            top.plot(
                steps, shares, color="black", ls=":", lw=1.6, label="C5: Dice, from the mean p"
            )
        bottom.axhline(0.5, color="black", ls="--", lw=1.1, label="C7: any loss at its optimum")
        bottom.set_xlabel("step")
        bottom.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for top, bottom in found[::3]:
        top.set_ylabel("foreground share,\nprobability space")
        bottom.set_ylabel("foreground share,\nlogit space")
    top, bottom = found[0]
    if pooled:
        top.plot([], [], "D", color="white", mec="black", mew=0.7, label="C5: at the start")
    legend_below(figure, top, bottom)
    return figure


@styled
def gradient_ratio(model: ModelRuns) -> Figure:
    """Draw the measured |g₊|/|g₋| of every logged step against soft Dice, with theory's 2/D − 1."""
    figure, axes = new_figure(6.4, 4.2)
    ax, losses = axes[0, 0], drawn(model.config.losses)
    for loss in losses:
        points = np.array(
            [
                (entry["soft_dice"], entry["gradient_ratio"])
                for result in model.results
                if result["loss"] == loss
                for entry in result["history"]
                if entry["soft_dice"] and entry["gradient_ratio"]
            ]
        ).reshape(-1, 2)
        look = look_of(losses, loss)
        ax.plot(
            *points.T, look.marker, color=look.colour, alpha=0.3, ms=3.5, label=label(loss), mew=0,
            rasterized=True,
        )  # fmt: skip
    dice = np.geomspace(1e-4, 1, 200)
    ax.plot(dice, 2 / dice - 1, color="black", lw=1.2, ls=":", label="2/D − 1 (C1, C3)")
    ax.set_yscale("log")
    ax.set_xscale("log")
    # BCE's 1/p reaches 1e9 on single pixels; the range is chosen for the line.
    ax.set_ylim(0.1, 1e5)
    # In a collapsed run D falls to 1e-30.
    ax.set_xlim(1e-4, 1.3)
    ax.set_xlabel("soft Dice D of the batch")
    ax.set_ylabel("mean |gradient| of a foreground pixel\nover that of a background pixel")
    legend_below(figure, ax)
    return figure


@styled
def trajectories(model: ModelRuns) -> Figure:
    """Draw the mean p of the two classes during training, on contours of soft Dice.

    One panel per fraction, with the background's mean p on the x axis. There is a line per loss
    (mean over seeds), with a ring at its start and a mark at its end.
    """
    figure, found = panels(model.fractions, 2.7)
    losses = drawn(model.config.losses)
    # A correct prediction has a mean over the background far below the rarest foreground.
    low = 10.0 ** math.floor(math.log10(min(model.fractions) / 20))
    x, y = np.meshgrid(np.geomspace(low, 1, 120), np.linspace(0, 1, 120))
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        dice = 2 * fraction * y / (fraction * y + (1 - fraction) * x + fraction)
        lines = ax.contour(
            x, y, dice, [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9], colors="#999999", linewidths=0.6
        )
        ax.clabel(lines, fontsize=7, fmt="%g")
        for loss in losses:
            look = look_of(losses, loss)
            _, over = history(model, loss, fraction, "mean_probability_background")
            _, up = history(model, loss, fraction, "mean_probability_foreground")
            # Batches without foreground have no p of it, and a diverged run has neither.
            whole = ~np.isnan(over + up).any(axis=0)
            if not whole.any():
                continue
            over, up = over[:, whole].mean(axis=0), up[:, whole].mean(axis=0)
            over = np.maximum(over, low)
            ax.plot(over, up, color=look.colour, lw=1.5, label=label(loss))
            ax.plot(over[0], up[0], "o", mfc="white", mec="black", ms=5, zorder=4)
            ax.plot(over[-1], up[-1], look.marker, color=look.colour, ms=7, mec="black", mew=0.5,
                    zorder=5)  # fmt: skip
        ax.set_xscale("log")
        ax.set_xlim(low, 1.2)
        ax.set_ylim(-0.02, 1.02)
        ax.grid(visible=False)
        ax.set_xlabel("mean p of the background")
    for (ax,) in found[::3]:
        ax.set_ylabel("mean p of the foreground")
    legend_below(figure, found[0][0])
    return figure


@styled
def examples(model: ModelRuns, fraction: float | None = None) -> Figure | None:
    """Draw test images, masks, each loss's prediction, and its gradient at every pixel.

    The gradient with respect to the logits is pooled over the images shown. Blue pulls p up, red
    pulls it down. ``None`` if no run left an example.

    Args:
        model: its runs.
        fraction: π; ``None``: the middle one of the study's.
    """
    config = model.config
    fraction = model.fractions[len(model.fractions) // 2] if fraction is None else fraction
    found: dict[str, np.ndarray] = {}
    for loss in drawn(config.losses)[:_SHOWN_LOSSES]:
        if (example := model.example(loss, fraction)) is not None:
            found[loss] = example
    if not found:
        return None
    images, masks, _ = next(iter(found.values()))
    count = len(images)
    rows, columns = 1 + len(found), 3 * count
    side = 8.8 / columns
    figure, axes = new_figure(8.8, rows * side * images.shape[1] / images.shape[2] + 0.6, rows,
                              columns)  # fmt: skip
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(visible=False)
        for spine in ax.spines.values():
            spine.set_visible(True)
            spine.set_color("#999999")
    for i in range(count):
        picture, truth, spare = axes[0, 3 * i : 3 * i + 3]
        picture.imshow(images[i], cmap="gray")
        picture.set_title("image")
        truth.imshow(masks[i], cmap="gray", vmin=0, vmax=1)
        truth.set_title("mask")
        spare.set_axis_off()
    for row, (loss, (_, _, logits)) in zip(axes[1:], found.items(), strict=True):
        row[0].set_ylabel(label(loss))
        _prediction_maps(row[0::3], logits, masks)
        _gradient_maps(model, row[1::3], loss, np.zeros_like(logits), masks)
        _gradient_maps(model, row[2::3], loss, logits, masks)
    for ax, title in zip(axes[1], ("p", "gradient at p = ½", "gradient, trained") * count,
                         strict=True):  # fmt: skip
        ax.set_title(title)
    figure.suptitle(f"{percent(fraction)} foreground", fontsize=10)
    return figure


def _outline(ax: Axes, mask: np.ndarray) -> None:
    if mask.min() < 0.5 < mask.max():
        ax.contour(mask, [0.5], colors="#E69F00", linewidths=0.8)


def _prediction_maps(axes: Sequence[Axes], logits: np.ndarray, masks: np.ndarray) -> None:
    for ax, z, mask in zip(axes, logits, masks, strict=True):
        ax.imshow(1 / (1 + np.exp(-np.clip(z, -80, 80))), cmap="gray", vmin=0, vmax=1)
        _outline(ax, mask)


def _gradient_maps(
    model: ModelRuns, axes: Sequence[Axes], loss: str, logits: np.ndarray, masks: np.ndarray
) -> None:
    """Draw a loss's gradient at the logits, on one scale for all images."""
    own = model.config.of_arm(loss)
    arm = parse_arm(own.losses[0], own.pooling, own.smooth)
    gradient: Any = np.asarray(
        dj.analysis.pixel_gradient(
            arm, jnp.asarray(logits), jnp.asarray(masks > 0.5), sums=arm.sums
        )
    )
    top = float(np.abs(gradient).max()) or 1.0
    for ax, one, mask in zip(axes, gradient, masks, strict=True):
        ax.imshow(one, cmap="RdBu_r", vmin=-top, vmax=top)
        _outline(ax, mask)
        ax.set_xlabel(f"± {top:.0e}", fontsize=8, labelpad=2)
