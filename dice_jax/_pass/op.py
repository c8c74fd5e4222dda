"""What a pass computes at every pixel and what it sums: its data, its derivative, its transpose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dice_jax._core.manual_axes import vary, varying_axes

__all__ = [
    "Argument",
    "Arrays",
    "PixelOp",
    "Result",
    "Wanted",
    "derivative",
    "evaluated",
    "only",
    "summed",
    "total",
    "transposed",
    "zeros_beside",
]

Arrays = tuple[jax.Array, ...]
Wanted = tuple[int, ...]


class Argument(NamedTuple):
    """An argument of a `PixelOp`.

    Args:
        pixel: whether it has numbers pixel by pixel (along some axes they may be the same: size 1).
            Any other argument has size 1 along all axes that are summed.
        trailing: how many axes it has behind the pixel axes.
        cotangent: whether it is the cotangent of a sum, the same at every pixel of a region. In
            layout 0 it may come with the block's axes too, of size 1 or the block's size.
    """

    pixel: bool
    trailing: int
    cotangent: bool = False


class Result(NamedTuple):
    """A result of a `PixelOp`.

    Args:
        pixel: whether it has a number for every pixel. Any other result is a sum.
        reduced: whether the function returns the sum over its block, and not the terms of the sum.
        trailing: how many axes it has behind the pixel axes.
        aval: its type, with all pixel axes; those that are summed have size 1.
    """

    pixel: bool
    reduced: bool
    trailing: int
    aval: Any


@dataclasses.dataclass(frozen=True, eq=False)
class PixelOp:
    """What is computed at every pixel, and over which axes it is summed.

    Every argument and result has the pixel axes in front, each of the pixel shape's size or 1.

    Args:
        function: maps a layout, the numbers of the wanted results, and a block of every argument to
            a block of each wanted result. In layout −1 a block is [*block, *trailing], in layout 0
            it is [*trailing, *block], with block axes of any number and size: the layout is where a
            single trailing axis, the classes, lies. An argument without pixels comes as
            [*trailing]; a reduced result is that too.
        shape: the pixel shape.
        axes: the pixel axes that are summed, ascending. The others are batch axes.
        arguments: what goes in; at least one is a pixel argument.
        results: what comes out.
        products: how many numbers a pixel has in the operand and in the result of a matrix product
            inside the function; empty where there is none. A compiler fuses elementwise work with
            sums over pixels, but stores what a product reads and gives: such an op goes over its
            pixels in blocks on any platform.
    """

    function: Callable[..., Arrays]
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    arguments: tuple[Argument, ...]
    results: tuple[Result, ...]
    products: tuple[int, ...] = ()

    def __call__(self, layout: int, *blocks: jax.Array) -> Arrays:
        """Compute a block of every result."""
        return self.function(layout, tuple(range(len(self.results))), *blocks)

    @property
    def batch_axes(self) -> tuple[int, ...]:
        """The pixel axes that are not summed: each place along them is a region of its own."""
        return tuple(k for k in range(len(self.shape)) if k not in self.axes)


def only(op: PixelOp, chosen: Sequence[int]) -> PixelOp:
    """Keep some of the results, by number."""

    def function(layout: int, wanted: Wanted, *blocks: jax.Array) -> Arrays:
        return op.function(layout, tuple(chosen[i] for i in wanted), *blocks)

    return dataclasses.replace(op, function=function, results=tuple(op.results[i] for i in chosen))


def derivative(op: PixelOp, moving: tuple[int, ...]) -> PixelOp:
    """Map the arguments, followed by tangents of the ``moving`` ones, to the results' tangents."""
    n = len(op.arguments)

    def function(layout: int, wanted: Wanted, *blocks: jax.Array) -> Arrays:
        def of_moving(moved: dict[int, jax.Array]) -> Arrays:
            every = (moved.get(i, x) for i, x in enumerate(blocks[:n]))
            return op.function(layout, wanted, *every)

        at = {i: blocks[i] for i in moving}
        return jax.jvp(of_moving, (at,), (dict(zip(moving, blocks[n:], strict=True)),))[1]

    arguments = op.arguments + tuple(op.arguments[i] for i in moving)
    return dataclasses.replace(op, function=function, arguments=arguments)


