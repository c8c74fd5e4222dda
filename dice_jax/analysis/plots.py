"""Pictures of gradients with Matplotlib: each function draws on axes and returns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dice_jax.analysis.examples import WorkedExample
from dice_jax.optional import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["gradient_map", "gradient_masses", "matrix", "three_sums"]

# Blue pulls up (a negative gradient), red pushes down; safe for the colour-blind.
_SIGNED, _AMOUNT = "RdBu_r", "viridis"
FOREGROUND, BACKGROUND, NEUTRAL = "#2166ac", "#b2182b", "#5f6b7a"

# Cells of a larger matrix could not hold their number.
_ANNOTATED = 16


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    pyplot = optional("matplotlib.pyplot", user="dice_jax.analysis.plots", extra="analysis")
    return pyplot.subplots(figsize=(4.2, 3.6), layout="constrained")[1]


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _annotate(ax: Axes, values: np.ndarray[Any, Any], limit: float, *, signed: bool) -> str:
    """Write a small matrix's numbers into its cells and return their unit, for the title."""
    # Three digits at most fit a cell: gradients are written in a power of ten of their own.
    exponent = int(np.floor(np.log10(limit))) - 2 if signed else 0
    for (row, column), value in np.ndenumerate(values):
        dark = abs(value) > 0.6 * limit if signed else value < 0.55 * limit
        text = _minus(f"{value / 10.0**exponent:.0f}") if signed else f"{value:.2g}"
        colour = "white" if dark else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)
    return rf"  [$10^{{{exponent}}}$]" if signed else ""


def _picture(
    values: Any, ax: Axes | None, title: str, *, signed: bool, limit: float | None
) -> Axes:
    ax = _axes(ax)
    values = np.asarray(values, float)
    top = float(np.abs(values).max(initial=0)) if limit is None else limit
    top = top or 1.0
    image = ax.imshow(
        values,
        cmap=_SIGNED if signed else _AMOUNT,
        vmin=-top if signed else 0.0,
        vmax=top,
        interpolation="nearest",
    )
    ax.set_xticks([])
    ax.set_yticks([])
    if max(values.shape) <= _ANNOTATED:
        title += _annotate(ax, values, top, signed=signed)
    else:
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.8)
        bar.ax.ticklabel_format(scilimits=(-2, 3))
    ax.set_title(title, fontsize=10)
    return ax


def matrix(values: Any, *, ax: Axes | None = None, title: str = "", limit: float = 1.0) -> Axes:
    """Draw a label, a prediction or a product; small ones with their numbers.

    Args:
        values: [H, W], from 0 to ``limit``.
        ax: where to draw; ``None``: on a new figure.
        title: the axes' title.
        limit: the value of the brightest colour.

    Returns:
        The axes.
    """
    return _picture(values, ax, title, signed=False, limit=limit)


def gradient_map(
    gradient: Any, *, ax: Axes | None = None, title: str = "", limit: float | None = None
) -> Axes:
    """Draw the gradient at every pixel: blue is pushed up, red is pushed down.

    Args:
        gradient: [H, W].
        ax: where to draw; ``None``: on a new figure.
        title: the axes' title.
        limit: the size of the strongest colour; ``None``: the largest gradient's.

    Returns:
        The axes.
    """
    return _picture(gradient, ax, title, signed=True, limit=limit)


def three_sums(example: WorkedExample, *, ax: Axes | None = None) -> Axes:
    """Draw the three sums that the article compares.

    Args:
        example: from `worked_example`.
        ax: where to draw; ``None``: on a new figure.

    Returns:
        The axes.
    """
    ax = _axes(ax)
    names = ("Σyŷ", "Σy", "Σŷ")
    values = (example.intersection, example.target_sum, example.prediction_sum)
    bars = ax.bar(names, values, color=(NEUTRAL, FOREGROUND, "#67a9cf"), width=0.6)
    ax.bar_label(bars, [f"{v:.4g}" for v in values], padding=2)
    ax.margins(y=0.15)
    ax.set_title("the three sums", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def gradient_masses(example: WorkedExample, *, ax: Axes | None = None) -> Axes:
    """Draw how the gradient is shared between the classes, for Dice and for cross-entropy.

    Args:
        example: from `worked_example`.
        ax: where to draw; ``None``: on a new figure.

    Returns:
        The axes.
    """
    ax = _axes(ax)
    rows = (
        ("Dice, ∂L/∂ŷ", example.gradient),
        ("Dice, logits", example.logit_gradient),
        ("BCE, logits", example.cross_entropy_logit_gradient),
    )
    shares = []
    for _, gradient in rows:
        size = np.abs(gradient)
        shares.append(float(size[example.target].sum() / (size.sum() or 1.0)))
    places = range(len(rows))
    ax.barh(places, shares, height=0.5, color=FOREGROUND, label="foreground")
    rest = [1 - s if np.abs(g).sum() else 0.0 for s, (_, g) in zip(shares, rows, strict=True)]
    ax.barh(places, rest, left=shares, height=0.5, color=BACKGROUND, alpha=0.75, label="background")
    for k, (share, (name, _)) in enumerate(zip(shares, rows, strict=True)):
        ax.text(0.01, k - 0.3, f"{name}: {share:.1%} foreground", va="bottom", fontsize=9)
    ax.set_yticks([])
    ax.set_ylim(-0.7, len(rows) - 0.6)
    ax.set_xlim(0, 1)
    ax.invert_yaxis()
    ax.set_title("share of the gradient's mass", fontsize=10)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
