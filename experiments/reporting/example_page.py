"""A page of example images: every shape, count and fraction, with the foreground achieved."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.config import StudyConfig
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.images.folder import read_folder
from experiments.images.masks import grey, pixels_of
from experiments.images.shapes import SHAPES
from experiments.images.splitting import SPLITS, parts_of
from experiments.presets import resolve
from experiments.reporting.rendering import page, percent
from experiments.runs.data import noise_level, splits

__all__ = ["write_examples"]

Report = Callable[[str], None]

_IMAGES = 128
_SHOWN_OF_A_SPLIT = 4
# Changes of the labels, shown for one fraction of one shape.
_CHANGED = {
    "label_noise 0.75": {"label_noise": 0.75},
    "annotator_bias 1": {"annotator_bias": 1.0},
    "annotator_bias -1": {"annotator_bias": -1.0},
    "empty_share 0.5": {"empty_share": 0.5},
}


@dataclasses.dataclass(frozen=True)
class _Cell:
    """One picture of the page: an image, its mask, and the text above it."""

    title: str
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    outline: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Row:
    name: str
    cells: Sequence[_Cell]


def write_examples(
    out: Path,
    *,
    shapes: Sequence[str] = tuple(SHAPES),
    fractions: Sequence[float] = (0.2, 0.05, 0.01, 0.003),
    objects: Sequence[int] = (1, 5, 20),
    image_size: int = 64,
    data: Path | None = None,
    report: Report = lambda line: None,
) -> None:
    """Draw ``examples.png`` and ``examples.html``: what the images of a study look like.

    Args:
        out: the directory to write to.
        shapes: names in `shapes.SHAPES`.
        fractions: π, a column each.
        objects: how many in an image; with every shape a row each.
        image_size: height and width, in pixels.
        data: a directory of a user's own images, which are shown instead, by split.
        report: is called with a line for every cell.

    Raises:
        ConfigError: if a setting is impossible, or ``data`` cannot be read.
    """
    if data is None:
        rows, table = _synthetic(shapes, fractions, objects, image_size, report)
    else:
        rows, table = _of_folder(data, report)
    png = _drawn(rows)
    html = page(
        "examples.html.j2",
        png=base64.b64encode(png).decode(),
        data=data,
        size=image_size,
        images=_IMAGES,
        table=table,
    )
    write_whole(out / "examples.png", png)
    write_whole(out / "examples.html", html)


def _line(row: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items())


def _config(fraction: float, image_size: int, **settings: Any) -> StudyConfig:
    return StudyConfig(
        fractions=(fraction,),
        image_size=image_size,
        train_images=_IMAGES - 20,
        validation_images=10,
        test_images=10,
        **settings,
    )


def _synthetic(
    shapes: Sequence[str],
    fractions: Sequence[float],
    objects: Sequence[int],
    image_size: int,
    report: Report,
) -> tuple[list[_Row], list[dict[str, str]]]:
    rows, table = [], []
    for shape, many in ((shape, many) for shape in shapes for many in objects):
        cells = []
        for fraction in fractions:
            try:
                config = _config(fraction, image_size, shape=shape, objects=many)
            except ConfigError:
                if shape not in SHAPES or image_size % 4 or not 0 < fraction < 1:
                    raise
                cells.append(_Cell(f"{percent(fraction)}: refused,\ntoo few pixels"))
                continue
            drawn = splits(config, fraction, 0)
            achieved = float(np.concatenate([np.asarray(s.masks) for s in drawn]).mean())
            noise = noise_level(config, fraction)
            image, mask = np.asarray(drawn[0].images[0]), np.asarray(drawn[0].masks[0])
            cells.append(
                _Cell(
                    f"{percent(fraction)}: got {percent(achieved)},\nnoise {noise:.2f}",
                    image,
                    mask,
                )
            )
            table.append(
                {
                    "shape": shape,
                    "objects": str(many),
                    "asked": percent(fraction),
                    "achieved": percent(achieved),
                    "noise": f"{noise:.3f}",
                }
            )
            report(_line(table[-1]))
        rows.append(_Row(f"{shape}, {many}", cells))
    changed, fraction = [], max(fractions)
    for title, changes in _CHANGED.items():
        config = _config(fraction, image_size, **changes)
        training, *_ = splits(config, fraction, 0)
        clean, *_ = splits(
            _config(fraction, image_size, empty_share=config.empty_share), fraction, 0
        )
        changed.append(
            _Cell(
                f"{percent(fraction)}, {title}",
                np.asarray(training.images[0]),
                np.asarray(training.masks[0]),
                np.asarray(clean.masks[0]),
            )
        )
    return [*rows, _Row("labels, ellipse", changed)], table


def _of_folder(path: Path, report: Report) -> tuple[list[_Row], list[dict[str, str]]]:
    config = resolve(model="linear", data=path)
    folder = read_folder(config.source)
    parts = parts_of(config.split, folder.names, config.splitting)
    drawn = jax.device_get(splits(config, config.fractions[0], 0))
    rows, table = [], []
    for name, images in zip(SPLITS, drawn, strict=True):
        stems = [folder.names[i] for i in parts[name]]
        cells = [
            _Cell(f"{stem}: {percent(float(mask.mean()))}", image, mask)
            for stem, image, mask in list(zip(stems, grey(images), images.masks, strict=True))[
                :_SHOWN_OF_A_SPLIT
            ]
        ]
        rows.append(_Row(name, cells))
        table.append(
            {
                "split": name,
                "images": str(len(stems)),
                "foreground": percent(float(images.masks.sum() / pixels_of(images))),
                "empty images": str(int((~images.masks.any(axis=(1, 2))).sum())),
            }
        )
        report(_line(table[-1]))
    return rows, table


def _drawn(rows: Sequence[_Row]) -> bytes:
    columns = max(len(row.cells) for row in rows)
    figure = Figure(figsize=(2.6 * columns + 0.6, 1.62 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2 * columns, squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for row, line in zip(rows, axes, strict=True):
        for cell, (left, right) in zip(
            row.cells, zip(line[::2], line[1::2], strict=True), strict=False
        ):
            # The title stands over the pair.
            left.set_title(cell.title, fontsize=7.5, loc="left", pad=3)
            if cell.image is None or cell.mask is None:
                continue
            left.imshow(cell.mask, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            right.imshow(cell.image, cmap="gray", interpolation="nearest")
            if cell.outline is not None and cell.outline.any():
                left.contour(cell.outline, levels=[0.5], colors="tab:orange", linewidths=0.9)
        first = line[0]
        first.set_axis_on()
        first.set_xticks([])
        first.set_yticks([])
        for spine in first.spines.values():
            spine.set_visible(False)
        first.set_ylabel(row.name, fontsize=8.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white")
    return buffer.getvalue()
