"""Metrics of objects: matches at their edges, panoptic quality, thresholds, ignored pixels."""

import itertools

import numpy as np
import pytest

import dice_jax as dj
from dice_jax import metrics


def row(*runs):
    """A one-dimensional map from (number, length) pairs."""
    return np.concatenate([np.full(n, k, np.int32) for k, n in runs])


def test_an_iou_of_one_half_is_no_match_at_one_half():
    predicted, target = row((1, 1), (0, 1)), row((7, 2))
    assert metrics.instance_counts(predicted, target) == metrics.InstanceCounts(0, 1, 1)
    found = metrics.instance_counts(predicted, target, iou_threshold=0.499)
    assert found == metrics.InstanceCounts(1, 0, 0)


def test_one_prediction_matches_one_object_only():
    """It overlaps two objects with IoU ½ each: below ½ it could take both."""
    predicted, target = row((1, 4)), row((1, 2), (2, 2))
    counts = metrics.instance_counts(predicted, target, iou_threshold=0.4)
    assert counts == metrics.InstanceCounts(1, 0, 1)
    counts = metrics.instance_counts(target, predicted, iou_threshold=0.4)
    assert counts == metrics.InstanceCounts(1, 1, 0)


def brute_force(predicted, target, threshold):
    """Every matching of a few objects: the most pairs, then the largest Σ IoU."""
    first, second = (sorted(set(x.ravel()) - {0}) for x in (predicted, target))
    iou = np.array(
        [
            [
                np.sum((predicted == a) & (target == b)) / np.sum((predicted == a) | (target == b))
                for b in second
            ]
            for a in first
        ]
    ).reshape(len(first), len(second))
    best = (0, 0.0)
    for n in range(1, min(iou.shape) + 1):
        for rows in itertools.combinations(range(len(first)), n):
            for columns in itertools.permutations(range(len(second)), n):
                chosen = iou[list(rows), list(columns)]
                if np.all(chosen > threshold):
                    best = max(best, (n, float(chosen.sum())))
    return best[0], len(first) - best[0], len(second) - best[0], best[1]


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.7])
def test_counts_are_those_of_the_best_matching(threshold):
    rng = np.random.default_rng(0)
    for _ in range(20):
        predicted, target = rng.integers(0, 5, (2, 3, 4))
        counts = metrics.instance_counts(predicted, target, iou_threshold=threshold)
        *numbers, total = brute_force(predicted, target, threshold)
        assert counts == metrics.InstanceCounts(*numbers)
        np.testing.assert_allclose(counts.iou, total)
        quality = total / (numbers[0] + sum(numbers[1:]) / 2) if any(numbers[:3]) else 1.0
        np.testing.assert_allclose(counts.panoptic_quality, quality)
        score = metrics.panoptic_quality(predicted, target, iou_threshold=threshold)
        np.testing.assert_allclose(float(score), quality, rtol=1e-6)


def test_qualities_of_pooled_images():
    first = metrics.instance_counts(row((1, 3), (0, 3)), row((1, 4), (0, 2)))  # IoU ¾
    second = metrics.instance_counts(row((1, 2), (2, 2)), row((1, 2), (0, 2)))  # IoU 1, 1 FP
    pooled = first + second
    assert pooled == metrics.InstanceCounts(2, 1, 0)
    assert pooled.segmentation_quality == 0.875
    assert pooled.recognition_quality == 0.8
    np.testing.assert_allclose(pooled.panoptic_quality, 1.75 / 2.5)
    np.testing.assert_allclose([pooled.precision, pooled.recall], [2 / 3, 1])
    np.testing.assert_allclose(pooled.average_precision, 2 / 3)
    assert np.isnan(metrics.InstanceCounts(1, 0, 0).panoptic_quality)


@pytest.mark.parametrize(
    ("counts", "value"), [((0, 0, 0), 1.0), ((0, 2, 0), 0.0), ((0, 0, 2), 0.0), ((0, 1, 1), 0.0)]
)
def test_qualities_without_a_match(counts, value):
    counts = metrics.InstanceCounts(*counts, 0.0)
    names = ("f1", "precision", "recall", "average_precision", "panoptic_quality")
    assert [getattr(counts, name) for name in names] == [value] * 5


