"""The oracles: every loss in float64 NumPy, written from the papers, slow and plain.

A loss has the name and the options of the function it is the oracle of. `case` puts it into the
battery of tests/losses/test_battery.py: what the loss takes, and the options to test it with.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tests.support.cases import (
    ARRAYS,
    CLASS_ARRAYS,
    CLASS_LOGITS,
    CLASS_PIXELS,
    CLASS_SUMS,
    DISTANCES,
    LOGITS,
    SUMS,
    case,
)
from tests.support.reference import (
    dice_index,
    each_region,
    error_share,
    float64,
    generalized_dice_index,
    index,
    jaccard_index,
    log_softmax,
    matthews_index,
    mean,
    one_hot,
    product,
    soft_skeleton,
    softmax_region_sums,
    squared_dice_index,
    tversky_index,
    weighted_total,
    weights_of,
)

# Index -> loss.


@case(SUMS, signed=True)
def dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return 1 - dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


@case(SUMS, signed=True)
def squared_dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return 1 - squared_dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


@case(SUMS, signed=True)
def jaccard_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return 1 - jaccard_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


@case(SUMS, signed=True, alpha=0.3, beta=0.7)
def tversky_loss(sums, *, alpha, beta, smooth=1.0, smooth_denominator=None):
    return 1 - tversky_index(
        sums, alpha=alpha, beta=beta, smooth=smooth, smooth_denominator=smooth_denominator
    )


@case(CLASS_SUMS)
def generalized_dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return 1 - generalized_dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


@case(SUMS, signed=True, alpha=0.3, beta=0.7, gamma=0.75)
def focal_tversky_loss(sums, *, alpha, beta, gamma, smooth=1.0, smooth_denominator=None):
    loss = tversky_loss(
        sums, alpha=alpha, beta=beta, smooth=smooth, smooth_denominator=smooth_denominator
    )
    return np.maximum(loss, 0.0) ** gamma


@case(SUMS, signed=True)
def log_dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    with np.errstate(divide="ignore"):
        log = np.log(dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator))
    return -np.maximum(log, -100.0)


@case(SUMS, signed=True)
def log_cosh_dice_loss(sums, *, smooth=1.0, smooth_denominator=None):
    return np.log(np.cosh(dice_loss(sums, smooth=smooth, smooth_denominator=smooth_denominator)))


@case(SUMS, signed=True, gamma=0.3)
def exponential_logarithmic_dice_loss(sums, *, gamma, smooth=1.0, smooth_denominator=None):
    """Wong 2018, equation 2: (−ln Dice)^γ."""
    loss = log_dice_loss(sums, smooth=smooth, smooth_denominator=smooth_denominator)
    return np.maximum(loss, 0.0) ** gamma


@case(SUMS, signed=True)
def dice_semimetric_loss(sums, *, smooth=1.0, smooth_denominator=None):
    """Wang 2023 (DML), the first form: the intersection as (‖p‖ + ‖y‖ − ‖p − y‖)/2."""
    size = sums.prediction + sums.target
    return 1 - index(size - sums.absolute_difference, size, sums.count, smooth, smooth_denominator)


@case(SUMS, signed=True)
def jaccard_metric_loss(sums, *, smooth=1.0, smooth_denominator=None):
    """Wang & Blaschko 2023 (JML), the first form."""
    size = sums.prediction + sums.target
    return 1 - index(
        (size - sums.absolute_difference) / 2,
        (size + sums.absolute_difference) / 2,
        sums.count,
        smooth,
        smooth_denominator,
    )


@case(SUMS, signed=True)
def matthews_loss(sums, *, smooth=0.0):
    return 1 - matthews_index(sums, smooth=smooth)


@case(CLASS_SUMS)
@case(CLASS_SUMS, "weighted", weights=np.array([0.2, 1.0, 3.0]))
def cross_entropy_loss(sums, *, weights=None):
    cross_entropy = float64(sums.foreground_cross_entropy)
    if weights is None:
        return mean(cross_entropy.sum(-1), float64(sums.count)[..., 0])
    weights = float64(weights)
    return mean(product(weights, cross_entropy).sum(-1), (weights * float64(sums.target)).sum(-1))


@case(SUMS, signed=True)
def binary_cross_entropy_loss(sums):
    total = float64(sums.foreground_cross_entropy) + float64(sums.background_cross_entropy)
    return mean(total, float64(sums.count))


# Losses of arrays.


@case(ARRAYS)
def noise_robust_dice_loss(probabilities, targets, *, axis=None, where=None, gamma=1.5, smooth=1.0):
    """Wang 2020 (COPLE-Net), equation 4."""
    p, y = float64(probabilities), float64(targets)
    total = weighted_total(p, where)
    error, size = total(np.abs(p - y) ** gamma, axis), total(p**2 + y**2, axis)
    return error_share(error, size, smooth, total(np.ones(p.shape), axis))


@case(ARRAYS, signed=True)
def dice_plus_plus_loss(probabilities, targets, *, axis=None, where=None, gamma=2.0, smooth=1.0):
    """Yeung 2021 (DSC++)."""
    p, y = float64(probabilities), float64(targets)
    total = weighted_total(p, where)
    both = 2 * total(p * y, axis)
    false = total((p * (1 - y)) ** gamma, axis) + total(((1 - p) * y) ** gamma, axis)
    return 1 - index(both, both + false, total(np.ones(p.shape), axis), smooth, None)


@case(ARRAYS, signed=True)
def sensitivity_specificity_loss(
    probabilities, targets, *, axis=None, where=None, sensitivity=0.05, smooth=1.0
):
    """Brosch 2015, equation 5."""
    p, y = float64(probabilities), float64(targets)
    total = weighted_total(p, where)
    count = total(np.ones(p.shape), axis)
    missed = error_share(total((y - p) ** 2 * y, axis), total(y, axis), smooth, count)
    claimed = error_share(total((y - p) ** 2 * (1 - y), axis), total(1 - y, axis), smooth, count)
    return sensitivity * missed + (1 - sensitivity) * claimed


@case(ARRAYS, at_truth=None)
@case(ARRAYS, "of alpha 0", signed=True, alpha=0.0)
def self_adjusting_dice_loss(
    probabilities, targets, *, axis=None, where=None, alpha=1.0, smooth=1.0
):
    """Li 2020, equation 9, with sums over the region."""
    p, y = float64(probabilities), float64(targets)
    total = weighted_total(p, where)
    p = (1 - p) ** alpha * p
    both, size = 2 * total(p * y, axis), total(p, axis) + total(y, axis)
    return 1 - index(both, size, total(np.ones(p.shape), axis), smooth, None)


# Lovász extensions: Berman 2018, algorithm 1, one region at a time.


def _lovasz(errors, y, weight):
    """Σ e·g over the pixels in descending order of error; a weight counts a pixel that often."""
    order = np.argsort(-errors, kind="stable")
    errors, y, weight = errors[order], y[order], weight[order]
    intersection = np.sum(weight * y) - np.cumsum(weight * y)
    union = np.sum(weight * y) + np.cumsum(weight * (1 - y))
    jaccard = np.where(union == 0, 0.0, 1 - intersection / np.where(union == 0, 1.0, union))
    return np.sum(errors * np.diff(jaccard, prepend=0.0))


@case(LOGITS, signed=True)
def lovasz_hinge_loss(logits, targets, *, axis=None, where=None):
    z, y = float64(logits), float64(targets)
    errors = np.maximum(1 - (2 * y - 1) * z, 0)

    def one(e, y, w):
        return _lovasz(e.ravel(), y.ravel(), w.ravel())

    return each_region(one, (errors, y, weights_of(z, where)), axis)


@case(CLASS_ARRAYS)
def lovasz_softmax_loss(probabilities, labels, *, axis=None, where=None):
    p = float64(probabilities)
    y = one_hot(labels, p.shape[-1])
    classes = []
    for c in range(p.shape[-1]):
        errors = np.abs(y[..., c] - p[..., c])

        def one(e, y, w):
            return _lovasz(e.ravel(), y.ravel(), w.ravel())

        classes.append(each_region(one, (errors, y[..., c], weights_of(errors, where)), axis))
    return np.stack(classes, -1)


# Distances.


@case(DISTANCES, at_truth=-np.inf)
def boundary_loss(probabilities, signed_distances, *, axis=None, where=None):
    """Kervadec 2019, equation 5, over the number of pixels."""
    p, phi = float64(probabilities), float64(signed_distances)
    total = weighted_total(p, where)
    return mean(total(p * phi, axis), total(np.ones(p.shape), axis))


@case(ARRAYS, signed=True, whole_images=True)
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
        return mean(np.sum(w * (p - y) ** 2 * (d_p**alpha + d_y**alpha)), np.sum(w))

    p = float64(probabilities)
    return each_region(one, (p, float64(targets), weights_of(p, where)), axis)


# Skeletons.


@case(ARRAYS, whole_images=True, iterations=2)
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
    return each_region(one, (p, float64(targets), weights_of(p, where)), axis)


# Losses of single pixels, and Wasserstein Dice.


@case(CLASS_PIXELS, gamma=2.0, alpha=np.array([0.5, 1.0, 2.0]))
def softmax_focal_loss(logits, labels, *, gamma, alpha=None, where=None):
    """Lin 2017, equation 5."""
    log_p = log_softmax(logits)
    y = one_hot(labels, log_p.shape[-1])
    alpha = np.ones(log_p.shape[-1]) if alpha is None else alpha * np.ones(log_p.shape[-1])
    focal = -((1 - np.exp(log_p)) ** gamma) * log_p
    loss = np.sum(product(y * alpha, focal), -1)
    return np.where(weights_of(loss, where) == 0, 0.0, loss * weights_of(loss, where))


@case(CLASS_LOGITS, fraction=0.3)
def top_k_cross_entropy_loss(logits, labels, *, fraction=0.1, axis=None, where=None):
    """The mean over the hardest fraction of the weight, the pixel at its edge in part."""
    log_p = log_softmax(logits)
    cross_entropy = np.sum(product(one_hot(labels, log_p.shape[-1]), -log_p), -1)

    def one(losses, weights):
        losses, weights = losses.ravel(), weights.ravel()
        left = kept = fraction * weights.sum()
        total = 0.0
        for i in np.argsort(-losses):
            part = min(weights[i], left)
            total, left = total + part * losses[i], left - part
        return 0.0 if kept == 0 else total / kept

    return each_region(one, (cross_entropy, weights_of(cross_entropy, where)), axis)


@case(CLASS_LOGITS)
def unified_focal_loss(
    logits, labels, *, axis=None, where=None, weight=0.5, delta=0.6, gamma=0.5, smooth=1.0
):
    """Yeung 2022, equations 17 to 20, class 0 the background."""
    log_p = log_softmax(logits)
    classes, y = log_p.shape[-1], one_hot(labels, log_p.shape[-1])
    background = product(y[..., 0], -((1 - np.exp(log_p[..., 0])) ** gamma) * log_p[..., 0])
    rare = np.sum(product(y[..., 1:], -log_p[..., 1:]), -1)
    total = weighted_total(rare, where)
    count = total(np.ones(rare.shape), axis)
    focal = mean(total(delta * rare + (1 - delta) * background, axis), count)
    sums = softmax_region_sums(
        logits, labels, axis=tuple(range(rare.ndim)) if axis is None else axis, where=where
    )
    errors = tversky_loss(sums, alpha=1 - delta, beta=delta, smooth=smooth)
    overlap = errors[..., 0] + np.sum(np.maximum(errors[..., 1:], 0) ** (1 - gamma), -1)
    return weight * focal + (1 - weight) * overlap / classes


_DISTANCES = np.array([[0.0, 2.0, 2.0], [2.0, 0.0, 1.0], [2.0, 1.0, 0.0]])


@case(CLASS_ARRAYS, distances=_DISTANCES)
def balanced_wasserstein_dice_loss(
    probabilities, labels, distances, *, axis=None, where=None, smooth=1.0
):
    """Fidon's published code with weighting_mode "GDL", pixel by pixel."""
    p, labels = float64(probabilities), np.asarray(labels)
    distances = float64(distances) / max(np.max(distances), 1e-9)
    error = np.sum(distances[np.clip(labels, 0, p.shape[-1] - 1)] * p, -1)

    def one(labels, error, w):
        sizes = np.array([np.sum(w * (labels == c)) for c in range(p.shape[-1])])
        a = w / (sizes[np.clip(labels, 0, p.shape[-1] - 1)] + 1)
        above, below = 2 * np.sum(a * (1 - error)), np.sum(a * (2 - error))
        return 1 - index(above, below, np.sum(w), smooth, None)

    return each_region(one, (labels, error, weights_of(error, where)), axis)


@case(CLASS_ARRAYS, distances=_DISTANCES)
def generalized_wasserstein_dice_loss(
    probabilities, labels, distances, *, axis=None, where=None, smooth=1.0
):
    """Fidon 2017, pixel by pixel, with class 0 the background."""
    p, labels = float64(probabilities), np.asarray(labels)
    distances = float64(distances) / max(np.max(distances), 1e-9)
    error = np.sum(distances[np.clip(labels, 0, p.shape[-1] - 1)] * p, -1)
    total = weighted_total(error, where)
    right, wrong = total((labels != 0) * (1 - error), axis), total(error, axis)
    return 1 - index(2 * right, 2 * right + wrong, total(np.ones(error.shape), axis), smooth, None)
