"""How a pass over the pixels is made: in tiles or in one expression; it knows nothing of Dice."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["sum_over_pixels"]

# A tile's terms: takes the operands cut to one tile, gives a pytree of per-pixel arrays.
Terms = Callable[..., Any]

# Tiles whose sums are added to one running sum before it is put aside. A single running sum drifts
# (relative error 5e-3 at 2^28 pixels in float32); two levels do not.
_TILES_A_LEVEL = 256


def _tile_pixels(pixels: int, classes: int) -> int:
    """Choose the tile: the largest divisor of the region that the CPU's fast loops like.

    Reductions of 4,096 elements and more go to another runtime of XLA:CPU and take twice as long
    at few classes; at many classes the tile's fixed costs weigh more than that.
    """
    most = max(32, (2048 if classes < 16 else 32768) // classes)
    return max(d for d in range(1, min(most, pixels) + 1) if pixels % d == 0)


def _sum_plainly(terms: Terms, operands: tuple[jax.Array, ...], axes: tuple[int, ...]) -> Any:
    """Sum in one expression, last axis first, and leave the fusing to XLA."""

    def total(term: jax.Array) -> jax.Array:
        if not axes:
            return term
        # The barrier keeps XLA from merging the two sums into one long running sum.
        rows = jax.lax.optimization_barrier(jnp.sum(term, axes[-1], keepdims=True))
        return jnp.sum(rows, axes)

    return jax.tree.map(total, terms(*operands))


def _sum_in_tiles(terms: Terms, operands: tuple[jax.Array, ...], kept: int, ndim: int) -> Any:
    """Sum over all pixel axes but the first ``kept``, tile by tile, recomputed backwards."""
    pixel_shape = operands[0].shape[:ndim]
    regions, pixels = math.prod(pixel_shape[:kept]), math.prod(pixel_shape[kept:])
    classes = max(math.prod(x.shape[ndim:]) for x in operands)
    tile = _tile_pixels(pixels, classes)
    tiles = pixels // tile

    @jax.checkpoint
    def tile_sums(*cut: jax.Array) -> Any:
        return jax.tree.map(lambda term: jnp.sum(term, 0), terms(*cut))

    def region_sums(*region: jax.Array) -> Any:
        xs = [x.reshape(tiles, tile, *x.shape[1:]) for x in region]
        zeros = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(tile_sums, *(x[0] for x in xs))
        )

        def step(carry: tuple[Any, Any], x: tuple[jax.Array, Any]) -> tuple[tuple[Any, Any], None]:
            running, aside = carry
            index, cut = x
            running = jax.tree.map(jnp.add, running, tile_sums(*cut))
            full = index % _TILES_A_LEVEL == _TILES_A_LEVEL - 1
            aside = jax.tree.map(lambda a, r: a + jnp.where(full, r, 0), aside, running)
            running = jax.tree.map(lambda r: jnp.where(full, 0, r), running)
            return (running, aside), None

        (running, aside), _ = jax.lax.scan(step, (zeros, zeros), (jnp.arange(tiles), tuple(xs)))
        return jax.tree.map(jnp.add, running, aside)

    flat = [x.reshape(regions, pixels, *x.shape[ndim:]) for x in operands]
    if regions == 1:
        sums = jax.tree.map(lambda s: s[None], region_sums(*(x[0] for x in flat)))
    else:
        sums = jax.lax.map(lambda region: region_sums(*region), tuple(flat))
    return jax.tree.map(lambda s: s.reshape(pixel_shape[:kept] + s.shape[1:]), sums)


def sum_over_pixels(
    terms: Terms, operands: tuple[jax.Array, ...], axes: tuple[int, ...], ndim: int
) -> Any:
    """Add up per-pixel terms over some pixel axes, reading every operand once.

    Args:
        terms: maps operands [..., *trailing] to a pytree of arrays [..., *trailing], pixel by
            pixel: it must not mix pixels.
        operands: arrays whose first ``ndim`` axes are the pixel shape, the first one's; the others
            may have axes of size 1 there. Their further axes are free.
        axes: the pixel axes to sum over, ascending.
        ndim: how many axes are pixel axes.

    Returns:
        The pytree of ``terms``, with the pixel axes ``axes`` summed.
    """
    pixel_shape = operands[0].shape[:ndim]
    kept = ndim - len(axes)
    leading = axes == tuple(range(kept, ndim))
    # One CPU device: scanned tiles stay in cache. Several: a scan would gather a sharded axis.
    worth_tiling = leading and axes and math.prod(pixel_shape) >= 4096
    if not worth_tiling or _several_cpu_devices():
        return _sum_plainly(terms, operands, axes)

    def tiled(*xs: jax.Array) -> Any:
        full = [jnp.broadcast_to(x, pixel_shape + x.shape[ndim:]) for x in xs]
        return _sum_in_tiles(terms, tuple(full), kept, ndim)

    def plain(*xs: jax.Array) -> Any:
        return _sum_plainly(terms, xs, axes)

    # Chosen when the program is lowered: a TPU program may be compiled on a CPU host.
    return jax.lax.platform_dependent(*operands, cpu=tiled, default=plain)


def _several_cpu_devices() -> bool:
    try:
        return jax.local_device_count("cpu") > 1
    except RuntimeError:
        return False
