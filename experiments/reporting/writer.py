"""Writes the report of a study: summary.csv, figures/ and one self-contained report.html."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from experiments.analysis.contrasts import baseline_of, primary_loss, thresholds_of
from experiments.analysis.estimands import estimands_table
from experiments.analysis.model_runs import ModelRuns, read_models
from experiments.analysis.partial import PARTIAL_METRICS, over_some
from experiments.analysis.tables import runs_table, summary_table
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.reporting.command import shortest_command
from experiments.reporting.contrast_files import write_contrasts
from experiments.reporting.gallery import Picture, pictures
from experiments.reporting.plots.style import drawn
from experiments.reporting.rendering import MODEL_NAMES, capitalised, page
from experiments.reporting.sentences import (
    all_contrasts,
    answer,
    findings,
    headline,
    lead,
    limits,
    methods,
    theory_findings,
    title,
)
from experiments.reporting.theory_checks import STATEMENTS, predictions
from experiments.runs.directory import load_configs, load_runs

__all__ = ["draw", "write_report"]

# Two dots to a pixel of the page, which is enough for print.
_DPI = 208
# CSS pixels to an inch: every figure has letters of one size.
_INCH = 104

# Metrics of the tables, and their names; one that no run has is left out.
_COLUMNS = {
    "dice": "Dice at 0.5",
    "dice_tuned": "Dice, tuned",
    "iou": "IoU at 0.5",
    "average_precision": "average precision",
    "precision": "precision",
    "recall": "recall",
    "volume_bias": "volume bias",
    "hd95": "HD95 (pixels)",
    "surface_dice": "surface Dice",
    "ece": "calibration error",
    "brier": "Brier score",
    "empty_false_positive_share": "empty images with findings",
    "empty_false_positive_share_tuned": "the same, tuned",
}
_CLASS_COLUMNS = {
    "dice": "mean Dice",
    "dice_with_background": "with background",
    "dice_pooled": "pooled",
}
_BIAS_COLUMNS = {
    "mean_probability": "p",
    "soft_volume_bias": "volume bias of Σp",
    "brier": "Brier score",
}


def draw(directory: Path) -> dict[str, Figure]:
    """Draw a study's figures, by name, in the report's order; none where no run is finished.

    Raises:
        ConfigError: if the directory holds no study.
    """
    return {
        picture.name: picture.figure
        for place, model in enumerate(read_models(directory))
        for picture in pictures(model, largest=place == 0)
    }


def write_report(directory: Path) -> None:
    """Write a study's summary, figures and report from its finished runs.

    Raises:
        ConfigError: if the directory holds no study, or no run of it is finished.
    """
    models = read_models(directory)
    if not models:
        raise ConfigError(f"{directory} holds no finished run (runs/*.json): nothing to report")
    runs = runs_table(load_runs(directory))
    write_whole(directory / "summary.csv", summary_table(runs).to_csv(index=False))
    metric = thresholds_of(models[0].config)[0].metrics[1]
    write_whole(directory / "estimands.csv", estimands_table(runs, metric).to_csv(index=False))
    write_contrasts(directory, models)
    checks = [c for model in models if not model.config.classes for c in predictions(model)]
    sections = list(_sections(models, directory))
    figures = [figure for section in sections for figure in section["figures"]]
    strip = next((figure for figure in figures if figure["name"] == "strip"), None)
    html = page(
        "report.html.j2",
        title=title(models),
        lead=lead(models),
        sections=sections,
        strip=strip,
        numbers={figure["name"]: number for number, figure in enumerate(figures, 1)},
        primary=primary_loss(models[0].config),
        theory=theory_findings(checks) if checks else None,
        statements=STATEMENTS,
        checks=checks,
        limits=limits(models),
        methods=methods(models),
        command=shortest_command(load_configs(directory)),
    )
    write_whole(directory / "report.html", html)


def _sections(models: Sequence[ModelRuns], directory: Path) -> Iterator[dict[str, Any]]:
    """Group what is said and shown by model; write every figure on the way."""
    for place, model in enumerate(models):
        config = model.config
        wanted = _BIAS_COLUMNS if config.model == "bias" else _COLUMNS
        if config.classes:
            names = (f"{value:g}" for value in config.class_values)
            wanted = _CLASS_COLUMNS | {f"dice_{name}": f"Dice, class {name}" for name in names}
        yield {
            "kind": config.model,
            "name": capitalised(MODEL_NAMES[config.model]),
            "answer": answer(model),
            "findings": findings(model),
            "contrasts": all_contrasts(model),
            "headline": headline(model),
            "baseline": baseline_of(config),
            "metrics": thresholds_of(config)[0].metrics,
            "figures": [
                _written(picture, directory) for picture in pictures(model, largest=place == 0)
            ],
            "drawn": len(drawn(config.losses)),
            "model": model,
            "mean": model.interval,
            "over": functools.partial(over_some, model),
            "over_some": any(model.has(name) for name in PARTIAL_METRICS),
            "columns": {name: words for name, words in wanted.items() if model.has(name)},
        }


def _written(picture: Picture, directory: Path) -> dict[str, Any]:
    """Write a figure as PNG and SVG, and describe it for the page."""
    figure = picture.figure
    figure.set(dpi=_DPI, facecolor="white")
    pixels = _pixels(figure)
    # The layout is computed once: it takes longer than drawing.
    figure.set_layout_engine("none")
    png = _encoded(pixels, "png", dpi=(_DPI, _DPI), optimize=True)
    for kind, content in {"png": png, "svg": _svg(figure)}.items():
        write_whole(directory / "figures" / f"{picture.name}.{kind}", content)
    # Without loss, smaller than the PNG and the SVG.
    webp = _encoded(pixels.convert("RGB"), "webp", lossless=True)
    return {
        "name": picture.name,
        "title": picture.title,
        "caption": picture.caption,
        "webp": base64.b64encode(webp).decode(),
        "width": round(figure.get_size_inches()[0] * _INCH),
    }


# The canvases themselves, because `Figure.savefig` draws everything once more to measure it.
def _pixels(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgba = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    return rgba.convert("RGB").quantize(256, dither=Image.Dither.NONE)


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No date and no random names: the same study gives the same files.
    with mpl.rc_context({"svg.hashsalt": "dice_jax"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
