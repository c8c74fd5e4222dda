"""The first picture of a report: test images, their masks, and what each loss predicts."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.analysis.contrasts import baseline_of, primary_loss
from experiments.analysis.model_runs import ModelRuns
from experiments.reporting.plots.style import drawn, new_figure, styled
from experiments.reporting.rendering import label, percent

__all__ = ["strip"]

# How many losses and rows there is room for on a phone, and the width of a picture in inches.
_LOSSES, _ROWS, _SIDE = 3, 3, 0.9
# Neither is found, only the mask, only the prediction, both.
_COLOURS = np.array([to_rgb(c) for c in ("black", "#E69F00", "#3399FF", "white")])


@styled
def strip(model: ModelRuns) -> Figure | None:
    """Draw test images, their masks and each loss's prediction at its tuned threshold.

    One row per fraction (the largest, the middle and the smallest), or several images of the only
    one; of the first seed. ``None`` if no run left an example.
    """
    config = model.config
    first = [baseline_of(config), *filter(None, [primary_loss(config)])]
    wanted = [*first, *(loss for loss in drawn(config.losses) if loss not in first)]
    found = {
        (loss, fraction): example
        for loss in wanted
        for fraction in model.fractions
        if (example := model.example(loss, fraction)) is not None
    }
    losses = [loss for loss in wanted if any(key[0] == loss for key in found)][:_LOSSES]
    there = [f for f in model.fractions if any((loss, f) in found for loss in losses)]
    if not there:
        return None
    places = dict.fromkeys([there[0], there[len(there) // 2], there[-1]])
    rows = []
    for fraction in places:
        masks = next(e for (_, f), e in found.items() if f == fraction)[1]
        # Images with foreground come first.
        images = sorted(range(len(masks)), key=lambda i, masks=masks: not masks[i].any())
        rows += [(fraction, i) for i in images[: _ROWS if len(places) == 1 else 1]]
    height, width = next(iter(found.values())).shape[2:]
    titles = [
        words.replace(" (", "\n(").replace(", ", ",\n")
        for words in ("image", "mask", *map(label, losses))
    ]
    columns, lines = len(titles), max(words.count("\n") for words in titles)
    runs = {key: _first_run(model, *key) for key in found}
    failures = any(runs[loss, f]["status"] != "finished" for loss, f in found if loss in losses)
    room = 0.25 + 0.14 * lines + (0.17 * len(rows) if failures else 0)
    figure, axes = new_figure(
        _SIDE * columns, _SIDE * len(rows) * height / width + room, len(rows), columns
    )
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    for line, (fraction, image) in zip(axes, rows, strict=True):
        known = {loss: found[loss, fraction] for loss in losses if (loss, fraction) in found}
        picture, truth = (next(iter(known.values()))[i, image] for i in (0, 1))
        line[0].imshow(picture, cmap="gray")
        if len(places) > 1:
            line[0].set_ylabel(percent(fraction))
        if config.classes:
            colours = mpl.colormaps["tab20"](np.arange(config.outputs))
            line[1].imshow(colours[truth.astype(int)])
            shown = {loss: colours[e[2, image].astype(int)] for loss, e in known.items()}
        else:
            mask = truth > 0.5
            found_by = {x: _found(runs[x, fraction], e[2, image]) for x, e in known.items()}
            top, left, side = _window(np.any([mask, *found_by.values()], axis=0))
            line[1].imshow(mask, cmap="gray", vmin=0, vmax=1)
            line[1].add_patch(
                Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color="#E69F00", lw=1)
            )
            part = slice(top, top + side), slice(left, left + side)
            shown = {x: _COLOURS[mask + 2 * found][part] for x, found in found_by.items()}
        for ax, loss in zip(line[2:], losses, strict=True):
            if loss in shown:
                ax.imshow(shown[loss])
                if runs[loss, fraction]["status"] != "finished":
                    ax.set_xlabel(runs[loss, fraction]["status"], fontsize=9)
    for ax, words in zip(axes[0], titles, strict=True):
        ax.set_title(words, fontsize=9)
    return figure


def _first_run(model: ModelRuns, loss: str, fraction: float) -> dict[str, Any]:
    """Find the run that left the example."""
    cell = model.cell(loss, fraction)
    return next(run for run in cell if run["seed"] == model.config.first_seed)


def _found(run: dict[str, Any], logits: np.ndarray) -> np.ndarray:
    """Decide which pixels are foreground, by the threshold that this run would use."""
    p = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    return p >= (run["metrics"].get("threshold_tuned") or 0.5)


def _window(shown: np.ndarray) -> tuple[int, int, int]:
    """Find the square that holds all that is shown, and some space: its top, left and side."""
    height, width = shown.shape
    if not shown.any():
        return 0, 0, min(height, width)
    ends = [np.flatnonzero(shown.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    side = max(high - low + 1 for low, high in ends) + 8
    side = min(max(side, min(height, width) // 4), height, width)
    top, left = (
        int(np.clip((low + high + 1 - side) // 2, 0, length - side))
        for (low, high), length in zip(ends, (height, width), strict=True)
    )
    return top, left, side
