"""Sums, indices, distances and skeletons in float64 NumPy: what the oracles of the losses need.

Nothing here imports dice_jax. A function has the name and the options of the one it is the oracle
of. An index takes anything with `Sums`' fields, so a test may hand it either kind of sums.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage


class Sums(NamedTuple):
    """Σ over a region's pixels, as `dice_jax.RegionSums`."""

    intersection: np.ndarray
    prediction: np.ndarray
    target: np.ndarray
    prediction_squared: np.ndarray
    target_squared: np.ndarray
    absolute_difference: np.ndarray
    foreground_cross_entropy: np.ndarray
    background_cross_entropy: np.ndarray
    count: np.ndarray


# Pixels -> sums.


def float64(x):
    """Whatever came (bfloat16 too), as float64."""
    return np.asarray(x).astype(np.float64)


def sigmoid(logits):
    z = float64(logits)
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), 1 - 1 / (1 + np.exp(-np.abs(z))))


def log_softmax(logits):
    z = float64(logits)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def softmax(logits):
    return np.exp(log_softmax(logits))


def one_hot(labels, classes):
    """Integer labels as [..., C] float64 (an out-of-range label gives a row of zeros)."""
    return (np.asarray(labels)[..., None] == np.arange(classes)).astype(np.float64)


def product(weight, x):
    """0 · inf counts as 0: a class that is not the target may have probability 0."""
    return np.where(weight == 0, 0.0, weight * np.where(weight == 0, 0.0, x))


def _sums(p, y, minus_log_p, minus_log_q, axis, where):
    weight = np.ones(p.shape) if where is None else np.broadcast_to(float64(where), p.shape)

    def total(term):
        return np.sum(np.where(weight == 0, 0.0, term) * weight, axis=axis)

    with np.errstate(invalid="ignore"):
        return Sums(
            intersection=total(p * y),
            prediction=total(p),
            target=total(y),
            prediction_squared=total(p * p),
            target_squared=total(y * y),
            absolute_difference=total(np.abs(p - y)),
            foreground_cross_entropy=total(product(y, minus_log_p)),
            background_cross_entropy=total(product(1 - y, minus_log_q)),
            count=total(np.ones(p.shape)),
        )


def region_sums(probabilities, targets, *, axis=None, where=None):
    p, y = float64(probabilities), float64(targets)
    with np.errstate(divide="ignore", invalid="ignore"):
        minus_log_p, minus_log_q = (-np.maximum(np.log(q), -100.0) for q in (p, 1 - p))
    return _sums(p, y, minus_log_p, minus_log_q, axis, where)


def sigmoid_region_sums(logits, targets, *, axis=None, where=None):
    z, y = float64(logits), float64(targets)
    return _sums(sigmoid(z), y, np.logaddexp(0, -z), np.logaddexp(0, z), axis, where)


def softmax_region_sums(logits, labels, *, axis=None, where=None):
    """Fields [..., C]; ``axis`` counts the pixel axes, without the class axis."""
    z = float64(logits)
    ndim, classes = z.ndim - 1, z.shape[-1]
    y = float64(labels) if np.shape(labels) == z.shape else one_hot(labels, classes)
    minus_log_p = -log_softmax(z)
    p = np.exp(-minus_log_p)
    # 1 − p_c is the sum of the other classes' probabilities: no cancellation where p_c rounds to 1.
    others = [np.delete(z, c, -1) for c in range(classes)]
    top = z.max(-1, keepdims=True)
    log_z = top[..., 0] + np.log(np.exp(z - top).sum(-1))
    with np.errstate(divide="ignore"):
        log_rest = [
            o.max(-1) + np.log(np.exp(o - o.max(-1, keepdims=True)).sum(-1))
            if classes > 1
            else np.full(log_z.shape, -np.inf)
            for o in others
        ]
    minus_log_q = np.stack([log_z - r for r in log_rest], -1)
    axes = range(ndim) if axis is None else np.atleast_1d(axis)
    axes = tuple(int(a) % ndim for a in axes)
    weight = None if where is None else np.broadcast_to(np.asarray(where), z.shape[:-1])[..., None]
    return _sums(p, y, minus_log_p, minus_log_q, axes, weight)


# Sums -> index.


def index(numerator, denominator, count, smooth, smooth_denominator):
    """(n + s) / (d + s'), 1 at 0/0 and where nothing was counted."""
    above = float64(numerator) + smooth
    below = float64(denominator) + (smooth if smooth_denominator is None else smooth_denominator)
    nothing = (below == 0) | (float64(count) == 0)
    return np.where(nothing, 1.0, above / np.where(nothing, 1.0, below))


def dice_index(sums, *, smooth=0.0, smooth_denominator=None):
    return index(
        2 * sums.intersection,
        sums.prediction + sums.target,
        sums.count,
        smooth,
        smooth_denominator,
    )


def squared_dice_index(sums, *, smooth=0.0, smooth_denominator=None):
    return index(
        2 * sums.intersection,
        sums.prediction_squared + sums.target_squared,
        sums.count,
        smooth,
        smooth_denominator,
    )


