"""The metrics' oracles: plain float64 NumPy, one region at a time, for valid arguments.

A function takes the flat arrays of one region: predictions or scores p, targets y, weights w.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from tests.support import reference

# Of hard masks: weighted counts.


def counts(p, y, w):
    """TP, FP, FN, TN."""
    p, y = p != 0, y != 0
    return tuple(np.sum(w[a & b]) for a, b in ((p, y), (p, ~y), (~p, y), (~p, ~y)))


def share(part, rest, otherwise):
    return part / (part + rest) if part + rest else otherwise


def precision(p, y, w):
    tp, fp, fn, _ = counts(p, y, w)
    return share(tp, fp, float(fn == 0))


def recall(p, y, w):
    tp, fp, fn, _ = counts(p, y, w)
    return share(tp, fn, float(fp == 0))


def specificity(p, y, w):
    _, fp, _, tn = counts(p, y, w)
    return share(tn, fp, 1.0)


def f2(p, y, w):
    tp, fp, fn, _ = counts(p, y, w)
    return share(5 * tp, 4 * fn + fp, 1.0)


def volume_bias(p, y, w):
    tp, fp, fn, _ = counts(p, y, w)
    if tp + fn == 0:
        return np.inf if fp else 0.0
    return (fp - fn) / (tp + fn)


def absolute_volume_difference(p, y, w):
    _, fp, fn, _ = counts(p, y, w)
    return abs(fp - fn)


def accuracy(p, y, w):
    tp, fp, fn, tn = counts(p, y, w)
    return share(tp + tn, fp + fn, 1.0)


def balanced_accuracy(p, y, w):
    tp, fp, fn, tn = counts(p, y, w)
    parts = [a / (a + b) for a, b in ((tp, fn), (tn, fp)) if a + b]
    return float(np.mean(parts)) if parts else 1.0


def negative_predictive_value(p, y, w):
    _, fp, fn, tn = counts(p, y, w)
    return share(tn, fn, float(tn + fp == 0))


def dice(p, y, w):
    tp, fp, fn, _ = counts(p, y, w)
    return share(2 * tp, fp + fn, 1.0)


def confusion_matrix(predicted, labels, w, *, classes=3):
    result = np.zeros((classes, classes))
    np.add.at(result, (labels, predicted), w)
    return result


def class_sums(predicted, labels, w, *, classes=3):
    masks = (reference.one_hot(x, classes) for x in (predicted, labels))
    return np.stack(reference.region_sums(*masks, axis=0, where=w[:, None]), -1)


# Of ranked scores.


def average_precision(p, y, w):
    total = np.sum(w * y)
    value = 0.0
    for t in np.unique(p[w > 0]):
        claimed = p >= t
        hits = np.sum(w[p == t] * y[p == t])
        value += hits * np.sum(w * y * claimed) / np.sum(w * claimed)
    return value / total if total else 0.0


def roc_auc(p, y, w):
    wins = (p[:, None] > p) + (p[:, None] == p) / 2
    pairs = (w * y)[:, None] * (w * (1 - y))
    return np.sum(wins * pairs) / np.sum(pairs) if np.sum(pairs) else 0.5


def best_threshold(p, y, w):
    total = np.sum(w * y)
    if not total:
        return np.inf
    tried = np.unique(p[w > 0])
    scores = [2 * np.sum(w * y * (p >= t)) / (np.sum(w * (p >= t)) + total) for t in tried]
    best = np.max(scores)
    return max(t for t, s in zip(tried, scores, strict=True) if np.isclose(s, best, rtol=1e-6))


def best_expected_dice(p, w):
    """Of all masks of the pixels that count."""
    p = np.where(w != 0, p, 0.0)
    masks = np.array(list(itertools.product((0, 1), repeat=p.size)))
    return max(expected_dice(p, mask) for mask in masks)


def expected_dice(p, mask):
    """Over all labels of independent pixels; 1 where nothing is there and nothing claimed."""
    total = 0.0
    for y in itertools.product((0, 1), repeat=p.size):
        y = np.array(y)
        size = mask.sum() + y.sum()
        total += np.prod(np.where(y, p, 1 - p)) * (2 * np.sum(mask * y) / size if size else 1.0)
    return total


# Of probabilities.


def calibration(p, y, w, *, bins=15):
    """Weight, Σ w·p and Σ w·y of each bin."""
    edges = (np.arange(1, bins) / bins).astype(np.float32)
    number = np.searchsorted(edges, p.astype(np.float32), side="right")
    return np.stack([np.bincount(number, w * x, bins) for x in (np.ones(p.shape), p, y)])


def expected_calibration_error(p, y, w):
    count, confidence, hits = calibration(p, y, w)
    return np.sum(np.abs(hits - confidence)) / count.sum() if count.sum() else 0.0


def maximum_calibration_error(p, y, w):
    count, confidence, hits = calibration(p, y, w)
    used = count > 0
    return np.max(np.abs(hits - confidence)[used] / count[used], initial=0.0)


def adaptive_calibration_error(p, y, w, *, bins=15):
    """Bins of equal weight; pixels of one probability share their mean target."""
    if not w.sum():
        return 0.0
    ends, gaps = [0.0], [0.0]
    for t in np.unique(p):
        ends.append(ends[-1] + np.sum(w[p == t]))
        gaps.append(gaps[-1] + np.sum((w * (y - p))[p == t]))
    cuts = np.interp(np.arange(bins + 1) * w.sum() / bins, ends, gaps)
    return np.sum(np.abs(np.diff(cuts))) / w.sum()


def brier_score(p, y, w):
    return np.sum(w * (p - y) ** 2) / w.sum() if w.sum() else 0.0


# Of surfaces: masks of one image, not flattened; a pixel of weight 0 is beyond the edge.


def surface(mask):
    padded = np.pad(mask, 1)
    cross = ndimage.generate_binary_structure(mask.ndim, 1)
    return mask & ~ndimage.binary_erosion(padded, cross)[(slice(1, -1),) * mask.ndim]


def directed(a, b):
    """Distances from the pixels of surface a to surface b."""
    places = np.argwhere(b)
    return np.array([np.min(np.linalg.norm(places - at, axis=1)) for at in np.argwhere(a)])


def of_surfaces(combine):
    """A metric of the two lists of distances; 0 where both are empty, infinite where one is."""

    def metric(p, y, w):
        a, b = (surface((mask != 0) & (w != 0)) for mask in (p, y))
        if not a.any() and not b.any():
            return combine.empty
        if not a.any() or not b.any():
            return combine.one_empty
        return combine(directed(a, b), directed(b, a))

    return metric


def _metric_of(kind):
    """A decorator that makes a metric: ``kind`` finds the distances of two masks."""

    def with_ends(empty=0.0, one_empty=np.inf):
        def decorate(combine):
            combine.empty, combine.one_empty = empty, one_empty
            return kind(combine)

        return decorate

    return with_ends


_surface_metric = _metric_of(of_surfaces)


@_surface_metric()
def hausdorff_distance(one, other):
    return max(np.percentile(one, 95), np.percentile(other, 95))


@_surface_metric()
def directed_hausdorff_distance(one, other):
    return one.max()


@_surface_metric()
def average_surface_distance(one, other):
    return np.concatenate([one, other]).mean()


@_surface_metric()
def directed_surface_distance(one, other):
    return one.mean()


@_surface_metric()
def medpy_hd95(one, other):
    return np.percentile(np.concatenate([one, other]), 95)


@_surface_metric()
def medpy_assd(one, other):
    return (one.mean() + other.mean()) / 2


@_surface_metric(empty=1.0, one_empty=0.0)
def surface_dice(one, other):
    return np.mean(np.concatenate([one, other]) <= 1.0)


def of_elements(combine):
    """A metric of elements between 2×2 pixels, each with the length of its marching squares."""
    lengths = {0: 0.0, 1: np.sqrt(0.5), 3: 1.0, 6: 2 * np.sqrt(0.5)}

    def elements(mask):
        code = np.pad(mask, 1).astype(int)
        a, b, c, d = code[:-1, :-1], code[:-1, 1:], code[1:, :-1], code[1:, 1:]
        size = a + b + c + d
        opposite = (size == 2) & (a == d)
        kind = np.select([size % 4 == 0, size % 2 == 1, opposite], [0, 1, 6], 3)
        return np.vectorize(lengths.get)(kind).astype(float)

    def metric(p, y, w):
        one, other = (elements((mask != 0) & (w != 0)) for mask in (p, y))
        if not one.any() and not other.any():
            return combine.empty
        if not one.any() or not other.any():
            return combine.one_empty
        pairs = ((one, other), (other, one))
        return combine(*((a[a > 0], directed(a > 0, b > 0)) for a, b in pairs))

    return metric


_element_metric = _metric_of(of_elements)


@_element_metric(empty=1.0, one_empty=0.0)
def area_weighted_surface_dice(one, other):
    areas, distances = np.concatenate([one, other], 1)
    return np.sum(areas * (distances <= 1.0)) / np.sum(areas)


@_element_metric()
def area_weighted_hausdorff_distance(one, other):
    """The least distance within which 95 % of a surface's area lies, of both the larger."""
    values = []
    for areas, distances in (one, other):
        tried = np.sort(distances)
        parts = np.array([np.sum(areas[distances <= d]) for d in tried]) / np.sum(areas)
        values.append(tried[np.argmax(parts >= 0.95 - 1e-6)])
    return max(values)


