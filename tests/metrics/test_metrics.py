"""Metrics against scikit-learn and SciPy, and what they say of regions that are not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
from scipy import ndimage

import dice_jax as dj
from dice_jax import metrics

IMAGES = (5, 15, 18)


@pytest.fixture(scope="module")
def masks():
    """Predicted and true masks: noise, a moved object, nothing predicted, nothing there, none."""
    rng = np.random.default_rng(0)
    target = np.zeros(IMAGES, bool)
    predicted = np.zeros(IMAGES, bool)
    target[0], predicted[0] = rng.random((2, *IMAGES[1:])) < 0.2
    target[1, 3:10, 2:9], predicted[1, 5:11, 4:12] = True, True
    target[2, 6:9, 6:9] = True
    predicted[3, :2, :2] = True
    return predicted, target


@pytest.fixture(scope="module")
def probabilities():
    rng = np.random.default_rng(1)
    y = rng.random(400) < 0.3
    p = np.clip(0.3 * y + rng.uniform(0, 0.8, 400), 0, 1)
    return np.round(p, 2).astype(np.float32), y  # with ties


# Of hard sums.


def test_sums_are_scikit_learn_s(masks):
    predicted, target = masks
    sums = dj.region_sums(predicted, target, axis=(1, 2))
    scores = {
        "precision": metrics.precision(sums),
        "recall": metrics.recall(sums),
        "f2": metrics.f_beta(sums, beta=2.0),
        "specificity": metrics.specificity(sums),
        "dice": metrics.of_regions(dj.dice_index(sums), sums),
        "iou": metrics.of_regions(dj.jaccard_index(sums), sums),
    }
    for i in range(3):
        p, y = predicted[i].ravel(), target[i].ravel()
        expected = {
            "precision": sklearn.metrics.precision_score(y, p, zero_division=0),
            "recall": sklearn.metrics.recall_score(y, p),
            "f2": sklearn.metrics.fbeta_score(y, p, beta=2),
            "specificity": sklearn.metrics.recall_score(~y, ~p),
            "dice": sklearn.metrics.f1_score(y, p),
            "iou": sklearn.metrics.jaccard_score(y, p),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(np.asarray(scores[name])[i], value, rtol=1e-5, err_msg=name)
    bias = metrics.volume_bias(sums)
    expected = predicted.sum((1, 2))[:3] / target.sum((1, 2))[:3] - 1
    np.testing.assert_allclose(np.asarray(bias)[:3], expected, rtol=1e-5, atol=1e-6)


def test_regions_that_are_not_there():
    nothing = np.zeros((1, 4), bool)
    something = ~nothing
    for predicted, target, value in (
        (nothing, nothing, 1.0),
        (something, nothing, 0.0),
        (nothing, something, 0.0),
    ):
        sums = dj.region_sums(predicted, target, axis=1)
        for metric in (metrics.precision, metrics.recall):
            scores = metric(sums)
            assert scores.value[0] == value
            assert scores.present[0] == target.any()
    claimed = dj.region_sums(something, nothing, axis=1)
    assert np.isposinf(metrics.volume_bias(claimed).value[0])
    assert metrics.f_beta(dj.region_sums(nothing, nothing, axis=1), beta=1.0).value[0] == 1
    full = metrics.specificity(dj.region_sums(something, something, axis=1))
    assert full.value[0] == 1
    assert not full.present[0]


def test_absent_regions_are_left_out_of_the_mean_unless_asked_for(masks):
    predicted, target = masks
    sums = dj.region_sums(predicted, target, axis=(1, 2))
    scores = metrics.of_regions(dj.dice_index(sums), sums)
    np.testing.assert_array_equal(scores.present, [True, True, True, False, False])
    values = np.asarray(scores)
    np.testing.assert_allclose(scores.mean(), values[:3].mean(), rtol=1e-6)
    np.testing.assert_allclose(scores.mean(absent=True), values.mean(), rtol=1e-6)
    assert np.isnan(metrics.Scores(jnp.ones(2), jnp.zeros(2, bool)).mean())


def test_averages_of_batches_merge_exactly(masks):
    """Not the mean of the batches' means: they count differently many regions."""
    predicted, target = masks

    @jax.jit
    def evaluate(predicted, target):
        sums = dj.region_sums(predicted, target, axis=(1, 2))
        return metrics.of_regions(dj.dice_index(sums), sums).average()

    batches = [evaluate(predicted[i], target[i]) for i in (slice(0, 1), slice(1, 5))]
    whole = evaluate(predicted, target)
    total = sum(batches)
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-6)
    assert (int(total.count), int(total.absent)) == (3, 2)
    assert not np.isclose(total.mean, np.mean([b.mean for b in batches]))


# Of surfaces.


