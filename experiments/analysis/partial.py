"""Scores that only some images or objects have, each with how many it is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import Interval, interval_columns
from experiments.analysis.tables import score_interval

__all__ = [
    "PARTIAL_METRICS",
    "OverSome",
    "SizeRecall",
    "over_some",
    "partial_table",
    "recall_by_size",
    "size_table",
]

# Distances need foreground and a prediction; false positives need an image without foreground.
PARTIAL_METRICS = (
    "hd95", "hd95_tuned", "surface_dice", "surface_dice_tuned", "empty_false_positive_share",
    "empty_false_positive_share_tuned", "empty_false_positive_share_pool_tuned",
)  # fmt: skip


class OverSome(NamedTuple):
    """A score of an arm that not every run and image has.

    Args:
        interval: the mean over the runs that trained and have it; ``n`` is how many these are.
        runs: of the arm, the collapsed and diverged ones included.
        images: of the runs in the mean, the images that have the score.
        images_there: of all runs of the arm, the images that could have it: those with foreground,
            or for false positives those without.
    """

    interval: Interval
    runs: int
    images: int
    images_there: int


def over_some(model: ModelRuns, loss: str, fraction: float, metric: str) -> OverSome:
    """Average a score over the runs that trained, and count what it is over.

    A mean that leaves out failed runs flatters their loss unless it says so: a run that predicts
    nothing has no distance.
    """
    cell, trained = model.cell(loss, fraction), model.trained(loss, fraction)
    values = np.array([_number(run["metrics"].get(metric)) for run in trained])
    counted = [run for run, value in zip(trained, values, strict=True) if not np.isnan(value)]
    of_empty = metric.startswith("empty_")
    return OverSome(
        score_interval(values, metric),
        len(cell),
        sum(_images(run, of_empty) if of_empty else _scored(run, metric) for run in counted),
        sum(_images(run, of_empty) for run in cell),
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _images(run: Mapping[str, Any], empty: bool) -> int:
    """Count the test images of a run without foreground, or those with it."""
    return sum((size == 0) == empty for size in run["per_image"].get("size", []))


def _scored(run: Mapping[str, Any], metric: str) -> int:
    return sum(value is not None for value in run["per_image"].get(metric, []))


def _cells(models: Iterable[ModelRuns]) -> Iterator[tuple[ModelRuns, str, float]]:
    for model in models:
        for fraction in model.fractions:
            for loss in model.config.losses:
                if model.cell(loss, fraction):
                    yield model, loss, fraction


def partial_table(models: Iterable[ModelRuns]) -> pd.DataFrame:
    """Lay out the scores that only some images have, one row per arm and score."""
    rows = []
    for model, loss, fraction in _cells(models):
        for metric in filter(model.has, PARTIAL_METRICS):
            found = over_some(model, loss, fraction, metric)
            rows.append(
                {
                    "model": model.config.model,
                    "foreground_fraction": fraction,
                    "loss": loss,
                    "metric": metric,
                    "mean": found.interval.mean,
                    "mean_ci_low": found.interval.low,
                    "mean_ci_high": found.interval.high,
                    "mean_runs": found.interval.n,
                    "runs": found.runs,
                    "images": found.images,
                    "images_there": found.images_there,
                }
            )
    return pd.DataFrame(rows)


class SizeRecall(NamedTuple):
    """How much of the objects of one size was found.

    Args:
        size: the smallest object, in pixels; the largest has less than twice as many.
        recall: the mean share of an object's pixels that were found at threshold ½, over runs that
            trained, with its interval over runs.
        recall_tuned: the same at the tuned threshold.
        objects: of all these runs.
    """

    size: float
    recall: Interval
    recall_tuned: Interval
    objects: int


def recall_by_size(model: ModelRuns, loss: str, fraction: float) -> list[SizeRecall]:
    """Average recall by an object's size, over the runs that trained, with the number of objects.

    Every run counts the same, whatever number of objects of a size it has.
    """
    found: dict[float, list[tuple[float, float, int]]] = {}
    for run in model.trained(loss, fraction):
        by_size = run.get("size_recall") or {"size": []}
        columns = (by_size.get(name, []) for name in ("recall", "recall_tuned", "objects"))
        for size, *row in zip(by_size["size"], *columns, strict=True):
            found.setdefault(size, []).append(tuple(row))
    out = []
    for size in sorted(found):
        recall, tuned, objects = (np.array(column) for column in zip(*found[size], strict=True))
        at_half, at_tuned = (score_interval(x, "recall") for x in (recall, tuned))
        out.append(SizeRecall(size, at_half, at_tuned, int(objects.sum())))
    return out


def size_table(models: Iterable[ModelRuns]) -> pd.DataFrame:
    """Lay out recall by size, one row per arm and size."""
    rows = []
    for model, loss, fraction in _cells(models):
        for found in recall_by_size(model, loss, fraction):
            row: dict[str, Any] = {
                "model": model.config.model,
                "foreground_fraction": fraction,
                "loss": loss,
                "size_from": found.size,
                "objects": found.objects,
            }
            for name in ("recall", "recall_tuned"):
                row |= interval_columns(name, getattr(found, name))
            rows.append(row)
    return pd.DataFrame(rows)
