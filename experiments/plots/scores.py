"""Pictures of scores: Dice, differences, volume, calibration, sizes, surfaces, empty images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from experiments.contrasts import baseline_of
from experiments.optima import posterior_bias
from experiments.plots.style import (
    fraction_axis,
    legend_below,
    look_of,
    new_figure,
    panels,
    styled,
)
from experiments.statistics import (
    EQUIVALENCE_MARGIN,
    Interval,
    bootstrap_interval,
    mean_interval,
)
from experiments.summary import paired_differences
from experiments.theory import best_constant, pooled_pixels
from experiments.tiers import Tier
from experiments.words import label, percent, written

__all__ = [
    "constants",
    "dice_against_fraction",
    "differences",
    "empties",
    "reliability",
    "size_recall",
    "surfaces",
    "volume_bias",
]

_AT_HALF, _TUNED = "Threshold 0.5", "Threshold tuned on validation images"
# A reliability bin of fewer pixels, or a size of fewer objects, is noise.
_LEAST_PIXELS, _LEAST_OBJECTS = 20, 5
_BIAS_TICKS = (-1, -0.3, -0.1, -0.05, 0, 0.05, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


def _error(interval: Interval) -> tuple[float, float]:
    if np.isnan(interval.low):
        return 0.0, 0.0
    return interval.mean - interval.low, interval.high - interval.mean


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def _dodge(fractions: Sequence[float], count: int) -> float:
    """Choose the factor between neighbours, such that two fractions' marks keep apart."""
    ordered = sorted(fractions)
    gaps = [b / a for a, b in itertools.pairwise(ordered)]
    # Half of the smallest gap is theirs at most.
    widest = min(gaps, default=4.0) ** 0.5
    return min(1.06, widest ** (1 / max(count - 1, 1)))


def _against_fraction(ax: Axes, tier: Tier, metric: str, *, images: bool = False) -> None:
    """Draw a metric of all arms: means with t intervals, seeds as dots, the bootstrap as a band."""
    losses = tier.config.losses
    for i, loss in enumerate(losses):
        look = look_of(losses, loss)
        # Side by side, so that intervals do not cover each other.
        shift = _dodge(tier.fractions, len(losses)) ** (i - (len(losses) - 1) / 2)
        x: list[float] = []
        intervals: list[Interval] = []
        bands: list[Interval] = []
        for fraction in sorted(tier.fractions):
            scores = tier.scores(loss, fraction, metric)
            interval = mean_interval(scores)
            if not interval.n:
                continue
            place = fraction * shift
            x.append(place)
            intervals.append(interval)
            bands.append(
                bootstrap_interval(
                    tier.image_scores(loss, fraction, metric), crossed=tier.config.data is not None
                )
                if images
                else Interval(np.nan, np.nan, np.nan, 0)
            )
            ax.plot(np.full(len(scores), place), scores, ".", color=look.colour, alpha=0.3, ms=5)
        if not x:
            continue
        ax.errorbar(
            x, [i.mean for i in intervals], np.array([_error(i) for i in intervals]).T,
            color=look.colour, marker=look.marker, ms=5, capsize=3, lw=1.5, label=label(loss),
        )  # fmt: skip
        ax.fill_between(
            x, [b.low for b in bands], [b.high for b in bands], color=look.colour, alpha=0.12, lw=0
        )
    fraction_axis(ax, tier.fractions)


def _dice_range(tier: Tier) -> tuple[float, float]:
    """Show what there is, in steps of a tenth: most of an axis from 0 to 1 may be empty."""
    scores = tier.runs[["dice", "dice_tuned"]].to_numpy(np.float64)
    low, high = np.nanmin(scores, initial=1.0), np.nanmax(scores, initial=0.0)
    bottom = max(0.0, math.floor(10 * (low - 0.03)) / 10)
    top = min(1.0, math.ceil(10 * (high + 0.03)) / 10)
    return (bottom - 0.03 * (top - bottom), top) if bottom < top else (-0.03, 1.03)


@styled
def dice_against_fraction(tier: Tier) -> Figure:
    """Draw test Dice against the foreground fraction, at 0.5 and at the tuned threshold.

    Args:
        tier: the study's.

    Returns:
        Two panels; means with 95 % t intervals, every seed as a faint dot, the hierarchical
        bootstrap over seeds and images as a band, and where it is known the Bayes-optimal Dice.
    """
    figure, axes = new_figure(8.8, 4.1, 1, 2, sharey=True)
    for ax, metric, title in ((axes[0, 0], "dice", _AT_HALF), (axes[0, 1], "dice_tuned", _TUNED)):
        _against_fraction(ax, tier, metric, images=True)
        if tier.has("bayes_dice_scored"):
            best = [
                np.nanmean(
                    np.concatenate(
                        [tier.scores(loss, f, "bayes_dice_scored") for loss in tier.config.losses]
                    )
                )
                for f in tier.fractions
            ]
            ax.plot(tier.fractions, best, "k--", lw=1.3, label="Bayes-optimal (C15)")
        ax.set_title(title)
    axes[0, 0].set_ylim(*_dice_range(tier))
    axes[0, 0].set_ylabel("Dice on test images")
    legend_below(figure, axes[0, 0])
    return figure


