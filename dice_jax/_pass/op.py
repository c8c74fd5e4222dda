"""What a pass computes of every pixel, and the plain way to do it: in one expression."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = [
    "Argument",
    "Result",
    "Work",
    "block_total",
    "in_manual_mesh",
    "summed",
    "total",
    "whole",
    "zeros_beside",
]

Arrays = tuple[jax.Array, ...]


class Argument(NamedTuple):
    """What an argument of a `Work` is.

    Args:
        pixel: whether it has numbers pixel by pixel, though they may be the same along some axes,
            of size 1 then; any other has size 1 along all that tiles are cut from.
        trailing: how many axes it has behind the pixel axes.
    """

    pixel: bool
    trailing: int


class Result(NamedTuple):
    """What a result of a `Work` is.

    Args:
        pixel: whether it has a number for every pixel, before any sum.
        trailing: how many axes it has behind the pixel axes.
        aval: its type, with all pixel axes; those that are summed have size 1.
    """

    pixel: bool
    trailing: int
    aval: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """What is computed of every pixel, and over which axes it is summed.

    Every argument and result has the pixel axes in front, each of the pixel shape's size or 1.

    Args:
        function: maps ``valid`` and a block of every argument to a block of every result. A pixel
            argument's block is [*block, *trailing], with block axes of any number and size; any
            other comes without pixel axes, [*trailing]. A pixel result is [*block, *trailing]; any
            other is that too, yet to be summed, or [*trailing], summed already. ``valid``, boolean
            [*block], marks the pixels that exist; ``None``: all of them.
        shape: the pixel shape.
        axes: the pixel axes that tiles are cut from, ascending. What is no pixel result is summed
            over all of them.
        arguments: what goes in; one of them is a pixel argument.
        results: what comes out.
    """

    function: Callable[..., Arrays]
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    arguments: tuple[Argument, ...]
    results: tuple[Result, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The other pixel axes: what differs in them is a region of its own."""
        return tuple(k for k in range(len(self.shape)) if k not in self.axes)

    def block_shape(self, blocks: Sequence[jax.Array]) -> tuple[int, ...]:
        """Tell the block axes from a block of every argument."""
        first = next(i for i, argument in enumerate(self.arguments) if argument.pixel)
        return blocks[first].shape[: blocks[first].ndim - self.arguments[first].trailing]

    def part(self, arguments: Sequence[jax.Array]) -> Work:
        """The same work on a part of the pixels: the shape is what the arguments say."""
        n = len(self.shape)
        shape = tuple(max(x.shape[k] for x in arguments) for k in range(n))

        def cut(result: Result) -> Result:
            size = result.aval.shape
            lead = tuple(1 if size[k] == 1 else shape[k] for k in range(n))
            return result._replace(aval=jax.ShapeDtypeStruct(lead + size[n:], result.aval.dtype))

        return dataclasses.replace(self, shape=shape, results=tuple(map(cut, self.results)))

    def only(self, *, pixel: bool) -> Work:
        """The same work, but for the results of the other kind."""
        chosen = [i for i, result in enumerate(self.results) if result.pixel == pixel]

        def function(*blocks: Any) -> Arrays:
            results = self.function(*blocks)
            return tuple(results[i] for i in chosen)

        results = tuple(self.results[i] for i in chosen)
        return dataclasses.replace(self, function=function, results=results)


def total(term: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Sum over some axes in two steps: one long running sum would drift.

    Args:
        term: an array.
        axes: which to sum over, ascending.

    Returns:
        The sum, without those axes.
    """
    if not axes:
        return term
    # The barrier keeps XLA from merging the two sums into one.
    rows = jax.lax.optimization_barrier(jnp.sum(term, axes[-1], keepdims=True))
    return jnp.sum(rows, axes)


def in_manual_mesh() -> bool:
    """Tell whether this is traced inside `shard_map`.

    Returns:
        Whether some axes of the mesh are the function's own business.
    """
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def zeros_beside(like: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Make zeros that vary over the mesh as another array does.

    Inside `shard_map` a loop must not start from a constant when its body adds what varies, and the
    derivative with respect to a constant is summed over the mesh. What is taken from the array is 0
    and compiles to nothing; it needs no name that changes with JAX's versions.

    Args:
        like: an array that is not empty.
        shape: of the zeros.
        dtype: of the zeros.

    Returns:
        The zeros.
    """
    if not in_manual_mesh():
        return jnp.zeros(shape, dtype)
    first = jax.lax.stop_gradient(like[(0,) * like.ndim])
    never = jnp.zeros((), jnp.bool_)
    zero = jnp.where(never, first != first, never)
    return jnp.broadcast_to(zero.astype(dtype), shape)


def block_total(term: jax.Array, result: Result) -> jax.Array:
    """Sum a block of a result over the pixels.

    Args:
        term: [*block, *trailing], or [*trailing], summed already.
        result: what it is a block of.

    Returns:
        [*trailing].
    """
    return total(term, tuple(range(term.ndim - result.trailing)))


def summed(value: jax.Array, result: Result) -> jax.Array:
    """Bring a result to its type.

    Args:
        value: with all pixel axes; it is summed over those that the type has with size 1.
        result: what it is.

    Returns:
        The result.
    """
    axes = [k for k, n in enumerate(value.shape) if n != result.aval.shape[k]]
    value = jnp.sum(value, axes, keepdims=True) if axes else value
    return value.astype(result.aval.dtype)


def whole(work: Work, valid: jax.Array | None, arguments: Sequence[jax.Array]) -> Arrays:
    """Do the work in one expression, which the compiler may fuse, and spread, as it likes.

    Args:
        work: what to do.
        valid: boolean, the pixel shape: which pixels exist; ``None``: all.
        arguments: of the work.

    Returns:
        Its results.
    """
    ndim = len(work.shape)

    def pixels(x: jax.Array) -> jax.Array:
        return jnp.broadcast_to(x, work.shape + x.shape[ndim:])

    def of_region(valid: jax.Array | None, *blocks: jax.Array) -> Arrays:
        results = work.function(valid, *blocks)
        return tuple(
            value if result.pixel else block_total(value, result)
            for value, result in zip(results, work.results, strict=True)
        )

    # A region is one of the axes that are kept: mapped over where they lie, nothing is moved.
    function: Callable[..., Any] = of_region
    blocks = [
        pixels(x) if argument.pixel else jnp.squeeze(x, work.axes)
        for x, argument in zip(arguments, work.arguments, strict=True)
    ]
    for place, k in reversed(list(enumerate(work.kept))):
        function = _over_regions(function, work, place, k)
    values = function(valid, *blocks)
    return tuple(
        summed(value if result.pixel else jnp.expand_dims(value, work.axes), result)
        for value, result in zip(values, work.results, strict=True)
    )


def _over_regions(function: Callable[..., Any], work: Work, place: int, k: int) -> Any:
    """Map a function of one region over the pixel axis ``k``, the ``place``-th that is kept."""
    # The axes before it that are kept are gone already.
    axis = k - place

    def mapped(valid: jax.Array | None, *blocks: jax.Array) -> Arrays:
        cut, dims = [], []
        for x, argument in zip(blocks, work.arguments, strict=True):
            same = not argument.pixel and x.shape[0] != work.shape[k]
            cut.append(x[0] if same else x)
            dims.append(axis if argument.pixel else None if same else 0)
        out = tuple(axis if result.pixel else 0 for result in work.results)
        valid_dim = None if valid is None else axis
        return jax.vmap(function, in_axes=(valid_dim, *dims), out_axes=out)(valid, *cut)

    return mapped
