"""Counts of pixels against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

import dice_jax as dj
from dice_jax import metrics


def drawn():
    rng = np.random.default_rng(0)
    return rng.random((3, 200)) < 0.3, rng.random((3, 200)) < 0.4


def test_counts_and_what_follows_are_scikit_learn_s():
    predicted, target = drawn()
    sums = dj.region_sums(predicted, target, axis=1)
    counts = metrics.confusion_counts(sums)
    scores = {
        "accuracy": metrics.accuracy(sums),
        "balanced": metrics.balanced_accuracy(sums),
        "npv": metrics.negative_predictive_value(sums),
        "volume": metrics.absolute_volume_difference(sums, pixel_volume=0.25),
    }
    for i, (p, y) in enumerate(zip(predicted, target, strict=True)):
        tn, fp, fn, tp = sklearn.metrics.confusion_matrix(y, p).ravel()
        found = [counts.true_negatives, counts.false_positives]
        found += [counts.false_negatives, counts.true_positives]
        np.testing.assert_array_equal([x[i] for x in found], [tn, fp, fn, tp])
        expected = {
            "accuracy": sklearn.metrics.accuracy_score(y, p),
            "balanced": sklearn.metrics.balanced_accuracy_score(y, p),
            "npv": sklearn.metrics.precision_score(~y, ~p),
            "volume": 0.25 * abs(int(p.sum()) - int(y.sum())),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(scores[name].value[i], value, rtol=1e-5, err_msg=name)
    pooled = sum(metrics.confusion_counts(sums[i]) for i in range(3))
    np.testing.assert_array_equal(pooled.true_positives, np.sum(predicted & target))


@pytest.mark.parametrize(
    ("predicted", "target", "balanced", "npv", "background"),
    [
        ([1, 0], [0, 0], 0.5, 1.0, True),
        ([1, 1], [0, 0], 0.0, 0.0, True),
        ([1, 0], [1, 1], 0.5, 0.0, False),
        ([1, 1], [1, 1], 1.0, 1.0, False),
    ],
)
def test_a_class_that_is_not_there(predicted, target, balanced, npv, background):
    sums = dj.region_sums(np.array(predicted, bool), np.array(target))
    score = metrics.balanced_accuracy(sums)
    assert (float(score), bool(score.present)) == (balanced, False)
    score = metrics.negative_predictive_value(sums)
    assert (float(score), bool(score.present)) == (npv, background)


def test_nothing_counted():
    sums = dj.region_sums(np.ones(2, bool), np.zeros(2, int), where=np.zeros(2, bool))
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.negative_predictive_value):
        score = metric(sums)
        assert (float(score), bool(score.present)) == (1.0, False)


@pytest.mark.parametrize("weighted", [None, "boolean", "floating"])
def test_the_matrix_is_scikit_learn_s(weighted):
    rng = np.random.default_rng(1)
    predicted, labels = rng.integers(0, 4, (2, 3, 50)).astype(np.int16)
    where = None if weighted is None else rng.random((3, 50)) < 0.7
    if weighted == "floating":
        where = where * np.float32(1.5)
    matrices = metrics.confusion_matrix(predicted, labels, num_classes=4, axis=1, where=where)
    assert matrices.shape == (3, 4, 4)
    for i in range(3):
        weight = None if where is None else where[i]
        expected = sklearn.metrics.confusion_matrix(
            labels[i], predicted[i], labels=range(4), sample_weight=weight
        )
        np.testing.assert_allclose(matrices[i], expected)
    whole = metrics.confusion_matrix(predicted, labels, num_classes=4, where=where)
    np.testing.assert_allclose(whole, matrices.sum(0))


@pytest.mark.parametrize("value", [4, -1, 255, 2**32 + 1])
@pytest.mark.parametrize("which", [0, 1])
def test_a_class_that_does_not_exist_is_loud(value, which):
    maps = [np.array([[0, 1, 2], [0, 1, 3]]) for _ in range(2)]
    maps[which][0, 1] = value
    matrices = metrics.confusion_matrix(*maps, num_classes=4, axis=1)
    assert np.isnan(matrices[0]).all()
    assert matrices[1].sum() == 3
    sums = metrics.class_sums(*maps, num_classes=4, axis=1)
    assert all(np.isnan(field[0]).all() for field in jax.tree.leaves(sums))
    assert sums.target[1].sum() == 3
    kept = {"num_classes": 4, "where": maps[which] != value}
    assert metrics.confusion_matrix(*maps, **kept).sum() == 5
    assert metrics.class_sums(*maps, **kept).prediction.sum() == 5


def test_pixels_are_counted_exactly():
    """A sum in float32 stops at 2²⁴: one half more pixels, of one class."""
    ones = jnp.ones(3 << 23, jnp.int8)
    assert metrics.confusion_matrix(ones, ones, num_classes=2)[1, 1] == 3 << 23


def test_wrong_arguments_say_what_is_expected():
    x = jnp.zeros(3, int)
    with pytest.raises(TypeError, match="predicted must be integers"):
        metrics.confusion_matrix(x > 0, x, num_classes=2)
    with pytest.raises(ValueError, match="labels must have the shape"):
        metrics.confusion_matrix(x, x[:2], num_classes=2)
    with pytest.raises(ValueError, match="num_classes must be >= 1"):
        metrics.confusion_matrix(x, x, num_classes=0)
    with pytest.raises(TypeError, match="num_classes must be an int"):
        metrics.confusion_matrix(x, x, num_classes=2.0)
    with pytest.raises(TypeError, match="accuracy takes RegionSums"):
        metrics.accuracy(x)
    with pytest.raises(ValueError, match="pixel_volume"):
        metrics.absolute_volume_difference(dj.region_sums(x > 0, x), pixel_volume=0.0)
    jax.jit(lambda p: metrics.confusion_matrix(p, x, num_classes=2))(x)