@_element_metric()
def area_weighted_surface_distance(one, other):
    areas, distances = one
    return np.sum(areas * distances) / np.sum(areas)


def centreline_dice(p, y, w, *skeletons):
    """With the masks themselves, flat, as skeletons unless others are given."""
    one, other = skeletons or (p, y)
    kept = w != 0
    masks = [(x != 0) & kept for x in (p, y, one, other)]
    p, y, one, other = masks
    if not one.any() and not other.any():
        return 1.0
    a = share(np.sum(one & y), np.sum(one & ~y), 0.0)
    b = share(np.sum(other & p), np.sum(other & ~p), 0.0)
    return 2 * a * b / (a + b) if a + b else 0.0


# Of objects.


def instance_counts(p, y, w, *, threshold=0.5):
    """TP, FP, FN by a threshold of at least ½, and Σ IoU of the matches."""
    kept = w != 0
    found, claimed_wrongly, total = 0, 0, 0.0
    objects = [k for k in np.unique(y[kept]) if k]
    for i in (k for k in np.unique(p) if k):
        mine = (p == i) & kept
        iou = [np.sum(mine & (y == j)) / np.sum(mine | ((y == j) & kept)) for j in objects]
        match = max(iou, default=0.0)
        if match > threshold:
            found, total = found + 1, total + match
        elif 1 - mine.sum() / np.sum(p == i) <= threshold:
            claimed_wrongly += 1
    return np.array([found, claimed_wrongly, len(objects) - found, total])


