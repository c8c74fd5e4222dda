"""Counts of right and wrong pixels, what follows from them, and the sums of labels by class."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions
from dice_jax._core.safe_math import ratio
from dice_jax.losses.indices import takes_sums
from dice_jax.metrics.scores import Scores
from dice_jax.sums.operands import class_indicators, class_masks
from dice_jax.sums.region import (
    RegionSums,
    probability_terms,
    sums_of_terms,
    with_checked_targets,
)

__all__ = [
    "ConfusionCounts",
    "accuracy",
    "balanced_accuracy",
    "class_sums",
    "confusion_counts",
    "confusion_matrix",
    "negative_predictive_value",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionCounts:
    """How many pixels of each region are right and wrong; batches merge by ``+``.

    Args:
        true_positives: foreground that was predicted.
        false_positives: background that was predicted as foreground.
        false_negatives: foreground that was not predicted.
        true_negatives: background that was left alone.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, True, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 0, 0, 1]))
        >>> counts = dj.metrics.confusion_counts(sums)
        >>> print((counts + counts).false_positives)
        4.0
    """

    true_positives: jax.Array
    false_positives: jax.Array
    false_negatives: jax.Array
    true_negatives: jax.Array

    def __add__(self, other: ConfusionCounts | int) -> ConfusionCounts:
        """Merge two (0 is neutral, so that `sum` works)."""
        if isinstance(other, ConfusionCounts):
            return jax.tree.map(jnp.add, self, other)
        if isinstance(other, int) and other == 0:
            return self
        return NotImplemented

    __radd__ = __add__


@takes_sums
def confusion_counts(sums: RegionSums) -> ConfusionCounts:
    """Count true and false positives and negatives of each region.

    Args:
        sums: of a hard mask (`region_sums` of booleans). With weights, the counts are weighted.

    Returns:
        The counts, each of the shape of ``sums``.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, True, False])
        >>> counts = dj.metrics.confusion_counts(dj.region_sums(predicted, jnp.array([1, 0, 0, 1])))
        >>> print(counts.true_positives, counts.false_positives, counts.false_negatives)
        1.0 2.0 1.0
        >>> print(counts.true_negatives)
        0.0

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    false_positives = sums.prediction - sums.intersection
    return ConfusionCounts(
        true_positives=sums.intersection,
        false_positives=false_positives,
        false_negatives=sums.target - sums.intersection,
        true_negatives=sums.count - sums.target - false_positives,
    )


@takes_sums
def accuracy(sums: RegionSums) -> Scores:
    """Accuracy of each region: the part of all pixels that is right, (TP + TN)/N.

    Where foreground is rare, predicting none of it scores close to 1: report an overlap too.

    Args:
        sums: of a hard mask (`region_sums` of booleans).

    Returns:
        The scores. Where no pixel was counted, 1, and the region is absent.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, True, False])
        >>> print(float(dj.metrics.accuracy(dj.region_sums(predicted, jnp.array([1, 0, 0, 1])))))
        0.25

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    counts = confusion_counts(sums)
    right = counts.true_positives + counts.true_negatives
    return Scores(ratio(right, sums.count, jnp.ones_like(right)), sums.count > 0)


@takes_sums
def balanced_accuracy(sums: RegionSums) -> Scores:
    """Balanced accuracy of each region: the mean of recall and specificity.

    Args:
        sums: of a hard mask (`region_sums` of booleans).

    Returns:
        The scores. A region without foreground, or without background, is absent; its value is the
        recall of the class that is there, as scikit-learn has it, and 1 without any pixel.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, False, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 0, 0, 0]))
        >>> print(f"{float(dj.metrics.balanced_accuracy(sums)):.4f}")    # (1 + 2/3)/2
        0.8333

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    counts = confusion_counts(sums)
    background = sums.count - sums.target
    one = jnp.ones_like(background)
    # The recall of a class that is missing is replaced by that of the other class.
    recall = ratio(counts.true_positives, sums.target, one)
    specificity = ratio(counts.true_negatives, background, recall)
    recall = jnp.where(sums.target == 0, specificity, recall)
    return Scores((recall + specificity) / 2, (sums.target > 0) & (background > 0))


