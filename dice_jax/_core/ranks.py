"""Ranking the pixels of a region by one integer sort; knows nothing of losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax._core import checks

T = TypeVar("T")

__all__ = ["Ranks", "over_regions", "rank", "up_to"]


class Ranks(NamedTuple):
    """The pixels of one region, the largest value first; pixels that tie form a group.

    Args:
        weight: [N], the weight of each pixel, 0 outside the mask.
        ranked_weight: [N], the same in the order of the ranks.
        ranked_tag: [N], the pixels' tags in the order of the ranks.
        begin: [N], the rank at which each pixel's group of equals begins.
        end: [N], the rank at which it ends (the first one behind it).
        end_of_value: [N], the rank at which the pixels of that value end, tagged or not.
    """

    weight: jax.Array
    ranked_weight: jax.Array
    ranked_tag: jax.Array
    begin: jax.Array
    end: jax.Array
    end_of_value: jax.Array


def rank(values: jax.Array, tag: jax.Array, weights: jax.Array | None) -> Ranks:
    """Rank the pixels of one region, the largest value first.

    Values whose floats differ in the last bit only count as equal; among equals, the tagged ones
    come first, and pixels of one tag form a group. A NaN has some rank: the caller has to see to
    it that its result is NaN.

    Args:
        values: [N], floating, of any sign.
        tag: [N], boolean.
        weights: [N], boolean or floating, or ``None`` for 1.

    Returns:
        The ranks.
    """
    dtype = values.dtype
    integer = jnp.int64 if dtype.itemsize == 8 else jnp.int32
    # One integer a pixel (a float's bits rank as the float does, its last bit made room for the
    # tag): sorting a single integer array is several times faster than an argsort.
    bits = jax.lax.bitcast_convert_type(values, integer)
    # Negative floats rank the other way round by their bits, and −0 is 0.
    largest = jnp.full((), jnp.iinfo(integer).max, integer)
    bits = jnp.where(values == 0, jnp.zeros_like(bits), jnp.where(bits < 0, bits ^ largest, bits))
    value_key = -(bits & ~jnp.ones((), integer))
    key = value_key - tag.astype(integer)
    if weights is None or weights.dtype == jnp.bool_:
        last = largest - 1  # behind every key, that of −inf too
        key = key if weights is None else jnp.where(weights, key, last)
        weight, ranked = (key != last).astype(dtype), jnp.sort(key)
        ranked_weight = (ranked != last).astype(dtype)
    else:
        weight = checks.weight_or_nan(weights.astype(dtype))
        # One that is no weight must show in every sum, of whichever pixels.
        weight = weight + 0 * jnp.sum(weight)
        ranked, ranked_weight = jax.lax.sort((key, weight), num_keys=1)
    # One search only: the ends are known once the ranks are, and a gather is a fraction of it.
    begin = jnp.searchsorted(ranked, key, side="left")
    end = _ends(ranked)[begin]
    end_of_value = _ends((ranked + 1) & ~jnp.ones((), integer))[begin]
    return Ranks(weight, ranked_weight, (-ranked) & 1 == 1, begin, end, end_of_value)


def _ends(ranked: jax.Array) -> jax.Array:
    """For each rank, the first one behind it that has another key."""
    behind = jnp.arange(1, ranked.size + 1, dtype=jnp.int32)
    differs = jnp.append(ranked[1:] != ranked[:-1], True)[: ranked.size]
    return jax.lax.cummin(jnp.where(differs, behind, ranked.size), reverse=True)


def up_to(ranked: jax.Array) -> jax.Array:
    """Sums over the first 0, 1, … N ranks, [N + 1]."""
    return jnp.concatenate([jnp.zeros(1, ranked.dtype), jnp.cumsum(ranked)])


def over_regions(
    function: Callable[..., T], arrays: tuple[jax.Array | None, ...], axes: tuple[int, ...]
) -> T:
    """Apply a function of one region's pixels, [N], to every region.

    Args:
        function: takes as many arrays [N] (or ``None``) as ``arrays`` has; gives an array or
            a tree of arrays.
        arrays: of the first one's shape, or broadcastable to it, or ``None``.
        axes: the axes that one region runs over, ascending; the others stay.

    Returns:
        What ``function`` gives, with the shape of ``jnp.sum(arrays[0], axes)`` in front.
    """
    first = arrays[0]
    assert first is not None
    shape = first.shape
    kept = tuple(a for a in range(first.ndim) if a not in axes)
    left = tuple(shape[a] for a in kept)
    regions, pixels = (int(np.prod([shape[a] for a in s], dtype=np.int64)) for s in (kept, axes))

    def rows(x: jax.Array | None) -> jax.Array | None:
        if x is None:
            return None
        return jnp.broadcast_to(x, shape).transpose(*kept, *axes).reshape(regions, pixels)

    result = jax.vmap(function)(*(rows(x) for x in arrays))
    return jax.tree.map(lambda x: x.reshape(left + x.shape[1:]), result)
