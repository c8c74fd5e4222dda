"""Exact Euclidean distances of the pixels of a mask, on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks

__all__ = ["Spacing", "distance_transform", "signed_distance"]

Spacing = Sequence[float | jax.Array]


def distance_transform(
    mask: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Spacing | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Exact Euclidean distance of every pixel to the nearest ``False`` pixel, on the device.

    The same as ``scipy.ndimage.distance_transform_edt``, in any number of dimensions, for a batch
    in one call and without a trip to the host. The time grows with the number of pixels, and with
    how many pixels away the nearest ``False`` ones are.

    Args:
        mask: [...], boolean, or integer: not 0 is ``True``. No gradient flows into it.
        axis: the axes that span space; the others count images. ``None``: all span space.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        where: boolean or floating, broadcastable to [...]. No distance is measured to a pixel of
            weight 0, and its own is 0.

    Returns:
        Distances [...] in units of ``spacing``, in JAX's default floating type: 0 at ``False``, and
        infinite in an image without any ``False`` (SciPy leaves that undefined).

    Raises:
        TypeError: if ``mask`` is floating.
        ValueError: if an axis does not exist, ``where`` does not broadcast, or ``spacing`` does not
            have one positive entry per axis.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> mask = jnp.array([[1, 1, 1, 0], [1, 1, 0, 0]])
        >>> print(dj.distance_transform(mask, spacing=(2.0, 1.0)))
        [[2.828427 2.       1.       0.      ]
         [2.       1.       0.       0.      ]]

    References:
        Felzenszwalb & Huttenlocher, Distance transforms of sampled functions (2012), section 2: one
        axis after the other.
    """
    mask, kept, axes, steps = _checked(mask, axis, spacing, where)
    return _distance_transform(mask, kept, steps, axes=axes)


