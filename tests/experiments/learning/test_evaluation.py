"""The metrics against scikit-learn and against brute force."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from experiments.learning.evaluation import average_precision, evaluate
from experiments.learning.thresholds import PixelCounts, best_threshold


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
    level, reached = best_threshold(PixelCounts.of(z, y))
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
    dice = evaluate(z, y, z, y).per_image["dice"]
    assert with_empty.metrics["dice"] == pytest.approx(dice[1:].mean())


def test_reliability_and_calibration_error_by_brute_force(evaluation):
    z, y = _draw(1)
    p, y = 1 / (1 + np.exp(-z.ravel())), y.ravel()
    rows = zip(*(evaluation.reliability[k] for k in ("claimed", "true", "pixels")), strict=True)
    total = 0.0
    for (low, high), (claimed, true, pixels) in zip(
        itertools.pairwise(np.linspace(0, 1, 16)), rows, strict=True
    ):
        inside = (p >= low) & (p < high)
        assert pixels == inside.sum()
        if not pixels:
            assert np.isnan(claimed)
            continue
        assert claimed == pytest.approx(p[inside].mean(), rel=1e-5)
        assert true == pytest.approx(y[inside].mean(), rel=1e-5)
        total += inside.mean() * abs(p[inside].mean() - y[inside].mean())
    assert evaluation.metrics["ece"] == pytest.approx(total, rel=1e-4)


def _square(size, top, left, side):
    mask = np.zeros((1, size, size), bool)
    mask[0, top : top + side, left : left + side] = True
    return mask


def test_surfaces_by_hand():
    """A square moved by three pixels: two of its four sides' surfaces lie three pixels off."""
    truth, found = _square(16, 4, 2, 8), _square(16, 4, 5, 8)
    logits = np.where(found, 5.0, -5.0)
    both = evaluate(logits, truth, logits, truth)
    from scipy import ndimage

    def surface(mask):
        return mask & ~ndimage.binary_erosion(mask)

    a, b = surface(found[0]), surface(truth[0])
    to_b, to_a = (ndimage.distance_transform_edt(~s) for s in (b, a))
    hd95 = max(np.percentile(to_b[a], 95), np.percentile(to_a[b], 95))
    near = ((to_b[a] <= 1).sum() + (to_a[b] <= 1).sum()) / (a.sum() + b.sum())
    assert both.metrics["hd95"] == pytest.approx(hd95) == 3
    assert both.metrics["surface_dice"] == pytest.approx(near)
    assert 0 < near < 1
    assert both.per_image["hd95"].shape == (1,)


def test_surfaces_are_means_over_the_images_that_have_them():
    """Image 0 is right, 1 is missed, 2 is empty and claimed, 3 and 4 are empty and left alone."""
    object_, nothing = _square(16, 4, 4, 6), np.zeros((1, 16, 16), bool)
    truth = np.concatenate([object_, object_, nothing, nothing, nothing])
    found = np.concatenate([object_, nothing, object_, nothing, nothing])
    result = evaluate(z := np.where(found, 5.0, -5.0), truth, z, truth)
    np.testing.assert_array_equal(result.per_image["hd95"], [0] + [np.nan] * 4)
    np.testing.assert_array_equal(result.per_image["surface_dice"], [1, 0] + [np.nan] * 3)
    assert result.metrics["hd95"] == 0
    assert result.metrics["surface_dice"] == 0.5
    assert result.metrics["dice"] == 0.5
    assert result.metrics["empty_images"] == 3
    assert result.metrics["empty_false_positive_share"] == 1 / 3
    assert "empty_false_positive_share" not in evaluate(*_draw(0), *_draw(1)).metrics


def test_recall_by_object_size():
    """Of objects of 4, 5 (by a corner) and 36 pixels: half found, all, and a ninth."""
    truth = np.zeros((12, 16, 16), bool)
    truth[0, 1:3, 1:3] = truth[0, 10:12, 10:12] = truth[0, 12, 12] = True
    truth[1, 2:8, 2:8] = True
    found = np.zeros_like(truth)
    found[0, 1, 1:3] = found[0, 10:13, 10:13] = found[1, 2:4, 2:4] = True
    z = np.where(found, 5.0, -5.0)
    assert evaluate(z, truth, z, truth).size_recall == {
        "size": [4, 32],
        "recall": [0.75, pytest.approx(1 / 9)],
        "recall_tuned": [0.75, pytest.approx(1 / 9)],
        "objects": [2, 1],
    }


def test_bayes_dice_is_the_best_that_brute_force_finds():
    generator = np.random.default_rng(7)
    posterior = generator.random((12, 16, 16)) ** 6
    masks = generator.random(posterior.shape) < posterior
    z = np.log(posterior / (1 - posterior))
    result = evaluate(z, masks, z, masks, test_posterior=posterior.astype(np.float32))
    ordered = np.sort(posterior.ravel())[::-1]
    best = max(2 * np.cumsum(ordered) / (np.arange(1, ordered.size + 1) + ordered.sum()))
    assert result.metrics["bayes_dice"] == pytest.approx(best, rel=1e-5)
    # The posterior itself, cut where its labels were tuned, comes near; its decisions are scored.
    assert result.metrics["dice_pooled_tuned"] == pytest.approx(best, abs=0.05)
    chosen = posterior > best / 2
    dice = 2 * (chosen & masks).sum((1, 2)) / (chosen.sum((1, 2)) + masks.sum((1, 2)))
    assert result.metrics["bayes_dice_scored"] == pytest.approx(dice.mean(), rel=1e-6)
    assert result.size_recall["size"] == []


def test_a_diverged_run_has_names_but_no_numbers():
    z, y = _draw(0)
    whole = evaluate(z, y, z, y)
    z = z.copy()
    z[3, 0, 0] = np.inf
    result = evaluate(*_draw(0), z, y)
    assert result.diverged
    assert not whole.diverged
    assert result.metrics.keys() == whole.metrics.keys()
    assert {k for k, v in result.metrics.items() if not np.isnan(v)} == {
        "empty_images",
        "dice_chance",
    }
    assert all(np.isnan(v).all() for k, v in result.per_image.items() if k != "size")


def test_predictions_come_in_the_images_order_whatever_the_passes(monkeypatch):
    import jax.numpy as jnp

    from experiments.learning import evaluation as module
    from experiments.learning.models import initialise

    monkeypatch.setattr(module, "_IMAGES_A_PASS", 3)
    images = jnp.arange(7.0)[:, None, None] * jnp.ones((7, 4, 4))
    graph, parameters = initialise("linear", 0)
    import jax

    logits = module.predict(graph, jax.tree.map(lambda x: x + 1.0, parameters), images)
    # Three equal features and a bias, all weighing 1.
    np.testing.assert_allclose(logits, 3 * np.asarray(images) + 1, rtol=1e-5)
