"""Metrics of surface elements: pieces of a surface between pixels, weighted by their area."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions
from dice_jax._core.safe_math import product, ratio
from dice_jax.images.distance import distance_transform
from dice_jax.metrics.image_pairs import of_image_pairs
from dice_jax.metrics.scores import Scores
from dice_jax.metrics.surfaces import infinite_if_one_is_empty, within

__all__ = [
    "area_weighted_hausdorff_distance",
    "area_weighted_surface_dice",
    "area_weighted_surface_distance",
]

Axes = tuple[int, ...]
Steps = tuple[Any, ...]

# An element lies where 2×2 (or 2×2×2) pixels meet. Its code has a bit for each of them, the first
# pixel in the highest. The area's normals in a unit grid, in eighths of it; signs do not matter.
# Turned, mirrored and inverted, these cases are all 16 (or 256) codes: the triangles of marching
# cubes that DeepMind's surface-distance tabulates.
_CASES: dict[int, dict[int, list[tuple[int, ...]]]] = {
    2: {
        0b0000: [],
        0b0001: [(4, 4)],
        0b0011: [(8, 0)],
        0b0110: [(4, 4), (4, 4)],
    },
    3: {
        0: [],
        1: [(1, 1, 1)],
        3: [(2, 2, 0), (2, 2, 0)],
        6: [(1, 1, 1), (1, 1, 1)],
        7: [(1, 1, 1), (2, 2, 2), (4, 0, 0)],
        15: [(4, 0, 0), (4, 0, 0)],
        22: [(1, 1, 1), (1, 1, 1), (1, 1, 1)],
        23: [(1, 1, 1), (1, 1, 1), (2, 2, 2), (2, 2, 2)],
        24: [(1, 1, 1), (1, 1, 1)],
        25: [(0, 2, 2), (0, 2, 2), (1, 1, 1)],
        27: [(0, 2, 2), (1, 1, 1), (2, 0, 2), (3, 3, 3)],
        30: [(1, 1, 1), (1, 1, 1), (2, 2, 2), (4, 0, 0)],
        60: [(2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)],
        105: [(1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)],
    },
}


def area_weighted_surface_dice(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    tolerance: ArrayLike,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Surface Dice by area: the part of both surfaces' area within a tolerance of the other.

    A surface consists of elements between pixels, as DeepMind's ``surface-distance`` and MONAI with
    ``use_subvoxels=True`` have it: one wherever not all of 2×2 (or 2×2×2) neighbouring pixels are
    of one class, with the length (or area) that marching squares (or cubes) give it. Distances go
    from element to element. `surface_dice` counts pixels instead.

    Args:
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        tolerance: the distance, one number in units of ``spacing``, that still counts as right.
        axis: the two or three axes that span space; the others count images. ``None``: all.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        where: boolean or floating, broadcastable to [...]. Pixels of weight 0 are as beyond the
            image's edge, whatever the masks hold there; a weight other than 0 is 1.

    Returns:
        The scores, in [0, 1]. 1 where both masks are empty; 0 where one is.

    Raises:
        TypeError: if a mask is floating, or ``tolerance`` is missing or not a number.
        ValueError: if shapes, an axis, ``spacing``, ``tolerance`` or ``where`` do not fit, or space
            has neither two nor three axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> mask = jnp.zeros((6, 6), bool).at[2, 2].set(True)
        >>> score = metrics.area_weighted_surface_dice(jnp.roll(mask, 2, 1), mask, tolerance=1.0)
        >>> print(f"{score:.3f}")
        0.500

    References:
        Nikolov et al., Clinically applicable segmentation of head and neck anatomy (2021),
        https://arxiv.org/abs/1809.04430; https://github.com/google-deepmind/surface-distance.
    """
    checks.check_number("tolerance", tolerance)
    _check_space(prediction, axis)
    return of_image_pairs(
        _share_of_area_within, prediction, target, (tolerance,), axis, spacing, where
    )


