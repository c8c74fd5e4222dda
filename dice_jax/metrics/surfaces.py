"""Metrics of surfaces: distances between the outlines of two masks, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions
from dice_jax._core.safe_math import ratio
from dice_jax.images.distance import distance_transform
from dice_jax.metrics.image_pairs import of_image_pairs
from dice_jax.metrics.scores import Scores

__all__ = [
    "average_surface_distance",
    "directed_hausdorff_distance",
    "directed_surface_distance",
    "hausdorff_distance",
    "image_diagonal",
    "medpy_assd",
    "medpy_hd95",
    "surface_dice",
]


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
    with a background neighbour along an axis, or at the image's edge. Masks that are not traced
    are padded with background to one of a few sizes. This changes no distance, and most new shapes
    need no new compilation.

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
    return of_image_pairs(
        _largest_percentile, prediction, target, (percentile,), axis, spacing, where
    )


def average_surface_distance(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Average symmetric surface distance of two masks.

    The mean over the pixels of both surfaces, together, of the distance to the other surface. A
    surface is as in `hausdorff_distance`. The mean of the two means is `medpy_assd`.

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
    return of_image_pairs(_mean_of_both, prediction, target, (), axis, spacing, where)


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

    A surface is as in `hausdorff_distance`; its pixels are counted. `area_weighted_surface_dice`
    weights them with their area. A distance that is the tolerance up to rounding is within it.

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
    return of_image_pairs(_share_within, prediction, target, (tolerance,), axis, spacing, where)


def directed_hausdorff_distance(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    percentile: ArrayLike = 100.0,
    where: ArrayLike | None = None,
) -> Scores:
    """Directed Hausdorff distance from the prediction to the target, or a percentile of it.

    A percentile (linear between neighbours) of the distances from the prediction's surface pixels
    to the target's surface. Exchange the masks for the other direction. A surface is as in
    `hausdorff_distance`.

    Args:
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        axis: the axes that span space; the others count images. ``None``: all span space.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        percentile: in [0, 100]; 100 is the largest distance.
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
        >>> far = jnp.array([1, 1, 0, 0, 0, 1])
        >>> near = jnp.array([1, 1, 0, 0, 0, 0])
        >>> print(float(metrics.directed_hausdorff_distance(far, near)))
        4.0
        >>> print(float(metrics.directed_hausdorff_distance(near, far)))
        0.0

    References:
        Maier-Hein et al., Metrics reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    checks.check_number("percentile", percentile, most=100.0)
    return of_image_pairs(
        _directed_percentile, prediction, target, (percentile,), axis, spacing, where
    )


