"""Situations from public reports and from other libraries' own tests, each with the right value."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import reference

m = dj.metrics
NAN = np.nan
RASTER = np.array([np.iinfo(np.int64).min, 1, 2, 0])  # "no data" of a raster, cast to int64
Z = jnp.array([[1.0, 0.0, -jnp.inf], [0.0, 2.0, -jnp.inf]])
Y = jnp.array([0, 1])
COLUMN = np.zeros((3, 24), bool)
COLUMN[:, 4] = True
FIRST, TWO = jnp.array([1, 0, 0]), jnp.array([2, 0, 0])
SURE = jnp.array([0.5, 0.4, 0.3])
LOGITS = jnp.array([5.0, -4.0, 3.0])
ABSENT = dj.softmax_region_sums(jnp.zeros((4, 3)), jnp.array([0, 0, 0, 1]))
NOTHING = dj.softmax_region_sums(jnp.zeros((4, 3)), jnp.array([0, 0, 0, 0]))[..., 1:]
IGNORED = dj.softmax_region_sums(jnp.zeros((4, 3)), jnp.zeros(4, int), where=jnp.zeros(4, bool))
# scikit-learn's average precision of scores on both sides of 0 (1/2 + 2/3)/2.
SIGNED = (jnp.array([-9.0, 0.5, 2.0, 1.0]), jnp.array([0, 1, 0, 1]))


def jitted(function, *arrays):
    """Traced: the arrays' values are not known."""
    return jax.jit(function)(*arrays)


VALUES = {
    "a NaN score": (lambda: m.average_precision(jnp.array([NAN, 0.9, 0.1]), FIRST), NAN),
    "a NaN score's threshold": (
        lambda: m.best_threshold(jnp.array([NAN, 0.9, 0.1]), FIRST),
        NAN,
    ),
    "negative scores": (lambda: m.average_precision(*SIGNED), (1 / 2 + 2 / 3) / 2),
    "a threshold of negative scores": (lambda: m.best_threshold(-SIGNED[0], SIGNED[1]), -1.0),
    "3 pixels of 1.2 mm": (
        lambda: m.surface_dice(np.roll(COLUMN, 3, 1), COLUMN, tolerance=3.6, spacing=(5.0, 1.2)),
        1.0,
    ),
    "a raster's labels": (
        lambda: dj.dice_loss(dj.softmax_region_sums(jnp.zeros((4, 3)), RASTER)),
        [NAN] * 3,
    ),
    "focal loss of a logit −∞": (
        lambda: dj.softmax_focal_loss(Z, Y, gamma=2.0),
        [0.02265804, 0.00180356],
    ),
    "an impossible pixel of a class without weight": (
        lambda: dj.softmax_focal_loss(Z[:1], Y[:1] + 2, gamma=2.0, alpha=jnp.array([1, 1, 0.0])),
        [0.0],
    ),
    "top-k of a logit −∞": (lambda: dj.top_k_cross_entropy_loss(Z, Y, fraction=0.5), 0.31326163),
    "unified focal of a logit −∞": (
        lambda: dj.unified_focal_loss(Z, Y) - dj.unified_focal_loss(Z.at[:, 2].set(-90.0), Y),
        0.0,
    ),
    "classes that are present, of none": (
        lambda: dj.safe_mean(dj.dice_loss(NOTHING), where=NOTHING.target > 0),
        0.0,
    ),
    "classes that are present, all ignored": (
        lambda: dj.safe_mean(dj.dice_loss(IGNORED), where=IGNORED.target > 0),
        0.0,
    ),
    "logits where probabilities belong": (
        lambda: jitted(lambda p: dj.dice_loss(dj.region_sums(p, FIRST)), LOGITS),
        NAN,
    ),
    "gray values where targets belong": (
        lambda: jitted(lambda y: dj.dice_loss(dj.sigmoid_region_sums(LOGITS, y)), LOGITS * 51),
        NAN,
    ),
    "logits in the calibration error": (
        lambda: jitted(lambda p: m.expected_calibration_error(p, FIRST).value, LOGITS),
        NAN,
    ),
    "logits in the Brier score": (
        lambda: jitted(lambda p: m.brier_score(p, FIRST).value, LOGITS),
        NAN,
    ),
    "logits in Lovász-softmax": (
        lambda: jitted(lambda p: dj.lovasz_softmax_loss(p, Y), 4 * Z[:, :2]),
        [NAN, NAN],
    ),
    "logits in clDice": (
        lambda: jitted(lambda p: dj.cldice_loss(p, FIRST, iterations=1), LOGITS),
        NAN,
    ),
    "an absent class in generalised Dice, without its weight": (
        lambda: dj.generalized_dice_loss(ABSENT[..., :2], smooth=0.0),
        1 - 2 * (1 / 3 + 1 / 9) / ((4 / 3 + 1) + (4 / 3 + 3) / 9),
    ),
    "label 2 in a binary target": (
        lambda: jnp.stack(
            [
                dj.dice_loss(dj.region_sums(SURE, TWO)),
                dj.dice_loss(dj.sigmoid_region_sums(SURE, TWO)),
                dj.noise_robust_dice_loss(SURE, TWO),
                dj.lovasz_hinge_loss(SURE, TWO),
                dj.hausdorff_distance_loss(SURE, TWO),
                dj.cldice_loss(SURE, TWO, iterations=1),
                m.brier_score(SURE, TWO).value,
                m.roc_auc(SURE, TWO).value,
            ]
        ),
        [NAN] * 8,
    ),
}