def area_weighted_hausdorff_distance(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    percentile: ArrayLike = 95.0,
    where: ArrayLike | None = None,
) -> Scores:
    """Hausdorff distance of surface elements, or a percentile of it by area.

    The larger one of the two directed distances. Each is the smallest distance d such that at
    least ``percentile`` percent of one surface's area lies within d of the other surface.
    Elements are as in `area_weighted_surface_dice`; `hausdorff_distance` is that of pixels. With
    95 it is the HD95 of DeepMind's ``surface-distance``, and of challenges that use it.

    Args:
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        axis: the two or three axes that span space; the others count images. ``None``: all.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        percentile: in [0, 100]; 100 is the largest distance.
        where: boolean or floating, broadcastable to [...]. Pixels of weight 0 are as beyond the
            image's edge, whatever the masks hold there; a weight other than 0 is 1.

    Returns:
        The scores, in units of ``spacing``. 0 where both masks are empty; infinite where one is.

    Raises:
        TypeError: if a mask is floating.
        ValueError: if shapes, an axis, ``spacing``, ``percentile`` or ``where`` do not fit, or
            space has neither two nor three axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> mask = jnp.zeros((6, 6), bool).at[2, 2].set(True)
        >>> moved = jnp.roll(mask, 2, 1)
        >>> print(float(metrics.area_weighted_hausdorff_distance(moved, mask)))
        2.0
        >>> print(float(metrics.area_weighted_hausdorff_distance(moved, mask, percentile=50)))
        1.0

    References:
        https://github.com/google-deepmind/surface-distance, ``compute_robust_hausdorff``.
    """
    checks.check_number("percentile", percentile, most=100.0)
    _check_space(prediction, axis)
    return of_image_pairs(
        _largest_percentile_by_area, prediction, target, (percentile,), axis, spacing, where
    )