def signed_distance(
    mask: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Spacing | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Signed distance of every pixel to the other class: negative inside the mask.

    Outside, the distance to the nearest ``True`` pixel; inside, minus the distance to the nearest
    ``False`` one. (Kervadec's own code adds 1 inside, for a spacing of 1.)

    Args:
        mask: [...], boolean, or integer: not 0 is ``True``. No gradient flows into it.
        axis: the axes that span space; the others count images. ``None``: all span space.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        where: boolean or floating, broadcastable to [...]. No distance is measured to a pixel of
            weight 0, and its own is 0.

    Returns:
        Signed distances [...] in units of ``spacing``, in JAX's default floating type; 0 everywhere
        in an image of one class only: it has no boundary.

    Raises:
        TypeError: if ``mask`` is floating.
        ValueError: if an axis does not exist, ``where`` does not broadcast, or ``spacing`` does not
            have one positive entry per axis.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> print(dj.signed_distance(jnp.array([0, 0, 1, 1, 1, 0])))
        [ 2.  1. -1. -2. -1.  1.]

    References:
        Kervadec et al., Boundary loss for highly unbalanced segmentation (2019),
        https://arxiv.org/abs/1812.07032, section 3.
    """
    mask, kept, axes, steps = _checked(mask, axis, spacing, where)
    return _signed_distance(mask, kept, steps, axes=axes)


# The checks.


def _checked(
    mask: ArrayLike, axis: checks.Axis, spacing: Spacing | None, where: ArrayLike | None
) -> tuple[jax.Array, jax.Array | None, tuple[int, ...], tuple[Any, ...]]:
    mask = checks.as_array("mask", mask)
    if mask.dtype != jnp.bool_ and not checks.is_integer(mask):
        raise TypeError(
            f"mask must be boolean or integer, got {checks.describe(mask)}; "
            "write probabilities > 0.5"
        )
    axes = checks.normalize_axis("axis", axis, mask.ndim, what="mask")
    steps = checks.check_spacing(spacing, axis, mask.ndim)
    return mask.astype(jnp.bool_), checks.check_where(where, mask.shape), axes, steps


# Under jit.


@partial(jax.jit, static_argnames="axes")
def _distance_transform(
    mask: jax.Array, where: jax.Array | None, steps: tuple[Any, ...], *, axes: tuple[int, ...]
) -> jax.Array:
    inner = _inner(mask, where)
    distance = _distance_to(~mask & inner, steps, axes)
    return jnp.where(mask & inner, distance, jnp.zeros_like(distance))


@partial(jax.jit, static_argnames="axes")
def _signed_distance(
    mask: jax.Array, where: jax.Array | None, steps: tuple[Any, ...], *, axes: tuple[int, ...]
) -> jax.Array:
    inner = _inner(mask, where)
    outside = _distance_to(mask & inner, steps, axes)
    within = _distance_to(~mask & inner, steps, axes)
    signed = jnp.where(mask, -within, outside)
    bounded = inner & jnp.isfinite(signed)
    return jnp.where(bounded, signed, jnp.zeros_like(signed))


def _inner(mask: jax.Array, where: jax.Array | None) -> jax.Array:
    if where is None:
        return jnp.ones_like(mask)
    return jnp.broadcast_to(where.astype(jnp.bool_), mask.shape)


# The transform: along one axis after the other, D(i) = min_j f(j) + (s·(i − j))².

# Offsets tried in one go, so that the distances are read and written once for all of them.
_OFFSETS_A_STEP = 8
# On a CPU: the rows of a block that stops on its own, and its pixels (they stay in the cache); how
# far its pixels look row by row, and how many of the rows beyond are tried in one go.
_ROWS_A_BLOCK = 256
_PIXELS_A_BLOCK = 1 << 15
_NEAR = 16
_ROWS_A_STEP = 4


def _distance_to(seeds: jax.Array, steps: tuple[Any, ...], axes: tuple[int, ...]) -> jax.Array:
    """Distance of every pixel to the nearest seed of its image, infinite if there is none."""
    dtype = jnp.zeros(()).dtype
    squared = jnp.where(seeds, jnp.zeros((), dtype), jnp.full((), jnp.inf, dtype))
    if seeds.size == 0:
        return squared
    for order, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        lines = jnp.moveaxis(squared, axis, 0)
        along = _first_axis if order == 0 else _further_axis
        moved = along(lines.reshape(lines.shape[0], -1), jnp.asarray(step, dtype))
        squared = jnp.moveaxis(moved.reshape(lines.shape), 0, axis)
    return jnp.sqrt(squared)


def _first_axis(squared: jax.Array, step: jax.Array) -> jax.Array:
    """Where every pixel is a seed (0) or not (infinite), the nearest one is before or after."""

    def row_by_row(squared: jax.Array, step: jax.Array) -> jax.Array:
        def forwards(pixels: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
            pixels = jnp.where(row == 0, jnp.zeros_like(row), pixels + 1)
            return pixels, pixels

        def backwards(pixels: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
            pixels = jnp.minimum(pixels + 1, row)
            distance = pixels * step
            return pixels, distance * distance

        far = jnp.full_like(squared[0], jnp.inf)
        before = jax.lax.scan(forwards, far, squared)[1]
        return jax.lax.scan(backwards, far, before, reverse=True)[1]

    def at_once(squared: jax.Array, step: jax.Array) -> jax.Array:
        n = squared.shape[0]
        index = jnp.arange(n, dtype=jnp.int32)[:, None]
        seed = squared == 0
        before = jax.lax.cummax(jnp.where(seed, index, -2 * n), axis=0)
        after = jax.lax.cummin(jnp.where(seed, index, 3 * n), axis=0, reverse=True)
        pixels = jnp.minimum(index - before, after - index)
        distance = pixels.astype(squared.dtype) * step
        return jnp.where(pixels < n, distance * distance, jnp.full_like(squared, jnp.inf))

    # Chosen when the program is lowered: an accelerator wants few steps, a CPU few passes.
    return jax.lax.platform_dependent(squared, step, cpu=row_by_row, default=at_once)


def _further_axis(squared: jax.Array, step: jax.Array) -> jax.Array:
    """Min over j of f(j) + (s·(i − j))² for each line, nearest j first, until none can be nearer.

    Plain vector arithmetic on whole rows: a lower envelope would need fewer operations and gathers,
    which cost more than they save.

    Args:
        squared: f, [n, lines].
        step: s.

    Returns:
        The minimum, [n, lines].
    """
    return jax.lax.platform_dependent(squared, step, cpu=_in_blocks, default=_at_once)


def _price(offset: jax.Array, step: jax.Array) -> jax.Array:
    distance = offset.astype(step.dtype) * step
    return distance * distance


def _at_once(squared: jax.Array, step: jax.Array) -> jax.Array:
    """All rows of all lines together."""
    n = squared.shape[0]
    margin = n + _OFFSETS_A_STEP
    padded = jnp.pad(squared, ((margin, margin), (0, 0)), constant_values=jnp.inf)

    def rows(start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(padded, margin + start, n, 0)

    return _near(rows, jnp.int32(0), jnp.min(squared, 0), step, n - 1)


def _near(
    rows: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    least: jax.Array,
    step: jax.Array,
    reach: int,
) -> jax.Array:
    """The minimum for a block of rows over those not further than ``reach`` from each.

    Args:
        rows: gives as many rows of f as the block has from a row on, infinite beyond the ends.
        start: the block's first row.
        least: the least f of each line.
        step: s.
        reach: the largest offset to try.

    Returns:
        The minimum so far, of the block's rows.
    """

    def unfinished(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        offset, best = state
        return (offset <= reach) & jnp.any(least + _price(offset, step) < jnp.max(best, 0))

    def further(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        offset, best = state
        for k in range(_OFFSETS_A_STEP):
            away = offset + k
            nearest = jnp.minimum(rows(start - away), rows(start + away))
            best = jnp.minimum(best, nearest + _price(away, step))
        return offset + _OFFSETS_A_STEP, best

    return jax.lax.while_loop(unfinished, further, (jnp.int32(1), rows(start)))[1]


def _in_blocks(squared: jax.Array, step: jax.Array) -> jax.Array:
    """Some lines at a time, and of those a block of rows at a time."""
    n, lines = squared.shape
    block = math.ceil(n / math.ceil(n / _ROWS_A_BLOCK))
    width = max(1, _PIXELS_A_BLOCK // block)
    parts = math.ceil(lines / width)
    some = partial(_some_lines, step=step, block=block)
    if parts == 1:
        return some(squared)
    # A line of infinities is done at once.
    padded = jnp.pad(squared, ((0, 0), (0, parts * width - lines)), constant_values=jnp.inf)
    done = jax.lax.map(some, padded.reshape(n, parts, width).transpose(1, 0, 2))
    return done.transpose(1, 0, 2).reshape(n, -1)[:, :lines]


def _some_lines(squared: jax.Array, step: jax.Array, block: int) -> jax.Array:
    n = squared.shape[0]
    blocks = math.ceil(n / block)
    margin = _NEAR + 2 * _OFFSETS_A_STEP
    padding = (margin, margin + blocks * block - n)
    padded = jnp.pad(squared, (padding, (0, 0)), constant_values=jnp.inf)
    below, above = (_least_so_far(squared, reverse=r) for r in (False, True))
    before, after = _useful_rows(squared, step)
    inner = jnp.arange(block, dtype=jnp.int32)
    tried = _price(jnp.int32(_NEAR + 1), step)

    def rows(start: jax.Array, count: int = block) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(padded, margin + start, count, 0)

    def nearest(start: jax.Array) -> jax.Array:
        last = jnp.minimum(start + block, n) - 1

        def far(
            best: jax.Array,
            row: jax.Array,
            onwards: Callable[[jax.Array], jax.Array],
            least: Callable[[jax.Array], jax.Array],
        ) -> jax.Array:
            """Try useful rows for all of the block's, until none of those left can be nearer."""

            def unfinished(state: tuple[jax.Array, jax.Array]) -> jax.Array:
                row, best = state
                gap = jnp.maximum(jnp.maximum(start - row, row - last), 0)
                # What is near has been tried.
                bound = least(row) + jnp.maximum(_price(gap, step), tried)
                return (row >= 0) & (row < n) & jnp.any(bound < jnp.max(best, 0))

            def further(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                row, best = state
                for _ in range(_ROWS_A_STEP):
                    price = _price(start + inner - row, step)
                    best = jnp.minimum(best, rows(row, 1) + price[:, None])
                    row = onwards(row)
                return row, best

            return jax.lax.while_loop(unfinished, further, (row, best))[1]

        best = _near(rows, start, below[n - 1], step, _NEAR)
        best = far(
            best,
            after[start],
            lambda row: after[jnp.minimum(row + 1, n)],
            lambda row: above[jnp.minimum(row, n - 1)],
        )
        return far(
            best,
            before[start],
            lambda row: before[jnp.maximum(row, 0)],
            lambda row: below[jnp.maximum(row, 0)],
        )

    done = jax.lax.map(nearest, jnp.arange(blocks, dtype=jnp.int32) * block)
    return done.reshape(blocks * block, -1)[:n]


def _least_so_far(squared: jax.Array, *, reverse: bool) -> jax.Array:
    def step(least: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        least = jnp.minimum(least, row)
        return least, least

    return jax.lax.scan(step, jnp.full_like(squared[0], jnp.inf), squared, reverse=reverse)[1]


def _useful_rows(squared: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each row, the next one before it and from it on that may be the nearest of any pixel.

    The nearest rows are the corners of the lower convex hull of f(j) + (s·j)²: one that lies above
    a chord between others is none of them, and one that is infinite everywhere is not either.

    Args:
        squared: f, [n, lines].
        step: s.

    Returns:
        Two arrays [n + 1] of rows; −1 and n where there is none.
    """
    n = squared.shape[0]
    corner = jnp.isfinite(squared)
    for away in (1, 4, 16, 64):
        if 2 * away < n:
            middle = squared[away : n - away]
            chord = squared[2 * away :] + squared[: n - 2 * away]
            above = chord + 2 * _price(jnp.int32(away), step) < 2 * middle
            corner = corner & ~jnp.pad(above, ((away, away), (0, 0)))
    useful = jnp.any(corner, 1)
    index = jnp.arange(n, dtype=jnp.int32)
    before = jax.lax.cummax(jnp.where(useful, index, -1))
    after = jax.lax.cummin(jnp.where(useful, index, n), reverse=True)
    return jnp.pad(before, (1, 0), constant_values=-1), jnp.pad(after, (0, 1), constant_values=n)
