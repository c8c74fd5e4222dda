"""Shapes of objects: each gives every pixel a depth, and the n smallest depths are the mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["SHAPES", "Shape", "draw_depth"]

# Arguments for one object: offsets [B, O, H, 1] and [B, O, 1, W] from its place, its number of
# pixels [B, 1], the side of its cell, and its random numbers, each [B, O] and uniform in [0, 1).
Depth = Callable[[jax.Array, jax.Array, jax.Array, float, jax.Array], jax.Array]
Reach = Callable[[jax.Array, float, jax.Array], jax.Array]


class Shape(NamedTuple):
    """A family of masks.

    Args:
        depth: 0 at the centre of an object, and larger farther outside, in pixels².
        reach: how far an object extends from its place, in pixels: it stays within its cell.
        draws: random numbers that an object needs.
        half_width: of the thinnest part of an object of so many pixels.
        least_object_pixels: with fewer, an object no longer has that shape.
        spread: standard deviation of the logarithm of an image's foreground pixels.
        posterior: whether the labels are drawn pixel by pixel from a soft object.
    """

    depth: Depth
    reach: Reach
    draws: int
    half_width: Callable[[float], float]
    least_object_pixels: int
    spread: float = 0.25
    posterior: bool = False


def _radius(area: jax.Array) -> jax.Array:
    return jnp.sqrt(area / jnp.pi)


def _round_reach(area: jax.Array, cell: float, draws: jax.Array) -> jax.Array:
    del cell, draws
    return 1.2 * _radius(area)


def _disk(
    dy: jax.Array, dx: jax.Array, area: jax.Array, cell: float, draws: jax.Array
) -> jax.Array:
    del area, cell, draws
    return dx**2 + dy**2


def _ellipse(
    dy: jax.Array, dx: jax.Array, area: jax.Array, cell: float, draws: jax.Array
) -> jax.Array:
    del area, cell
    turn, length = draws
    angle, stretch = jnp.pi * turn[..., None, None], 1 + 0.5 * length[..., None, None]
    along = dx * jnp.cos(angle) + dy * jnp.sin(angle)
    across = dy * jnp.cos(angle) - dx * jnp.sin(angle)
    return (along / stretch) ** 2 + (across * stretch) ** 2


# A blob is a disk whose radius varies with the angle, by a few random waves of these amplitudes:
_WAVES = {2: 0.3, 3: 0.22, 4: 0.15, 5: 0.1}
_BLOB_SIZE = 0.5


def _blob_scale(draws: jax.Array) -> jax.Array:
    """An object's radius beside the others', such that areas are log-normal with a mean of 1."""
    return jnp.exp((_BLOB_SIZE * jax.scipy.special.ndtri(draws[0]) - _BLOB_SIZE**2 / 2) / 2)


def _blob(
    dy: jax.Array, dx: jax.Array, area: jax.Array, cell: float, draws: jax.Array
) -> jax.Array:
    del area, cell
    squared = dx**2 + dy**2
    # cos kθ and sin kθ are powers of (cos θ, sin θ): computing the angle and four cosines at every
    # pixel and object would take most of the time.
    scale = jax.lax.rsqrt(jnp.maximum(squared, 1e-6))
    cosine, sine = first = dx * scale, dy * scale
    swing = jnp.zeros_like(squared)
    for wave, (order, amplitude) in enumerate(_WAVES.items()):
        cosine, sine = cosine * first[0] - sine * first[1], sine * first[0] + cosine * first[1]
        assert order == wave + 2
        height = amplitude * jax.scipy.special.ndtri(draws[1 + 2 * wave])
        phase = 2 * jnp.pi * draws[2 + 2 * wave]
        swing = swing + (height * jnp.cos(phase))[..., None, None] * cosine
        swing = swing + (height * jnp.sin(phase))[..., None, None] * sine
    return squared * jnp.exp(-2 * swing) / _blob_scale(draws)[..., None, None] ** 2


def _blob_reach(area: jax.Array, cell: float, draws: jax.Array) -> jax.Array:
    del cell
    return 1.3 * _blob_scale(draws) * _radius(area)


# A tube is the pixels nearest to an arc of a circle, so long that they form a band of this width.
_TUBE_WIDTH = 2.0


class _Arc(NamedTuple):
    radius: jax.Array
    half_angle: jax.Array
    reach: jax.Array


def _arc(area: jax.Array, cell: float, bend: jax.Array) -> _Arc:
    room = 0.44 * cell - _TUBE_WIDTH / 2
    # A tube that does not fit as an open ring becomes wider, not longer: n pixels are taken anyway.
    length = jnp.minimum(area / _TUBE_WIDTH, 5.2 * room)
    angle = 1 + 4 * bend

    def half_chord(angle: jax.Array) -> jax.Array:
        return length / angle * jnp.sin(jnp.minimum(angle, jnp.pi) / 2)

    angle = jnp.where(half_chord(angle) <= room, angle, jnp.clip(length / room, jnp.pi, 5.2))
    return _Arc(length / angle, angle / 2, half_chord(angle) + _TUBE_WIDTH / 2)


def _tube(
    dy: jax.Array, dx: jax.Array, area: jax.Array, cell: float, draws: jax.Array
) -> jax.Array:
    turn, bend = draws
    radius, half, _ = (x[..., None, None] for x in _arc(area, cell, bend))
    angle = 2 * jnp.pi * turn[..., None, None]
    # The place is the middle of the chord's circle, the circle's centre lies behind it. Of the two
    # mirrored halves of the arc one is enough.
    along = (
        dx * jnp.cos(angle) + dy * jnp.sin(angle) + radius * jnp.cos(jnp.minimum(half, jnp.pi / 2))
    )
    across = jnp.abs(dy * jnp.cos(angle) - dx * jnp.sin(angle))
    beside = across * jnp.cos(half) <= along * jnp.sin(half)
    # For more than half a turn, the region beside the arc is more than half of the plane.
    beside = jnp.where(half <= jnp.pi / 2, beside & (along > 0), beside | (along > 0))
    to_circle = (jnp.sqrt(along**2 + across**2) - radius) ** 2
    to_end = (along - radius * jnp.cos(half)) ** 2 + (across - radius * jnp.sin(half)) ** 2
    return jnp.where(beside, to_circle, to_end)


def _tube_reach(area: jax.Array, cell: float, draws: jax.Array) -> jax.Array:
    return _arc(area, cell, draws[1]).reach


def _round_half_width(narrowing: float) -> Callable[[float], float]:
    return lambda pixels: math.sqrt(pixels / math.pi) / narrowing


_ELLIPSE = Shape(_ellipse, _round_reach, 2, _round_half_width(1.5), least_object_pixels=5)

SHAPES: dict[str, Shape] = {
    "ellipse": _ELLIPSE,
    "disk": Shape(_disk, _round_reach, 0, _round_half_width(1.0), least_object_pixels=5),
    # Ten pixels long: a shorter one is not a tube.
    "tube": Shape(_tube, _tube_reach, 2, lambda pixels: _TUBE_WIDTH / 2, least_object_pixels=20),
    # In most images, the smallest of several must still have 5 pixels.
    "blob": Shape(
        _blob, _blob_reach, 9, _round_half_width(2.0), least_object_pixels=10, spread=_BLOB_SIZE
    ),
    "posterior": _ELLIPSE._replace(least_object_pixels=12, posterior=True),
}


def draw_depth(
    key: jax.Array, shape: Shape, foreground: jax.Array, *, size: tuple[int, int], objects: int
) -> tuple[jax.Array, jax.Array]:
    """Place objects in images, and compute the depth of every pixel.

    Args:
        key: a JAX random key.
        shape: of the objects.
        foreground: [B], how many foreground pixels an image is to have.
        size: height and width of an image.
        objects: in each.

    Returns:
        [B, H, W], the depth: 0 at the centre of an object, larger outside; and [B], a uniform
        number for rounding.
    """
    count, (height, width) = len(foreground), size
    # One object per cell of a grid, so that many do not overlap.
    side = math.ceil(math.sqrt(objects))
    # One draw of many numbers: every draw costs compile time.
    uniform = jax.random.uniform(key, (4 + shape.draws, count, side * side))
    cells = jnp.argsort(uniform[0], axis=-1)[:, :objects]
    rounding, place_y, place_x = uniform[1:4, :, :objects]
    draws = uniform[4:, :, :objects]
    narrow = min(height, width) / side
    area = (foreground / objects)[:, None]
    margin = jnp.minimum(shape.reach(area, narrow, draws), 0.45 * narrow)
    y, x = (
        corner.astype(jnp.float32) * cell + margin + place * (cell - 2 * margin)
        for corner, place, cell in (
            (cells // side, place_y, height / side),
            (cells % side, place_x, width / side),
        )
    )
    rows, columns = (jnp.arange(n, dtype=jnp.float32) + 0.5 for n in size)

    def nearest(depth: jax.Array, one: jax.Array) -> tuple[jax.Array, None]:
        one = one[..., None]
        dy = rows[None, None, :, None] - one[0, ..., None, None]
        dx = columns[None, None, None, :] - one[1, ..., None, None]
        return jnp.minimum(depth, shape.depth(dy, dx, area, narrow, one[2:])[:, 0]), None

    # One object at a time: twenty at once would take twenty times the memory.
    placed = jnp.moveaxis(jnp.stack([y, x, *draws]), -1, 0)
    far = jnp.full((count, height, width), jnp.inf, rows.dtype)
    depth, _ = jax.lax.scan(nearest, far, placed)
    return depth, rounding[:, 0]