def jaccard_index(sums, *, smooth=0.0, smooth_denominator=None):
    return index(
        sums.intersection,
        sums.prediction + sums.target - sums.intersection,
        sums.count,
        smooth,
        smooth_denominator,
    )


def tversky_index(sums, *, alpha, beta, smooth=0.0, smooth_denominator=None):
    false_positives = sums.prediction - sums.intersection
    false_negatives = sums.target - sums.intersection
    return index(
        sums.intersection,
        sums.intersection + alpha * false_positives + beta * false_negatives,
        sums.count,
        smooth,
        smooth_denominator,
    )


def generalized_dice_index(sums, *, smooth=0.0, smooth_denominator=None):
    """Sudre 2017, with w = 1/T² over its largest finite value, and that for absent classes."""
    target = float64(sums.target)
    result = np.empty(target.shape[:-1])
    for region in np.ndindex(*target.shape[:-1]):
        present = target[region] > 0
        weights = np.ones(target.shape[-1])
        if present.any():
            finite = 1 / target[region][present] ** 2
            weights[present] = finite / finite.max()
        overlap = np.sum(weights * 2 * float64(sums.intersection)[region])
        size = np.sum(weights * (float64(sums.prediction)[region] + target[region]))
        count = np.sum(float64(sums.count)[region])
        result[region] = index(overlap, size, count, smooth, smooth_denominator)
    return result[()]


def matthews_index(sums, *, smooth=0.0):
    """The Matthews correlation of the soft confusion matrix, s added to TP and to TN."""
    intersection, count = float64(sums.intersection), float64(sums.count)
    true_positives = intersection + smooth
    false_positives = sums.prediction - intersection
    false_negatives = sums.target - intersection
    true_negatives = count - sums.prediction - sums.target + intersection + smooth
    above = true_positives * true_negatives - false_positives * false_negatives
    below = np.sqrt(
        np.maximum(true_positives + false_positives, 0)
        * np.maximum(true_positives + false_negatives, 0)
        * np.maximum(true_negatives + false_positives, 0)
        * np.maximum(true_negatives + false_negatives, 0)
    )
    agree = np.where(np.isclose(false_positives + false_negatives, 0, atol=1e-12), 1.0, 0.0)
    return np.where(below == 0, agree, above / np.where(below == 0, 1.0, below))


def mean(total, size):
    return np.where(size == 0, 0.0, total / np.where(size == 0, 1.0, size))


# Weights and regions.


def weights_of(p, where):
    return np.ones(p.shape) if where is None else np.broadcast_to(float64(where), p.shape)


def weighted_total(p, where):
    """A sum over the axes that counts no masked pixel, whatever it holds."""
    weight = weights_of(p, where)

    def total(term, axis):
        return np.sum(np.where(weight == 0, 0.0, term) * weight, axis=axis)

    return total


def error_share(error, size, smooth, count):
    below = np.where(count == 0, 0.0, size + smooth)
    return np.where(below == 0, 0.0, error / np.where(below == 0, 1.0, below))


def each_region(function, arrays, axis):
    """``function`` of the arrays cut to one region, for every region that ``axis`` leaves."""
    ndim = arrays[0].ndim
    axes = tuple(range(ndim)) if axis is None else tuple(a % ndim for a in np.atleast_1d(axis))
    kept = [a for a in range(ndim) if a not in axes]
    shape = [arrays[0].shape[a] for a in kept]
    result = np.empty(shape)
    for region in np.ndindex(*shape):
        index = [slice(None)] * ndim
        for a, i in zip(kept, region, strict=True):
            index[a] = i
        result[region] = function(*(x[tuple(index)] for x in arrays))
    return result[()]


# Distances: SciPy's transform.


def distance_transform(mask, *, spacing=None):
    """Distance to the nearest False, of one image; infinite if there is none."""
    mask = np.asarray(mask) != 0
    if mask.all():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(mask, sampling=spacing)


def signed_distance(mask, *, spacing=None):
    mask = np.asarray(mask) != 0
    if mask.all() or not mask.any():
        return np.zeros(mask.shape)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return outside - ndimage.distance_transform_edt(mask, sampling=spacing)


# Skeletons: Shit 2021, with SciPy's filters.


def soft_skeleton(x, *, iterations, inner=None):
    """Algorithm 1 on one image; a pixel that is not ``inner`` is no one's neighbour."""
    x = float64(x)
    inner = np.ones(x.shape, bool) if inner is None else inner
    cross = ndimage.generate_binary_structure(x.ndim, 1)

    def erode(x):
        x = np.where(inner, x, np.inf)
        return ndimage.minimum_filter(x, footprint=cross, mode="constant", cval=np.inf)

    def dilate(x):
        x = np.where(inner, x, -np.inf)
        return ndimage.maximum_filter(x, size=3, mode="constant", cval=-np.inf)

    skeleton = np.zeros(x.shape)
    for _ in range(iterations + 1):
        opened = dilate(erode(x))
        removed = np.maximum(np.where(inner, x - opened, 0), 0)
        skeleton = skeleton + removed * (1 - skeleton)
        x = np.where(inner, erode(x), 0)
    return skeleton