def surface_distances(predicted, target, spacing):
    """Both directed lists of distances, with SciPy."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (predicted, target)]
    to = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return to[1][edges[0]], to[0][edges[1]]


@pytest.mark.parametrize("spacing", [None, (2.0, 0.7)])
def test_surfaces_are_scipy_s(masks, spacing):
    predicted, target = masks
    options = {"axis": (1, 2), "spacing": spacing}
    hd95 = metrics.hausdorff_distance(predicted, target, **options)
    hd = metrics.hausdorff_distance(predicted, target, percentile=100, **options)
    asd = metrics.average_surface_distance(predicted, target, **options)
    nsd = metrics.surface_dice(predicted, target, tolerance=1.5, **options)
    for i in range(2):
        one, other = surface_distances(predicted[i], target[i], spacing)
        both = np.concatenate([one, other])
        expected = max(np.percentile(one, 95), np.percentile(other, 95))
        np.testing.assert_allclose(hd95.value[i], expected, rtol=1e-5)
        np.testing.assert_allclose(hd.value[i], both.max(), rtol=1e-5)
        np.testing.assert_allclose(asd.value[i], both.mean(), rtol=1e-5)
        np.testing.assert_allclose(nsd.value[i], np.mean(both <= 1.5), rtol=1e-5)


def test_surfaces_in_3d(masks):
    predicted, target = masks
    score = metrics.hausdorff_distance(predicted, target, spacing=(3.0, 1.0, 1.0), percentile=90)
    one, other = surface_distances(predicted, target, (3.0, 1.0, 1.0))
    expected = max(np.percentile(one, 90), np.percentile(other, 90))
    np.testing.assert_allclose(float(score), expected, rtol=1e-5)


def test_masked_surfaces_are_those_of_the_crop(masks):
    predicted, target = (mask[:2].copy() for mask in masks)
    inner = np.zeros(IMAGES[1:], bool)
    inner[2:13, 3:16] = True
    crop = (slice(None), slice(2, 13), slice(3, 16))
    clean = predicted[crop], target[crop]
    junk = np.random.default_rng(3).random((2, *predicted.shape)) < 0.5
    for mask, noise in zip((predicted, target), junk, strict=True):
        mask[:, ~inner] = noise[:, ~inner]
    for metric, options in (
        (metrics.hausdorff_distance, {}),
        (metrics.average_surface_distance, {}),
        (metrics.surface_dice, {"tolerance": 1.5}),
    ):
        options = {"axis": (1, 2), "spacing": (2.0, 0.7), **options}
        expected = metric(*clean, **options)
        scores = metric(predicted, target, where=inner, **options)
        np.testing.assert_allclose(scores.value, expected.value, rtol=1e-6)
        np.testing.assert_array_equal(scores.present, expected.present)


def test_empty_masks_have_no_surface(masks):
    predicted, target = masks
    present = [True, True, True, False, False]
    hd = metrics.hausdorff_distance(predicted, target, axis=(1, 2))
    asd = metrics.average_surface_distance(predicted, target, axis=(1, 2))
    nsd = metrics.surface_dice(predicted, target, tolerance=1.0, axis=(1, 2))
    for scores in (hd, asd, nsd):
        np.testing.assert_array_equal(scores.present, present)
    for scores in (hd, asd):  # one is empty, the other one is, both are
        np.testing.assert_array_equal(scores.value[2:], [np.inf, np.inf, 0])
    np.testing.assert_array_equal(nsd.value[2:], [0, 0, 1])


# Of probabilities.


def test_average_precision_is_scikit_learn_s(probabilities):
    p, y = probabilities
    expected = sklearn.metrics.average_precision_score(y, p)
    np.testing.assert_allclose(float(metrics.average_precision(p, y)), expected, rtol=1e-5)
    weight = np.random.default_rng(2).choice([0.0, 0.5, 2.0], p.size).astype(np.float32)
    expected = sklearn.metrics.average_precision_score(y, p, sample_weight=weight)
    score = metrics.average_precision(p, y, where=weight)
    np.testing.assert_allclose(float(score), expected, rtol=1e-5)
    masked = metrics.average_precision(np.where(weight > 0, p, np.nan), y, where=weight > 0)
    expected = sklearn.metrics.average_precision_score(y[weight > 0], p[weight > 0])
    np.testing.assert_allclose(float(masked), expected, rtol=1e-5)
    rows = metrics.average_precision(p.reshape(4, 100), y.reshape(4, 100), axis=1)
    for row, a, b in zip(rows.value, y.reshape(4, 100), p.reshape(4, 100), strict=True):
        np.testing.assert_allclose(row, sklearn.metrics.average_precision_score(a, b), rtol=1e-5)
    assert not metrics.average_precision(p, np.zeros_like(y)).present


def test_best_threshold_is_the_best(probabilities):
    p, y = probabilities
    threshold = metrics.best_threshold(p, y)
    scores = [sklearn.metrics.f1_score(y, p >= t) for t in np.unique(p)]
    assert threshold in p
    np.testing.assert_allclose(sklearn.metrics.f1_score(y, p >= threshold), max(scores))
    half = np.arange(p.size) % 2 == 0
    masked = metrics.best_threshold(np.where(half, p, np.nan), y, where=half)
    scores = [sklearn.metrics.f1_score(y[half], p[half] >= t) for t in np.unique(p[half])]
    np.testing.assert_allclose(sklearn.metrics.f1_score(y[half], p[half] >= masked), max(scores))
    assert np.isposinf(metrics.best_threshold(p, np.zeros_like(y)))
    assert metrics.best_threshold(p, np.ones_like(y)) == p.min()


def test_calibration_is_scikit_learn_s_and_merges(probabilities):
    p, y = probabilities
    p = np.clip(p + np.float32(0.003), 0, 1)  # off the edges of the bins
    bins = metrics.calibration(p, y, bins=10)
    used = np.asarray(bins.count) > 0
    hits, confidence = sklearn.calibration.calibration_curve(y, p, n_bins=10)
    np.testing.assert_allclose((bins.hits / bins.count)[used], hits, rtol=1e-5)
    np.testing.assert_allclose((bins.confidence / bins.count)[used], confidence, rtol=1e-5)
    weights = np.asarray(bins.count)[used] / p.size
    expected = np.sum(weights * np.abs(hits - confidence))
    error = metrics.expected_calibration_error(p, y, bins=10)
    np.testing.assert_allclose(error, expected, rtol=1e-4)
    parts = [metrics.calibration(p[i], y[i], bins=10) for i in (slice(0, 90), slice(90, None))]
    np.testing.assert_allclose(sum(parts).expected_calibration_error, error, rtol=1e-4)
    mask = np.arange(p.size) % 3 > 0
    dirty = np.where(mask, p, np.nan)
    masked = metrics.calibration(dirty, y, bins=10, where=mask)
    hits, _ = sklearn.calibration.calibration_curve(y[mask], p[mask], n_bins=10)
    used = np.asarray(masked.count) > 0
    np.testing.assert_allclose((masked.hits / masked.count)[used], hits, rtol=1e-5)
    assert float(metrics.expected_calibration_error(jnp.ones(3), jnp.ones(3))) == 0


def test_brier_score_is_scikit_learn_s(probabilities):
    p, y = probabilities
    expected = sklearn.metrics.brier_score_loss(y, p)
    np.testing.assert_allclose(metrics.brier_score(p, y), expected, rtol=1e-5)


# Of objects.


def test_instance_f1_matches_objects_one_to_one():
    target = np.zeros((10, 12), np.int32)
    target[1:4, 1:4], target[6:9, 1:4], target[1:4, 7:11] = 3, 5, 9
    predicted = np.zeros_like(target)
    predicted[1:4, 1:4] = 1  # found
    predicted[6:9, 1:2], predicted[6:9, 2:4] = 2, 4  # split: one part covers two thirds
    predicted[8, 8] = 7  # made up
    counts = metrics.instance_counts(predicted, target)
    assert counts == metrics.InstanceCounts(2, 2, 1)
    np.testing.assert_allclose(float(metrics.instance_f1(predicted, target)), 4 / 7, rtol=1e-6)
    strict = metrics.instance_counts(predicted, target, iou_threshold=0.7)
    assert strict == metrics.InstanceCounts(1, 3, 2)
    # Both parts overlap object 5 by more than a quarter; only one of them can match it.
    loose = metrics.instance_counts(predicted, target, iou_threshold=0.25)
    assert loose == metrics.InstanceCounts(2, 2, 1)


def test_instance_f1_image_by_image():
    nothing = np.zeros((3, 5), np.int32)
    one = nothing.copy()
    one[1, 1:4] = 1
    predicted, target = (
        np.stack([one, nothing, one, nothing]),
        np.stack([one, one, nothing, nothing]),
    )
    scores = metrics.instance_f1(predicted, target, axis=(1, 2))
    np.testing.assert_array_equal(scores.value, [1, 0, 0, 1])
    np.testing.assert_array_equal(scores.present, [True, True, False, False])
    total = sum(metrics.instance_counts(*maps) for maps in zip(predicted, target, strict=True))
    assert (total.true_positives, total.f1) == (1, 0.5)


def test_wrong_arguments_say_what_is_expected(masks):
    predicted, target = masks
    p = target.astype(np.float32)
    with pytest.raises(TypeError, match="precision takes RegionSums"):
        metrics.precision(predicted)
    with pytest.raises(ValueError, match="beta"):
        metrics.f_beta(dj.region_sums(predicted, target), beta=0.0)
    with pytest.raises(TypeError, match=r"prediction must be boolean.*> 0\.5"):
        metrics.hausdorff_distance(p, target)
    with pytest.raises(ValueError, match="target must have the shape"):
        metrics.surface_dice(predicted, target[0], tolerance=1.0)
    with pytest.raises(ValueError, match="percentile"):
        metrics.hausdorff_distance(predicted, target, percentile=101)
    with pytest.raises(ValueError, match="spacing"):
        metrics.average_surface_distance(predicted, target, spacing=(1.0, 1.0, 0.0))
    with pytest.raises(ValueError, match="bins must be >= 1"):
        metrics.calibration(p, target, bins=0)
    with pytest.raises(TypeError, match="predicted must be integers"):
        metrics.instance_counts(p, p)
    with pytest.raises(ValueError, match="iou_threshold"):
        metrics.instance_counts(target.astype(int), target.astype(int), iou_threshold=2.0)
