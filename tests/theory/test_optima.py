"""Closed-form optima against brute force, and small models trained to reach them."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import analysis

SMOOTH = 1e-5


def _train(loss, logits, targets, *, weight=None, steps=400, rate=1.0):
    """Normalised gradient descent on free logits: one parameter for each entry of ``logits``."""

    def value(parameters):
        z = jnp.broadcast_to(parameters, targets.shape)
        return loss(dj.sigmoid_region_sums(z, targets, where=weight))

    @jax.jit
    def run(parameters):
        def step(k, z):
            gradient = jax.grad(value)(z)
            size = jnp.max(jnp.abs(gradient))
            # Learning rates do not carry over between losses (C12): each step has one length.
            return z - rate * 0.99**k * gradient / jnp.where(size == 0, 1, size)

        return jax.lax.fori_loop(0, steps, step, parameters)

    return jax.nn.sigmoid(run(jnp.asarray(logits, jnp.float32)))


def _bias_only(loss, fraction, count):
    targets = jnp.arange(count) < round(fraction * count)
    return float(_train(loss, [0.0], targets, rate=0.5)[0])


def _with(loss, **options):
    return partial(loss, **options)


@pytest.mark.parametrize("fraction", [0.05, 0.3])
def test_a_bias_only_model_reaches_the_optimum(fraction):
    """C6: the sharpest end-to-end test there is."""
    count = 2000
    target = fraction * count

    def land(loss):
        return _bias_only(loss, fraction, count)

    bce = land(dj.binary_cross_entropy_loss)
    assert bce == pytest.approx(float(analysis.cross_entropy_best_constant(fraction)), abs=5e-3)
    squared = land(_with(dj.squared_dice_loss, smooth=SMOOTH))
    expected = float(analysis.squared_dice_best_constant(fraction, target, smooth=SMOOTH))
    assert expected == pytest.approx(fraction**0.5, rel=1e-4)
    assert squared == pytest.approx(expected, abs=5e-3)
    assert land(_with(dj.dice_loss, smooth=SMOOTH)) > 0.99
    assert float(analysis.dice_best_constant(fraction, target, smooth=SMOOTH)) == 1
    heavy = 20.0
    smoothed = land(_with(dj.squared_dice_loss, smooth=heavy))
    expected = float(analysis.squared_dice_best_constant(fraction, target, smooth=heavy))
    assert smoothed == pytest.approx(expected, abs=5e-3)


def test_with_the_articles_smoothing_a_small_object_is_predicted_empty():
    count, target = 4000, 40
    fraction = target / count
    assert float(analysis.dice_best_constant(fraction, target)) == 0
    assert _bias_only(dj.dice_loss, fraction, count) < 0.01
    assert _bias_only(_with(dj.dice_loss, smooth=SMOOTH), fraction, count) > 0.99
    # At equality every constant has the same loss.
    flat = 2 * 0.25 * 4 / (1 - 2 * 0.25)
    assert float(analysis.dice_best_constant(0.25, 4.0, smooth=flat)) == 0.5


MU = np.array([0.95, 0.9, 0.7, 0.45, 0.4, 0.3, 0.1, 0.05])


def _expected_dice(p, mu):
    return 2 * (p * mu).sum() / (p.sum() + mu.sum())


def test_the_optimum_of_dice_beats_every_mask():
    optimum = analysis.dice_oracle(jnp.asarray(MU, jnp.float32))
    masks = np.array(list(itertools.product([0, 1], repeat=MU.size)))
    best = max(masks, key=lambda mask: _expected_dice(mask, MU) if mask.any() else 0)
    np.testing.assert_array_equal(optimum.prediction, best)
    assert float(optimum.dice) == pytest.approx(_expected_dice(best, MU), rel=1e-6)
    np.testing.assert_array_equal(optimum.prediction, float(optimum.dice) / 2 < MU)
    # The volume is biased: a pixel that is more likely background is filled.
    assert (np.asarray(optimum.prediction)[MU < 0.5] == 1).any()


def test_the_optimum_of_squared_dice_beats_a_grid_and_clips():
    optimum = analysis.squared_dice_oracle(jnp.asarray(MU, jnp.float32))
    scales = np.linspace(0.1, 5, 20001)
    p = np.minimum(1, scales[:, None] * MU)
    values = 2 * (p * MU).sum(1) / ((p**2).sum(1) + MU.sum())
    assert float(optimum.optimum) == pytest.approx(values.max(), rel=1e-6)
    np.testing.assert_allclose(optimum.prediction, p[values.argmax()], atol=1e-3)
    assert (np.asarray(optimum.prediction) == 1).any()
    assert (np.asarray(optimum.prediction) >= MU.astype(np.float32)).all()
    assert float(optimum.dice) == pytest.approx(
        _expected_dice(np.asarray(optimum.prediction, float), MU), rel=1e-5
    )


def test_the_optimum_of_cross_entropy_is_the_posterior():
    optimum = analysis.cross_entropy_oracle(jnp.asarray([0.0, 0.25, 1.0]))
    np.testing.assert_array_equal(optimum.prediction, [0, 0.25, 1])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)) / 3
    assert float(optimum.optimum) == pytest.approx(entropy, rel=1e-6)


@pytest.fixture(scope="module")
def noisy():
    """Many draws of independently noisy labels over eight kinds of pixels."""
    rng = np.random.default_rng(0)
    return jnp.asarray((rng.random((4000, MU.size)) < MU).astype(np.int32))


@pytest.mark.parametrize(
    ("loss", "optimum_of", "tolerance"),
    [
        (dj.binary_cross_entropy_loss, analysis.cross_entropy_oracle, 0.02),
        (_with(dj.dice_loss, smooth=SMOOTH), analysis.dice_oracle, 0.02),
        (_with(dj.squared_dice_loss, smooth=SMOOTH), analysis.squared_dice_oracle, 0.03),
    ],
    ids=["bce", "dice", "squared dice"],
)
def test_a_model_trained_on_noisy_labels_reaches_the_optimum(noisy, loss, optimum_of, tolerance):
    """C15: hard for Dice, graded and inflated for squared Dice, unbiased for cross-entropy."""
    found = _train(loss, np.zeros(MU.size), noisy, steps=500)
    expected = optimum_of(jnp.asarray(MU, jnp.float32)).prediction
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (_with(dj.dice_loss, smooth=SMOOTH), None),
        (_with(dj.squared_dice_loss, smooth=SMOOTH), MU),
        (_with(dj.dice_semimetric_loss, smooth=SMOOTH), MU),
    ],
    ids=["dice", "squared dice", "semimetric"],
)
def test_a_model_trained_on_soft_labels_reaches_the_optimum(loss, expected):
    """C14: a hard threshold for the product form, the labels themselves for the others."""
    soft = jnp.asarray(MU, jnp.float32)
    found = _train(loss, np.zeros(MU.size), soft, steps=700)
    expected = analysis.dice_oracle(soft).prediction if expected is None else expected
    np.testing.assert_allclose(found, expected, atol=0.03)


@pytest.mark.parametrize(("presence", "ends"), [(0.3, 0.0), (0.7, 1.0)])
def test_a_region_that_is_there_or_not_is_filled_or_left_out(presence, ends):
    """C16: per image, from a start above both break-evens, to the end that is the optimum."""
    volume, smooth = 20.0, 5.0
    optimum = analysis.empty_image_oracle(presence, volume, smooth=smooth)
    assert float(optimum.prediction) == ends
    grid = np.linspace(0, 1, 1001)
    there = (2 * grid * volume + smooth) / (grid * volume + volume + smooth)
    value = presence * there + (1 - presence) * smooth / (grid * volume + smooth)
    assert float(optimum.dice) == pytest.approx(value.max(), rel=1e-6)
    assert grid[value.argmax()] == ends
    # The break-even odds are where the slope of that curve turns.
    middle = slice(200, 800, 100)
    slope = np.gradient(value, grid)
    odds = analysis.break_even_odds(volume, grid[middle].astype(np.float32), smooth)
    np.testing.assert_array_equal(slope[middle] > 0, presence / (1 - presence) > np.asarray(odds))


def test_an_all_zero_posterior_is_no_nan():
    optimum = analysis.dice_oracle(jnp.zeros(4))
    assert float(optimum.dice) == 1
    assert (optimum.prediction == 0).all()
