"""Focal, hardest-pixel and unified focal losses, Wasserstein Dice, and deep supervision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dice_jax as dj
from tests.support import oracles, reference

PIXELS = (4, 5)


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (*PIXELS, 3)).astype(np.float32)
    return logits, rng.integers(0, 3, PIXELS).astype(np.int32)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), jnp.asarray(labels))


def test_focal_without_focus_is_cross_entropy(example):
    loss = dj.softmax_focal_loss(*example, gamma=0.0)
    np.testing.assert_allclose(loss, cross_entropy(*example), rtol=1e-5)


def test_focal_of_two_classes_is_optax_s_sigmoid_focal():
    rng = np.random.default_rng(1)
    z = rng.normal(0, 3, 50).astype(np.float32)
    y = rng.integers(0, 2, 50)
    logits = np.stack([np.zeros_like(z), z], -1)
    loss = dj.softmax_focal_loss(logits, y, gamma=2.0, alpha=jnp.array([0.75, 0.25]))
    expected = optax.sigmoid_focal_loss(
        jnp.asarray(z), jnp.asarray(y, jnp.float32), alpha=0.25, gamma=2.0
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_finite_at_any_logit(gamma):
    logits = np.array([[0.0, 1e4], [1e4, 0.0], [-60.0, 60.0], [0.0, 0.0]], np.float32)
    loss, gradient = jax.value_and_grad(
        lambda z: jnp.sum(dj.softmax_focal_loss(z, jnp.array([0, 0, 1, 1]), gamma=gamma))
    )(logits)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_top_k_of_everything_is_cross_entropy(example):
    loss = dj.top_k_cross_entropy_loss(*example, fraction=1.0)
    np.testing.assert_allclose(loss, cross_entropy(*example).mean(), rtol=1e-5)


def test_top_k_of_whole_pixels_is_nnunet_s(example):
    """Mean of ``torch.topk`` over all pixels, with an ignored label."""
    logits, labels = example
    labels = labels.copy()
    labels[0] = 255
    losses = np.sort(np.asarray(cross_entropy(logits[1:], labels[1:])).ravel())
    loss = dj.top_k_cross_entropy_loss(logits, labels, fraction=0.2, where=labels != 255)
    np.testing.assert_allclose(loss, losses[-3:].mean(), rtol=1e-5)


def test_top_k_pulls_only_at_the_hardest(example):
    logits, labels = example
    loss = partial(dj.top_k_cross_entropy_loss, fraction=0.25, axis=1)
    gradient = np.asarray(jax.grad(lambda z: jnp.sum(loss(z, labels)))(logits))
    pulled = (np.abs(gradient).max(-1) > 0).sum(1)
    np.testing.assert_array_equal(pulled, 2)  # 1.25 pixels of each row of 5


def test_top_k_shares_among_ties():
    logits = np.zeros((6, 2), np.float32)
    loss, gradient = jax.value_and_grad(
        lambda z: dj.top_k_cross_entropy_loss(z, jnp.zeros(6, jnp.int32), fraction=0.5)
    )(logits)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gradient[:, 0], -0.5 / 6, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"weight": 1.0, "gamma": 0.0}, {"weight": 0.0, "gamma": 1.0}, {"delta": 0.7, "gamma": 0.3}],
)
def test_unified_focal_options(example, options):
    expected = oracles.unified_focal_loss(*example, axis=-1, **options)
    loss = dj.unified_focal_loss(*example, axis=-1, **options)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_wasserstein_with_equal_distances_is_a_dice(example):
    """With all distances 1, W is 1 − p_y, and one foreground class makes it a Dice of 1 − W."""
    logits, labels = example
    p = np.asarray(jax.nn.softmax(logits, -1))
    distances = 1 - np.eye(3)
    right = np.take_along_axis(p, labels[..., None], -1)[..., 0]
    both, wrong = 2 * right[labels > 0].sum(), (1 - right).sum()
    loss = dj.generalized_wasserstein_dice_loss(p, labels, distances, smooth=0.0)
    np.testing.assert_allclose(loss, 1 - both / (both + wrong), rtol=1e-5)
    scaled = dj.generalized_wasserstein_dice_loss(p, labels, 7 * distances, smooth=0.0)
    np.testing.assert_allclose(scaled, loss, rtol=1e-6)


def test_wasserstein_refuses_what_is_no_distance(example):
    logits, labels = example
    p = np.asarray(jax.nn.softmax(logits, -1))
    loss = partial(dj.generalized_wasserstein_dice_loss, p, labels)
    with pytest.raises(ValueError, match="square matrix"):
        loss(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="square matrix"):
        loss(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="zeros on the diagonal"):
        loss(np.ones((3, 3)))
    with pytest.raises(ValueError, match="distances must be finite and >= 0"):
        loss(np.eye(3) - 1)


def test_deep_supervision_is_the_weighted_sum(example):
    logits, labels = example

    @jax.jit
    def loss(z, y):
        return jnp.mean(jnp.square(z[..., 0] - y.astype(z.dtype)))

    weights = [0.6, 0.3, 0.1]
    outputs = [logits, logits[::2, ::2], logits[::4, ::4]]
    targets = [labels, labels[::2, ::2], labels[::4, ::4]]
    supervised = dj.deep_supervision(loss, weights)
    expected = sum(w * loss(*level) for w, *level in zip(weights, outputs, targets, strict=True))
    np.testing.assert_allclose(supervised(outputs, targets), expected, rtol=1e-6)
    gradients = jax.grad(lambda z: supervised(z, targets))(outputs)
    for weight, gradient, *level in zip(weights, gradients, outputs, targets, strict=True):
        np.testing.assert_allclose(gradient, weight * jax.grad(loss)(*level), rtol=1e-5)


def test_deep_supervision_skips_a_level_of_weight_0():
    supervised = dj.deep_supervision(jnp.mean, [1.0, 0.0])
    assert supervised([jnp.ones(3), jnp.full(2, jnp.nan)]) == 1


def test_wrong_arguments_say_what_is_expected(example):
    logits, labels = example
    supervised = dj.deep_supervision(jnp.mean, [0.5, 0.5])
    with pytest.raises(ValueError, match="pyramid 0 must have one level per weight, 2, got 3"):
        supervised([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="weights must have one entry per level"):
        dj.deep_supervision(jnp.mean, [])
    with pytest.raises(ValueError, match="weights must be finite and >= 0"):
        dj.deep_supervision(jnp.mean, [1.0, -1.0])
    with pytest.raises(ValueError, match="alpha must be a number or have one entry per class"):
        dj.softmax_focal_loss(logits, labels, gamma=2.0, alpha=[1.0, 2.0])
    with pytest.raises(ValueError, match="fraction must be finite and > 0 and <= 1"):
        dj.top_k_cross_entropy_loss(logits, labels, fraction=1.5)
    with pytest.raises(ValueError, match="delta"):
        dj.unified_focal_loss(logits, labels, delta=-0.1)
    with pytest.raises(ValueError, match=r"labels\[\.\.\., 0\]"):
        dj.softmax_focal_loss(logits, labels[..., None], gamma=2.0)


# Soft labels.


def soft_problem(seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (3, 4, 3)).astype(np.float32)
    return z, rng.dirichlet(np.ones(3), (3, 4)).astype(np.float32)


def soft_focal(z, y, *, gamma, alpha):
    log_p = reference.log_softmax(z)
    return -np.sum(y * alpha * (1 - np.exp(log_p)) ** gamma * log_p, -1)


def soft_top_k(z, y, *, fraction):
    losses = np.sort(-np.sum(y * reference.log_softmax(z), -1).ravel())
    return losses[-round(fraction * losses.size) :].mean()


ALPHA = np.array([0.5, 1.0, 2.0], np.float32)
SOFT = {
    "focal": (
        lambda z, y: dj.softmax_focal_loss(z, y, gamma=2.0, alpha=ALPHA).sum(),
        lambda z, y: soft_focal(z, y, gamma=2.0, alpha=ALPHA).sum(),
    ),
    "top-k": (
        lambda z, y: dj.top_k_cross_entropy_loss(z, y, fraction=0.25),
        lambda z, y: soft_top_k(z, y, fraction=0.25),
    ),
}


@pytest.mark.parametrize(("loss", "oracle"), SOFT.values(), ids=SOFT)
def test_soft_labels_have_the_formula_s_value_and_slope(loss, oracle):
    z, y = soft_problem()
    value, gradient = jax.value_and_grad(loss)(z, y)
    np.testing.assert_allclose(value, oracle(z, y), rtol=1e-5)
    direction = np.random.default_rng(1).normal(size=z.shape)
    up, down = (oracle(z.astype(np.float64) + s * direction, y) for s in (1e-6, -1e-6))
    np.testing.assert_allclose(np.sum(gradient * direction), (up - down) / 2e-6, rtol=1e-3)


@pytest.mark.parametrize("loss", [loss for loss, _ in SOFT.values()], ids=SOFT)
def test_one_hot_labels_are_hard_labels_and_what_is_no_label_is_loud(loss):
    z, _ = soft_problem()
    labels = np.arange(12).reshape(3, 4) % 3
    one_hot = reference.one_hot(labels, 3).astype(np.float32)
    np.testing.assert_allclose(loss(z, one_hot), loss(z, labels), rtol=1e-6)
    gray = np.where(one_hot == 1, 255.0, one_hot)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 1\]"):
        loss(z, gray)
    assert np.isnan(jax.jit(loss)(z, gray))


def test_unified_focal_loss_of_one_channel():
    """The two classes of the docstring's line; by hand from the probabilities of a sigmoid."""
    rng = np.random.default_rng(3)
    z, y = rng.normal(size=9).astype(np.float32), rng.integers(0, 2, 9)
    p = reference.sigmoid(z)
    delta, gamma, smooth = 0.6, 0.5, 1.0
    focal = np.mean(np.where(y == 1, -delta * np.log(p), -(1 - delta) * p**gamma * np.log(1 - p)))

    def tversky(p, y):
        hit, false, missed = np.sum(p * y), np.sum(p * (1 - y)), np.sum((1 - p) * y)
        return (hit + smooth) / (hit + (1 - delta) * false + delta * missed + smooth)

    overlap = (1 - tversky(1 - p, 1 - y) + (1 - tversky(p, y)) ** (1 - gamma)) / 2
    loss = dj.unified_focal_loss(jnp.stack([jnp.zeros_like(z), z], -1), y)
    np.testing.assert_allclose(loss, (focal + overlap) / 2, rtol=1e-5)
    with pytest.raises(ValueError, match=r"logits must have the background.*write jnp\.stack"):
        dj.unified_focal_loss(z[:, None], y)
