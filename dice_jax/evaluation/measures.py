"""Scores of one class of one case: arrays in, named numbers out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dice_jax import metrics
from dice_jax.images.components import label_components
from dice_jax.losses.indices import dice_index, jaccard_index
from dice_jax.sums.region import region_sums

__all__ = ["MEASURES", "Boxes", "Measure", "Score", "measure"]

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure of the table.

    Args:
        key: its column in the CSV.
        title: its name in the table.
        unit: "" for a number without a unit, "length" or "volume".
        best: the value of a perfect prediction; the worst case is the one furthest from it.
        decimals: how many the table shows.
    """

    key: str
    title: str
    unit: str = ""
    best: float = 1.0
    decimals: int = 3


MEASURES = (
    Measure("dice", "Dice"),
    Measure("iou", "IoU"),
    Measure("precision", "precision"),
    Measure("recall", "recall"),
    Measure("hd95", "HD95", "length", best=0.0, decimals=2),
    Measure("assd", "ASSD", "length", best=0.0, decimals=2),
    Measure("surface_dice", "surface Dice"),
    Measure("volume_bias", "volume bias (P − T)/T", best=0.0),
    Measure("volume_difference", "volume error |P − T|", "volume", best=0.0, decimals=1),
    Measure("instance_f1", "object F1"),
    Measure("panoptic_quality", "panoptic quality"),
)


@dataclasses.dataclass(frozen=True)
class Score:
    """The scores of one class of one case.

    Args:
        case: its name.
        name: of the class.
        truth: the volume of the truth, in units of the spacing.
        prediction: the volume of the prediction.
        intersection: the volume of both.
        diagonal: of the image: what an infinite distance counts as in a mean.
        objects: found, invented and missed.
        values: one number for each of `MEASURES`.
    """

    case: str
    name: str
    truth: float
    prediction: float
    intersection: float
    diagonal: float
    objects: metrics.InstanceCounts
    values: dict[str, float]

    @property
    def outcome(self) -> str:
        """Whether the class was there, and whether it was predicted at all."""
        if self.truth:
            return "found" if self.prediction else "missed"
        return "invented" if self.prediction else "absent"


class Boxes:
    """A few sizes of arrays, so that masks of many sizes need few compiled programs.

    Background behind the edge of the foreground changes no measure, so masks are cut to their
    foreground and padded to one of these sizes: the largest, and the same halved some times.

    Args:
        largest: how many pixels the largest image has along each axis.
    """

    def __init__(self, largest: Sequence[int]) -> None:
        self.sizes = [tuple(max(-(-n // 2**k), 16) for n in largest) for k in (3, 2, 1, 0)]

    def cut(self, *masks: Array) -> list[Array]:
        """Cut masks of one shape to the smallest size that holds all their foreground."""
        either = np.logical_or.reduce(masks)
        ndim = either.ndim
        slices = []
        for axis in range(ndim):
            others = tuple(a for a in range(ndim) if a != axis)
            rows = np.flatnonzero(either.any(others))
            slices.append(slice(rows[0], rows[-1] + 1) if rows.size else slice(0, 0))
        cut = [mask[tuple(slices)] for mask in masks]
        fits = (s for s in self.sizes if all(n <= m for n, m in zip(cut[0].shape, s, strict=True)))
        size = next(fits, cut[0].shape)
        padding = [(0, m - n) for n, m in zip(cut[0].shape, size, strict=True)]
        return [np.pad(mask, padding) for mask in cut]


def measure(
    prediction: Array,
    truth: Array,
    *,
    case: str,
    name: str,
    spacing: Sequence[float],
    tolerance: float,
    boxes: Boxes,
    where: Array | None = None,
    objects: tuple[Array, Array] | None = None,
) -> Score:
    """Score one class of one case.

    Args:
        prediction: [...], boolean.
        truth: the same shape, boolean.
        case: the case's name.
        name: of the class.
        spacing: the size of a pixel along each axis.
        tolerance: of surface Dice, in units of the spacing.
        boxes: the sizes that programs are compiled for.
        where: boolean, the same shape: ``False`` leaves a pixel out; ``None`` keeps all.
        objects: integer maps of predicted and true objects, 0 for none; ``None``: the connected
            components of the masks.

    Returns:
        The scores.
    """
    numbers = objects or (label_components(prediction), label_components(truth))
    found = metrics.instance_counts(*numbers, where=where)
    if where is not None:
        prediction, truth = prediction & where, truth & where
    pixel = float(np.prod(spacing))
    pixels = [int(np.count_nonzero(x)) for x in (prediction, truth, prediction & truth)]
    small = boxes.cut(prediction, truth)
    values = {
        key: float(value)
        for key, value in _of_masks(*small, tuple(map(float, spacing)), tolerance).items()
    }
    return Score(
        case=case,
        name=name,
        prediction=pixels[0] * pixel,
        truth=pixels[1] * pixel,
        intersection=pixels[2] * pixel,
        diagonal=metrics.image_diagonal(truth.shape, spacing=spacing),
        objects=found,
        values=values
        | {
            # Pixels are counted on the host, where the number is exact.
            "volume_difference": abs(pixels[0] - pixels[1]) * pixel,
            "instance_f1": found.f1,
            "panoptic_quality": found.panoptic_quality,
        },
    )


@jax.jit
def _of_masks(
    prediction: jax.Array, truth: jax.Array, spacing: tuple[jax.Array, ...], tolerance: jax.Array
) -> dict[str, jax.Array]:
    sums = region_sums(prediction, truth)
    surfaces: dict[str, Any] = {"spacing": spacing}
    near = metrics.surface_dice(prediction, truth, tolerance=tolerance, **surfaces)
    return {
        "dice": dice_index(sums),
        "iou": jaccard_index(sums),
        "precision": metrics.precision(sums).value,
        "recall": metrics.recall(sums).value,
        "hd95": metrics.hausdorff_distance(prediction, truth, **surfaces).value,
        "assd": metrics.average_surface_distance(prediction, truth, **surfaces).value,
        "surface_dice": near.value,
        "volume_bias": metrics.volume_bias(sums).value,
    }
