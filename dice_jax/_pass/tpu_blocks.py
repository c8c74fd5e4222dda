"""How a TPU goes over pixels: in blocks that stay on the chip, cut along whole axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dice_jax._pass.op import Work, whole, zeros_beside

__all__ = ["in_blocks", "worth_blocks"]

Arrays = tuple[jax.Array, ...]

# XLA sums over classes first and stores what it found, several numbers a pixel, before it sums over
# pixels. Those of so many pixels stay on the chip (v5e: 128 MiB), and a block still takes so long
# that the loop around it costs nothing to speak of.
_BLOCK_PIXELS = 2**20


def worth_blocks(shape: tuple[int, ...]) -> bool:
    """Tell whether there are more pixels than a block holds.

    Args:
        shape: the pixel shape.

    Returns:
        Whether `in_blocks` cuts it.
    """
    return math.prod(shape) > _BLOCK_PIXELS


def in_blocks(work: Work, valid: jax.Array | None, arguments: Sequence[jax.Array]) -> Arrays:
    """Do the work in large blocks, cut along whole axes: how the arrays lie in memory stays.

    Args:
        work: what to do.
        valid: boolean, the pixel shape: which pixels exist; ``None``: all.
        arguments: of the work.

    Returns:
        Its results.
    """
    if not worth_blocks(work.shape):
        return whole(work, valid, arguments)
    k = next(k for k, n in enumerate(work.shape) if n > 1)
    length = work.shape[k]
    most = max(1, _BLOCK_PIXELS * length // math.prod(work.shape))
    size = -(-length // -(-length // most))
    blocks = -(-length // size)
    # What is summed over the axis is kept apart until the end: one running sum would drift.
    apart = [result.aval.shape[k] == 1 for result in work.results]

    def step(index: Any, pixels: int, written: Arrays) -> Arrays:
        start = index * jnp.int32(size)

        def cut(x: jax.Array) -> jax.Array:
            return x if x.shape[k] == 1 else jax.lax.dynamic_slice_in_dim(x, start, pixels, k)

        part = [cut(x) for x in arguments]
        values = in_blocks(work.part(part), None if valid is None else cut(valid), part)
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
        for result, alone in zip(work.results, apart, strict=True)
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
