"""Metrics of objects, on the host: which were found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.optional_imports import optional
from dice_jax.metrics.scores import Scores

__all__ = [
    "InstanceCounts",
    "instance_average_precision",
    "instance_counts",
    "instance_f1",
    "panoptic_quality",
]

Map = np.ndarray[Any, Any]

_THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))


@dataclasses.dataclass(frozen=True)
class InstanceCounts:
    """How many objects were found, invented and missed; images merge by ``+``.

    Args:
        true_positives: predicted objects that match an object.
        false_positives: predicted objects that match none.
        false_negatives: objects that no predicted one matches.
        iou: Σ of the intersection over union of the matches; NaN if it is not known.

    Example:
        >>> from dice_jax.metrics import InstanceCounts
        >>> counts = InstanceCounts(2, 1, 0) + InstanceCounts(1, 0, 1)
        >>> print(counts.true_positives, counts.f1)
        3 0.75
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    iou: float = dataclasses.field(default=float("nan"), compare=False)

    def __add__(self, other: InstanceCounts | int) -> InstanceCounts:
        """Merge two (0 is neutral, so that `sum` works)."""
        if isinstance(other, InstanceCounts):
            return InstanceCounts(
                self.true_positives + other.true_positives,
                self.false_positives + other.false_positives,
                self.false_negatives + other.false_negatives,
                self.iou + other.iou,
            )
        if other == 0:
            return self
        return NotImplemented

    __radd__ = __add__

    @property
    def f1(self) -> float:
        """2TP / (2TP + FP + FN); 1 if no object is true or predicted."""
        return self._share(2 * self.true_positives, self._wrong)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 1 if no object is true or predicted."""
        return self._share(self.true_positives, self.false_positives)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 1 if no object is true or predicted."""
        return self._share(self.true_positives, self.false_negatives)

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), what Cellpose calls average precision and StarDist accuracy."""
        return self._share(self.true_positives, self._wrong)

    @property
    def recognition_quality(self) -> float:
        """The first factor of `panoptic_quality`: `f1`."""
        return self.f1

    @property
    def segmentation_quality(self) -> float:
        """The second factor of `panoptic_quality`: the mean IoU of the matches, 0 without any."""
        return self.iou / self.true_positives if self.true_positives else 0.0

    @property
    def panoptic_quality(self) -> float:
        """Σ IoU / (TP + FP/2 + FN/2); 1 if no object is true or predicted."""
        if not self.true_positives:
            return self.f1
        return self.segmentation_quality * self.recognition_quality

    @property
    def _wrong(self) -> int:
        return self.false_positives + self.false_negatives

    def _share(self, right: int, wrong: int) -> float:
        if right + wrong:
            return right / (right + wrong)
        return 0.0 if self.true_positives + self._wrong else 1.0


def instance_counts(
    predicted: ArrayLike,
    target: ArrayLike,
    *,
    iou_threshold: float = 0.5,
    where: ArrayLike | None = None,
) -> InstanceCounts:
    """Match predicted objects with true ones by their overlap, on the host.

    Two objects match if their intersection over union is larger than the threshold; each takes part
    in one match at most. From ½ on the matching is unique. Below ½ it is the one with the most
    pairs and, of those, with the largest Σ IoU (SciPy).

    Args:
        predicted: [...], integer: 0 for none, other numbers for objects. One image.
        target: the same shape.
        iou_threshold: in [0, 1).
        where: boolean or floating, broadcastable to [...]; pixels of weight 0 are ignored. They are
            in no intersection and no union, an object with no other pixels is not counted, and an
            unmatched predicted object is no false positive if more than ``iou_threshold`` of it is
            ignored.

    Returns:
        The counts.

    Raises:
        ImportError: if the threshold is below ½ and SciPy is not installed.
        TypeError: if a map is not of integers.
        ValueError: if shapes or the threshold do not fit.

    Example:
        >>> import numpy as np
        >>> from dice_jax import metrics
        >>> predicted, target = np.array([1, 1, 0, 2, 2]), np.array([5, 5, 5, 0, 0])
        >>> counts = metrics.instance_counts(predicted, target)
        >>> print(counts.true_positives, counts.false_positives, counts.false_negatives)
        1 1 0
        >>> print(f"{counts.iou:.4f}")
        0.6667
    """
    first, second, kept = _maps(predicted, target, where)
    return _counts(first, second, kept, iou_threshold, user="instance_counts")


def _maps(predicted: ArrayLike, target: ArrayLike, where: ArrayLike | None) -> tuple[Map, Map, Map]:
    """The checked maps, and which pixels count."""
    first, second = np.asarray(predicted), np.asarray(target)
    for name, numbers in zip(("predicted", "target"), (first, second), strict=True):
        if not np.issubdtype(numbers.dtype, np.integer):
            raise TypeError(f"{name} must be integers, got {checks.describe(numbers)}")
    if first.shape != second.shape:
        raise ValueError(
            f"target must have the shape of predicted {first.shape}, got {checks.describe(second)}"
        )
    kept = checks.check_where(where, first.shape)
    counted = np.ones((), np.bool_) if kept is None else np.asarray(kept) != 0
    return first, second, np.broadcast_to(counted, first.shape)


def _counts(
    predicted: Map,
    target: Map,
    kept: Map,
    iou_threshold: float,
    *,
    user: str,
) -> InstanceCounts:
    checks.check_number("iou_threshold", iou_threshold, most=1.0, open_at_most=True)
    iou, ignored = _overlaps(predicted, target, kept)
    matches = iou > iou_threshold
    if iou_threshold < 0.5:
        optimize = optional("scipy.optimize", user=user, extra="analysis")
        # One more pair is worth more than any Σ IoU.
        worth = np.where(matches, 1 + min(iou.shape) + iou, 0)
        chosen = np.zeros_like(matches)
        chosen[optimize.linear_sum_assignment(worth, maximize=True)] = True
        matches &= chosen
    found = int(np.count_nonzero(matches))
    wrong = ~matches.any(1) & (ignored <= iou_threshold)
    return InstanceCounts(
        found, int(np.count_nonzero(wrong)), matches.shape[1] - found, float(iou[matches].sum())
    )


def _overlaps(predicted: Map, target: Map, kept: Map) -> tuple[Map, Map]:
    """IoU of every predicted object with every true one; the ignored part of each predicted one."""
    # Sorting takes most of the time, and what is background in both maps is in no overlap.
    some = (predicted != 0) | (target != 0)
    predicted, target, kept = predicted[some], target[some], kept[some]
    first, rows = np.unique(predicted, return_inverse=True)
    second, columns = np.unique(target, return_inverse=True)
    pairs, whole = (np.zeros((len(first), len(second)), np.int64) for _ in range(2))
    index = rows.reshape(-1), columns.reshape(-1)
    np.add.at(whole, index, 1)
    np.add.at(pairs, index, kept.reshape(-1).astype(np.int64))
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    iou = (pairs / np.maximum(union, 1))[first != 0]
    ignored = 1 - (pairs.sum(1) / np.maximum(whole.sum(1), 1))[first != 0]
    return iou[:, (second != 0) & (pairs.sum(0) > 0)], ignored


def instance_f1(
    predicted: ArrayLike,
    target: ArrayLike,
    *,
    iou_threshold: float = 0.5,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    """F1 of finding objects, image by image, on the host.

    Matches are as in `instance_counts`; add those up for the F1 pooled over images.

    Args:
        predicted: [...], integer: 0 for none, other numbers for objects.
        target: the same shape.
        iou_threshold: in [0, 1): how much two objects have to overlap to match.
        axis: the axes that span space; the others count images. ``None``: all span space.
        where: boolean or floating, broadcastable to [...]; pixels of weight 0 are ignored, as in
            `instance_counts`.

    Returns:
        The scores, one number per image; 1 if no object is true or predicted.

    Raises:
        ImportError: if the threshold is below ½ and SciPy is not installed.
        TypeError: if a map is not of integers.
        ValueError: if shapes, an axis, ``where`` or the threshold do not fit.

    Example:
        >>> import numpy as np
        >>> from dice_jax import metrics
        >>> predicted, target = np.array([1, 1, 0, 2, 2]), np.array([5, 5, 5, 0, 0])
        >>> print(f"{float(metrics.instance_f1(predicted, target)):.4f}")
        0.6667

    References:
        Maier-Hein et al., Metrics reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    return _each_image(
        lambda *maps: _counts(maps[0], maps[1], maps[2], iou_threshold, user="instance_f1").f1,
        predicted,
        target,
        axis,
        where,
    )