def directed_surface_distance(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Mean distance from the surface of the prediction to that of the target.

    The mean over the prediction's surface pixels alone: MONAI's average surface distance with
    ``symmetric=False``, and MedPy's ``asd``. A surface is as in `hausdorff_distance`.

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
        >>> far = jnp.array([1, 1, 0, 0, 0, 1])
        >>> near = jnp.array([1, 1, 0, 0, 0, 0])
        >>> print(f"{float(metrics.directed_surface_distance(far, near)):.4f}")    # (0 + 0 + 4)/3
        1.3333

    References:
        Maier-Hein et al., Metrics reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    return of_image_pairs(_directed_mean, prediction, target, (), axis, spacing, where)


def medpy_hd95(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    where: ArrayLike | None = None,
) -> Scores:
    """MedPy's HD95: the 95th percentile of the distances of both surfaces together.

    `hausdorff_distance` takes the percentile of each direction and then the larger one; MedPy takes
    one percentile of both lists joined, which is never larger. A surface is as in
    `hausdorff_distance`.

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
        >>> print(float(metrics.medpy_hd95(jnp.roll(mask, 2, 1), mask)))
        2.0

    References:
        MedPy, ``medpy.metric.binary.hd95``, https://github.com/loli/medpy.
    """
    return of_image_pairs(_pooled_percentile, prediction, target, (95.0,), axis, spacing, where)


def medpy_assd(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    where: ArrayLike | None = None,
) -> Scores:
    """MedPy's ASSD up to its version 0.4.0: the mean of the two directed mean surface distances.

    `average_surface_distance` pools the pixels of both surfaces, and so does MedPy from 0.5.2 on;
    here each surface has one half of the weight, whatever its size. A surface is as in
    `hausdorff_distance`.

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
        >>> far = jnp.array([1, 1, 0, 0, 0, 1])
        >>> near = jnp.array([1, 1, 0, 0, 0, 0])
        >>> print(f"{float(metrics.medpy_assd(far, near)):.4f}")    # (4/3 + 0)/2
        0.6667

    References:
        MedPy, ``medpy.metric.binary.assd``, https://github.com/loli/medpy.
    """
    return of_image_pairs(_mean_of_means, prediction, target, (), axis, spacing, where)


def image_diagonal(shape: Sequence[int], *, spacing: Sequence[float] | None = None) -> float:
    """Length of an image's diagonal: the usual distance of an object that was missed.

    What `Scores.with_worst` takes for the infinite distances of missed and invented objects, so
    that their mean exists: ``hausdorff_distance(p, y).with_worst(image_diagonal(y.shape)).mean()``.

    Args:
        shape: how many pixels the image has along each axis of space.
        spacing: the size of a pixel along each axis; ``None`` for 1.

    Returns:
        √Σ (pixels·size)², a Python number.

    Raises:
        TypeError: if an entry is not a number.
        ValueError: if ``spacing`` does not have one positive entry per axis.

    Example:
        >>> from dice_jax import metrics
        >>> print(metrics.image_diagonal((3, 8), spacing=(1.0, 0.5)))
        5.0

    References:
        Maier-Hein et al., Metrics reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    steps = checks.check_spacing(spacing, None, len(shape))
    return float(np.linalg.norm(np.asarray(shape, np.float64) * np.asarray(steps, np.float64)))


# Under jit: functions of two masks, the axes that span space, the pixel's sizes and options.

Steps = tuple[Any, ...]
Axes = tuple[int, ...]


def _largest_percentile(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps, percentile: ArrayLike
) -> jax.Array:
    pairs = _both(first, second, axes, steps)
    one, other = (over_regions(_percentile(percentile), (d, s), axes) for s, d in pairs)
    return infinite_if_one_is_empty(jnp.maximum(one, other), first, second, axes)


def _pooled_percentile(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps, percentile: ArrayLike
) -> jax.Array:
    (a, from_a), (b, from_b) = _both(first, second, axes, steps)

    def joined(*arrays: jax.Array) -> jax.Array:
        distances, surfaces = jnp.concatenate(arrays[:2]), jnp.concatenate(arrays[2:])
        return _percentile(percentile)(distances, surfaces)

    value = over_regions(joined, (from_a, from_b, a, b), axes)
    return infinite_if_one_is_empty(value, first, second, axes)


def _directed_percentile(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps, percentile: ArrayLike
) -> jax.Array:
    surface, distances = _both(first, second, axes, steps)[0]
    value = over_regions(_percentile(percentile), (distances, surface), axes)
    return infinite_if_one_is_empty(value, first, second, axes)


def _mean_of_both(first: jax.Array, second: jax.Array, axes: Axes, steps: Steps) -> jax.Array:
    return _share_of_pixels(_both(first, second, axes, steps), axes, empty=0.0)


def _directed_mean(first: jax.Array, second: jax.Array, axes: Axes, steps: Steps) -> jax.Array:
    value = _share_of_pixels(_both(first, second, axes, steps)[:1], axes, empty=0.0)
    return infinite_if_one_is_empty(value, first, second, axes)


def _mean_of_means(first: jax.Array, second: jax.Array, axes: Axes, steps: Steps) -> jax.Array:
    pairs = _both(first, second, axes, steps)
    one, other = (_share_of_pixels([pair], axes, empty=0.0) for pair in pairs)
    return (one + other) / 2


def _share_within(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps, tolerance: ArrayLike
) -> jax.Array:
    pairs = _both(first, second, axes, steps)
    near = [(s, within(d, tolerance).astype(d.dtype)) for s, d in pairs]
    return _share_of_pixels(near, axes, empty=1.0)


def within(distances: jax.Array, tolerance: ArrayLike) -> jax.Array:
    """Whether distances are at most the tolerance, or equal to it up to rounding.

    Args:
        distances: [...], from `distance_transform`.
        tolerance: one number in the same units.

    Returns:
        Booleans [...].
    """
    # Spacing, product, square, sum, root and tolerance each round by half a unit in the last place
    # at most: together less than three units. 3 pixels of 1.2 mm are 3.6 mm.
    dtype = distances.dtype
    slack = jnp.asarray(1 + 4 * jnp.finfo(dtype).eps, dtype)
    return distances <= jnp.asarray(tolerance, dtype) * slack


def _surface(mask: jax.Array, axes: Axes) -> jax.Array:
    """The mask's pixels with a neighbour along an axis outside of it (or of the image)."""
    inner = mask
    for axis in axes:
        n = mask.shape[axis]
        padded = jnp.pad(mask, [(1, 1) if a == axis else (0, 0) for a in range(mask.ndim)])
        for k in (0, 2):
            inner = inner & jax.lax.slice_in_dim(padded, k, k + n, axis=axis)
    return mask & ~inner


def _both(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps
) -> list[tuple[jax.Array, jax.Array]]:
    """For each surface, its pixels and every pixel's distance to the other one."""
    a, b = _surface(first, axes), _surface(second, axes)
    # The distance to a surface that has no pixels is infinite.
    to_a, to_b = (distance_transform(~surface, axis=axes, spacing=steps) for surface in (a, b))
    return [(a, to_b), (b, to_a)]


def _share_of_pixels(
    pairs: list[tuple[jax.Array, jax.Array]], axes: Axes, *, empty: float
) -> jax.Array:
    """Mean of a value over the pixels of one surface or of both; ``empty`` if there are none."""
    zero = jnp.zeros_like(pairs[0][1])
    total = jnp.sum(sum(jnp.where(surface, value, zero) for surface, value in pairs), axes)
    pixels = jnp.sum(sum(surface.astype(value.dtype) for surface, value in pairs), axes)
    return ratio(total, pixels, jnp.full_like(total, empty))


def infinite_if_one_is_empty(
    value: jax.Array, first: jax.Array, second: jax.Array, axes: Axes
) -> jax.Array:
    """The distance between two masks, infinite where one has no pixel and the other one has."""
    one = jnp.any(first, axes) != jnp.any(second, axes)
    return jnp.where(one, jnp.full_like(value, jnp.inf), value)


def _percentile(percentile: ArrayLike) -> Any:
    def of_surface(distances: jax.Array, surface: jax.Array) -> jax.Array:
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

    return of_surface
