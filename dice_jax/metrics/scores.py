"""Scores: a metric of each region, and which regions were there."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax._core import checks
from dice_jax.sums.region import RegionSums

__all__ = ["Average", "Scores", "of_regions"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Average:
    """A mean that adds up over batches: ``total = total + scores.average()``.

    Args:
        total: the sum of the scores that count.
        count: how many they are.
        absent: how many regions were not there.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> first = metrics.Scores(jnp.array([0.5, 1.0]), jnp.array([True, False])).average()
        >>> second = metrics.Scores(jnp.array([1.0]), jnp.array([True])).average()
        >>> print((first + second).mean, (first + second).absent)
        0.75 1
    """

    total: jax.Array
    count: jax.Array
    absent: jax.Array

    def __add__(self, other: Average | int) -> Average:
        """Merge two (0 is neutral, so that `sum` works)."""
        if isinstance(other, Average):
            return jax.tree.map(jnp.add, self, other)
        if isinstance(other, int) and other == 0:
            return self
        return NotImplemented

    __radd__ = __add__

    @property
    def mean(self) -> jax.Array:
        """The mean, NaN if nothing counts: there is no score to report."""
        nothing = jnp.full_like(self.total, jnp.nan)
        count = self.count.astype(self.total.dtype)
        return jnp.where(self.count > 0, self.total / jnp.maximum(count, 1), nothing)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """A metric of each region, and which regions were there.

    Args:
        value: one number per region; NumPy takes the scores for this array.
        present: boolean, of the same shape: whether the region had anything to find.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> scores = metrics.Scores(jnp.array([0.5, 1.0]), jnp.array([True, False]))
        >>> print(scores.mean())    # the second was not there
        0.5
    """

    value: jax.Array
    present: jax.Array

    def average(self, axis: checks.Axis = None, *, absent: bool = False) -> Average:
        """Sum the scores of the regions that were there, to be merged with other batches'.

        Args:
            axis: the axes to average over; ``None`` for all.
            absent: whether absent regions count too.

        Returns:
            The sum and how many scores are in it.
        """
        counted = jnp.ones_like(self.present) if absent else self.present
        axes = checks.normalize_axis("axis", axis, self.value.ndim, what="scores")
        kept = jnp.where(counted, self.value, jnp.zeros_like(self.value))
        return Average(jnp.sum(kept, axes), jnp.sum(counted, axes), jnp.sum(~self.present, axes))

    def mean(self, axis: checks.Axis = None, *, absent: bool = False) -> jax.Array:
        """Average the scores of the regions that were there.

        Args:
            axis: the axes to average over; ``None`` for all.
            absent: whether absent regions count too.

        Returns:
            The mean; NaN where nothing counts.

        Example:
            >>> import jax.numpy as jnp
            >>> from dice_jax import metrics
            >>> scores = metrics.Scores(jnp.array([0.5, 1.0]), jnp.array([True, False]))
            >>> print(scores.mean(), scores.mean(absent=True))
            0.5 0.75
        """
        return self.average(axis, absent=absent).mean

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """The values, for NumPy."""
        return np.array(self.value, dtype=dtype)

    def __float__(self) -> float:
        """The value of a single region."""
        return float(self.value)


def of_regions(values: jax.Array, sums: RegionSums) -> Scores:
    """Say with an index which regions were there: those with a target.

    Args:
        values: an index of ``sums``, one number per region.
        sums: of the regions' pixels.

    Returns:
        The scores.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> mask = jnp.array([[True, True], [False, False]])
        >>> predicted = jnp.array([[True, False], [False, False]])
        >>> sums = dj.region_sums(predicted, mask, axis=1)
        >>> dice = dj.metrics.of_regions(dj.dice_index(sums), sums)
        >>> print(dice.value, f"{dice.mean():.4f}")
        [0.6666667 1.       ] 0.6667
    """
    if not isinstance(sums, RegionSums):
        raise TypeError(f"sums must be RegionSums, got {checks.describe(sums)}")
    return Scores(values, sums.target > 0)