@styled
def differences(tier: Tier) -> Figure | None:
    """Draw every arm at 0.5 minus the baseline at its tuned threshold, seed by seed.

    Args:
        tier: the study's.

    Returns:
        One line per arm and fraction with its 95 % t interval, on the equivalence margin;
        ``None`` where there is nothing to compare.
    """
    config, baseline = tier.config, baseline_of(tier.config)
    others = [loss for loss in config.losses if loss != baseline]
    if not others:
        return None
    lines = [(fraction, loss) for fraction in tier.fractions for loss in others]
    height = 0.27 * len(lines) + 0.14 * len(tier.fractions) + 1.2
    figure, axes = new_figure(8.0, height)
    ax = axes[0, 0]
    ax.axvspan(-EQUIVALENCE_MARGIN, EQUIVALENCE_MARGIN, color="#eeeeee", zorder=0)
    ax.axvline(0, color="black", lw=0.9)
    y, ticks, names = 0.0, [], []
    ends = [-0.06, 0.06]
    for place, (fraction, loss) in enumerate(lines):
        if place and lines[place - 1][0] != fraction:
            y += 0.6
            ax.axhline(y - 0.8, color="#cccccc", lw=0.7)
        look = look_of(config.losses, loss)
        seeds = paired_differences(tier.runs, (loss, "dice"), (baseline, "dice_tuned"), fraction)
        interval = mean_interval(seeds)
        ax.plot(seeds, np.full(len(seeds), y), ".", color=look.colour, alpha=0.3, ms=6)
        if interval.n:
            ax.errorbar(
                interval.mean, y, xerr=np.array([_error(interval)]).T, color=look.colour,
                marker=look.marker, ms=6, capsize=3, lw=1.6,
            )  # fmt: skip
            ends += [*seeds, *(e for e in interval[:3] if not np.isnan(e))]
        words = written(interval, sign=True)
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
        f"  (grey: ± {EQUIVALENCE_MARGIN:g})"
    )
    return figure


@styled
def constants(tier: Tier) -> Figure | None:
    """Draw where a bias-only model ends, on the best constant predictions of C6.

    Args:
        tier: the study's.

    Returns:
        One panel; ``None`` for any other model.
    """
    config = tier.config
    if config.model != "bias":
        return None
    figure, axes = new_figure(7.4, 4.4)
    ax = axes[0, 0]
    for loss in config.losses:
        look = look_of(config.losses, loss)
        x, y = [], []
        for fraction in sorted(tier.fractions):
            interval = mean_interval(tier.scores(loss, fraction, "mean_probability"))
            if interval.n:
                x.append(fraction)
                y.append(interval)
        ax.errorbar(
            x, [i.mean for i in y], np.array([_error(i) for i in y]).reshape(-1, 2).T,
            color=look.colour, marker=look.marker, ms=6, capsize=3, lw=0, elinewidth=1.5,
            label=label(loss),
        )  # fmt: skip
        grid = np.geomspace(min(tier.fractions) / 1.5, max(tier.fractions) * 1.5, 40)
        best = [best_constant(loss, f, pooled_pixels(config), config.smooth) for f in grid]
        ax.plot(
            grid, [np.nan if b is None else b.prediction for b in best], color=look.colour, lw=1.1,
            ls="-" if best[0] is None or best[0].closed else "--",
        )  # fmt: skip
    fraction_axis(ax, tier.fractions)
    ax.set_yscale("log")
    ax.set_ylabel("constant prediction p")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda p, _: f"{p:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.plot([], [], color="#555555", lw=1.1, label="C6, closed form")
    ax.plot([], [], color="#555555", lw=1.1, ls="--", label="minimum of the loss")
    legend_below(figure, ax)
    return figure


@styled
def reliability(tier: Tier) -> Figure | None:
    """Draw how often a pixel is foreground against the p that it was given.

    Args:
        tier: the study's.

    Returns:
        One panel per fraction, the pixels of all seeds together; ``None`` where no run says it.
    """
    if not any(r.get("reliability") for r in tier.results):
        return None
    figure, found = panels(tier.fractions, 2.6)
    losses = tier.config.losses
    for (ax,), fraction in zip(found, tier.fractions, strict=True):
        ax.plot([0, 1], [0, 1], color="black", lw=1, ls="--", label="calibrated")
        for loss in losses:
            bins = [
                np.array([r["reliability"][k] for k in ("claimed", "true", "pixels")], np.float64)
                for r in tier.cell(loss, fraction)
                if r.get("reliability", {}).get("pixels")
            ]
            if not bins:
                continue
            stacked = np.stack(bins)
            pixels = stacked[:, 2].sum(axis=0)
            enough = pixels >= _LEAST_PIXELS
            claimed, true = np.nansum(stacked[:, :2] * stacked[:, 2:], axis=0)[:, enough]
            look = look_of(losses, loss)
            ax.plot(
                claimed / pixels[enough], true / pixels[enough], color=look.colour,
                marker=look.marker, ms=4, lw=1.3, label=label(loss),
            )  # fmt: skip
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("p of a pixel")
    for (ax,) in found[::3]:
        ax.set_ylabel("frequency of foreground")
    legend_below(figure, found[0][0])
    return figure