def transposed(op: PixelOp, linear: dict[int, Any], read: tuple[int, ...]) -> PixelOp:
    """Turn cotangents of the results ``read`` into those of the arguments that they are linear in.

    The result maps the other arguments, followed by the cotangents, to the linear arguments'
    cotangents. Where none of these has pixels, it takes one more: any array of the pixel shape.
    ``linear`` has the types of the linear arguments, by number.
    """
    ndim = len(op.shape)
    fixed = tuple(i for i in range(len(op.arguments)) if i not in linear)
    arguments = [op.arguments[i] for i in fixed]
    arguments += [
        Argument(r.pixel, r.trailing, not r.pixel) for r in map(op.results.__getitem__, read)
    ]
    if not any(argument.pixel for argument in arguments):
        arguments.append(Argument(True, 0))
    first = next(i for i, argument in enumerate(arguments) if argument.pixel)

    def function(layout: int, wanted: Wanted, *blocks: jax.Array) -> Arrays:
        constant = dict(zip(fixed, blocks, strict=False))
        cotangents = blocks[len(fixed) : len(fixed) + len(read)]
        shape, trailing = blocks[first].shape, arguments[first].trailing
        block = shape[: len(shape) - trailing] if layout else shape[trailing:]

        def of_linear(moved: dict[int, jax.Array]) -> Arrays:
            every = constant | moved
            return op.function(layout, read, *(every[i] for i in range(len(every))))

        def zeros(i: int, x: Any) -> jax.Array:
            trailing, pixels = x.shape[ndim:], block if op.arguments[i].pixel else ()
            shape = pixels + trailing if layout else trailing + pixels
            return zeros_beside(blocks[first], shape, x.dtype)

        values, pull = jax.vjp(of_linear, {i: zeros(i, x) for i, x in linear.items()})
        spread = (_spread(layout, c, value) for c, value in zip(cotangents, values, strict=True))
        (gradients,) = pull(tuple(spread))
        order = tuple(linear)
        return tuple(gradients[order[i]] for i in wanted)

    kinds = {i: op.arguments[i] for i in linear}
    results = (Result(a.pixel, not a.pixel, a.trailing, linear[i]) for i, a in kinds.items())
    return dataclasses.replace(
        op, function=function, arguments=tuple(arguments), results=tuple(results)
    )


def _spread(layout: int, cotangent: jax.Array, value: jax.Array) -> jax.Array:
    """Give every pixel of a block the cotangent of the block's sum."""
    ones = (1,) * (value.ndim - cotangent.ndim)
    shape = ones + cotangent.shape if layout else cotangent.shape + ones
    return jnp.broadcast_to(cotangent.reshape(shape), value.shape)


def evaluated(terms: Any) -> Any:
    """Call those leaves of a pytree that are functions without arguments."""
    return jax.tree.map(lambda term: term() if callable(term) else term, terms)


def total(term: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Sum over some axes, ascending, in two steps: one long running sum would drift."""
    if not axes:
        return term
    # The barrier keeps XLA from merging the two sums into one.
    rows = jax.lax.optimization_barrier(jnp.sum(term, axes[-1], keepdims=True))
    return jnp.sum(rows, axes)


def summed(value: jax.Array, result: Result) -> jax.Array:
    """Bring a result, with all pixel axes, to its type: sum it where the type has size 1."""
    axes = [k for k, n in enumerate(value.shape) if n != result.aval.shape[k]]
    value = jnp.sum(value, axes, keepdims=True) if axes else value
    return value.astype(result.aval.dtype)


def zeros_beside(like: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Make zeros that vary over the mesh as another array does.

    Inside `jax.shard_map` a loop must not start from a constant when its body adds what varies, and
    the derivative with respect to a constant is summed over the mesh.
    """
    return vary(jnp.zeros(shape, dtype), varying_axes(like))
