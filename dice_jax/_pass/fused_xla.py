"""The plain implementation: a pass as one expression, which XLA fuses and spreads over devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dice_jax._pass.gpu_sums import for_gpu_sums, summed_together
from dice_jax._pass.op import Arrays, PixelOp, Result, summed, total

__all__ = ["fused", "rematerialized"]


def fused(op: PixelOp, arguments: Sequence[jax.Array]) -> Arrays:
    """Compute everything in one expression."""

    def of_region(*blocks: jax.Array) -> Arrays:
        return _summed_apart(op(-1, *blocks), op.results)

    return _by_regions(op, of_region, arguments)


def _summed_apart(values: Arrays, results: Sequence[Result]) -> Arrays:
    return tuple(
        total(value, tuple(range(value.ndim - result.trailing)))
        if not (result.pixel or result.reduced)
        else value
        for value, result in zip(values, results, strict=True)
    )


def _by_regions(
    op: PixelOp, of_region: Callable[..., Arrays], arguments: Sequence[jax.Array]
) -> Arrays:
    ndim = len(op.shape)

    # The function of one region is mapped over the batch axes where they lie: nothing is moved.
    function: Callable[..., Any] = of_region
    blocks = [
        jnp.broadcast_to(x, op.shape + x.shape[ndim:])
        if argument.pixel
        else jnp.squeeze(x, op.axes)
        for x, argument in zip(arguments, op.arguments, strict=True)
    ]
    for place, k in reversed(list(enumerate(op.batch_axes))):
        function = _over_regions(function, op, place, k)
    values = function(*blocks)
    return tuple(
        summed(value if result.pixel else jnp.expand_dims(value, op.axes), result)
        for value, result in zip(values, op.results, strict=True)
    )


def _over_regions(function: Callable[..., Any], op: PixelOp, place: int, k: int) -> Any:
    """Map a function of one region over the pixel axis ``k``, which is batch axis ``place``."""
    # The batch axes before it are gone already.
    axis = k - place

    def mapped(*blocks: jax.Array) -> Arrays:
        given, dims = [], []
        for x, argument in zip(blocks, op.arguments, strict=True):
            same = not argument.pixel and x.shape[0] != op.shape[k]
            given.append(x[0] if same else x)
            dims.append(axis if argument.pixel else None if same else 0)
        out = tuple(axis if result.pixel else 0 for result in op.results)
        return jax.vmap(function, in_axes=tuple(dims), out_axes=out)(*given)

    return mapped


def rematerialized(op: PixelOp, arguments: Sequence[jax.Array]) -> Arrays:
    """Compute everything in one expression that shares nothing with another pass.

    XLA:GPU would notice that a pass and its derivative compute the same numbers at every pixel, and
    would store an image of them for the derivative. The barrier hides this from it.
    """
    arguments = jax.lax.optimization_barrier(tuple(arguments))
    if any(result.pixel or result.reduced for result in op.results):
        return fused(op, arguments)

    def of_region(*blocks: jax.Array) -> Arrays:
        with for_gpu_sums():
            values = op(-1, *blocks)
        return summed_together(values, [result.trailing for result in op.results])

    return _by_regions(op, of_region, arguments)
