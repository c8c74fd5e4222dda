"""The oracles: every loss in float64 NumPy, written from the papers, slow and plain.

Nothing here imports dice_jax. A loss has the name and the options of the function it is the oracle
of; a loss of sums takes anything with `Sums`' fields, so a test may hand it either kind of sums.
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


def _product(y, minus_log):
    # 0 · inf counts as 0: a class that is not the target may have probability 0.
    return np.where(y == 0, 0.0, y * np.where(y == 0, 0.0, minus_log))


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
            foreground_cross_entropy=total(_product(y, minus_log_p)),
            background_cross_entropy=total(_product(1 - y, minus_log_q)),
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


def _index(numerator, denominator, count, smooth, smooth_denominator):
    """(n + s) / (d + s'), 1 at 0/0 and where nothing was counted."""
    above = float64(numerator) + smooth
    below = float64(denominator) + (smooth if smooth_denominator is None else smooth_denominator)
    nothing = (below == 0) | (float64(count) == 0)
    return np.where(nothing, 1.0, above / np.where(nothing, 1.0, below))


def dice_index(sums, *, smooth=0.0, smooth_denominator=None):
    return _index(
        2 * sums.intersection,
        sums.prediction + sums.target,
        sums.count,
        smooth,
        smooth_denominator,
    )


def squared_dice_index(sums, *, smooth=0.0, smooth_denominator=None):
    return _index(
        2 * sums.intersection,
        sums.prediction_squared + sums.target_squared,
        sums.count,
        smooth,
        smooth_denominator,
    )


def jaccard_index(sums, *, smooth=0.0, smooth_denominator=None):
    return _index(
        sums.intersection,
        sums.prediction + sums.target - sums.intersection,
        sums.count,
        smooth,
        smooth_denominator,
    )


def tversky_index(sums, *, alpha, beta, smooth=0.0, smooth_denominator=None):
    false_positives = sums.prediction - sums.intersection
    false_negatives = sums.target - sums.intersection
    return _index(
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
        result[region] = _index(overlap, size, count, smooth, smooth_denominator)
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


# Index -> loss.


def dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return 1 - dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


def squared_dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return 1 - squared_dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


def jaccard_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return 1 - jaccard_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


def tversky_loss(sums, *, alpha, beta, smooth=1.0, smooth_denominator=None):
    return 1 - tversky_index(
        sums, alpha=alpha, beta=beta, smooth=smooth, smooth_denominator=smooth_denominator
    )


def generalized_dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return 1 - generalized_dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


def focal_tversky_loss(sums, *, alpha, beta, gamma, smooth=1.0, smooth_denominator=None):
    loss = tversky_loss(
        sums, alpha=alpha, beta=beta, smooth=smooth, smooth_denominator=smooth_denominator
    )
    return np.maximum(loss, 0.0) ** gamma


def log_dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    with np.errstate(divide="ignore"):
        log = np.log(dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator))
    return -np.maximum(log, -100.0)


def log_cosh_dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return np.log(np.cosh(dice_loss(sums, smooth=smooth, smooth_denominator=smooth_denominator)))


def exponential_logarithmic_dice_loss(sums, *, gamma, smooth=1.0, smooth_denominator=None):
    """Wong 2018, equation 2: (−ln Dice)^γ."""
    loss = log_dice_loss(sums, smooth=smooth, smooth_denominator=smooth_denominator)
    return np.maximum(loss, 0.0) ** gamma


def dice_semimetric_loss(sums, *, smooth=1.0, smooth_denominator=None):
    """Wang 2023 (DML), the first form: the intersection as (‖p‖ + ‖y‖ − ‖p − y‖)/2."""
    size = sums.prediction + sums.target
    return 1 - _index(size - sums.absolute_difference, size, sums.count, smooth, smooth_denominator)


def jaccard_metric_loss(sums, *, smooth=1.0, smooth_denominator=None):
    """Wang & Blaschko 2023 (JML), the first form."""
    size = sums.prediction + sums.target
    return 1 - _index(
        (size - sums.absolute_difference) / 2,
        (size + sums.absolute_difference) / 2,
        sums.count,
        smooth,
        smooth_denominator,
    )


def matthews_loss(sums, *, smooth=0.0):
    return 1 - matthews_index(sums, smooth=smooth)


def _mean(total, size):
    return np.where(size == 0, 0.0, total / np.where(size == 0, 1.0, size))


def cross_entropy_loss(sums, *, weights=None):
    cross_entropy = float64(sums.foreground_cross_entropy)
    if weights is None:
        return _mean(cross_entropy.sum(-1), float64(sums.count)[..., 0])
    weights = float64(weights)
    return _mean((weights * cross_entropy).sum(-1), (weights * float64(sums.target)).sum(-1))


def binary_cross_entropy_loss(sums):
    total = float64(sums.foreground_cross_entropy) + float64(sums.background_cross_entropy)
    return _mean(total, float64(sums.count))


# Losses of arrays.


def _weights(p, where):
    return np.ones(p.shape) if where is None else np.broadcast_to(float64(where), p.shape)


def _weighted(p, where):
    """A sum over the axes that counts no masked pixel, whatever it holds."""
    weight = _weights(p, where)

    def total(term, axis):
        return np.sum(np.where(weight == 0, 0.0, term) * weight, axis=axis)

    return total


def _error_share(error, size, smooth, count):
    below = np.where(count == 0, 0.0, size + smooth)
    return np.where(below == 0, 0.0, error / np.where(below == 0, 1.0, below))


def noise_robust_dice_loss(probabilities, targets, *, axis=None, where=None, gamma=1.5, smooth=1.0):
    """Wang 2020 (COPLE-Net), equation 4."""
    p, y = float64(probabilities), float64(targets)
    total = _weighted(p, where)
    error, size = total(np.abs(p - y) ** gamma, axis), total(p**2 + y**2, axis)
    return _error_share(error, size, smooth, total(np.ones(p.shape), axis))


def dice_plus_plus_loss(probabilities, targets, *, axis=None, where=None, gamma=2.0, smooth=1.0):
    """Yeung 2021 (DSC++)."""
    p, y = float64(probabilities), float64(targets)
    total = _weighted(p, where)
    both = 2 * total(p * y, axis)
    false = total((p * (1 - y)) ** gamma, axis) + total(((1 - p) * y) ** gamma, axis)
    return 1 - _index(both, both + false, total(np.ones(p.shape), axis), smooth, None)


def sensitivity_specificity_loss(
    probabilities, targets, *, axis=None, where=None, sensitivity=0.05, smooth=1.0
):
    """Brosch 2015, equation 5."""
    p, y = float64(probabilities), float64(targets)
    total = _weighted(p, where)
    count = total(np.ones(p.shape), axis)
    missed = _error_share(total((y - p) ** 2 * y, axis), total(y, axis), smooth, count)
    claimed = _error_share(total((y - p) ** 2 * (1 - y), axis), total(1 - y, axis), smooth, count)
    return sensitivity * missed + (1 - sensitivity) * claimed


def self_adjusting_dice_loss(
    probabilities, targets, *, axis=None, where=None, alpha=1.0, smooth=1.0
):
    """Li 2020, equation 9, with sums over the region."""
    p, y = float64(probabilities), float64(targets)
    total = _weighted(p, where)
    p = (1 - p) ** alpha * p
    both, size = 2 * total(p * y, axis), total(p, axis) + total(y, axis)
    return 1 - _index(both, size, total(np.ones(p.shape), axis), smooth, None)


# Lovász extensions: Berman 2018, algorithm 1, one region at a time.


def _lovasz(errors, y, weight):
    """Σ e·g over the pixels in descending order of error; a weight counts a pixel that often."""
    order = np.argsort(-errors, kind="stable")
    errors, y, weight = errors[order], y[order], weight[order]
    intersection = np.sum(weight * y) - np.cumsum(weight * y)
    union = np.sum(weight * y) + np.cumsum(weight * (1 - y))
    jaccard = np.where(union == 0, 0.0, 1 - intersection / np.where(union == 0, 1.0, union))
    return np.sum(errors * np.diff(jaccard, prepend=0.0))


def _each_region(function, arrays, axis):
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


def lovasz_hinge_loss(logits, targets, *, axis=None, where=None):
    z, y = float64(logits), float64(targets)
    errors = np.maximum(1 - (2 * y - 1) * z, 0)

    def one(e, y, w):
        return _lovasz(e.ravel(), y.ravel(), w.ravel())

    return _each_region(one, (errors, y, _weights(z, where)), axis)


def lovasz_softmax_loss(probabilities, labels, *, axis=None, where=None):
    p = float64(probabilities)
    y = one_hot(labels, p.shape[-1])
    classes = []
    for c in range(p.shape[-1]):
        errors = np.abs(y[..., c] - p[..., c])

        def one(e, y, w):
            return _lovasz(e.ravel(), y.ravel(), w.ravel())

        classes.append(_each_region(one, (errors, y[..., c], _weights(errors, where)), axis))
    return np.stack(classes, -1)


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


def boundary_loss(probabilities, signed_distances, *, axis=None, where=None):
    """Kervadec 2019, equation 5, over the number of pixels."""
    p, phi = float64(probabilities), float64(signed_distances)
    total = _weighted(p, where)
    return _mean(total(p * phi, axis), total(np.ones(p.shape), axis))


def hausdorff_distance_loss(
    probabilities, targets, *, axis=None, where=None, spacing=None, alpha=2.0
):
    """Karimi & Salcudean 2019, equation 8; distances are measured to unmasked pixels only."""

    def boundary_distance(mask, inner):
        if not (mask & inner).any() or not (~mask & inner).any():
            return np.zeros(mask.shape)
        to_true = ndimage.distance_transform_edt(~(mask & inner), sampling=spacing)
        to_false = ndimage.distance_transform_edt(~(~mask & inner), sampling=spacing)
        return np.where(mask, to_false, to_true)

    def one(p, y, w):
        d_p = boundary_distance(p > 0.5, w != 0)
        d_y = boundary_distance(y > 0.5, w != 0)
        return _mean(np.sum(w * (p - y) ** 2 * (d_p**alpha + d_y**alpha)), np.sum(w))

    p = float64(probabilities)
    return _each_region(one, (p, float64(targets), _weights(p, where)), axis)


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


def cldice_loss(probabilities, targets, *, axis=None, iterations, smooth=1.0, where=None):
    def share(above, below):
        return 1.0 if below + smooth == 0 else (above + smooth) / (below + smooth)

    def one(p, y, w):
        if not w.any():
            return 0.0
        s_p = soft_skeleton(p, iterations=iterations, inner=w != 0)
        s_y = soft_skeleton(y, iterations=iterations, inner=w != 0)
        precision = share(np.sum(w * s_p * y), np.sum(w * s_p))
        sensitivity = share(np.sum(w * s_y * p), np.sum(w * s_y))
        both = precision + sensitivity
        return 1.0 if both == 0 else 1 - 2 * precision * sensitivity / both

    p = float64(probabilities)
    return _each_region(one, (p, float64(targets), _weights(p, where)), axis)


# Losses of single pixels, and Wasserstein Dice.


def softmax_focal_loss(logits, labels, *, gamma, alpha=None, where=None):
    """Lin 2017, equation 5."""
    log_p = log_softmax(logits)
    y = one_hot(labels, log_p.shape[-1])
    alpha = np.ones(log_p.shape[-1]) if alpha is None else alpha * np.ones(log_p.shape[-1])
    loss = -np.sum(y * alpha * (1 - np.exp(log_p)) ** gamma * log_p, -1)
    return np.where(_weights(loss, where) == 0, 0.0, loss * _weights(loss, where))


def top_k_cross_entropy_loss(logits, labels, *, fraction=0.1, axis=None, where=None):
    """The mean over the hardest fraction of the weight, the pixel at its edge in part."""
    log_p = log_softmax(logits)
    cross_entropy = -np.sum(one_hot(labels, log_p.shape[-1]) * log_p, -1)

    def one(losses, weights):
        losses, weights = losses.ravel(), weights.ravel()
        left = kept = fraction * weights.sum()
        total = 0.0
        for i in np.argsort(-losses):
            part = min(weights[i], left)
            total, left = total + part * losses[i], left - part
        return 0.0 if kept == 0 else total / kept

    return _each_region(one, (cross_entropy, _weights(cross_entropy, where)), axis)


def unified_focal_loss(
    logits, labels, *, axis=None, where=None, weight=0.5, delta=0.6, gamma=0.5, smooth=1.0
):
    """Yeung 2022, equations 17 to 20, class 0 the background."""
    log_p = log_softmax(logits)
    classes, y = log_p.shape[-1], one_hot(labels, log_p.shape[-1])
    background = -y[..., 0] * (1 - np.exp(log_p[..., 0])) ** gamma * log_p[..., 0]
    rare = -np.sum(y[..., 1:] * log_p[..., 1:], -1)
    total = _weighted(rare, where)
    count = total(np.ones(rare.shape), axis)
    focal = _mean(total(delta * rare + (1 - delta) * background, axis), count)
    sums = softmax_region_sums(
        logits, labels, axis=tuple(range(rare.ndim)) if axis is None else axis, where=where
    )
    errors = tversky_loss(sums, alpha=1 - delta, beta=delta, smooth=smooth)
    overlap = errors[..., 0] + np.sum(np.maximum(errors[..., 1:], 0) ** (1 - gamma), -1)
    return weight * focal + (1 - weight) * overlap / classes


def generalized_wasserstein_dice_loss(
    probabilities, labels, distances, *, axis=None, where=None, smooth=1.0
):
    """Fidon 2017, pixel by pixel, with class 0 the background."""
    p, labels = float64(probabilities), np.asarray(labels)
    distances = float64(distances) / np.max(distances)
    error = np.sum(distances[np.clip(labels, 0, p.shape[-1] - 1)] * p, -1)
    total = _weighted(error, where)
    right, wrong = total((labels != 0) * (1 - error), axis), total(error, axis)
    return 1 - _index(2 * right, 2 * right + wrong, total(np.ones(error.shape), axis), smooth, None)
