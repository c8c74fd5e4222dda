"""Sums on a GPU: what XLA:GPU stores between them, and how to write terms so that it is little.

XLA:GPU stores an image of whatever costs something and is read by several sums. It fuses a sum over
pixels with elementwise work, but not with a reduction over the classes of a pixel. So terms that
are only summed are written in another way there: they share little, and take classes one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp

from dice_jax._pass.op import Arrays, total

__all__ = ["for_gpu_sums", "in_gpu_sums", "summed_together"]

# From nine classes on, the usual expression was the fastest on an H100.
_MOST_CLASSES = 8

# A part of the key of JAX's caches.
_context = jax.make_user_context(False)


def for_gpu_sums() -> AbstractContextManager[None]:
    """Trace terms as a GPU should sum them, inside a ``with`` block."""
    return _context(True)


def in_gpu_sums(classes: int = 1) -> bool:
    """Whether the terms that are traced, of so many classes, are only summed, and on a GPU."""
    return bool(_context.value) and classes <= _MOST_CLASSES


def summed_together(terms: Sequence[jax.Array], trailing: Sequence[int]) -> Arrays:
    """Sum terms over their pixel axes, those of few classes in one reduction.

    XLA:GPU makes a kernel of a reduction: several ones would read the image several times. As in
    `op.total`, rows are summed first: one long running sum would drift.

    Args:
        terms: [*pixels, *trailing].
        trailing: the number of trailing axes of each.

    Returns:
        The sums, [*trailing].
    """
    shapes = [
        (x.shape[: x.ndim - n], x.shape[x.ndim - n :]) for x, n in zip(terms, trailing, strict=True)
    ]
    numbers = [math.prod(behind) for _, behind in shapes]
    pixels = max((block for block, _ in shapes), key=math.prod)
    joined = {
        i
        for i, (block, _) in enumerate(shapes)
        if block == pixels and numbers[i] <= _MOST_CLASSES and max(numbers) > 1
    }
    parts = [
        terms[i].reshape(*pixels, -1)[..., k] for i in sorted(joined) for k in range(numbers[i])
    ]
    sums = iter(_in_one_reduction(parts) if parts else ())
    return tuple(
        jnp.stack([next(sums) for _ in range(numbers[i])]).reshape(shapes[i][1])
        if i in joined
        else total(term, tuple(range(term.ndim - trailing[i])))
        for i, term in enumerate(terms)
    )


def _in_one_reduction(parts: Sequence[jax.Array]) -> jax.Array:
    rows = jax.lax.reduce(
        tuple(parts),
        tuple(jnp.zeros((), part.dtype) for part in parts),
        lambda sums, more: tuple(map(jax.lax.add, sums, more)),
        (parts[0].ndim - 1,),
    )
    stacked = jax.lax.optimization_barrier(jnp.stack(rows))
    return jnp.sum(stacked, tuple(range(1, stacked.ndim)))
