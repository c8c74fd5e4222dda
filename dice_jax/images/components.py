"""Connected components of a mask and their Voronoi regions, on the host (SciPy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.optional_imports import optional

__all__ = ["label_components", "voronoi_regions"]


def label_components(
    mask: ArrayLike, *, axis: checks.Axis = None, connectivity: int | None = None
) -> np.ndarray[Any, Any]:
    """Number the connected components of a mask, on the host (SciPy).

    By default pixels that touch by a corner belong together (8 neighbours in 2-D, 26 in 3-D).

    Args:
        mask: [...], boolean or integer: not 0 is foreground.
        axis: the axes that span space; the others count images, whose components are numbered
            apart, each from 1. ``None``: all span space.
        connectivity: how many neighbours a pixel has: 4 or 8 in 2-D, 6, 18 or 26 in 3-D, 2 in 1-D.
            ``None`` for the most.

    Returns:
        An int32 NumPy array of the shape of ``mask``: 0 for background, 1 … for the components.
        ``label_components(mask).max()`` says how many there are.

    Raises:
        ImportError: if SciPy is not installed.
        TypeError: if ``mask`` is floating.
        ValueError: if an axis does not exist or ``connectivity`` is not one of its numbers.

    Example:
        >>> import numpy as np
        >>> import dice_jax as dj
        >>> print(dj.label_components(np.array([1, 1, 0, 1, 0])))
        [1 1 0 2 0]
        >>> print(dj.label_components(np.eye(2, dtype=int), connectivity=4))
        [[1 0]
         [0 2]]
    """
    ndimage = optional("scipy.ndimage", user="label_components", extra="analysis")
    mask = _host_map("mask", mask)
    space = len(checks.normalize_axis("axis", axis, mask.ndim, what="mask"))
    structures = [ndimage.generate_binary_structure(space, k) for k in range(1, space + 1)]
    neighbours = {int(s.sum()) - 1: s for s in structures}
    if connectivity is None:
        structure = np.ones((3,) * space, bool)
    elif connectivity in neighbours:
        structure = neighbours[connectivity]
    else:
        choices = ", ".join(map(str, neighbours))
        raise ValueError(
            f"connectivity must be one of {choices} for {space} axes of space, got {connectivity!r}"
        )

    def label(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(ndimage.label(image != 0, structure=structure)[0])

    return _each_image(label, mask, axis)


def voronoi_regions(
    components: ArrayLike,
    *,
    axis: checks.Axis = None,
    spacing: Sequence[float] | None = None,
) -> np.ndarray[Any, Any]:
    """Give every pixel the number of its nearest component, on the host (SciPy).

    The losses of these regions see every false positive, in the region of the component it is
    nearest to: `instance_region_sums` over them makes per-component Dice.

    Args:
        components: [...], integer, 0 for background: from `label_components`.
        axis: the axes that span space; the others count images. ``None``: all span space.
        spacing: the pixel's size along each axis of ``axis``; ``None`` for 1.

    Returns:
        An int32 NumPy array of the shape of ``components``. An image without a component is one
        region, 1: false positives there count too.

    Raises:
        ImportError: if SciPy is not installed.
        TypeError: if ``components`` is not integer.
        ValueError: if an axis does not exist or ``spacing`` does not fit or is not positive.

    Example:
        >>> import numpy as np
        >>> import dice_jax as dj
        >>> print(dj.voronoi_regions(np.array([0, 1, 0, 0, 0, 2])))
        [1 1 1 1 2 2]

    References:
        Jaus et al., Every component counts (2024), https://arxiv.org/abs/2410.18684, section 3.
    """
    ndimage = optional("scipy.ndimage", user="voronoi_regions", extra="analysis")
    components = _host_map("components", components)
    largest = np.iinfo(np.int32).max
    if components.size and max(components.max(), -components.min().astype(float)) > largest:
        raise ValueError(
            f"components must be numbers of 32 bits, got {components.min()} to {components.max()}; "
            "write np.unique(components, return_inverse=True)[1] if 0 is among them"
        )
    checks.normalize_axis("axis", axis, components.ndim, what="components")
    steps = checks.check_spacing(spacing, axis, components.ndim)

    def nearest(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if not image.any():
            return np.ones_like(image)
        index = ndimage.distance_transform_edt(
            image == 0, sampling=steps, return_distances=False, return_indices=True
        )
        return image[tuple(np.asarray(index))]

    return _each_image(nearest, components, axis)


def _host_map(name: str, x: ArrayLike) -> np.ndarray[Any, Any]:
    array = np.asarray(x)
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must be boolean or integer, got {checks.describe(array)}")
    return array


def _each_image(function: Any, x: np.ndarray[Any, Any], axis: checks.Axis) -> np.ndarray[Any, Any]:
    """Apply ``function`` to the images that ``axis`` spans, one by one."""
    axes = checks.normalize_axis("axis", axis, x.ndim, what="the array")
    last = tuple(range(x.ndim - len(axes), x.ndim))
    images = np.moveaxis(x, axes, last)
    result = np.empty(images.shape, np.int32)
    for index in np.ndindex(*images.shape[: x.ndim - len(axes)]):
        result[index] = function(images[index])
    return np.moveaxis(result, last, axes)
