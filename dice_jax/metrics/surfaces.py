"""Metrics of surfaces, from exact distances on the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions
from dice_jax._core.safe_math import ratio
from dice_jax.images.distance import distance_transform
from dice_jax.metrics.scores import Scores
from dice_jax.sums.operands import inside

__all__ = ["average_surface_distance", "hausdorff_distance", "surface_dice"]


def hausdorff_distance(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    percentile: ArrayLike = 95.0,
    where: ArrayLike | None = None,
) -> Scores:
    """Hausdorff distance between the surfaces of two masks, or a percentile of it.

    The larger one of the two directed distances, each a percentile (linear between neighbours) of
    the distances from one surface's pixels to the other surface. A surface is the mask's pixels
    with a background neighbour along an axis, or at the image's edge.

    Args:
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        axis: the axes that span space; the others count images. ``None``: all span space.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        percentile: in [0, 100]; 95 is HD95, 100 the distance itself.
        where: boolean or floating, broadcastable to [...]. Pixels of weight 0 are as beyond the
            image's edge, whatever the masks hold there; a weight other than 0 is 1.

    Returns:
        The scores, in units of ``spacing``. 0 where both masks are empty; infinite where one is.

    Raises:
        TypeError: if a mask is floating.
        ValueError: if shapes, an axis, ``spacing``, ``percentile`` or ``where`` do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> mask = jnp.zeros((6, 6), bool).at[1:3, 1:3].set(True)
        >>> print(float(metrics.hausdorff_distance(jnp.roll(mask, 2, 1), mask)))
        2.0

    References:
        Maier-Hein et al., Metrics reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    checks.check_number("percentile", percentile, most=100.0)
    first, second, axes = _masks(prediction, target, axis, where)
    steps = checks.check_spacing(spacing, axis, first.ndim)
    return _hausdorff_distance(first, second, steps, percentile, axes=axes)