@takes_sums
def negative_predictive_value(sums: RegionSums) -> Scores:
    """Negative predictive value of each region: how much predicted background is right.

    TN/(TN + FN): precision with foreground and background exchanged.

    Args:
        sums: of a hard mask (`region_sums` of booleans).

    Returns:
        The scores. Where everything was predicted as foreground: 1 if there is no background, 0
        otherwise. Here, a region is present if it has background.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, False, False, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 1, 0, 0]))
        >>> print(f"{float(dj.metrics.negative_predictive_value(sums)):.4f}")
        0.6667

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    counts = confusion_counts(sums)
    background = sums.count - sums.target
    claimed = counts.true_negatives + counts.false_negatives
    nothing = (background == 0).astype(sums.dtype)
    return Scores(ratio(counts.true_negatives, claimed, nothing), background > 0)


def confusion_matrix(
    predicted: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Count the pixels of each label (rows) that were predicted as each class (columns).

    Matrices of batches add up. Row and column sums, and the diagonal, give every metric of hard
    labels: ``m.diagonal() / m.sum(1)`` is the recall of each class, NaN for one that is not there.

    Args:
        predicted: [...], integer in 0 … C−1: ``logits.argmax(-1)``, say.
        labels: the same shape, integer in 0 … C−1.
        num_classes: C; fixed, so that shapes are.
        axis: the axes that one matrix runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out, whatever
            its label.

    Returns:
        Floating [..., C, C]. A region with a label or prediction outside 0 … C−1 and outside the
        mask is NaN.

    Raises:
        TypeError: if a map is not of integers.
        ValueError: if shapes or an axis do not fit, or ``num_classes`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> predicted, labels = jnp.array([0, 1, 1, 2]), jnp.array([0, 0, 1, 2])
        >>> print(metrics.confusion_matrix(predicted, labels, num_classes=3))
        [[1. 1. 0.]
         [0. 1. 0.]
         [0. 0. 1.]]

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    maps = _checked_maps(predicted, labels, num_classes, axis, where)
    return _confusion_matrix(*maps.arrays, axes=maps.axes, classes=int(num_classes))


def class_sums(
    predicted: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> RegionSums:
    """Sums of predicted and true labels per class: an index of them is a metric of each class.

    They equal `region_sums` of ``jax.nn.one_hot`` of both, but no such array is made. Also,
    ``jax.nn.one_hot`` drops a label that does not exist; here it makes its region NaN.

    Args:
        predicted: [...], integer in 0 … C−1: ``logits.argmax(-1)``, say.
        labels: the same shape, integer in 0 … C−1.
        num_classes: C; fixed, so that shapes are.
        axis: the axes that one sum runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out, whatever
            its label: ``where=labels != 255``.

    Returns:
        `RegionSums` with fields [..., C]. A region with a label or prediction outside 0 … C−1 and
        outside the mask is NaN.

    Raises:
        TypeError: if a map is not of integers.
        ValueError: if shapes or an axis do not fit, or ``num_classes`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted, labels = jnp.array([0, 1, 1, 2]), jnp.array([0, 0, 1, 2])
        >>> sums = dj.metrics.class_sums(predicted, labels, num_classes=3)
        >>> print(sums.intersection, sums.target)
        [1. 1. 1.] [2. 1. 1.]
        >>> print(dj.dice_index(sums).mean().round(2))    # of 2/3, 2/3 and 1
        0.78

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    maps = _checked_maps(predicted, labels, num_classes, axis, where)
    return _class_sums(*maps.arrays, axes=maps.axes, classes=int(num_classes))


class _Maps(NamedTuple):
    arrays: tuple[jax.Array, jax.Array, jax.Array | None]
    axes: tuple[int, ...]


def _checked_maps(
    predicted: ArrayLike, labels: ArrayLike, num_classes: int, axis: checks.Axis, where: Any
) -> _Maps:
    maps = checks.as_array("predicted", predicted), checks.as_array("labels", labels)
    for name, numbers in zip(("predicted", "labels"), maps, strict=True):
        if not checks.is_integer(numbers):
            raise TypeError(f"{name} must be integers, got {checks.describe(numbers)}")
    if maps[0].shape != maps[1].shape:
        raise ValueError(
            f"labels must have the shape of predicted {maps[0].shape}, "
            f"got {checks.describe(maps[1])}"
        )
    checks.check_count("num_classes", num_classes, least=1)
    axes = checks.normalize_axis("axis", axis, maps[0].ndim, what="predicted")
    return _Maps((*maps, checks.check_where(where, maps[0].shape)), axes)


@partial(jax.jit, static_argnames=("axes", "classes"))
def _class_sums(
    predicted: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
    classes: int,
) -> RegionSums:
    dtype = checks.accumulation_dtype(where)

    def of_masks(x: jax.Array, y: jax.Array, *, axis: int) -> Any:
        predicted = class_indicators(x, classes, dtype, axis=axis)
        return probability_terms(predicted, class_masks(y, classes, axis=axis), axis)

    terms = with_checked_targets(of_masks, dtype, classes)
    return sums_of_terms(terms, (predicted, labels), where, axes, ndim=labels.ndim, dtype=dtype)


@partial(jax.jit, static_argnames=("axes", "classes"))
def _confusion_matrix(
    predicted: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
    classes: int,
) -> jax.Array:
    dtype = checks.accumulation_dtype(where)
    counted = where is None or where.dtype == jnp.bool_

    def matrix(columns: jax.Array, rows: jax.Array, weight: jax.Array | None) -> jax.Array:
        kept = jnp.ones(rows.shape, jnp.bool_) if weight is None else weight.astype(jnp.bool_)
        valid = (rows >= 0) & (rows < classes) & (columns >= 0) & (columns < classes)
        number = rows.astype(jnp.int32) * classes + columns.astype(jnp.int32)
        number = jnp.where(kept & valid, number, classes * classes)
        # Integers count exactly; floats would stop at 2²⁴ pixels.
        each = kept.astype(jnp.int32)
        if not (counted or weight is None):
            each = checks.weight_or_nan(weight.astype(dtype))
        each = jax.ops.segment_sum(each, number, classes * classes + 1)[:-1].astype(dtype)
        unknown = jnp.any(kept & ~valid)
        return jnp.where(unknown, jnp.full_like(each, jnp.nan), each).reshape(classes, classes)

    return over_regions(matrix, (predicted, labels, where), axes)