def area_weighted_surface_distance(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Mean distance from the prediction's surface elements to the target's, weighted by area.

    Exchange the masks for the other direction. Elements are as in `area_weighted_surface_dice`;
    `directed_surface_distance` is the mean over pixels.

    Args:
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        axis: the two or three axes that span space; the others count images. ``None``: all.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        where: boolean or floating, broadcastable to [...]. Pixels of weight 0 are as beyond the
            image's edge, whatever the masks hold there; a weight other than 0 is 1.

    Returns:
        The scores, in units of ``spacing``. 0 where both masks are empty; infinite where one is.

    Raises:
        TypeError: if a mask is floating.
        ValueError: if shapes, an axis, ``spacing`` or ``where`` do not fit, or space has neither
            two nor three axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> mask = jnp.zeros((6, 6), bool).at[2, 2].set(True)
        >>> print(float(metrics.area_weighted_surface_distance(jnp.roll(mask, 2, 1), mask)))
        1.5

    References:
        https://github.com/google-deepmind/surface-distance, ``compute_average_surface_distance``.
    """
    _check_space(prediction, axis)
    return of_image_pairs(_directed_mean_by_area, prediction, target, (), axis, spacing, where)


def _check_space(prediction: ArrayLike, axis: checks.Axis) -> None:
    space = checks.normalize_axis("axis", axis, len(np.shape(prediction)), what="prediction")
    if len(space) not in _CASES:
        raise ValueError(f"axis must name two or three axes of space, got {len(space)}")


def _share_of_area_within(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps, tolerance: ArrayLike
) -> jax.Array:
    near, far = 0, 0
    for area, distance in _elements(first, second, axes, steps):
        close, nothing = within(distance, tolerance), jnp.zeros_like(area)
        near += jnp.sum(jnp.where(close, area, nothing), axes)
        far += jnp.sum(jnp.where(close, nothing, area), axes)
    # Not over the sum of all areas: rounding could make that smaller than the part.
    return ratio(near, near + far, jnp.ones_like(near))


def _largest_percentile_by_area(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps, percentile: ArrayLike
) -> jax.Array:
    def of_surface(area: jax.Array, distance: jax.Array) -> jax.Array:
        distance, area = jax.lax.sort((distance, area), num_keys=1)
        reached = jnp.cumsum(area)
        # Rounding of the sums must not ask for one more element.
        enough = jnp.asarray(percentile, area.dtype) * reached[-1] / 100 * (1 - 2.0**-20)
        chosen = (area > 0) & (reached >= enough)
        least = jnp.min(jnp.where(chosen, distance, jnp.full_like(distance, jnp.inf)))
        return jnp.where(reached[-1] > 0, least, jnp.zeros_like(least))

    pairs = _elements(first, second, axes, steps)
    value = jnp.maximum(*(over_regions(of_surface, pair, axes) for pair in pairs))
    return infinite_if_one_is_empty(value, first, second, axes)


def _directed_mean_by_area(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps
) -> jax.Array:
    area, distance = _elements(first, second, axes, steps)[0]
    total = jnp.sum(area, axes)
    value = ratio(jnp.sum(product(area, distance), axes), total, jnp.zeros_like(total))
    return infinite_if_one_is_empty(value, first, second, axes)


def _elements(
    first: jax.Array, second: jax.Array, axes: Axes, steps: Steps
) -> list[tuple[jax.Array, jax.Array]]:
    """For each surface: the area at every place, 0 where no element is; the distance to the other.

    Args:
        first: a mask.
        second: another one.
        axes: the axes that span space.
        steps: the size of a pixel along each of them.

    Returns:
        For each mask two arrays, with one place more along each axis than pixels.
    """
    codes = [_codes(mask, axes) for mask in (first, second)]
    full = 2 ** (2 ** len(axes)) - 1
    surfaces = [(code != 0) & (code != full) for code in codes]
    distances = [distance_transform(~surface, axis=axes, spacing=steps) for surface in surfaces]
    areas = _areas(steps, distances[0].dtype)
    return [(areas[code], d) for code, d in zip(codes, reversed(distances), strict=True)]


def _codes(mask: jax.Array, axes: Axes) -> jax.Array:
    """The code of every place where pixels meet: one more along each axis than pixels."""
    padded = jnp.pad(mask, [(1, 1) if a in axes else (0, 0) for a in range(mask.ndim)])
    code = jnp.zeros((), jnp.int32)
    for corner in itertools.product((0, 1), repeat=len(axes)):
        pixel = padded
        for axis, k in zip(axes, corner, strict=True):
            pixel = jax.lax.slice_in_dim(pixel, k, k + mask.shape[axis] + 1, axis=axis)
        code = 2 * code + pixel.astype(jnp.int32)
    return code


def _areas(steps: Steps, dtype: Any) -> jax.Array:
    """The area of every code's element for pixels of these sizes."""
    sizes = jnp.stack([jnp.asarray(step, dtype) for step in steps])
    normals = jnp.asarray(_normals(len(steps)), dtype) / 8
    # A normal's length is the area; its part along an axis scales with the other axes' sizes.
    return jnp.sum(jnp.linalg.norm(normals * (jnp.prod(sizes) / sizes), axis=-1), -1)


@functools.cache
def _normals(ndim: int) -> np.ndarray[Any, Any]:
    """The normals of every code's triangles, [codes, triangles, axes], zeros where none is left."""
    bits = 2 ** np.arange(2**ndim)[::-1].reshape((2,) * ndim)
    most = max(map(len, _CASES[ndim].values()))
    table = np.zeros((2**bits.size, most, ndim), np.int32)
    for case, normals in _CASES[ndim].items():
        pixels = (case & bits) != 0
        for order in itertools.permutations(range(ndim)):
            turned = [[normal[a] for a in order] for normal in normals]
            for flips in itertools.product((1, -1), repeat=ndim):
                mirrored = pixels.transpose(order)[tuple(slice(None, None, f) for f in flips)]
                for version in (mirrored, ~mirrored):
                    if normals:
                        table[int(np.sum(bits * version)), : len(normals)] = turned
    return table