def average_surface_distance(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Average symmetric surface distance of two masks.

    The mean over the pixels of both surfaces of the distance to the other surface. A surface is as
    in `hausdorff_distance`.

    Args:
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        axis: the axes that span space; the others count images. ``None``: all span space.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        where: boolean or floating, broadcastable to [...]. Pixels of weight 0 are as beyond the
            image's edge, whatever the masks hold there; a weight other than 0 is 1.

    Returns:
        The scores, in units of ``spacing``. 0 where both masks are empty; infinite where one is.

    Raises:
        TypeError: if a mask is floating.
        ValueError: if shapes, an axis, ``spacing`` or ``where`` do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> mask = jnp.zeros((6, 6), bool).at[1:3, 1:3].set(True)
        >>> print(float(metrics.average_surface_distance(jnp.roll(mask, 1, 1), mask)))
        0.5

    References:
        Maier-Hein et al., Metrics reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    first, second, axes = _masks(prediction, target, axis, where)
    steps = checks.check_spacing(spacing, axis, first.ndim)
    return _average_surface_distance(first, second, steps, axes=axes)


def surface_dice(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    tolerance: ArrayLike,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Normalised surface Dice: the part of both surfaces that lies within a tolerance of the other.

    A surface is as in `hausdorff_distance`; its pixels are counted (not their area).

    Args:
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        tolerance: the distance, one number in units of ``spacing``, that still counts as right.
        axis: the axes that span space; the others count images. ``None``: all span space.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        where: boolean or floating, broadcastable to [...]. Pixels of weight 0 are as beyond the
            image's edge, whatever the masks hold there; a weight other than 0 is 1.

    Returns:
        The scores, in [0, 1]. 1 where both masks are empty; 0 where one is.

    Raises:
        TypeError: if a mask is floating, or ``tolerance`` is missing or not a number.
        ValueError: if shapes, an axis, ``spacing``, ``tolerance`` or ``where`` do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> mask = jnp.zeros((6, 6), bool).at[1:3, 1:3].set(True)
        >>> print(float(metrics.surface_dice(jnp.roll(mask, 1, 1), mask, tolerance=0.5)))
        0.5

    References:
        Nikolov et al., Clinically applicable segmentation of head and neck anatomy (2021),
        https://arxiv.org/abs/1809.04430.
    """
    checks.check_number("tolerance", tolerance)
    first, second, axes = _masks(prediction, target, axis, where)
    steps = checks.check_spacing(spacing, axis, first.ndim)
    return _surface_dice(first, second, steps, tolerance, axes=axes)


def _masks(
    prediction: ArrayLike, target: ArrayLike, axis: checks.Axis, where: ArrayLike | None
) -> tuple[jax.Array, jax.Array, tuple[int, ...]]:
    arrays = checks.as_array("prediction", prediction), checks.as_array("target", target)
    for name, mask in zip(("prediction", "target"), arrays, strict=True):
        if mask.dtype != jnp.bool_ and not checks.is_integer(mask):
            raise TypeError(
                f"{name} must be boolean or integer, got {checks.describe(mask)}; "
                "write probabilities > 0.5"
            )
    first, second = arrays
    if first.shape != second.shape:
        raise ValueError(
            f"target must have the shape of prediction {first.shape}, got {checks.describe(second)}"
        )
    axes = checks.normalize_axis("axis", axis, first.ndim, what="prediction")
    kept = checks.check_where(where, first.shape)
    first, second = (inside(mask.astype(jnp.bool_), kept) for mask in (first, second))
    return first, second, axes


def _surface(mask: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The mask's pixels with a neighbour along an axis outside of it (or of the image)."""
    inner = mask
    for axis in axes:
        n = mask.shape[axis]
        padded = jnp.pad(mask, [(1, 1) if a == axis else (0, 0) for a in range(mask.ndim)])
        for k in (0, 2):
            inner = inner & jax.lax.slice_in_dim(padded, k, k + n, axis=axis)
    return mask & ~inner


def _to_surface(surface: jax.Array, steps: tuple[Any, ...], axes: tuple[int, ...]) -> jax.Array:
    """Distance of every pixel to a surface, infinite where there is none."""
    return distance_transform(~surface, axis=axes, spacing=steps)


def _both(
    first: jax.Array, second: jax.Array, steps: tuple[Any, ...], axes: tuple[int, ...]
) -> list[tuple[jax.Array, jax.Array]]:
    """For either surface, its pixels and their distances to the other one."""
    a, b = _surface(first, axes), _surface(second, axes)
    return [(a, _to_surface(b, steps, axes)), (b, _to_surface(a, steps, axes))]


def _surface_sums(
    pairs: list[tuple[jax.Array, jax.Array]], axes: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Σ of a value over the pixels of both surfaces, and how many pixels those are."""
    (a, at_a), (b, at_b) = pairs
    zero = jnp.zeros_like(at_a)
    total = jnp.sum(jnp.where(a, at_a, zero) + jnp.where(b, at_b, zero), axes)
    return total, jnp.sum(a.astype(at_a.dtype) + b.astype(at_b.dtype), axes)


@partial(jax.jit, static_argnames="axes")
def _hausdorff_distance(
    first: jax.Array,
    second: jax.Array,
    steps: tuple[Any, ...],
    percentile: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> Scores:
    def directed(distances: jax.Array, surface: jax.Array) -> jax.Array:
        """A percentile of one surface's distances; 0 if it has no pixels."""
        ranked = jnp.sort(jnp.where(surface, distances, jnp.full_like(distances, jnp.inf)))
        last = jnp.maximum(jnp.sum(surface) - 1, 0)
        place = last.astype(ranked.dtype) * jnp.asarray(percentile, ranked.dtype) / 100
        lower = jnp.floor(place)
        low = ranked[lower.astype(jnp.int32)]
        high = ranked[jnp.minimum(lower.astype(jnp.int32) + 1, last)]
        # Between two infinities, the difference would be NaN.
        between = jnp.where(jnp.isfinite(high), low + (place - lower) * (high - low), high)
        return jnp.where(jnp.any(surface), between, jnp.zeros_like(between))

    pairs = _both(first, second, steps, axes)
    one, other = (over_regions(directed, (d, s), axes) for s, d in pairs)
    return Scores(jnp.maximum(one, other), jnp.any(second, axes))


@partial(jax.jit, static_argnames="axes")
def _average_surface_distance(
    first: jax.Array, second: jax.Array, steps: tuple[Any, ...], *, axes: tuple[int, ...]
) -> Scores:
    total, pixels = _surface_sums(_both(first, second, steps, axes), axes)
    return Scores(ratio(total, pixels, jnp.zeros_like(total)), jnp.any(second, axes))


@partial(jax.jit, static_argnames="axes")
def _surface_dice(
    first: jax.Array,
    second: jax.Array,
    steps: tuple[Any, ...],
    tolerance: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> Scores:
    pairs = _both(first, second, steps, axes)
    within = [(s, (d <= jnp.asarray(tolerance, d.dtype)).astype(d.dtype)) for s, d in pairs]
    near, pixels = _surface_sums(within, axes)
    return Scores(ratio(near, pixels, jnp.ones_like(near)), jnp.any(second, axes))
