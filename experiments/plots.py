"""The pictures of a study, each a function of its tables; nothing here trains or writes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

import dice_jax as dj
from experiments.arms import arm_sums, parse_arm
from experiments.config import StudyConfig
from experiments.summary import cell_of, mean_interval

__all__ = [
    "dice_against_fraction",
    "examples",
    "gradient_ratio",
    "gradient_share",
    "label",
    "learning_curves",
    "learning_rates",
]

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's colours, which people with any colour vision can tell apart.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A6D00",
    "#6A3D9A", "#B15928", "#666666",
)  # fmt: skip
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.dpi": 150,
    "image.interpolation": "nearest",
}
_NAMES = {"bce": "BCE", "balanced_bce": "balanced BCE", "iou": "IoU"}


def label(loss: str) -> str:
    """Write a loss's name for people.

    Args:
        loss: as on the command line.

    Returns:
        For example ``"squared Dice + BCE"``.
    """
    parts = [_NAMES.get(p, p.replace("_", " ").replace("dice", "Dice")) for p in loss.split("+")]
    words = " + ".join(parts)
    return words[0].upper() + words[1:]


def percent(fraction: float) -> str:
    """Write a fraction as a percentage: 0.003 is 0.3 %.

    Args:
        fraction: between 0 and 1.

    Returns:
        The words.
    """
    return f"{100 * fraction:.3g} %"


def _colours(config: StudyConfig) -> dict[str, str]:
    return {loss: _COLOURS[i % len(_COLOURS)] for i, loss in enumerate(config.losses)}


def _new(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in this study's style, and leave the caller's alone."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


def _fraction_axis(axes: Axes, fractions: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(fractions)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x)))
    low, high = min(fractions), max(fractions)
    axes.set_xlim(low / 1.5, high * 1.5)
    axes.set_xlabel("foreground pixels")


@_styled
def dice_against_fraction(config: StudyConfig, runs: pd.DataFrame) -> Figure:
    """Draw test Dice against the foreground fraction, at 0.5 and at the tuned threshold.

    Args:
        config: the study.
        runs: of `summary.runs_table`.

    Returns:
        Two panels; means with 95 % t intervals, and every seed as a faint dot.
    """
    figure, axes = _new(8.6, 3.9, 1, 2, sharey=True)
    colours = _colours(config)
    count = len(config.losses)
    for ax, metric, title in (
        (axes[0, 0], "dice", "Threshold 0.5"),
        (axes[0, 1], "dice_tuned", "Threshold tuned on validation images"),
    ):
        for i, loss in enumerate(config.losses):
            # Side by side, so that intervals do not cover each other.
            shift = 1.06 ** (i - (count - 1) / 2)
            x, mean, error = [], [], []
            for fraction in sorted(config.fractions):
                cell = cell_of(runs, loss, fraction)[metric]
                interval = mean_interval(cell.to_numpy())
                if not interval.n:
                    continue
                x.append(fraction * shift)
                mean.append(interval.mean)
                error.append(0 if np.isnan(interval.low) else interval.mean - interval.low)
                ax.plot(
                    [fraction * shift] * len(cell), cell, ".", color=colours[loss], alpha=0.3, ms=6
                )
            ax.errorbar(
                x, mean, error, color=colours[loss], marker="o", ms=5, capsize=3, lw=1.6,
                label=label(loss),
            )  # fmt: skip
        _fraction_axis(ax, config.fractions)
        ax.set_title(title)
        ax.set_ylim(-0.03, 1.03)
    axes[0, 0].set_ylabel("Dice on test images")
    axes[0, 0].legend(loc="lower right")
    return figure


def _history(
    results: Sequence[Mapping[str, Any]], loss: str, fraction: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Stack one quantity over the seeds of a cell: steps, [seeds, steps]."""
    rows = [
        [np.nan if entry[name] is None else entry[name] for entry in result["history"]]
        for result in results
        if result["loss"] == loss and result["foreground_fraction"] == fraction
    ]
    steps = [entry["step"] for entry in results[0]["history"]] if results else []
    return np.array(steps), np.array(rows, dtype=np.float64).reshape(len(rows), len(steps))


def _band(ax: Axes, steps: np.ndarray, rows: np.ndarray, **line: Any) -> None:
    """Draw the mean over seeds and the range of the seeds around it."""
    if not len(rows) or np.isnan(rows).all():
        return
    with warnings.catch_warnings():
        # A step at which no seed has the number (0/0, infinite) leaves a gap, not a warning.
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, low, high = np.nanmean(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0)
    ax.plot(steps, mean, lw=1.6, **line)
    ax.fill_between(steps, low, high, color=line["color"], alpha=0.15, lw=0)


