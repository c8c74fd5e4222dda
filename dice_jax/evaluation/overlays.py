"""Pictures of the worst cases: what was found, missed and invented."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from dice_jax._core.optional_imports import optional
from dice_jax.evaluation.evaluate import Evaluation, Progress, read_case
from dice_jax.evaluation.measures import Score
from dice_jax.images.files import read_image

__all__ = ["draw_overlay", "write_overlays"]

Array = np.ndarray[Any, Any]

_USER = "python -m dice_jax evaluate --plot"
# Okabe and Ito's, safe for the colour-blind.
COLOURS = {"found": "#009e73", "missed": "#56b4e9", "invented": "#d55e00"}


def write_overlays(
    evaluation: Evaluation,
    out: Path,
    *,
    worst: int = 6,
    images: dict[str, Path] | None = None,
    progress: Progress = lambda phase, done, of: None,
) -> list[Path]:
    """Draw the cases and classes with the lowest Dice.

    Args:
        evaluation: of `evaluate`.
        out: a directory; made if it is not there.
        worst: how many.
        images: the pictures to draw on, by the name of the case; ``None``: on black.
        progress: is told of every picture.

    Returns:
        The files: one for each case and class, and ``worst.png`` with all of them.
    """
    figures = optional("matplotlib.figure", user=_USER, extra="analysis")
    there = [score for score in evaluation.scores if score.outcome != "absent"]
    chosen = sorted(there, key=lambda s: (s.values["dice"], s.outcome != "missed"))[:worst]
    if not chosen:
        return []
    out.mkdir(parents=True, exist_ok=True)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    sheet = figures.Figure(figsize=(4 * columns, 4.3 * rows), layout="constrained")
    panels = sheet.subplots(rows, columns, squeeze=False).reshape(-1)
    for panel in panels:
        panel.axis("off")
    cases = {case.name: case for case in evaluation.cases}
    classes = {one.name: one for one in evaluation.classes}
    written = []
    for k, (score, panel) in enumerate(zip(chosen, panels, strict=False)):
        progress("drawing", k, len(chosen))
        prediction, truth, _ = read_case(cases[score.case], evaluation.meaning)
        masks = [classes[score.name].mask(x) for x in (prediction, truth)]
        picture = None if images is None else _picture(images.get(score.case), truth.shape)
        alone = figures.Figure(figsize=(6, 6.4), layout="constrained")
        for ax in (panel, alone.subplots()):
            draw_overlay(ax, *masks, picture=picture, title=_title(score, evaluation))
        _legend(alone)
        name = re.sub(r"[^\w.-]+", "_", f"{k + 1:02d}_{score.case}_{score.name}")
        written.append(out / f"{name}.png")
        _save(alone, written[-1])
    progress("drawing", len(chosen), len(chosen))
    _legend(sheet)
    written.append(out / "worst.png")
    _save(sheet, written[-1])
    return written


def draw_overlay(
    ax: Any, prediction: Array, truth: Array, *, picture: Array | None = None, title: str = ""
) -> None:
    """Draw one mask over another: found, missed and invented pixels.

    Args:
        ax: of Matplotlib.
        prediction: [H, W], or [..., H, W] with more axes: the slice with the most errors is drawn.
        truth: the same shape, boolean.
        picture: [..., H, W] or [..., H, W, 3], to draw on; ``None``: black.
        title: above the picture.
    """
    axis, index = _slice(prediction != truth) if truth.ndim > 2 else (0, None)
    if index is not None:
        title += f", slice {index}" if truth.ndim == 3 else ""
        prediction, truth = prediction.take(index, axis), truth.take(index, axis)
        picture = None if picture is None else picture.take(index, axis)
    below = np.zeros((*truth.shape, 3)) if picture is None else _bright(picture, truth.ndim)
    drawn = below.copy()
    colour = optional("matplotlib.colors", user=_USER, extra="analysis").to_rgb
    regions = {
        "found": prediction & truth,
        "missed": truth & ~prediction,
        "invented": prediction & ~truth,
    }
    for name, region in regions.items():
        # The image stays visible below what was found; errors are to be seen.
        strength = 1.0 if picture is None else {"found": 0.35}.get(name, 0.65)
        drawn[region] = (1 - strength) * below[region] + strength * np.array(colour(COLOURS[name]))
    ax.imshow(drawn, interpolation="nearest")
    ax.set_title(title, fontsize=9)
    ax.axis("off")


def _slice(wrong: Array) -> tuple[int, int]:
    """Of a volume, the slice with the most errors, across its shortest axis."""
    axis = int(np.argmin(wrong.shape))
    others = tuple(a for a in range(wrong.ndim) if a != axis)
    return axis, int(wrong.sum(others).argmax())


def _bright(picture: Array, axes: int) -> Array:
    picture = picture.astype(np.float64)
    if picture.ndim == axes:
        picture = np.repeat(picture[..., None], 3, -1)
    low, high = np.percentile(picture, [1, 99.5])
    return np.clip((picture - low) / (high - low or 1.0), 0, 1)


def _picture(path: Path | None, shape: tuple[int, ...]) -> Array | None:
    if path is None:
        return None
    pixels = read_image(path).pixels
    return pixels if pixels.shape in (shape, (*shape, 3)) else None


def _title(score: Score, evaluation: Evaluation) -> str:
    name = score.case if len(score.case) < 28 else f"{score.case[:12]}…{score.case[-12:]}"
    if len(evaluation.classes) > 1:
        name += f", class {score.name}"
    outcome = "" if score.outcome == "found" else f", {score.outcome}"
    return f"{name}\nDice {score.values['dice']:.3f}{outcome}"


def _save(figure: Any, path: Path) -> None:
    # The layout does not keep room for titles of two lines; a tight box does.
    figure.savefig(path, dpi=100, bbox_inches="tight")


def _legend(figure: Any) -> None:
    patch = optional("matplotlib.patches", user=_USER, extra="analysis").Patch
    handles = [patch(color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
