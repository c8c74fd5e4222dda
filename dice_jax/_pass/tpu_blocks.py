"""Blocks of pixels that stay on the chip, cut along whole axes: on a TPU, and for products."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dice_jax._pass.config import sizes_in_use
from dice_jax._pass.fused_xla import fused
from dice_jax._pass.op import Arrays, PixelOp, Result, zeros_beside

__all__ = ["blocked", "should_block"]


def should_block(shape: tuple[int, ...], products: tuple[int, ...] = ()) -> bool:
    """Tell whether there are more pixels than a block holds."""
    return math.prod(shape) > _block_pixels(products)


def _block_pixels(products: tuple[int, ...]) -> int:
    sizes = sizes_in_use()
    if not products:
        return sizes.block_pixels
    return min(sizes.block_pixels, sizes.block_elements_of_products // max(products))


def blocked(op: PixelOp, arguments: Sequence[jax.Array]) -> Arrays:
    """Compute everything in large blocks, cut along whole axes: the layout in memory stays.

    XLA:TPU sums over classes first and stores several numbers a pixel before it sums over pixels.
    Those of a block stay on the chip. On a GPU the same is true of the result of a product.
    """
    if not should_block(op.shape, op.products):
        return fused(op, arguments)
    # Batch axes first: sums over another axis stay apart until the end, and take memory.
    k = next(k for k in (*op.batch_axes, *op.axes) if op.shape[k] > 1)
    length = op.shape[k]
    most = max(1, _block_pixels(op.products) * length // math.prod(op.shape))
    size = -(-length // -(-length // most))
    blocks = -(-length // size)
    # One running sum would drift.
    apart = [result.aval.shape[k] == 1 for result in op.results]

    def step(index: Any, pixels: int, written: Arrays) -> Arrays:
        start = index * jnp.int32(size)
        part = [
            x if x.shape[k] == 1 else jax.lax.dynamic_slice_in_dim(x, start, pixels, k)
            for x in arguments
        ]
        values = blocked(_of_part(op, part), part)
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(into, value, index if alone else start, k)
            for into, value, alone in zip(written, values, apart, strict=True)
        )

    whole_blocks = length // size
    written = tuple(
        zeros_beside(
            arguments[0],
            (*shape[:k], blocks if alone else length, *shape[k + 1 :]),
            result.aval.dtype,
        )
        for result, alone in zip(op.results, apart, strict=True)
        for shape in [result.aval.shape]
    )
    written = jax.lax.fori_loop(
        jnp.int32(0), jnp.int32(whole_blocks), lambda i, w: step(i, size, w), written
    )
    if length % size:
        written = step(jnp.int32(whole_blocks), length % size, written)
    return tuple(
        jnp.sum(value, k, keepdims=True) if alone else value
        for value, alone in zip(written, apart, strict=True)
    )


def _of_part(op: PixelOp, arguments: Sequence[jax.Array]) -> PixelOp:
    """The same op on a part of the pixels: the shape is what the arguments say."""
    n = len(op.shape)
    shape = tuple(max(x.shape[k] for x in arguments) for k in range(n))

    def cut(result: Result) -> Result:
        size = result.aval.shape
        lead = tuple(1 if size[k] == 1 else shape[k] for k in range(n))
        return result._replace(aval=jax.ShapeDtypeStruct(lead + size[n:], result.aval.dtype))

    return dataclasses.replace(op, shape=shape, results=tuple(map(cut, op.results)))
