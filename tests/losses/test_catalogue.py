"""Identities within the catalogue: what a loss is at its options' ends, and where it is best."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dice_jax as dj
from tests.support import reference

PIXELS = 9
unit = st.floats(0, 1, width=32).map(lambda x: round(x, 3))
probabilities = arrays(np.float32, PIXELS, elements=unit)
masks = arrays(np.bool_, PIXELS)
smooths = st.sampled_from([0.0, 1e-5, 1.0])


@jax.jit
def every(p, y, smooth):
    """All of the values that the identities below compare, from one compilation."""
    sums = dj.region_sums(p, y)
    return {
        "dice": dj.dice_loss(sums, smooth=smooth),
        "squared": dj.squared_dice_loss(sums, smooth=smooth),
        "jaccard": dj.jaccard_loss(sums, smooth=smooth),
        "semimetric": dj.dice_semimetric_loss(sums, smooth=smooth),
        "metric": dj.jaccard_metric_loss(sums, smooth=smooth),
        "log": dj.log_dice_loss(sums, smooth=smooth),
        "exponential": dj.exponential_logarithmic_dice_loss(sums, gamma=1.0, smooth=smooth),
        "robust": dj.noise_robust_dice_loss(p, y, gamma=2.0, smooth=smooth),
        "plus": dj.dice_plus_plus_loss(p, y, gamma=1.0, smooth=smooth),
        "plus plus": dj.dice_plus_plus_loss(p, y, gamma=2.0, smooth=smooth),
        "adjusted": dj.self_adjusting_dice_loss(p, y, alpha=0.0, smooth=smooth),
    }


@settings(max_examples=60, deadline=None)
@given(p=probabilities, y=masks, smooth=smooths)
def test_options_lead_from_one_loss_to_another(p, y, smooth):
    values = every(p, y, smooth)
    for name, other in (
        ("semimetric", "dice"),
        ("metric", "jaccard"),
        ("exponential", "log"),
        ("robust", "squared"),
        ("plus", "dice"),
        ("plus plus", "squared"),
        ("adjusted", "dice"),
    ):
        np.testing.assert_allclose(
            values[name], values[other], rtol=1e-4, atol=2e-6, equal_nan=False, err_msg=name
        )


@settings(max_examples=40, deadline=None)
@given(y=probabilities, p=probabilities, smooth=st.sampled_from([1e-5, 1.0]))
def test_soft_label_losses_are_least_at_the_labels(y, p, smooth):
    at_labels, elsewhere = every(y, y, smooth), every(p, y, smooth)
    for name in ("semimetric", "metric"):
        np.testing.assert_allclose(at_labels[name], 0, atol=1e-6)
        assert elsewhere[name] >= at_labels[name]
        if np.abs(p - y).max() > 0.01:
            assert elsewhere[name] > 1e-5


def test_the_product_form_prefers_hard_predictions_where_the_semimetric_does_not():
    soft = jnp.full(PIXELS, 0.7)
    hard = jnp.ones(PIXELS)
    at_labels, at_hard = every(soft, soft, 0.0), every(hard, soft, 0.0)
    assert at_hard["dice"] < at_labels["dice"]
    assert at_hard["semimetric"] > at_labels["semimetric"]


def test_soft_label_gradients_are_finite_at_the_labels():
    y = jnp.linspace(0.0, 1.0, PIXELS)
    for loss in (dj.dice_semimetric_loss, dj.jaccard_metric_loss):
        gradient = jax.grad(lambda p, loss=loss: loss(dj.region_sums(p, y), smooth=0.0))(y)
        assert np.isfinite(gradient).all()


@settings(max_examples=40, deadline=None)
@given(predicted=masks, y=masks)
def test_matthews_is_scikit_learn_s_on_hard_masks(predicted, y):
    loss = dj.matthews_loss(dj.region_sums(predicted, y))
    if (predicted == y).all():
        assert abs(loss) < 1e-6  # scikit-learn's is 0 where one class is all there is
    else:
        expected = sklearn.metrics.matthews_corrcoef(y, predicted)
        np.testing.assert_allclose(loss, 1 - expected, atol=1e-5)


def test_matthews_keeps_the_digits_of_a_rare_background():
    """Three background pixels in a million, one of them missed: FN, FP and TN are exact counts."""
    pixels = 1e6
    prediction, target, both = pixels - 2, pixels - 3, pixels - 3
    zeros = jnp.zeros(())
    fields = dict.fromkeys(reference.Sums._fields, zeros)
    sums = dj.RegionSums(
        **fields
        | {
            "intersection": jnp.float32(both),
            "prediction": jnp.float32(prediction),
            "target": jnp.float32(target),
            "count": jnp.float32(pixels),
        }
    )
    expected = 1 - (both * 2 - 1 * 0) / np.sqrt(prediction * target * 3 * 2)
    np.testing.assert_allclose(dj.matthews_loss(sums), expected, rtol=1e-6)


@pytest.mark.parametrize("y", [np.zeros(PIXELS, bool), np.ones(PIXELS, bool)])
def test_smoothing_gives_matthews_a_gradient_where_a_class_is_absent(y):
    p = np.full(PIXELS, 0.4, np.float32)
    gradient = jax.grad(lambda p, s: dj.matthews_loss(dj.region_sums(p, y), smooth=s))
    np.testing.assert_array_equal(gradient(p, 0.0), 0)
    towards = np.sign(0.5 - y)
    assert (np.sign(gradient(p, 1.0)) == towards).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_self_adjusting_dice_is_best_at_one_over_one_plus_alpha(alpha):
    """C20: a foreground pixel is pushed down beyond it."""
    best = 1 / (1 + alpha)
    slope = jax.grad(lambda p: dj.self_adjusting_dice_loss(p, jnp.ones(()), alpha=alpha))
    assert slope(best - 0.05) < 0
    assert slope(best + 0.05) > 0
    np.testing.assert_allclose(slope(best), 0, atol=1e-6)


def test_sensitivity_specificity_weighs_the_classes_apart():
    y = np.array([1, 1, 0, 0, 0, 0], np.int32)
    p = np.array([0.5, 1.0, 0.5, 0.0, 0.0, 0.0], np.float32)
    both = [dj.sensitivity_specificity_loss(p, y, sensitivity=r, smooth=0.0) for r in (1.0, 0.0)]
    np.testing.assert_allclose(both, [0.25 / 2, 0.25 / 4], rtol=1e-6)


def test_wrong_options_are_named():
    sums = dj.region_sums(jnp.zeros(3), jnp.zeros(3))
    for call, message in (
        (lambda: dj.exponential_logarithmic_dice_loss(sums, gamma=0.0), "gamma"),
        (lambda: dj.matthews_loss(sums, smooth=-1.0), "smooth"),
        (lambda: dj.dice_semimetric_loss(sums, smooth=np.nan), "smooth"),
        (lambda: dj.noise_robust_dice_loss([0.5], [1], gamma=-1.0), "gamma"),
        (lambda: dj.sensitivity_specificity_loss([0.5], [1], sensitivity=1.5), "sensitivity"),
        (lambda: dj.self_adjusting_dice_loss([0.5], [1], alpha=np.inf), "alpha"),
        (lambda: dj.dice_plus_plus_loss([0.5], [1, 0]), "targets must have the shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for loss in (dj.matthews_loss, dj.dice_semimetric_loss, dj.jaccard_metric_loss):
        with pytest.raises(TypeError, match=rf"write {loss.__name__}\(region_sums"):
            loss(jnp.zeros(3), jnp.zeros(3))
    with pytest.raises(TypeError, match="probabilities must be floating"):
        dj.noise_robust_dice_loss([1, 0], [1, 0])


def test_cldice_pooled_over_classes():
    """The line of the docstring: one precision and one sensitivity for all classes."""
    rng = np.random.default_rng(5)
    p = rng.random((6, 7, 3)).astype(np.float32)
    y = (rng.random((6, 7, 3)) < 0.4).astype(np.float32)
    sums = dj.cldice_sums(p, y, axis=(0, 1), iterations=1)
    pooled = dj.cldice_loss(sum(sums[..., c] for c in range(1, 3)), smooth=0.5)
    above = np.zeros(2)
    below = np.zeros(2)
    for c in range(1, 3):
        s_p, s_y = (reference.soft_skeleton(x[..., c], iterations=1) for x in (p, y))
        above += [np.sum(s_p * y[..., c]), np.sum(s_y * p[..., c])]
        below += [np.sum(s_p), np.sum(s_y)]
    a, b = (above + 0.5) / (below + 0.5)
    np.testing.assert_allclose(pooled, 1 - 2 * a * b / (a + b), rtol=1e-5)
