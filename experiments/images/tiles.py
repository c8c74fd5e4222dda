"""Images of any size: cut into tiles to learn from, stacked whole to be evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["corners", "count_of_tiles", "cut", "grown", "stacked"]

Array = np.ndarray[Any, Any]


def corners(length: int, tile: int, step: int | None = None) -> list[int]:
    """Place tiles along an axis so that they cover it: where each begins.

    Args:
        length: of the axis, in pixels.
        tile: of a tile, in pixels.
        step: the most pixels from one to the next; ``None``: a tile, so that they overlap as
            little as they can.
    """
    if length <= tile:
        return [0]
    count = math.ceil((length - tile) / (step or tile)) + 1
    return np.linspace(0, length - tile, count).round().astype(int).tolist()


def count_of_tiles(shape: Sequence[int], tile: int) -> int:
    """Count the tiles that `cut` makes of an image."""
    return len(corners(shape[0], tile)) * len(corners(shape[1], tile))


def cut(image: Array, tile: int) -> Array:
    """Cut an image into square tiles that cover it.

    An image that is smaller than a tile is continued by its mirror image.

    Args:
        image: [H, W] or [H, W, C].
        tile: height and width of a tile, in pixels.

    Returns:
        [tiles, tile, tile] or [tiles, tile, tile, C].
    """
    image = grown(image, tile)
    return np.stack(
        [
            image[top : top + tile, left : left + tile]
            for top in corners(image.shape[0], tile)
            for left in corners(image.shape[1], tile)
        ]
    )


def grown(image: Array, tile: int) -> Array:
    """Continue an image by its mirror image, down and to the right, to at least a tile."""
    more = [(0, max(tile - side, 0)) for side in image.shape[:2]]
    return np.pad(image, more + [(0, 0)] * (image.ndim - 2), mode="symmetric")


def stacked(images: Sequence[Array]) -> tuple[Array, Array | None]:
    """Put images of any size into one array, with zeros below and to the right of each.

    Returns:
        The array [B, H, W] or [B, H, W, C], and [B, H, W] booleans: which pixels are an image's;
        ``None`` if all have one size.
    """
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    shape = (len(images), height, width, *images[0].shape[2:])
    array, inside = np.zeros(shape, images[0].dtype), np.zeros(shape[:3], bool)
    for row, image in enumerate(images):
        array[row, : image.shape[0], : image.shape[1]] = image
        inside[row, : image.shape[0], : image.shape[1]] = True
    return array, None if inside.all() else inside
