"""What all sums over pixels share: they add, broadcast and concatenate, if they are alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dice_jax._core import checks
from dice_jax._core.display import is_array, is_known, region_table, short_text
from dice_jax._core.flax_states import register_with_flax

__all__ = [
    "AdditiveSums",
    "concatenate_sums",
    "known_options",
    "option",
    "unknown_options",
    "without_options",
]

S = TypeVar("S", bound="AdditiveSums")


class AdditiveSums:
    r"""Base class of sums over pixels, which add.

    A subclass is a frozen dataclass, registered as a pytree. Its array fields, ``count`` among
    them, are sums over a region's pixels. All have one shape: one entry per region (and class). A
    batch, a microbatch, a tile, a shard and an object are all merged by ``+``, `sum` or
    `jax.lax.psum`.

    A subclass may have options too (`option`), the exponent of its terms say. They are part of its
    tree structure, so every way to add two sums compares them: ``+``, ``jax.tree.map(jnp.add, …)``
    and a scan raise an error where they differ.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.ones((2, 3)), jnp.ones((2, 3)), axis=1)
        >>> print(sums.shape, (sums + sums).count, sums[0].count)
        (2,) [6. 6.] 3.0
    """

    # Every kind of sums counts its pixels.
    count: jax.Array

    def __init_subclass__(cls) -> None:
        # Set in each class, because `dataclass` writes a repr of its own over an inherited one.
        cls.__repr__ = AdditiveSums.__repr__

    def __post_init__(self) -> None:
        register_with_flax(type(self))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of every field: one entry per pooled region (and class)."""
        return self.count.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that the sums were accumulated in: float32, or float64 for float64 inputs."""
        return self.count.dtype

    def __add__(self, other: Self | int) -> Self:
        """Merge two regions, or arrays of regions of one shape; 0 is neutral, so `sum` works."""
        if isinstance(other, type(self)):
            _check_same_options(self, other)
            if self.shape != other.shape:
                raise ValueError(_cannot_add(self.shape, other.shape))
            return jax.tree.map(jnp.add, self, other)
        if isinstance(other, int) and other == 0:
            return self
        return NotImplemented

    __radd__ = __add__

    def __getitem__(self, index: Any) -> Self:
        """Index every field: ``sums[..., 1:]`` leaves the first class out."""
        return jax.tree.map(lambda field: field[index], self)

    def __repr__(self) -> str:
        """The fields of few regions; the shape and type of many, and of traced ones."""
        name = type(self).__name__
        known = all(map(is_known, self._sums().values()))
        if is_array(self.count) and (not known or self.count.size > 4):
            return f"{name}(shape={self.shape}, dtype={self.dtype})"
        fields = [field.name for field in _fields(type(self))]
        shown = (f"{field}={short_text(getattr(self, field))}" for field in fields)
        return f"{name}({', '.join(shown)})"

    def _repr_html_(self) -> str | None:
        """A table for notebooks: one row per region, one column per sum."""
        return region_table(type(self).__name__, self._sums())

    def _sums(self) -> dict[str, Any]:
        fields = (f for f in _fields(type(self)) if not f.metadata.get("static"))
        return {field.name: getattr(self, field.name) for field in fields}

    def broadcast_to(self, shape: Sequence[int]) -> Self:
        """Repeat the sums: ``a.broadcast_to(b.shape) + b`` adds one region to each of several."""
        return jax.tree.map(lambda field: jnp.broadcast_to(field, tuple(shape)), self)


def concatenate_sums(sums: Sequence[S], *, axis: int = 0) -> S:
    r"""Join sums of several regions each, the images of two batches say, into one.

    Nothing is added: the result has the regions of all. (`sum` and ``+`` merge regions into one.)

    Args:
        sums: of one kind, and of one shape but for ``axis``.
        axis: the axis to join along, one of the regions.

    Returns:
        Sums of the same kind, with the regions of all along ``axis``.

    Raises:
        TypeError: if they are not sums, or not all of one kind.
        ValueError: if there are none, they were made with different options, or a shape or the axis
            does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> first = dj.region_sums(jnp.ones((2, 9)), jnp.ones((2, 9)), axis=1)
        >>> last = dj.region_sums(jnp.ones((1, 9)), jnp.ones((1, 9)), axis=1)
        >>> print(dj.concatenate_sums([first, last]).count)
        [9. 9. 9.]
    """
    sums = list(sums)
    if not sums:
        raise ValueError("sums must hold at least one, got none")
    for other in sums:
        if not isinstance(other, AdditiveSums) or type(other) is not type(sums[0]):
            came = ", ".join(type(s).__name__ for s in sums)
            raise TypeError(f"sums must all be of one kind, RegionSums say, got {came}")
        _check_same_options(sums[0], other)
    ndim = len(sums[0].shape)
    if ndim == 0:
        raise ValueError(
            "sums must have an axis of regions to be joined along, got sums of shape (); make them "
            "with axis=…, or write a + b to merge them into one region"
        )
    (axis,) = checks.normalize_axis("axis", axis, ndim, what="sums")
    shapes = [s.shape for s in sums]
    if len({(len(n), n[:axis], n[axis + 1 :]) for n in shapes}) > 1:
        raise ValueError(f"sums must have one shape but for axis {axis}, got {shapes}")
    return jax.tree.map(lambda *fields: jnp.concatenate(fields, axis), *sums)


# Options: what makes two sums of one kind unlike.


def option(**range_: Any) -> dict[str, Any]:
    """Describe a field of sums that is an option of theirs and not a sum.

    Args:
        **range_: which numbers it may be, as `checks.check_number` takes them.

    Returns:
        The field's metadata, which makes JAX take it as part of the tree's structure.
    """
    return {"static": True, "range": range_}


def known_options(kind: type[AdditiveSums], options: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Check the options of sums, and make those whose value is known comparable.

    Args:
        kind: the class that declares them.
        options: a value for each.
        dtype: the type that the sums are computed in.

    Returns:
        Each option as a Python number or nested tuple, rounded to ``dtype``: sums computed with
        equal numbers are alike. ``None`` for a traced one, which cannot be compared.

    Raises:
        TypeError: if one is no number.
        ValueError: if one is out of its range.
    """
    ranges = {field.name: field.metadata["range"] for field in _options(kind)}
    known: dict[str, Any] = {}
    for name, value in options.items():
        for entry in value if isinstance(value, tuple) else (value,):
            checks.check_number(name, entry, **ranges[name])
        traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
        known[name] = None if traced else _nested_tuple(np.asarray(value, dtype).tolist())
    return known