@_styled
def learning_curves(config: StudyConfig, results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw hard Dice at 0.5 of the training batches over the steps, one panel per fraction.

    Args:
        config: the study.
        results: the runs, as they were written.

    Returns:
        A figure; lines are means over seeds, bands their range.
    """
    columns = len(config.fractions)
    figure, axes = _new(max(5.0, 3.4 * columns), 3.3, 1, columns, sharey=True)
    colours = _colours(config)
    for ax, fraction in zip(axes[0], sorted(config.fractions, reverse=True), strict=True):
        for loss in config.losses:
            steps, rows = _history(results, loss, fraction, "dice")
            _band(ax, steps, rows, color=colours[loss], label=label(loss))
        ax.set_title(f"{percent(fraction)} foreground")
        ax.set_xlabel("step")
        ax.set_ylim(-0.03, 1.03)
    axes[0, 0].set_ylabel("Dice of the batch at 0.5")
    axes[0, 0].legend(loc="lower right")
    return figure


@_styled
def gradient_share(config: StudyConfig, results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the foreground's share of the gradient over the steps, with what theory says of it.

    Args:
        config: the study.
        results: the runs, as they were written.

    Returns:
        A row of panels in probability space (dotted: C5 from the batch's own p̄₊ and p̄₋, for Dice)
        and one in logit space (dotted: the ½ of C7, where every stationary point lies).
    """
    columns = len(config.fractions)
    figure, axes = _new(max(5.4, 3.4 * columns), 5.6, 2, columns, sharex=True, sharey=True)
    colours = _colours(config)
    for j, fraction in enumerate(sorted(config.fractions, reverse=True)):
        for row, space in enumerate(("probability", "logit")):
            ax = axes[row, j]
            for loss in config.losses:
                steps, rows = _history(results, loss, fraction, f"foreground_share_{space}")
                _band(ax, steps, rows, color=colours[loss], label=label(loss))
            ax.set_ylim(-0.03, 1.03)
        top, bottom = axes[0, j], axes[1, j]
        start = _start(results, fraction)
        if start is not None and "dice" in config.losses:
            top.axhline(start, color="black", ls=":", lw=1.2, label="Dice at the start, by C5")
        bottom.axhline(0.5, color="black", ls="--", lw=1.2, label="½: any stationary point (C7)")
        top.set_title(f"{percent(fraction)} foreground")
        bottom.set_xlabel("step")
    axes[0, 0].set_ylabel("foreground share,\nprobability space")
    axes[1, 0].set_ylabel("foreground share,\nlogit space")
    handles, names = axes[0, 0].get_legend_handles_labels()
    last, name = axes[1, 0].get_legend_handles_labels()
    figure.legend(
        [*handles, last[-1]], [*names, name[-1]], loc="outside lower center", ncols=4, fontsize=9
    )
    return figure


def dice_share(fraction: float, foreground: float, background: float) -> float:
    """Give C5's foreground share of the Dice gradient in probability space.

    M₊/M₋ = (ω + p̄₋)/p̄₊ with ω = π/(1 − π).

    Args:
        fraction: π of the batch.
        foreground: p̄₊, the mean p over the foreground.
        background: p̄₋, the mean p over the background.

    Returns:
        M₊/(M₊ + M₋).
    """
    ratio = (fraction / (1 - fraction) + background) / foreground
    return ratio / (1 + ratio)


def _start(results: Sequence[Mapping[str, Any]], fraction: float) -> float | None:
    firsts = [
        result["history"][0] for result in results if result["foreground_fraction"] == fraction
    ]
    shares = [
        dice_share(
            first["foreground_fraction"],
            first["mean_probability_foreground"],
            first["mean_probability_background"],
        )
        for first in firsts
        if first["mean_probability_foreground"] and first["foreground_fraction"] < 1
    ]
    return float(np.mean(shares)) if shares else None


@_styled
def gradient_ratio(config: StudyConfig, results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the measured |g₊|/|g₋| of every logged step against soft Dice, on theory's 2/D − 1.

    Args:
        config: the study.
        results: the runs, as they were written.

    Returns:
        One panel; probability space, means over the pixels of a class.
    """
    figure, axes = _new(5.6, 4.2)
    ax, colours = axes[0, 0], _colours(config)
    everything: list[float] = []
    for loss in config.losses:
        points = np.array(
            [
                (entry["soft_dice"], entry["gradient_ratio"])
                for result in results
                if result["loss"] == loss
                for entry in result["history"]
                if entry["soft_dice"] and entry["gradient_ratio"]
            ]
        ).reshape(-1, 2)
        ax.plot(*points.T, ".", color=colours[loss], alpha=0.35, ms=5, label=label(loss), mew=0)
        everything += points[:, 0].tolist()
    dice = np.geomspace(max(min(everything, default=0.01), 1e-4), 1, 200)
    ax.plot(dice, 2 / dice - 1, color="black", lw=1.2, ls=":", label="2/D − 1 (Dice, C1)")
    ax.set_yscale("log")
    ax.set_xscale("log")
    # BCE's 1/p reaches 1e9 on single pixels; the line is what the panel is for.
    ax.set_ylim(0.1, 1e5)
    ax.set_xlabel("soft Dice D of the batch")
    ax.set_ylabel("mean |gradient| of a foreground pixel\nover that of a background pixel")
    legend = ax.legend(loc="upper right")
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    return figure


@_styled
def learning_rates(config: StudyConfig, tuning: pd.DataFrame) -> Figure:
    """Draw validation Dice at the tuned threshold against the learning rate.

    Args:
        config: the study.
        tuning: of `summary.runs_table`, the runs that chose the learning rates.

    Returns:
        One panel per fraction; a ring marks the choice.
    """
    columns = len(config.fractions)
    figure, axes = _new(max(5.0, 3.4 * columns), 3.1, 1, columns, sharey=True)
    colours = _colours(config)
    for ax, fraction in zip(axes[0], sorted(config.fractions, reverse=True), strict=True):
        for loss in config.losses:
            cell = cell_of(tuning, loss, fraction)
            cell = cell.sort_values("learning_rate")
            x, y = cell["learning_rate"].to_numpy(), cell["validation_dice_tuned"].to_numpy()
            ax.plot(x, y, "o-", color=colours[loss], ms=4, lw=1.4, label=label(loss))
            if len(y) and not np.isnan(y).all():
                best = int(np.nanargmax(y))
                ax.plot(x[best], y[best], "o", mfc="none", mec=colours[loss], ms=11, mew=1.4)
        ax.set_xscale("log")
        rates = sorted(tuning["learning_rate"].unique())
        ax.xaxis.set_major_locator(FixedLocator(rates))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        ax.set_title(f"{percent(fraction)} foreground")
        ax.set_xlabel("learning rate")
        ax.set_ylim(-0.03, 1.03)
    axes[0, 0].set_ylabel("validation Dice,\ntuned threshold")
    axes[0, 0].legend(loc="lower right")
    return figure


@_styled
def examples(config: StudyConfig, directory: Path, fraction: float) -> Figure | None:
    """Draw test images, masks, each arm's prediction, and the gradient at every pixel.

    Args:
        config: the study.
        directory: of the study.
        fraction: π.

    Returns:
        One row per image; ``None`` if no run left an example. The gradient is of each arm's loss
        with respect to the logits, pooled over the images shown; blue pulls p up, red down.
    """
    found: dict[str, np.ndarray] = {}
    for loss in config.losses:
        path = directory / "examples" / f"{config.model}_{loss}_{fraction!r}_seed0.npy"
        if path.exists():
            found[loss] = np.load(path, allow_pickle=False)
    if not found:
        return None
    images, masks, _ = next(iter(found.values()))
    rows, columns = len(images), 2 + 3 * len(found)
    figure, axes = _new(1.5 * columns, 1.55 * rows + 0.5, rows, columns)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(visible=False)
        for spine in ax.spines.values():
            spine.set_visible(True)
            spine.set_color("#999999")
    for i in range(rows):
        axes[i, 0].imshow(images[i], cmap="gray")
        axes[i, 1].imshow(masks[i], cmap="gray", vmin=0, vmax=1)
    axes[0, 0].set_title("image")
    axes[0, 1].set_title("mask")
    for k, (loss, (_, _, logits)) in enumerate(found.items()):
        first, second, third = axes[:, 2 + 3 * k], axes[:, 3 + 3 * k], axes[:, 4 + 3 * k]
        _gradient_maps(second, loss, np.zeros_like(logits), masks, "at p = ½")
        _gradient_maps(third, loss, logits, masks, "trained")
        for i in range(rows):
            first[i].imshow(1 / (1 + np.exp(-logits[i])), cmap="gray", vmin=0, vmax=1)
            first[i].contour(masks[i], [0.5], colors="#E69F00", linewidths=0.7)
        first[0].set_title(f"{label(loss)}: p")
    return figure


def _gradient_maps(
    column: Sequence[Axes], loss: str, logits: np.ndarray, masks: np.ndarray, when: str
) -> None:
    """Draw a loss's gradient at the logits, on one scale for the images of a column."""
    y = jnp.asarray(masks > 0.5)
    gradient = np.asarray(
        dj.analysis.pixel_gradient(parse_arm(loss), jnp.asarray(logits), y, sums=arm_sums)
    )
    top = float(np.abs(gradient).max()) or 1.0
    for ax, one, mask in zip(column, gradient, masks, strict=True):
        ax.imshow(one, cmap="RdBu_r", vmin=-top, vmax=top)
        ax.contour(mask, [0.5], colors="#E69F00", linewidths=0.7)
    column[0].set_title(f"gradient {when}\n(±{top:.0e})")
