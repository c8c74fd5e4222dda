"""What pictures of scores share: a metric of every loss against the foreground fraction."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import NO_INTERVAL, Interval
from experiments.reporting.plots.style import fraction_axis, look_of
from experiments.reporting.rendering import label

__all__ = ["against_fraction", "error_of"]


def error_of(interval: Interval) -> tuple[float, float]:
    """Compute how far an interval reaches below and above its mean: 0 where it has no ends."""
    if np.isnan(interval.low):
        return 0.0, 0.0
    return interval.mean - interval.low, interval.high - interval.mean


def _dodge(fractions: Sequence[float], count: int) -> float:
    """Choose the factor that moves neighbours apart without mixing the marks of two fractions."""
    ordered = sorted(fractions)
    gaps = [b / a for a, b in itertools.pairwise(ordered)]
    # They take at most half of the smallest gap.
    widest = min(gaps, default=4.0) ** 0.5
    return min(1.06, widest ** (1 / max(count - 1, 1)))


def against_fraction(ax: Axes, model: ModelRuns, metric: str, *, images: bool = False) -> None:
    """Draw a metric of all losses: means with t intervals, seeds as dots, the bootstrap as a band.

    Args:
        ax: the panel.
        model: its runs.
        metric: of the runs.
        images: whether the runs hold it per image, for the band.
    """
    losses = model.config.losses
    for i, loss in enumerate(losses):
        look = look_of(losses, loss)
        # Shifted sideways, so that intervals do not cover each other.
        shift = _dodge(model.fractions, len(losses)) ** (i - (len(losses) - 1) / 2)
        x: list[float] = []
        intervals: list[Interval] = []
        bands: list[Interval] = []
        for fraction in sorted(model.fractions):
            scores = model.scores(loss, fraction, metric)
            interval = model.interval(loss, fraction, metric)
            if not interval.n:
                continue
            place = fraction * shift
            x.append(place)
            intervals.append(interval)
            bands.append(model.over_images(loss, fraction, metric) if images else NO_INTERVAL)
            ax.plot(np.full(len(scores), place), scores, ".", color=look.colour, alpha=0.3, ms=5)
        if not x:
            continue
        ax.errorbar(
            x, [i.mean for i in intervals], np.array([error_of(i) for i in intervals]).T,
            color=look.colour, marker=look.marker, ms=5, capsize=3, lw=1.5, label=label(loss),
        )  # fmt: skip
        ax.fill_between(
            x, [b.low for b in bands], [b.high for b in bands], color=look.colour, alpha=0.12, lw=0
        )
    fraction_axis(ax, model.fractions)
