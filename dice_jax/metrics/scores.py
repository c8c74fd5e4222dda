"""Scores: a metric of each region, and which regions were there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.display import is_known, region_table
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
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """A metric of each region, and which regions are present.

    ``scores.mean()`` averages the regions that are present. An index takes some of the regions:
    ``scores[..., 1:]`` leaves out the first class. `len` and iteration go along the first axis.
    ``float(scores)`` and ``f"{scores:.3f}"`` are for a single region. ``np.asarray(scores)`` is
    ``scores.value``; functions of NumPy and JAX that would average absent regions raise an error.

    Args:
        value: one number per region.
        present: boolean, of the same shape: whether the region had anything to measure.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> scores = metrics.Scores(jnp.array([0.5, 1.0]), jnp.array([True, False]))
        >>> scores
        Scores([0.5 1. ], present=[ True False])
        >>> print(scores.mean(), f"{scores[0]:.2f}")    # the second was not there
        0.5 0.50
    """

    value: jax.Array
    present: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of both fields: one entry per region."""
        return self.value.shape

    def average(self, axis: checks.Axis = None, *, absent: bool = False) -> Average:
        """Sum the scores of the regions that are present, to be merged with other batches'.

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
        """Average the scores of the regions that are present.

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

    def with_worst(self, worst: ArrayLike) -> Scores:
        """Replace infinite scores by a finite number, and count those regions.

        A distance is infinite where an object was missed, and where one was invented. With a
        worst value, such as `image_diagonal`, both count and the mean exists.

        Args:
            worst: what an infinite score becomes: one number, or an array [...] that broadcasts to
                the scores.

        Returns:
            The scores; a region whose score was infinite is present.

        Raises:
            TypeError: if ``worst`` is not a number.
            ValueError: if it is NaN or infinite.

        Example:
            >>> import jax.numpy as jnp
            >>> from dice_jax import metrics
            >>> missed = metrics.Scores(jnp.array([2.0, jnp.inf]), jnp.array([True, True]))
            >>> print(missed.mean(), missed.with_worst(10.0).mean())
            inf 6.0
        """
        checks.check_number("worst", worst, least=-math.inf)
        infinite = jnp.isinf(self.value)
        worst = jnp.broadcast_to(jnp.asarray(worst, self.value.dtype), self.shape)
        return Scores(jnp.where(infinite, worst, self.value), self.present | infinite)

    def __getitem__(self, index: Any) -> Scores:
        """Index both fields."""
        return Scores(self.value[index], self.present[index])

    def __len__(self) -> int:
        """The length of the first axis."""
        if not self.shape:
            raise TypeError("the Scores of a single region have no length; write float(scores)")
        return self.shape[0]

    def __iter__(self) -> Iterator[Scores]:
        """Go along the first axis."""
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """The values, for NumPy."""
        return np.array(self.value, dtype=dtype)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Refuse NumPy's functions: a mean would count absent regions."""
        raise TypeError(f"numpy.{function.__name__} {_AS_ARRAY}")

    def __jax_array__(self) -> jax.Array:
        """Refuse JAX's functions: a mean would count absent regions."""
        raise TypeError(f"a function of arrays {_AS_ARRAY}")

    def __float__(self) -> float:
        """The value of a single region."""
        self._single("float(scores)")
        return float(self.value.reshape(()))

    def __format__(self, spec: str) -> str:
        """Format the value of a single region; an empty format is `str`, as everywhere."""
        if not spec:
            return str(self)
        self._single(f'f"{{scores:{spec}}}"')
        return format(float(self), spec)

    def _single(self, written: str) -> None:
        if self.value.size != 1:
            raise TypeError(
                f"{written} needs the Scores of a single region, got those of shape {self.shape}; "
                "write scores.mean() or scores[index]"
            )

    def __repr__(self) -> str:
        """The first and last values; shapes only where values are not known."""
        if not (is_known(self.value) and is_known(self.present)):
            return f"Scores({self.value}, present={self.present})"
        fields = (
            np.array2string(np.asarray(x), threshold=8, edgeitems=2)
            for x in (self.value, self.present)
        )
        return "Scores({}, present={})".format(*fields)

    def _repr_html_(self) -> str | None:
        """A table for notebooks: one row per region."""
        return region_table("Scores", {"value": self.value, "present": self.present})


_AS_ARRAY = (
    "was given Scores, some of whose regions may be absent; write scores.mean() for the mean of "
    "those present, scores.mean(absent=True) for the mean of all, or scores.value for an array"
)


def of_regions(values: jax.Array, sums: RegionSums) -> Scores:
    """Make `Scores` of an index: the regions with a target are present.

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
