"""Metrics of objects, on the host: which were found."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.optional import optional
from dice_jax.metrics.scores import Scores

__all__ = ["InstanceCounts", "instance_counts", "instance_f1"]


@dataclasses.dataclass(frozen=True)
class InstanceCounts:
    """Objects found, claimed wrongly and missed; images merge by ``+``.

    Args:
        true_positives: predicted objects that match an object.
        false_positives: predicted objects that match none.
        false_negatives: objects that no predicted one matches.

    Example:
        >>> from dice_jax.metrics import InstanceCounts
        >>> counts = InstanceCounts(2, 1, 0) + InstanceCounts(1, 0, 1)
        >>> print(counts.true_positives, counts.f1)
        3 0.75
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    def __add__(self, other: InstanceCounts | int) -> InstanceCounts:
        """Merge two (0 is neutral, so that `sum` works)."""
        if isinstance(other, InstanceCounts):
            return InstanceCounts(
                self.true_positives + other.true_positives,
                self.false_positives + other.false_positives,
                self.false_negatives + other.false_negatives,
            )
        if other == 0:
            return self
        return NotImplemented

    __radd__ = __add__

    @property
    def f1(self) -> float:
        """2TP / (2TP + FP + FN); 1 where nothing is there and nothing was claimed."""
        wrong = self.false_positives + self.false_negatives
        both = 2 * self.true_positives
        return both / (both + wrong) if both + wrong else 1.0


def instance_counts(
    predicted: ArrayLike, target: ArrayLike, *, iou_threshold: float = 0.5
) -> InstanceCounts:
    """Match predicted objects with true ones by their overlap, on the host.

    Two objects match if their intersection over union is larger than the threshold; each takes part
    in one match at most. Below ½ the matching with the most pairs is sought (SciPy); from ½ on it
    is unique.

    Args:
        predicted: [...], integer: 0 for none, other numbers for objects. One image.
        target: the same shape.
        iou_threshold: in [0, 1).

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
        >>> print(metrics.instance_counts(predicted, target))
        InstanceCounts(true_positives=1, false_positives=1, false_negatives=0)
    """
    checks.check_number("iou_threshold", iou_threshold, most=1.0)
    maps = np.asarray(predicted), np.asarray(target)
    for name, numbers in zip(("predicted", "target"), maps, strict=True):
        if not np.issubdtype(numbers.dtype, np.integer):
            raise TypeError(f"{name} must be integers, got {checks.describe(numbers)}")
    if maps[0].shape != maps[1].shape:
        raise ValueError(
            f"target must have the shape of predicted {maps[0].shape}, "
            f"got {checks.describe(maps[1])}"
        )
    matches = _overlaps(*maps) > iou_threshold
    if iou_threshold >= 0.5:
        found = int(np.count_nonzero(matches))
    else:
        optimize = optional("scipy.optimize", user="instance_counts", extra="analysis")
        rows, columns = optimize.linear_sum_assignment(matches, maximize=True)
        found = int(np.count_nonzero(matches[rows, columns]))
    return InstanceCounts(found, matches.shape[0] - found, matches.shape[1] - found)


def _overlaps(
    predicted: np.ndarray[Any, Any], target: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Intersection over union of every predicted object with every true one."""
    first, rows = np.unique(predicted, return_inverse=True)
    second, columns = np.unique(target, return_inverse=True)
    pairs = np.zeros((len(first), len(second)), np.int64)
    np.add.at(pairs, (rows.reshape(-1), columns.reshape(-1)), 1)
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    return (pairs / np.maximum(union, 1))[first != 0][:, second != 0]


def instance_f1(
    predicted: ArrayLike,
    target: ArrayLike,
    *,
    iou_threshold: float = 0.5,
    axis: checks.Axis = None,
) -> Scores:
    """F1 of finding objects, image by image, on the host.

    Matches are as in `instance_counts`; add those up for the F1 pooled over images.

    Args:
        predicted: [...], integer: 0 for none, other numbers for objects.
        target: the same shape.
        iou_threshold: in [0, 1): how much two objects have to overlap to match.
        axis: the axes that span space; the others count images. ``None``: all span space.

    Returns:
        The scores, one number per image; 1 where nothing is there and nothing was claimed.

    Raises:
        ImportError: if the threshold is below ½ and SciPy is not installed.
        TypeError: if a map is not of integers.
        ValueError: if shapes, an axis or the threshold do not fit.

    Example:
        >>> import numpy as np
        >>> from dice_jax import metrics
        >>> predicted, target = np.array([1, 1, 0, 2, 2]), np.array([5, 5, 5, 0, 0])
        >>> print(f"{float(metrics.instance_f1(predicted, target)):.4f}")
        0.6667

    References:
        Maier-Hein et al., Metrics reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    first, second = np.asarray(predicted), np.asarray(target)
    axes = checks.normalize_axis("axis", axis, first.ndim, what="predicted")
    if first.shape != second.shape:
        raise ValueError(
            f"target must have the shape of predicted {first.shape}, got {checks.describe(second)}"
        )
    left = tuple(n for a, n in enumerate(first.shape) if a not in axes)
    last = tuple(range(len(left), first.ndim))
    first, second = np.moveaxis(first, axes, last), np.moveaxis(second, axes, last)
    values, present = np.empty(left, np.float32), np.empty(left, np.bool_)
    for image in np.ndindex(*left):
        counts = instance_counts(first[image], second[image], iou_threshold=iou_threshold)
        values[image], present[image] = counts.f1, np.any(second[image] != 0)
    return Scores(jnp.asarray(values), jnp.asarray(present))
