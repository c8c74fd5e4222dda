"""Helpers that the checks of several themes share, in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "ADVERSARY_PIXELS",
    "NO_SMOOTHING",
    "angle",
    "decoded",
    "logit",
    "region_numbers",
    "spread",
    "two_groups",
    "two_values",
]

Array = np.ndarray[Any, Any]
NO_SMOOTHING: dict[str, Any] = {"smooth": 0.0}


def region_numbers(p: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """I, S, U and T of each problem [B, 1], by plain NumPy."""
    i, s = np.sum(p * y, 1, keepdims=True), np.sum(p + y, 1, keepdims=True)
    return i, s, s - i, np.sum(y, 1, keepdims=True)


def two_values(gradient: Array, y: Array) -> tuple[Array, Array]:
    """The gradient of the first pixel, which is foreground, and of the second, which is not."""
    assert (y[:, 0] == 1).all()
    assert (y[:, 1] == 0).all()
    return gradient[:, :1], gradient[:, 1:2]


def spread(gradient: Array, y: Array) -> Array:
    """The largest range within a class over the largest entry: 0 if there are two values."""
    size = np.abs(gradient).max(1)
    ranges = []
    for label in (0, 1):
        inside = np.where(y == label, gradient, np.nan)
        ranges.append(np.nanmax(inside, 1) - np.nanmin(inside, 1))
    return np.maximum(*ranges) / np.where(size == 0, 1, size)


def angle(a: Array, b: Array) -> Array:
    """Distance of the unit vectors: 0 iff the cosine is 1, without the rounding of 1 − cosine."""
    a, b = (x.reshape(x.shape[0], -1) for x in (a, b))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return np.linalg.norm(a - b, axis=1)


def logit(p: Array) -> Array:
    """The inverse of the sigmoid."""
    return np.log(p) - np.log1p(-p)


def two_groups(target: Array, count: Array) -> tuple[Array, Array]:
    """Labels [B, 2] and weights [B, 2] that stand for T foreground and N − T background pixels."""
    target, count = np.broadcast_arrays(np.asarray(target, float), np.asarray(count, float))
    return np.tile([1.0, 0.0], (target.size, 1)), np.stack([target, count - target], 1)


# An adversary searches over problems of this many pixels.
ADVERSARY_PIXELS = 10


def decoded(cube: Array) -> tuple[Array, Array]:
    """Probabilities, many of them near 0 or 1, and hard labels from points of the unit cube."""
    p = np.clip(cube[:, :ADVERSARY_PIXELS] ** 4, 1e-6, 1)
    p = np.where(cube[:, :ADVERSARY_PIXELS] > 0.9, 1 - (1 - p) ** 2, p)
    y = np.round(cube[:, ADVERSARY_PIXELS : 2 * ADVERSARY_PIXELS])
    y[:, 0], y[:, 1] = 1, 0
    return p, y