def without_options(sums: S) -> S:
    """Forget the options of sums, so that what is compiled of them serves all options.

    Args:
        sums: any.

    Returns:
        The same sums with ``None`` for every option.
    """
    return dataclasses.replace(cast(Any, sums), **{f.name: None for f in _options(type(sums))})


def unknown_options(kind: type[S], fields: dict[str, jax.Array]) -> S:
    """Make sums for a moment, inside one program, where their options do not matter.

    Args:
        kind: their class.
        fields: the array fields.

    Returns:
        The sums with ``None`` for every option.
    """
    return kind(**fields, **{f.name: None for f in _options(kind)})


def _options(kind: type[AdditiveSums]) -> list[dataclasses.Field[Any]]:
    return [field for field in _fields(kind) if field.metadata.get("static")]


def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _nested_tuple(x: Any) -> Any:
    return tuple(map(_nested_tuple, x)) if isinstance(x, list) else x


def _check_same_options(a: AdditiveSums, b: AdditiveSums) -> None:
    for field in _options(type(a)):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        if ours != theirs:
            raise ValueError(
                f"{type(a).__name__} with {field.name} {ours} and {theirs} are sums of different "
                f"things and cannot be added; make both with one {field.name}"
            )


def _cannot_add(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    try:
        shape: Any = np.broadcast_shapes(a, b)
    except ValueError:
        shape = "shape"
    return (
        f"sums of shape {a} and {b} cannot be added; write a.broadcast_to({shape}) to add one "
        "region to each of several, or concatenate_sums([a, b]) to keep the regions of both"
    )
