"""The Lovász extensions: what makes them extensions, ties, weights, and digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import oracles, reference

PIXELS = 12


@pytest.fixture(scope="module")
def hinge():
    return jax.jit(jax.value_and_grad(lambda z, y, w: dj.lovasz_hinge_loss(z, y, where=w)))


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, PIXELS).astype(np.float32), rng.random(PIXELS) < 0.4


def ones():
    return np.ones(PIXELS, np.float32)


def test_at_hard_predictions_it_is_the_jaccard_loss():
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 3, (2, 5, 7))
    p = reference.one_hot(predicted, 3).astype(np.float32)
    loss = dj.lovasz_softmax_loss(p, labels)
    y = reference.one_hot(labels, 3)
    both, either = (p * y).sum((0, 1)), np.maximum(p, y).sum((0, 1))
    np.testing.assert_allclose(loss, 1 - both / either, rtol=1e-6)


def test_the_hinge_is_convex(hinge, example):
    _, y = example
    rng = np.random.default_rng(2)
    for _ in range(20):
        a, b = rng.normal(0, 2, (2, PIXELS)).astype(np.float32)
        t = np.float32(rng.random())
        chord = t * hinge(a, y, ones())[0] + (1 - t) * hinge(b, y, ones())[0]
        assert hinge(t * a + (1 - t) * b, y, ones())[0] <= chord + 1e-5


def test_it_is_the_maximum_over_all_orders(hinge):
    """The extension of a submodular function is the support function of its base polytope."""
    from itertools import permutations

    rng = np.random.default_rng(3)
    few = 5
    z, y = rng.normal(0, 2, few).astype(np.float32), rng.random(few) < 0.5
    errors = np.maximum(1 - (2.0 * y - 1) * z, 0)

    def jaccard(mistakes):
        hit = np.sum(y) - sum(y[i] for i in mistakes)
        union = np.sum(y) + sum(not y[i] for i in mistakes)
        return 0.0 if union == 0 else 1 - hit / union

    def along(order):
        steps = [jaccard(order[: k + 1]) - jaccard(order[:k]) for k in range(few)]
        return sum(errors[i] * step for i, step in zip(order, steps, strict=True))

    best = max(along(order) for order in permutations(range(few)))
    np.testing.assert_allclose(dj.lovasz_hinge_loss(z, y), best, rtol=1e-5)


def test_pixels_that_tie_share_their_gradient(hinge, example):
    _, y = example
    value, gradient = hinge(np.full(PIXELS, 0.25, np.float32), y, ones())
    gradient = np.asarray(gradient)
    assert len({*gradient[y]}) == 1
    assert len({*gradient[~y]}) == 1
    # The background errs by 1.25 and comes first; T of the N pixels are foreground.
    total = y.sum()
    np.testing.assert_allclose(gradient[~y], total / total / PIXELS, rtol=1e-5)
    np.testing.assert_allclose(gradient[y], -1 / PIXELS, rtol=1e-5)
    expected = oracles.lovasz_hinge_loss(np.full(PIXELS, 0.25), y)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_the_order_of_the_pixels_does_not_matter(hinge, example):
    z, y = example
    z = np.round(z)  # with ties
    order = np.random.default_rng(4).permutation(PIXELS)
    value, gradient = hinge(z, y, ones())
    shuffled, moved = hinge(z[order], y[order], ones())
    np.testing.assert_allclose(shuffled, value, rtol=1e-6)
    np.testing.assert_allclose(moved, np.asarray(gradient)[order], rtol=1e-6)


def test_a_weight_counts_a_pixel_so_many_times(hinge, example):
    z, y = example
    repeats = np.random.default_rng(5).integers(0, 4, PIXELS)
    value, _ = hinge(z, y, repeats.astype(np.float32))
    expected = oracles.lovasz_hinge_loss(np.repeat(z, repeats), np.repeat(y, repeats))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_boolean_and_floating_masks_agree(hinge, example):
    z, y = example
    mask = np.arange(PIXELS) % 3 > 0
    value, gradient = hinge(z, y, mask.astype(np.float32))
    other, slope = hinge(z, y, mask)
    np.testing.assert_allclose(other, value, rtol=1e-6)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-7)


def test_a_region_without_foreground_is_its_largest_error(hinge, example):
    z, _ = example
    value, gradient = hinge(z, np.zeros(PIXELS, bool), ones())
    np.testing.assert_allclose(value, 1 + z.max(), rtol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(gradient), [z.argmax()])


def test_increments_keep_their_digits_in_large_regions():
    """Differences of the Jaccard loss at 2^16 pixels would lose them in float32."""
    rng = np.random.default_rng(6)
    n = 1 << 16
    z, y = rng.normal(size=n).astype(np.float32), rng.random(n) < 0.05
    gradient = np.asarray(jax.jit(jax.grad(dj.lovasz_hinge_loss))(z, y))
    errors = 1 - (2.0 * y - 1) * z.astype(np.float64)
    order = np.argsort(-errors, kind="stable")
    hit = y.sum() - np.cumsum(y[order])
    union = y.sum() + np.cumsum(~y[order])
    increments = np.empty(n)
    increments[order] = np.diff(1 - hit / union, prepend=0)
    expected = np.where(errors > 0, -(2.0 * y - 1) * increments, 0)
    error = np.abs(gradient - expected)
    # Only pixels whose errors are the same number in float32 may differ (they share).
    assert np.mean(error > 1e-4 * np.abs(expected)) < 0.01


def test_a_target_that_is_not_hard_is_loud(example):
    z, y = example
    soft = y.astype(np.float32)
    assert np.isfinite(dj.lovasz_hinge_loss(z, soft))
    soft[0] = 0.5
    assert np.isnan(dj.lovasz_hinge_loss(z, soft))
    labels = np.zeros(4, np.int32)
    labels[1] = 255
    p = np.full((4, 3), 1 / 3, np.float32)
    assert np.isnan(dj.lovasz_softmax_loss(p, labels)).all()
    assert np.isfinite(dj.lovasz_softmax_loss(p, labels, where=labels != 255)).all()


def test_wrong_arguments_say_what_is_expected(example):
    z, y = example
    with pytest.raises(ValueError, match="targets must have the shape of logits"):
        dj.lovasz_hinge_loss(z, y[1:])
    with pytest.raises(TypeError, match="logits must be floating"):
        dj.lovasz_hinge_loss(y, y)
    with pytest.raises(ValueError, match=r"labels\.argmax"):
        dj.lovasz_softmax_loss(np.zeros((4, 3), np.float32), np.zeros((4, 3), np.int32))
    with pytest.raises(TypeError, match="labels must be integers"):
        dj.lovasz_softmax_loss(np.zeros((4, 3), np.float32), jnp.zeros(4))
    with pytest.raises(ValueError, match="axis 2 does not exist"):
        dj.lovasz_softmax_loss(np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.int32), axis=2)
