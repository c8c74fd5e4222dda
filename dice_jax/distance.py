"""Exact Euclidean distances on the device, and the losses that weigh pixels by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax import checks
from dice_jax.pixels import binary_operands, floating, inside, soft_targets, weighted_sums
from dice_jax.safe_math import power, ratio

__all__ = ["boundary_loss", "distance_transform", "hausdorff_distance_loss", "signed_distance"]

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
    mask, kept, axes, steps = _door(mask, axis, spacing, where)
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
        Distances [...] in units of ``spacing``, in JAX's default floating type; 0 everywhere in an
        image of one class only: it has no boundary.

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
    mask, kept, axes, steps = _door(mask, axis, spacing, where)
    return _signed_distance(mask, kept, steps, axes=axes)


def boundary_loss(
    probabilities: ArrayLike,
    signed_distances: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Boundary loss: the mean of φ·p, with φ the signed distance to the target's boundary.

    Its gradient at a pixel is φ over the number of pixels, whatever the prediction. It is
    negative at the truth, and an empty target has φ = 0: combine it with a Dice loss.

    Args:
        probabilities: [...], floating in [0, 1].
        signed_distances: φ [...], floating, negative inside: from `signed_distance` of the targets,
            which can be computed once, when the data are made.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in units of the distances; 0
        where no pixel was counted.

    Raises:
        TypeError: if an argument is not floating.
        ValueError: if shapes or an axis do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> y = jnp.array([0, 0, 1, 1])
        >>> phi = dj.signed_distance(y)
        >>> print(dj.boundary_loss(jnp.array([1.0, 0.0, 0.5, 1.0]), phi))
        -0.125

    References:
        Kervadec et al., Boundary loss for highly unbalanced segmentation (2019),
        https://arxiv.org/abs/1812.07032, equation 5.
    """
    distances = floating("signed_distances", signed_distances)
    p, phi, where, axes = binary_operands("probabilities", probabilities, distances, axis, where)
    return _boundary_loss(p, phi, where, axes=axes)


def hausdorff_distance_loss(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    spacing: Spacing | None = None,
    alpha: ArrayLike = 2.0,
) -> jax.Array:
    r"""Hausdorff distance loss: squared errors, weighed by their distance from both boundaries.

    The mean of (p − y)²·(d_p^α + d_y^α), with d_y and d_p the distances to the boundaries of the
    target and of the prediction thresholded at ½. The distances are constants in the gradient.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1] (its boundary is at ½).
        axis: the axes that span space and that one region runs over; ``None`` for all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value, distance and gradient, whatever it holds.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        alpha: α > 0; the paper's is 2.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in units of distance^α; 0 where
        no pixel was counted. A mask of one class only has no boundary: its distances are 0.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes, an axis or ``spacing`` do not fit, or ``alpha`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([1.0, 0.0, 0.0, 0.5]), jnp.array([1, 0, 0, 0])
        >>> print(dj.hausdorff_distance_loss(p, y))    # one doubt, three pixels off: 0.25 · 18 / 4
        1.125

    References:
        Karimi & Salcudean, Reducing the Hausdorff distance in medical image segmentation with
        convolutional neural networks (2019), https://arxiv.org/abs/1904.10030, equation 8.
    """
    checks.check_number("alpha", alpha, open_at_least=True)
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    steps = checks.check_spacing(spacing, axis, p.ndim)
    return _hausdorff_distance_loss(p, y, where, steps, alpha, axes=axes)


# The door.


def _door(
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


@partial(jax.jit, static_argnames="axes")
def _boundary_loss(
    probabilities: jax.Array,
    signed_distances: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, signed_distances, where)

    def terms(p: jax.Array, phi: jax.Array) -> dict[str, jax.Array]:
        return {"product": p.astype(dtype) * phi.astype(dtype)}

    arrays, ndim = (probabilities, signed_distances), probabilities.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype)
    return ratio(sums["product"], sums["count"], jnp.zeros_like(sums["count"]))


@partial(jax.jit, static_argnames="axes")
def _hausdorff_distance_loss(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    steps: tuple[Any, ...],
    alpha: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    half = jnp.asarray(0.5, dtype)

    def weight(mask: jax.Array) -> jax.Array:
        distance = jnp.abs(_signed_distance(mask, where, steps, axes=axes)).astype(dtype)
        return power(distance, jnp.asarray(alpha, dtype))

    p = inside(probabilities, where).astype(dtype)
    y = soft_targets(inside(targets, where), dtype)
    weights = jax.lax.stop_gradient(weight(p > half) + weight(y > half))

    def terms(p: jax.Array, y: jax.Array, d: jax.Array) -> dict[str, jax.Array]:
        return {"error": jnp.square(p - y) * d}

    sums = weighted_sums(terms, (p, y, weights), where, axes, ndim=p.ndim, dtype=dtype)
    return ratio(sums["error"], sums["count"], jnp.zeros_like(sums["count"]))


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

    if squared.size == 0:
        return squared
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
    if squared.size == 0:
        return squared
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