@styled
def volume_bias(tier: Tier) -> Figure | None:
    """Draw (found − there)/there against the foreground fraction, of p ≥ ½ and of Σp.

    Args:
        tier: the study's.

    Returns:
        Two panels; ``None`` where no run says it.
    """
    if not tier.has("soft_volume_bias"):
        return None
    figure, axes = new_figure(8.8, 3.9, 1, 2)
    for ax, metric, title in (
        (axes[0, 0], "volume_bias", "Pixels with p ≥ ½"),
        (axes[0, 1], "soft_volume_bias", "Sum of p"),
    ):
        _against_fraction(ax, tier, metric)
        ax.axhline(0, color="black", lw=0.9)
        for loss in tier.config.losses:
            biases = [posterior_bias(tier, loss, fraction) for fraction in tier.fractions]
            known = [b.value for b in biases if b is not None and b.metric == metric]
            if len(known) == len(tier.fractions):
                colour = look_of(tier.config.losses, loss).colour
                ax.plot(tier.fractions, known, ls="--", lw=1.3, color=colour)
        # Symmetric, linear near 0: one collapsed arm must not flatten the others.
        ax.set_yscale("symlog", linthresh=0.1)
        ax.yaxis.set_major_locator(FixedLocator(_BIAS_TICKS))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _signed(v)))
        ax.set_title(title)
    axes[0, 0].set_ylabel("(found − there) / there")
    if tier.config.shape == "posterior":
        axes[0, 0].plot([], [], "--", color="#555555", lw=1.3, label="C15: the optimum")
    legend_below(figure, axes[0, 0])
    return figure


def _pooled_sizes(
    tier: Tier, loss: str, fraction: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Average recall by size over the objects of all seeds: sizes, recalls."""
    total: dict[float, np.ndarray] = {}
    for r in tier.cell(loss, fraction):
        rows = r.get("size_recall") or {}
        for size, recall, objects in zip(
            rows.get("size", []), rows.get(name, []), rows.get("objects", []), strict=True
        ):
            if recall is not None:
                part = np.array([recall * objects, objects], np.float64)
                total[size] = total.get(size, np.zeros(2)) + part
    sizes = sorted(size for size, (_, objects) in total.items() if objects >= _LEAST_OBJECTS)
    return np.array(sizes), np.array([total[size][0] / total[size][1] for size in sizes])


@styled
def size_recall(tier: Tier) -> Figure | None:
    """Draw the share of an object's pixels that are found against its size.

    Args:
        tier: the study's.

    Returns:
        One panel per fraction, at the threshold 0.5; ``None`` where no run says it.
    """
    if not any((r.get("size_recall") or {}).get("size") for r in tier.results):
        return None
    figure, found = panels(tier.fractions, 2.6)
    losses = tier.config.losses
    for (ax,), fraction in zip(found, tier.fractions, strict=True):
        for loss in losses:
            sizes, recall = _pooled_sizes(tier, loss, fraction, "recall")
            look = look_of(losses, loss)
            # A size stands for an octave: its middle.
            ax.plot(
                sizes * 2**0.5, recall, color=look.colour, marker=look.marker, ms=4.5, lw=1.4,
                label=label(loss),
            )  # fmt: skip
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("pixels of the object")
    for (ax,) in found[::3]:
        ax.set_ylabel("recall of its pixels")
    legend_below(figure, found[0][0])
    return figure


def _pair(tier: Tier, metrics: Sequence[tuple[str, str]]) -> tuple[Figure, list[Axes]]:
    figure, axes = new_figure(8.8, 3.8, 1, len(metrics))
    for ax, (metric, title) in zip(axes[0], metrics, strict=True):
        _against_fraction(ax, tier, metric)
        ax.set_title(title)
    legend_below(figure, axes[0, 0])
    return figure, list(axes[0])


@styled
def surfaces(tier: Tier) -> Figure | None:
    """Draw the 95th percentile Hausdorff distance and the surface Dice, at 0.5.

    Args:
        tier: the study's.

    Returns:
        Two panels; ``None`` where no run says it.
    """
    if not tier.has("hd95"):
        return None
    figure, (distance, surface) = _pair(
        tier,
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
def empties(tier: Tier) -> Figure | None:
    """Draw the share of empty test images in which anything was found.

    Args:
        tier: the study's.

    Returns:
        Two panels, at 0.5 and at the tuned threshold; ``None`` where no image is empty.
    """
    if not tier.has("empty_false_positive_share"):
        return None
    figure, axes = _pair(
        tier,
        (("empty_false_positive_share", _AT_HALF), ("empty_false_positive_share_tuned", _TUNED)),
    )
    for ax in axes:
        ax.set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("empty images with\nany foreground found")
    return figure
