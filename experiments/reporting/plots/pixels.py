"""Pictures of pixels: reliability of p, and recall by the size of an object."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.analysis.model_runs import ModelRuns
from experiments.reporting.plots.style import drawn, legend_below, look_of, panels, styled
from experiments.reporting.rendering import label

__all__ = ["reliability", "size_recall"]

# Reliability bins with fewer pixels, and sizes with fewer objects, are too noisy to show.
_LEAST_PIXELS, _LEAST_OBJECTS = 20, 5


@styled
def reliability(model: ModelRuns) -> Figure | None:
    """Draw how often a pixel is foreground against its predicted p, pooled over all seeds.

    One panel per fraction; ``None`` where no run holds the numbers.
    """
    if not any(r.get("reliability") for r in model.results):
        return None
    figure, found = panels(model.fractions, 2.6)
    losses = drawn(model.config.losses)
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        ax.plot([0, 1], [0, 1], color="black", lw=1, ls="--", label="calibrated")
        for loss in losses:
            bins = [
                np.array([r["reliability"][k] for k in ("claimed", "true", "pixels")], np.float64)
                for r in model.trained(loss, fraction)
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


def _pooled_sizes(
    model: ModelRuns, loss: str, fraction: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Average recall by size over the objects of all seeds: sizes, recalls."""
    total: dict[float, np.ndarray] = {}
    for r in model.trained(loss, fraction):
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
def size_recall(model: ModelRuns) -> Figure | None:
    """Draw the share of an object's pixels that are found at 0.5 against its size.

    One panel per fraction; ``None`` where no run holds the numbers.
    """
    if not any((r.get("size_recall") or {}).get("size") for r in model.results):
        return None
    figure, found = panels(model.fractions, 2.6)
    losses = drawn(model.config.losses)
    for (ax,), fraction in zip(found, model.fractions, strict=True):
        for loss in losses:
            sizes, recall = _pooled_sizes(model, loss, fraction, "recall")
            look = look_of(losses, loss)
            # A size stands for an octave, which is drawn at its middle.
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
