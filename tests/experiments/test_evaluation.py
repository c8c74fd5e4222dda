"""The metrics against scikit-learn and against brute force."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from experiments.evaluation import (
    average_precision,
    best_threshold,
    evaluate,
    expected_calibration_error,
)


def _draw(seed, count=12, size=16, fraction=0.1):
    generator = np.random.default_rng(seed)
    masks = generator.random((count, size, size)) < fraction
    return generator.normal(size=masks.shape) + 1.5 * masks - 1, masks


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(*_draw(0), *_draw(1))


def test_pooled_numbers_are_scikit_learns(evaluation):
    z, y = (x.ravel() for x in _draw(1))
    p, m = 1 / (1 + np.exp(-z)), evaluation.metrics
    for suffix, threshold in (("", 0.5), ("_tuned", m["threshold_tuned"])):
        found = p >= threshold - 1e-12
        assert m[f"precision{suffix}"] == pytest.approx(sk.precision_score(y, found))
        assert m[f"recall{suffix}"] == pytest.approx(sk.recall_score(y, found))
        assert m[f"dice_pooled{suffix}"] == pytest.approx(sk.f1_score(y, found))
    assert m["average_precision"] == pytest.approx(sk.average_precision_score(y, p))
    assert m["brier"] == pytest.approx(sk.brier_score_loss(y, p))
    assert m["mean_probability"] == pytest.approx(p.mean())
    assert m["volume_bias"] == pytest.approx((p >= 0.5).sum() / y.sum() - 1)
    assert m["soft_volume_bias"] == pytest.approx(p.sum() / y.sum() - 1)


def test_dice_and_iou_are_means_over_images(evaluation):
    z, y = _draw(1)
    dice = [sk.f1_score(b.ravel(), a.ravel() >= 0) for a, b in zip(z, y, strict=True)]
    iou = [sk.jaccard_score(b.ravel(), a.ravel() >= 0) for a, b in zip(z, y, strict=True)]
    assert evaluation.metrics["dice"] == pytest.approx(np.mean(dice))
    assert evaluation.metrics["iou"] == pytest.approx(np.mean(iou))
    np.testing.assert_allclose(evaluation.per_image["dice"], dice)
    np.testing.assert_array_equal(evaluation.per_image["size"], y.sum(axis=(1, 2)))


def test_threshold_is_tuned_on_validation_and_scored_on_test(evaluation):
    (z, y), (z_test, y_test) = _draw(0), _draw(1)
    grid = np.arange(-140, 141) / 10

    def score(z, y, level):
        found = z >= level
        hit, size = (found & y).sum((1, 2)), found.sum((1, 2)) + y.sum((1, 2))
        return (2 * hit / size).mean()

    scores = [score(z, y, level) for level in grid]
    level, reached = best_threshold(z, y)
    assert reached == pytest.approx(max(scores))
    assert score(z, y, level) == pytest.approx(max(scores))
    assert evaluation.metrics["validation_dice_tuned"] == pytest.approx(max(scores))
    assert evaluation.metrics["threshold_tuned"] == pytest.approx(1 / (1 + np.exp(-level)))
    assert evaluation.metrics["dice_tuned"] == pytest.approx(score(z_test, y_test, level))
    # With a threshold of the test images' own it would be another number: not seen here.
    assert evaluation.metrics["dice_tuned"] <= max(score(z_test, y_test, g) for g in grid)


def test_constant_prediction_is_tuned_to_all_foreground():
    """Bias-only BCE predicts π everywhere: its best threshold lies below, and Dice is 2π/(1+π)."""
    _, y = _draw(3)
    z = np.full(y.shape, np.log(0.1 / 0.9))
    result = evaluate(z, y, z, y).metrics
    assert result["dice"] == 0
    assert result["precision"] == 0
    assert result["threshold_tuned"] <= 0.1
    fractions = y.mean(axis=(1, 2))
    assert result["dice_tuned"] == pytest.approx((2 * fractions / (1 + fractions)).mean())


def test_average_precision_with_ties_and_without_foreground():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 4, 200).astype(float)
    truth = generator.random(200) < 0.3
    assert average_precision(scores, truth) == pytest.approx(
        sk.average_precision_score(truth, scores)
    )
    assert average_precision(np.zeros(200), truth) == pytest.approx(truth.mean())
    assert np.isnan(average_precision(scores, np.zeros(200, bool)))


def test_empty_images_are_left_out_of_the_mean():
    z, y = _draw(4)
    empty = y.copy()
    empty[0] = False
    with_empty = evaluate(z, empty, z, empty)
    assert np.isnan(with_empty.per_image["dice"][0])
    without = evaluate(z[1:], y[1:], z[1:], y[1:])
    assert with_empty.metrics["dice"] == pytest.approx(without.metrics["dice"])


def test_expected_calibration_error_by_brute_force():
    generator = np.random.default_rng(5)
    p = generator.random(500)
    y = generator.random(500) < p**2
    edges = np.linspace(0, 1, 16)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (p >= low) & (p < high)
        if inside.any():
            total += inside.mean() * abs(p[inside].mean() - y[inside].mean())
    assert expected_calibration_error(p, y) == pytest.approx(total)
    assert expected_calibration_error(np.ones(4), np.ones(4, bool)) == 0
