"""Every sentence of the article that this project starts from, tested against the code."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import analysis

SHAPE = (3, 8, 9)


@pytest.fixture(scope="module")
def example():
    """A batch with both classes: N counts every pixel of it, as in the article."""
    rng = np.random.default_rng(0)
    targets = (rng.random(SHAPE) < 0.2).astype(np.float64)
    return rng.uniform(0.02, 0.98, SHAPE), targets


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["no smoothing", "the article's"])
def smooth(request):
    return request.param


def _keras_style_dice_loss(y_true, y_pred):
    """The article's code, line by line, with K.flatten and K.sum spelt in jax.numpy."""
    smooth = 1.0
    y_true_f = jnp.reshape(y_true, -1)
    y_pred_f = jnp.reshape(y_pred, -1)
    intersection = y_true_f * y_pred_f
    score = (2.0 * jnp.sum(intersection) + smooth) / (
        jnp.sum(y_true_f) + jnp.sum(y_pred_f) + smooth
    )
    return 1.0 - score


def _numpy_dice_loss(p, y, smooth):
    return 1 - (2 * np.sum(p * y) + smooth) / (np.sum(p) + np.sum(y) + smooth)


def _numpy_gradient(p, y, smooth):
    """The quotient rule by hand: (2y·(S + s) − (2I + s)) / (S + s)², negated."""
    top, bottom = 2 * np.sum(p * y) + smooth, np.sum(p) + np.sum(y) + smooth
    return -(2 * y * bottom - top) / bottom**2


def _gradient(p, y, smooth):
    return analysis.pixel_gradient(partial(dj.dice_loss, smooth=smooth), p, y)


def test_the_gradient_has_the_predictions_shape_and_the_signs_of_the_article(example, smooth):
    with jax.enable_x64(True):
        p, y = map(jnp.asarray, example)
        gradient = _gradient(p, y, smooth)
        chex.assert_equal_shape([gradient, p])
        chex.assert_type(gradient, p.dtype)
        chex.assert_tree_all_finite(gradient)
        foreground, background = gradient[y == 1], gradient[y == 0]
        chex.assert_size([foreground], int(y.sum()))
        chex.assert_trees_all_equal(jnp.sign(foreground), -jnp.ones_like(foreground))
        chex.assert_trees_all_equal(jnp.sign(background), jnp.ones_like(background))


def test_the_gradient_is_the_one_of_the_quotient_rule_and_of_finite_differences(example, smooth):
    p, y = example
    with jax.enable_x64(True):
        gradient = np.asarray(_gradient(jnp.asarray(p), jnp.asarray(y), smooth))
    np.testing.assert_allclose(gradient, _numpy_gradient(p, y, smooth), rtol=1e-12)
    for index in [(0, 0, 0), (1, 3, 5), (2, 7, 8)]:
        step = np.zeros(SHAPE)
        step[index] = 1e-5
        up, down = _numpy_dice_loss(p + step, y, smooth), _numpy_dice_loss(p - step, y, smooth)
        assert gradient[index] == pytest.approx((up - down) / 2e-5, rel=1e-6)


def test_the_gradient_takes_two_values(example, smooth):
    p, y = example
    with jax.enable_x64(True):
        gradient = np.asarray(_gradient(jnp.asarray(p), jnp.asarray(y), smooth))
    for region in (gradient[y == 1], gradient[y == 0]):
        assert np.ptp(region) <= 4 * np.spacing(np.abs(region).max())
    assert gradient[y == 1].max() < 0 < gradient[y == 0].min()


@pytest.mark.parametrize("below", [None, 0.0, 3.0])
def test_the_closed_form_needs_no_autodiff_and_agrees_with_it(example, smooth, below):
    p, y = example
    with jax.enable_x64(True):
        sums = dj.region_sums(jnp.asarray(p), jnp.asarray(y))
        closed = analysis.dice_pixel_gradient(sums, y, smooth=smooth, smooth_denominator=below)
        loss = partial(dj.dice_loss, smooth=smooth, smooth_denominator=below)
        chex.assert_equal_shape([closed, p])
        np.testing.assert_allclose(
            closed, analysis.pixel_gradient(loss, jnp.asarray(p), y), rtol=1e-12
        )


def test_the_articles_code_is_the_dice_loss_to_the_last_digits(example):
    p, y = example
    for enabled, dtype in ((False, np.float32), (True, np.float64)):
        with jax.enable_x64(enabled):
            x, t = jnp.asarray(p, dtype), jnp.asarray(y, dtype)
            ours, theirs = dj.dice_loss(dj.region_sums(x, t)), _keras_style_dice_loss(t, x)
            chex.assert_shape(ours, ())
            assert ours.dtype == theirs.dtype == dtype
            # Only the order of the additions may differ: a few units in the last place.
            assert abs(float(ours) - float(theirs)) <= 4 * float(np.spacing(dtype(1)))
            np.testing.assert_allclose(
                analysis.pixel_gradient(dj.dice_loss, x, t),
                jax.grad(_keras_style_dice_loss, argnums=1)(t, x),
                rtol=32 * np.finfo(dtype).eps,
            )