def test_average_precision_over_thresholds():
    """IoUs of 0.8 and 0.6, and an object that was missed."""
    predicted = row((1, 4), (0, 1), (2, 3), (0, 2), (0, 3))
    target = row((1, 5), (2, 5), (3, 3))
    score = metrics.instance_average_precision(predicted, target)
    at = [2 / 3] * 2 + [1 / 4] * 4 + [0] * 4  # 0.5, 0.55, … 0.95
    np.testing.assert_allclose(float(score), np.mean(at), rtol=1e-6)
    one = metrics.instance_average_precision(predicted, target, iou_thresholds=[0.7])
    np.testing.assert_allclose(float(one), 1 / 4, rtol=1e-6)
    rows = metrics.instance_average_precision(
        np.stack([predicted, target]), np.stack([target] * 2), axis=1
    )
    np.testing.assert_allclose(rows.value, [np.mean(at), 1], rtol=1e-6)
    with pytest.raises(ValueError, match="iou_thresholds must have at least one entry"):
        metrics.instance_average_precision(predicted, target, iou_thresholds=[])


def test_ignored_pixels():
    #                found          in the ignored part   half in it     missed
    target = row((1, 4), (0, 1), (9, 4), (0, 1), (0, 4), (0, 1), (2, 2))
    predicted = row((1, 4), (0, 1), (2, 4), (0, 1), (3, 4), (0, 1), (0, 2))
    kept = np.ones(target.size, bool)
    kept[5:9] = False
    kept[10:12] = False
    counts = metrics.instance_counts(predicted, target, where=kept)
    # Exactly half of object 3 is ignored: not more than the threshold, so it counts.
    assert counts == metrics.InstanceCounts(1, 1, 1)
    kept[12] = False
    counts = metrics.instance_counts(predicted, target, where=kept)
    assert counts == metrics.InstanceCounts(1, 0, 1)
    assert counts.iou == 1
    weights = kept.astype(np.float32)
    score = metrics.panoptic_quality(predicted, target, where=weights)
    np.testing.assert_allclose(float(score), 1 / 1.5, rtol=1e-6)
    # Ignored pixels are in no union: a match that reaches into them is whole.
    reaching = metrics.instance_counts(
        row((1, 4)), row((1, 2), (0, 2)), where=row((1, 2), (0, 2)) > 0
    )
    assert (reaching.true_positives, reaching.iou) == (1, 1.0)
    nothing = metrics.instance_f1(predicted, target, where=np.zeros(target.size, bool))
    assert (float(nothing), bool(nothing.present)) == (1.0, False)


def test_numbers_of_objects_may_be_long():
    target = np.array([2**40, 2**40, 0, 1, 1])
    predicted = np.array([2**32, 2**32, 0, 0, 5])
    assert metrics.instance_counts(predicted, target) == metrics.InstanceCounts(1, 1, 1)


@pytest.mark.parametrize("threshold", [1.0, 1.5, -0.1, np.nan])
def test_the_threshold_is_below_1(threshold):
    """In the report, a threshold of 1 found 0 of 2 identical objects."""
    maps = row((1, 2), (2, 2)), row((1, 2), (2, 2))
    message = r"iou_thresholds? must be finite and >= 0 and < 1"
    for metric in (metrics.instance_counts, metrics.instance_f1, metrics.panoptic_quality):
        with pytest.raises(ValueError, match=message):
            metric(*maps, iou_threshold=threshold)
    with pytest.raises(ValueError, match=message):
        metrics.instance_average_precision(*maps, iou_thresholds=[0.5, threshold])


@pytest.mark.parametrize(
    ("shape", "connectivity", "components"),
    [
        ((3, 3), None, 1),
        ((3, 3), 8, 1),
        ((3, 3), 4, 5),
        ((3, 3, 3), None, 1),
        ((3, 3, 3), 26, 1),
        ((3, 3, 3), 18, 1),
        ((3, 3, 3), 6, 14),
        ((5,), 2, 3),
    ],
)
def test_connectivity(shape, connectivity, components):
    """A chessboard's squares touch by corners only (in 3-D, by edges)."""
    board = np.indices(shape).sum(0) % 2 == 0
    assert dj.label_components(board, connectivity=connectivity).max() == components
    images = dj.label_components(
        np.stack([board, board]), axis=tuple(range(1, board.ndim + 1)), connectivity=connectivity
    )
    assert images.max() == components


def test_corners_of_cubes():
    two = np.zeros((2, 2, 2), bool)
    two[0, 0, 0] = two[1, 1, 1] = True
    assert [dj.label_components(two, connectivity=c).max() for c in (6, 18, 26)] == [2, 2, 1]


@pytest.mark.parametrize("connectivity", [0, 5, 6, 26, "8", True])
def test_connectivity_that_does_not_exist(connectivity):
    with pytest.raises(ValueError, match="connectivity must be one of 4, 8 for 2 axes of space"):
        dj.label_components(np.eye(3, dtype=bool), connectivity=connectivity)
