"""Pictures of gradients with Matplotlib: each function draws on axes and returns them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dice_jax._core.optional_imports import optional
from dice_jax.analysis.examples import WorkedExample
from dice_jax.analysis.landscapes import Landscape, SizeCurve, SmoothingCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "gradient_map",
    "gradient_masses",
    "landscape",
    "loss_against_size",
    "matrix",
    "size_curve",
    "smoothing_curve",
    "three_sums",
    "weight_trajectory",
]

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

    Example:
        >>> from dice_jax.analysis import plots
        >>> print(plots.matrix([[0, 1], [1, 1]], title="label").get_title())
        label
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

    Example:
        >>> from dice_jax.analysis import plots
        >>> print(plots.gradient_map([[-0.5, 0.25]], title="pull").get_title())
        pull  [$10^{-3}$]
    """
    return _picture(gradient, ax, title, signed=True, limit=limit)


def three_sums(example: WorkedExample, *, ax: Axes | None = None) -> Axes:
    """Draw the three sums that the article compares.

    Args:
        example: from `worked_example`.
        ax: where to draw; ``None``: on a new figure.

    Returns:
        The axes.

    Example:
        >>> from dice_jax.analysis import article_examples, plots
        >>> ax = plots.three_sums(article_examples()[0])
        >>> print(len(ax.patches))
        3
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

    Example:
        >>> from dice_jax.analysis import article_examples, plots
        >>> print(plots.gradient_masses(article_examples()[0]).get_title())
        share of the gradient's mass
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


def landscape(picture: Landscape, *, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw a loss over mean foreground and background prediction, with its flow at the logits.

    Args:
        picture: from `dice_jax.analysis.landscape`.
        ax: where to draw; ``None``: on a new figure.
        title: the axes' title.

    Returns:
        The axes. Arrows show where gradient descent on the logits goes, all of one length.

    Example:
        >>> import dice_jax as dj
        >>> from dice_jax.analysis import plots
        >>> picture = dj.analysis.landscape(dj.dice_loss, fraction=0.01)
        >>> print(plots.landscape(picture).get_xlabel())
        mean prediction on the foreground
    """
    ax = _axes(ax)
    x, y = np.asarray(picture.foreground), np.asarray(picture.background)
    shades = ax.contourf(x, y, np.asarray(picture.loss), levels=18, cmap=_AMOUNT)
    bar = ax.figure.colorbar(shades, ax=ax, shrink=0.85)
    bar.set_label("loss")
    # Every few points, or the arrows would cover the picture.
    step = max(1, len(x) // 13)
    cut = slice(step // 2, None, step)
    u = np.asarray(picture.foreground_flow)[cut, cut]
    v = np.asarray(picture.background_flow)[cut, cut]
    length = np.hypot(u, v)
    length = np.where(length == 0, 1, length)
    ax.quiver(
        x[cut], y[cut], u / length, v / length, color="white", pivot="mid", scale=22, width=0.005
    )
    ax.set_xlabel("mean prediction on the foreground")
    ax.set_ylabel("mean prediction on the background")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_title(title, fontsize=10)
    return ax


def _curve_axes(ax: Axes | None, x: str, y: str, title: str) -> Axes:
    ax = _axes(ax)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def size_curve(curve: SizeCurve, *, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw the gradient's masses against object size.

    Args:
        curve: from `dice_jax.analysis.size_curve`.
        ax: where to draw; ``None``: on a new figure.
        title: the axes' title.

    Returns:
        The axes, both logarithmic.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> from dice_jax.analysis import plots
        >>> curve = dj.analysis.size_curve(dj.dice_loss, jnp.array([10.0, 100.0]))
        >>> print(plots.size_curve(curve).get_ylabel())
        gradient mass
    """
    ax = _curve_axes(ax, "object size, pixels", "gradient mass", title)
    ax.loglog(curve.size, curve.foreground_mass, color=FOREGROUND, label="foreground")
    ax.loglog(curve.size, curve.background_mass, color=BACKGROUND, ls="--", label="background")
    ax.legend(frameon=False, fontsize=8)
    return ax


def loss_against_size(
    curves: Mapping[str, SizeCurve], *, ax: Axes | None = None, title: str = ""
) -> Axes:
    """Draw losses against object size.

    Args:
        curves: from `dice_jax.analysis.size_curve`, by name.
        ax: where to draw; ``None``: on a new figure.
        title: the axes' title.

    Returns:
        The axes, the size logarithmic.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> from dice_jax.analysis import plots
        >>> curve = dj.analysis.size_curve(dj.dice_loss, jnp.array([10.0, 100.0]))
        >>> print(plots.loss_against_size({"Dice": curve}).get_legend().get_texts()[0].get_text())
        Dice
    """
    ax = _curve_axes(ax, "object size, pixels", "loss", title)
    for name, curve in curves.items():
        ax.semilogx(curve.size, curve.loss, label=name)
    ax.legend(frameon=False, fontsize=8)
    return ax


def smoothing_curve(curve: SmoothingCurve, *, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw the ratio of the two gradients against the smoothing.

    Args:
        curve: from `dice_jax.analysis.smoothing_curve`.
        ax: where to draw; ``None``: on a new figure.
        title: the axes' title.

    Returns:
        The axes, both logarithmic, with the ratio's floor of 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> from dice_jax.analysis import plots
        >>> curve = dj.analysis.smoothing_curve(dj.dice_loss, jnp.array([0.1, 10.0]), target=20.0)
        >>> print(plots.smoothing_curve(curve).get_xlabel())
        smoothing s, pixels
    """
    ax = _curve_axes(ax, "smoothing s, pixels", "|g₊| / |g₋|", title)
    ax.loglog(curve.smooth, curve.ratio, color=FOREGROUND)
    ax.axhline(1, color=NEUTRAL, lw=1, ls=":")
    ax.text(0.02, 1.04, "equal pull", transform=ax.get_yaxis_transform(), color=NEUTRAL, fontsize=8)
    return ax


def weight_trajectory(
    weights: Any, *, steps: Any = None, ax: Axes | None = None, title: str = ""
) -> Axes:
    """Draw how the weight that balances two losses moves over training.

    Args:
        weights: from `dice_jax.analysis.weight_trajectory`, [n].
        steps: the training steps, [n]; ``None``: 0, 1, ….
        ax: where to draw; ``None``: on a new figure.
        title: the axes' title.

    Returns:
        The axes, the weight logarithmic.

    Example:
        >>> from dice_jax.analysis import plots
        >>> print(plots.weight_trajectory([0.2, 2.0, 20.0]).get_yscale())
        log
    """
    weights = np.asarray(weights)
    ax = _curve_axes(ax, "training step", "λ for equal pull", title)
    ax.semilogy(np.arange(weights.size) if steps is None else steps, weights, color=FOREGROUND)
    return ax
