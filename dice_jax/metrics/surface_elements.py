"""Surface Dice of surface elements: pieces of a surface between pixels, with their area."""

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
from dice_jax._core.safe_math import ratio
from dice_jax.images.distance import distance_transform
from dice_jax.metrics.image_pairs import of_image_pairs
from dice_jax.metrics.scores import Scores
from dice_jax.metrics.surfaces import within

__all__ = ["area_weighted_surface_dice"]

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
    shape = np.shape(prediction)
    space = checks.normalize_axis("axis", axis, len(shape), what="prediction")
    if len(space) not in _CASES:
        raise ValueError(f"axis must name two or three axes of space, got {len(space)}")
    return of_image_pairs(
        _share_of_area_within, prediction, target, (tolerance,), axis, spacing, where
    )


def _share_of_area_within(
    first: jax.Array,
    second: jax.Array,
    axes: tuple[int, ...],
    steps: tuple[Any, ...],
    tolerance: ArrayLike,
) -> jax.Array:
    codes = [_codes(mask, axes) for mask in (first, second)]
    full = 2 ** (2 ** len(axes)) - 1
    surfaces = [(code != 0) & (code != full) for code in codes]
    distances = [distance_transform(~surface, axis=axes, spacing=steps) for surface in surfaces]
    areas = _areas(steps, distances[0].dtype)
    # The area of a code that is no surface is 0.
    weights = [areas[code] for code in codes]
    zero = jnp.zeros_like(weights[0])
    near = [
        jnp.where(within(distance, tolerance), weight, zero)
        for weight, distance in zip(weights, reversed(distances), strict=True)
    ]
    total = jnp.sum(weights[0] + weights[1], axes)
    return ratio(jnp.sum(near[0] + near[1], axes), total, jnp.ones_like(total))


def _codes(mask: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The code of every place where pixels meet: one more along each axis than pixels."""
    padded = jnp.pad(mask, [(1, 1) if a in axes else (0, 0) for a in range(mask.ndim)])
    code = jnp.zeros((), jnp.int32)
    for corner in itertools.product((0, 1), repeat=len(axes)):
        pixel = padded
        for axis, k in zip(axes, corner, strict=True):
            pixel = jax.lax.slice_in_dim(pixel, k, k + mask.shape[axis] + 1, axis=axis)
        code = 2 * code + pixel.astype(jnp.int32)
    return code


def _areas(steps: tuple[Any, ...], dtype: Any) -> jax.Array:
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