def instance_f1(p, y, w):
    tp, fp, fn, _ = instance_counts(p, y, w)
    return share(2 * tp, fp + fn, 1.0)


def panoptic_quality(p, y, w):
    tp, fp, fn, iou = instance_counts(p, y, w)
    return 2 * iou / (2 * tp + fp + fn) if tp + fp + fn else 1.0


def instance_average_precision(p, y, w):
    values = []
    for t in np.arange(10) * 0.05 + 0.5:
        tp, fp, fn, _ = instance_counts(p, y, w, threshold=round(float(t), 2))
        values.append(share(tp, fp + fn, 1.0))
    return np.mean(values)


# Of masks: distances and components, one image by brute force.


def distance_transform(mask, w):
    """Distance of every True pixel to the nearest False one that counts."""
    mask, kept = mask != 0, w != 0
    places = np.argwhere(~mask & kept)
    result = np.zeros(mask.shape)
    for at in np.argwhere(mask & kept):
        result[tuple(at)] = np.min(np.linalg.norm(places - at, axis=1), initial=np.inf)
    return result


def signed_distance(mask, w):
    signed = distance_transform(mask == 0, w) - distance_transform(mask, w)
    return np.where(np.isfinite(signed), signed, 0.0)


def components(mask):
    """Pixels that touch, by a corner too, belong together: numbered in the order of the pixels."""
    left, number, result = {tuple(x) for x in np.argwhere(mask != 0)}, 0, np.zeros(mask.shape)
    for start in sorted(left):
        if start not in left:
            continue
        number, front = number + 1, [start]
        while front:
            at = front.pop()
            if at in left:
                left.remove(at)
                result[at] = number
                steps = itertools.product((-1, 0, 1), repeat=mask.ndim)
                front += [tuple(np.add(at, step)) for step in steps]
    return result
