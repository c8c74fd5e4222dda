"""Predictions of whole images by a model that has learnt from tiles."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.images.masks import WholeImages
from experiments.images.tiles import corners, grown
from experiments.learning.evaluation import predict

__all__ = ["OUTSIDE", "predict_whole"]

# The logit of a pixel that fills up an array: p is 0, and no threshold is as low.
OUTSIDE = -100.0
# Tiles that are predicted at once, so that one program serves images of any size.
_TILES_AT_ONCE = 16


def predict_whole(
    graph: nnx.GraphDef[Any], parameters: Any, images: WholeImages, tile: int | None
) -> np.ndarray:
    """Compute a model's logits of whole images.

    A model that learnt from tiles sees tiles of the same size again, since its normalisation
    depends on how much of an image it sees. They overlap by a quarter. Where they do, their logits
    are averaged with weights that fall towards a tile's border.

    Args:
        graph: the model's structure.
        parameters: its parameters.
        images: of any size.
        tile: height and width of a tile, in pixels; ``None``: the images are seen whole.

    Returns:
        Logits [B, H, W], or [B, H, W, K] of classes, float64, on the host; `OUTSIDE` where there
        is no image.
    """
    if tile is None:
        return predict(graph, parameters, images.images)
    pixels, where = np.asarray(images.images), images.where
    found = []
    for row, image in enumerate(pixels):
        if where is not None:
            inside = np.asarray(where[row])
            image = image[: inside.any(axis=1).sum(), : inside.any(axis=0).sum()]
        logits = _stitched(graph, parameters, grown(image, tile), tile)
        logits = logits[: image.shape[0], : image.shape[1]]
        rest = [
            (0, most - side) for most, side in zip(pixels.shape[1:3], logits.shape[:2], strict=True)
        ]
        found.append(np.pad(logits, rest + [(0, 0)] * (logits.ndim - 2), constant_values=OUTSIDE))
    return np.stack(found)


def _stitched(
    graph: nnx.GraphDef[Any], parameters: Any, image: np.ndarray, tile: int
) -> np.ndarray:
    step = max(tile * 3 // 4, 1)
    places = [
        (slice(top, top + tile), slice(left, left + tile))
        for top in corners(image.shape[0], tile, step)
        for left in corners(image.shape[1], tile, step)
    ]
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1.0
    weight = ramp[:, None] * ramp
    total, weights = np.zeros(()), np.zeros(image.shape[:2])
    for first in range(0, len(places), _TILES_AT_ONCE):
        part = places[first : first + _TILES_AT_ONCE]
        # Filled up with the last tile, so that every call has one shape.
        seen = np.stack([image[place] for place in part + part[-1:] * (_TILES_AT_ONCE - len(part))])
        found = predict(graph, parameters, jnp.asarray(seen))
        # Of several classes, the logits have an axis more.
        classes = found.shape[3:]
        total = total if total.ndim else np.zeros((*image.shape[:2], *classes))
        for place, logits in zip(part, found, strict=False):
            total[place] += weight.reshape(tile, tile, *(1 for _ in classes)) * logits
            weights[place] += weight
    return total / weights.reshape(*weights.shape, *(1 for _ in total.shape[2:]))