@pytest.mark.parametrize("seed", range(5))
def test_the_ratio_of_the_two_values_is_two_over_dice_minus_one(seed, smooth):
    rng = np.random.default_rng(seed)
    y = (rng.random(SHAPE) < rng.uniform(0.02, 0.6)).astype(np.float64)
    y.flat[:2] = 0, 1
    p = rng.beta(*rng.uniform(0.3, 3, 2), SHAPE)
    with jax.enable_x64(True):
        gradient = np.asarray(_gradient(jnp.asarray(p), jnp.asarray(y), smooth))
        sums = dj.region_sums(jnp.asarray(p), jnp.asarray(y))
        ratio = float(analysis.gradient_ratio(sums, smooth=smooth))
        balance = analysis.gradient_balance(jnp.asarray(gradient), y)
    dice = 1 - _numpy_dice_loss(p, y, smooth)
    measured = np.abs(gradient[y == 1]).mean() / np.abs(gradient[y == 0]).mean()
    assert measured == pytest.approx(2 / dice - 1, rel=1e-12)
    assert ratio == pytest.approx(2 / dice - 1, rel=1e-12)
    assert float(balance.ratio) == pytest.approx(2 / dice - 1, rel=1e-12)
    # The article's conclusion: a foreground pixel has the larger gradient.
    assert measured > 1


def _three_sums(p, y):
    sums = dj.region_sums(jnp.asarray(p), jnp.asarray(y))
    return float(sums.intersection), float(sums.target), float(sums.prediction)


Y = np.array([[0, 1, 1], [0, 1, 1], [0, 0, 0]])


def test_where_the_articles_chain_of_inequalities_holds():
    p = np.where(Y == 1, 0.75, 0.5).astype(np.float32)
    intersection, target, prediction = _three_sums(p, Y)
    assert intersection < target < prediction


@pytest.mark.parametrize(
    ("foreground", "background", "fails"),
    [
        (0.5, 0.125, "second"),  # under-segmented: Σŷ < Σy
        (1.0, 0.0, "both"),  # exactly right: all three are equal
        (1.0, 0.5, "first"),  # sure of the foreground: Σyŷ = Σy
    ],
)
def test_where_the_articles_chain_of_inequalities_fails(foreground, background, fails):
    p = np.where(Y == 1, foreground, background).astype(np.float32)
    intersection, target, prediction = _three_sums(p, Y)
    assert (intersection < target) == (fails == "second")
    assert (target < prediction) == (fails == "first")
    # The conclusion survives: 2I ≤ S always; the article's strict ">" is an equality at p = y.
    rest = target + prediction - intersection
    assert rest >= intersection
    assert (rest == intersection) == (fails == "both")
    gradient = np.abs(np.asarray(_gradient(jnp.asarray(p), Y, 0.0)))
    ratio = gradient[Y == 1].mean() / gradient[Y == 0].mean()
    assert ratio == pytest.approx(1.0 if fails == "both" else rest / intersection, rel=1e-5)


def test_without_overlap_false_positives_cost_nothing():
    p = np.where(Y == 1, 0.0, 0.5).astype(np.float32)
    gradient = np.asarray(_gradient(jnp.asarray(p), Y, 0.0))
    assert (gradient[Y == 0] == 0).all()
    assert (gradient[Y == 1] < 0).all()
    sums = dj.region_sums(jnp.asarray(p), Y)
    assert float(analysis.gradient_ratio(sums, smooth=0.0)) == np.inf


def _pixel_hessian(loss, p, y):
    return np.asarray(jax.hessian(lambda x: loss(dj.region_sums(x, y)))(p))


def test_every_pixels_output_affects_every_pixels_gradient_and_bce_is_not_like_that():
    rng = np.random.default_rng(1)
    y = (rng.random(12) < 0.4).astype(np.float64)
    p = rng.uniform(0.1, 0.9, 12)
    with jax.enable_x64(True):
        dice = _pixel_hessian(partial(dj.dice_loss, smooth=0.0), jnp.asarray(p), y)
        bce = _pixel_hessian(dj.binary_cross_entropy_loss, jnp.asarray(p), y)
    chex.assert_shape([dice, bce], (12, 12))
    assert (np.abs(dice) > 1e-4).all()
    off_diagonal = ~np.eye(12, dtype=bool)
    assert (bce[off_diagonal] == 0).all()
    assert (np.diag(bce) > 0).all()
    # The same by hand: move one pixel's output and look at another's gradient.
    moved = p.copy()
    moved[0] += 0.05
    with jax.enable_x64(True):
        for loss, changes in (
            (partial(dj.dice_loss, smooth=0.0), True),
            (dj.binary_cross_entropy_loss, False),
        ):
            before = analysis.pixel_gradient(loss, jnp.asarray(p), y)
            after = analysis.pixel_gradient(loss, jnp.asarray(moved), y)
            assert bool((before != after)[1:].all()) == changes
            assert bool((before != after)[1:].any()) == changes


def test_where_one_pixel_does_not_affect_another():
    """The exceptions: background pairs at I = 0, and mixed pairs at p = y."""
    y = np.array([1.0, 1, 0, 0, 0])
    loss = partial(dj.dice_loss, smooth=0.0)
    with jax.enable_x64(True):
        no_overlap = _pixel_hessian(loss, jnp.array([0.0, 0, 0.5, 0.2, 0.7]), y)
        perfect = _pixel_hessian(loss, jnp.asarray(y), y)
    assert (no_overlap[2:, 2:] == 0).all()
    assert (no_overlap[:2] != 0).all()
    np.testing.assert_allclose(perfect[:2, 2:], 0, atol=1e-15)
    assert (np.abs(perfect[:2, :2]) > 1e-3).all()
    assert (np.abs(perfect[2:, 2:]) > 1e-3).all()


def test_n_counts_every_pixel_of_the_batch(example):
    """Pooled over the batch: not the mean of the images' own losses."""
    p, y = map(jnp.asarray, example)
    pooled = dj.dice_loss(dj.region_sums(p, y))
    per_image = dj.dice_loss(dj.region_sums(p, y, axis=(1, 2)))
    assert float(pooled) == pytest.approx(_numpy_dice_loss(*example, 1.0), rel=1e-6)
    assert abs(float(pooled - per_image.mean())) > 1e-3