def panoptic_quality(
    predicted: ArrayLike,
    target: ArrayLike,
    *,
    iou_threshold: float = 0.5,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Panoptic quality of objects, image by image, on the host.

    Σ IoU of the matches / (TP + FP/2 + FN/2): recognition quality (F1) times segmentation quality
    (the mean IoU of the matches). Matches are as in `instance_counts`; add those up for the quality
    pooled over images, and for its two factors.

    Args:
        predicted: [...], integer: 0 for none, other numbers for objects.
        target: the same shape.
        iou_threshold: in [0, 1): how much two objects have to overlap to match.
        axis: the axes that span space; the others count images. ``None``: all span space.
        where: boolean or floating, broadcastable to [...]; pixels of weight 0 are ignored, as in
            `instance_counts`.

    Returns:
        The scores, one number per image; 1 if no object is true or predicted.

    Raises:
        ImportError: if the threshold is below ½ and SciPy is not installed.
        TypeError: if a map is not of integers.
        ValueError: if shapes, an axis, ``where`` or the threshold do not fit.

    Example:
        >>> import numpy as np
        >>> from dice_jax import metrics
        >>> predicted, target = np.array([1, 1, 0, 2, 2]), np.array([5, 5, 5, 0, 0])
        >>> print(f"{float(metrics.panoptic_quality(predicted, target)):.4f}")    # 2/3 · 2/3
        0.4444

    References:
        Kirillov et al., Panoptic segmentation (2019), https://arxiv.org/abs/1801.00868.
    """
    return _each_image(
        lambda *maps: (
            _counts(
                maps[0], maps[1], maps[2], iou_threshold, user="panoptic_quality"
            ).panoptic_quality
        ),
        predicted,
        target,
        axis,
        where,
    )


def instance_average_precision(
    predicted: ArrayLike,
    target: ArrayLike,
    *,
    iou_thresholds: Sequence[float] = _THRESHOLDS,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Average precision of objects, image by image, on the host.

    TP / (TP + FP + FN), averaged over thresholds of the IoU: the score of Cellpose, of StarDist
    (``accuracy``) and of the 2018 Data Science Bowl. Matches are as in `instance_counts`.

    Args:
        predicted: [...], integer: 0 for none, other numbers for objects.
        target: the same shape.
        iou_thresholds: each in [0, 1); the scores are averaged over them.
        axis: the axes that span space; the others count images. ``None``: all span space.
        where: boolean or floating, broadcastable to [...]; pixels of weight 0 are ignored, as in
            `instance_counts`.

    Returns:
        The scores, one number per image; 1 if no object is true or predicted.

    Raises:
        ImportError: if a threshold is below ½ and SciPy is not installed.
        TypeError: if a map is not of integers.
        ValueError: if shapes, an axis, ``where`` or a threshold do not fit.

    Example:
        >>> import numpy as np
        >>> from dice_jax import metrics
        >>> predicted, target = np.array([1, 1, 0, 2, 2]), np.array([5, 5, 5, 0, 0])
        >>> score = metrics.instance_average_precision(predicted, target)
        >>> print(f"{score:.2f}")    # ½ at the thresholds 0.5 to 0.65, else 0
        0.20

    References:
        Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl
        (2019), https://doi.org/10.1038/s41592-019-0612-7.
    """
    thresholds = tuple(iou_thresholds)
    if not thresholds:
        raise ValueError("iou_thresholds must have at least one entry, got none")
    checks.check_number("iou_thresholds", np.array(thresholds), most=1.0, open_at_most=True)

    def score(first: Map, second: Map, kept: Map) -> float:
        counts = [
            _counts(first, second, kept, t, user="instance_average_precision") for t in thresholds
        ]
        return float(np.mean([c.average_precision for c in counts]))

    return _each_image(score, predicted, target, axis, where)


def _each_image(
    score: Callable[..., float],
    predicted: ArrayLike,
    target: ArrayLike,
    axis: checks.Axis,
    where: ArrayLike | None,
) -> Scores:
    """A score of two maps and the pixels that count, for each image."""
    maps = _maps(predicted, target, where)
    ndim = maps[0].ndim
    axes = checks.normalize_axis("axis", axis, ndim, what="predicted")
    left = tuple(n for a, n in enumerate(maps[0].shape) if a not in axes)
    first, second, kept = (np.moveaxis(x, axes, range(len(left), ndim)) for x in maps)
    values, present = np.empty(left, np.float32), np.empty(left, np.bool_)
    for image in np.ndindex(*left):
        values[image] = score(first[image], second[image], kept[image])
        present[image] = np.any((second[image] != 0) & kept[image])
    return Scores(jnp.asarray(values), jnp.asarray(present))
