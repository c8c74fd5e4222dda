"""Which figures a study has, in their order, with the titles and captions of ``figures.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from experiments.analysis.model_runs import ModelRuns
from experiments.reporting import plots

__all__ = ["Picture", "pictures"]

_FIGURES = tomllib.loads((Path(__file__).parent / "templates" / "figures.toml").read_text("utf-8"))


class Picture(NamedTuple):
    """A figure of a study, with the name of its file."""

    name: str
    title: str
    caption: str
    figure: Figure


def pictures(model: ModelRuns, *, largest: bool = True) -> Iterator[Picture]:
    """Draw one model's figures.

    Args:
        model: its runs.
        largest: whether it is the study's largest model, which has all figures. The figures of the
            others carry the model's name in theirs. A bias-only model has one number, for which
            most figures make no sense.

    Yields:
        One `Picture` after the other, where there is something to draw.
    """
    kind = model.config.model
    for name, entry in _FIGURES.items():
        wanted = kind in entry["models"] or (largest and kind != "bias")
        # Of classes there are only some figures, and one of their own.
        wanted = wanted and entry.get("classes", "none") != (
            "none" if model.config.classes else "only"
        )
        figure = getattr(plots, name)(model) if wanted else None
        if figure is not None:
            full = name if largest else f"{kind}_{name}"
            caption = entry["caption"]
            if model.config.classes:
                caption = entry.get("of_classes", caption)
            yield Picture(full, entry["title"], " ".join(caption.split()), figure)