ERRORS = {
    "an IoU of more than 1 to match": (
        lambda: m.instance_counts(np.array([1, 0]), np.array([1, 0]), iou_threshold=1.0),
        "iou_threshold must be finite and >= 0 and < 1",
    ),
    "a pyramid without weights": (
        lambda: dj.deep_supervision(lambda x: x, [0]),
        "weights must have one above 0",
    ),
    "2 images and 1": (
        lambda: (
            dj.region_sums(jnp.ones((2, 3)), jnp.ones((2, 3)), axis=1)
            + dj.region_sums(jnp.ones((1, 3)), jnp.ones((1, 3)), axis=1)
        ),
        "cannot be added",
    ),
    "logits, eagerly": (lambda: dj.region_sums(np.asarray(LOGITS), FIRST), "jax.nn.sigmoid"),
    "a raster's objects": (
        lambda: dj.instance_region_sums(np.ones(4), np.ones(4), RASTER, num_instances=2),
        "instances must be within",
    ),
}


@pytest.mark.parametrize(("call", "expected"), VALUES.values(), ids=VALUES)
def test_the_value_is_right(call, expected):
    result = call()
    value = getattr(result, "value", result)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_the_error_is_clear(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_logit_of_minus_infinity_has_a_finite_gradient():
    """Also where the pixel's own class has it, and the loss is infinite."""
    losses = (
        lambda z, y: dj.softmax_focal_loss(z, y, gamma=2.0).sum(),
        lambda z, y: dj.top_k_cross_entropy_loss(z, y, fraction=0.5),
        lambda z, y: dj.unified_focal_loss(z, y),
        lambda z, y: dj.cross_entropy_loss(dj.softmax_region_sums(z, y)),
    )
    for loss in losses:
        assert np.isfinite(jax.grad(loss)(Z, Y)).all()
    assert np.isposinf(losses[0](Z, jnp.array([2, 1])))
    assert np.isfinite(jax.grad(losses[0])(Z, jnp.array([2, 1]))).all()


def test_a_patch_without_a_class_pulls_nowhere():
    """The README's line, with a value and a gradient."""

    def loss(z, labels):
        sums = dj.softmax_region_sums(z, labels, where=labels != 255)[..., 1:]
        return dj.safe_mean(dj.dice_loss(sums), where=sums.target > 0)

    for labels in (jnp.zeros(4, int), jnp.full(4, 255)):
        value, gradient = jax.value_and_grad(loss)(jnp.ones((4, 3)), labels)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


def test_the_cross_entropy_of_pytorch_with_weights_and_soft_labels():
    """PyTorch's two normalisers, by the two lines of the docstring."""
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(7, 3)), rng.integers(0, 3, 7)
    w = np.array([0.5, 2.0, 1.0])
    minus_log_p = -reference.log_softmax(z)
    hard = reference.one_hot(labels, 3)
    smoothed = 0.9 * hard + 0.1 / 3
    soft = rng.dirichlet(np.ones(3), 7)
    by_label = np.sum(w * smoothed * minus_log_p) / np.sum(w[labels])
    by_pixel = np.sum(w * soft * minus_log_p) / 7
    z, w = z.astype(np.float32), w.astype(np.float32)
    sums = dj.softmax_region_sums(z, smoothed.astype(np.float32))
    counted = dataclasses.replace(sums, target=dj.softmax_region_sums(z, labels).target)
    np.testing.assert_allclose(dj.cross_entropy_loss(counted, weights=w), by_label, rtol=1e-5)
    sums = dj.softmax_region_sums(z, soft.astype(np.float32))
    weighted = dataclasses.replace(sums, foreground_cross_entropy=w * sums.foreground_cross_entropy)
    np.testing.assert_allclose(dj.cross_entropy_loss(weighted), by_pixel, rtol=1e-5)
