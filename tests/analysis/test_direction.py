"""Norm, cosine and relative scale of two losses, and the weight that balances them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import analysis

N = 400
Y = (np.arange(N) < 20).astype(np.int32)
Z = np.random.default_rng(0).normal(size=N).astype(np.float32) + 2 * Y - 2


def _numpy_gradients(z, y):
    z = z.astype(np.float64)
    p = 1 / (1 + np.exp(-z))
    top, bottom = 2 * (p * y).sum() + 1, p.sum() + y.sum() + 1
    return -(2 * y * bottom - top) / bottom**2 * p * (1 - p), (p - y) / z.size


def test_two_losses_compared_at_the_logits():
    dice, bce = _numpy_gradients(Z, Y)
    found = analysis.compare_losses(dj.dice_loss, dj.binary_cross_entropy_loss, Z, Y)
    norms = np.linalg.norm(dice), np.linalg.norm(bce)
    np.testing.assert_allclose(found.first_norm, norms[0], rtol=1e-5)
    np.testing.assert_allclose(found.second_norm, norms[1], rtol=1e-5)
    np.testing.assert_allclose(found.cosine, dice @ bce / norms[0] / norms[1], rtol=1e-5)
    np.testing.assert_allclose(found.relative_scale, norms[0] / norms[1], rtol=1e-5)


def test_a_pytree_counts_as_one_vector_and_tiny_gradients_do_not_vanish():
    first = {"w": jnp.array([3e-25, 0.0]), "b": jnp.float32(4e-25)}
    second = {"w": jnp.array([0.0, 0.0]), "b": jnp.float32(2e10)}
    found = analysis.compare_gradients(first, second)
    np.testing.assert_allclose(found.first_norm, 5e-25, rtol=1e-6)
    np.testing.assert_allclose(found.cosine, 0.8, rtol=1e-6)
    np.testing.assert_allclose(found.relative_scale, 2.5e-35, rtol=1e-5)


def test_a_vanished_gradient_is_no_nan():
    zero, one = jnp.zeros(3), jnp.ones(3)
    for a, b, scale in ((zero, one, 0.0), (one, zero, np.inf), (zero, zero, 0.0)):
        found = analysis.compare_gradients(a, b)
        assert float(found.cosine) == 0
        assert float(found.relative_scale) == scale


X = np.random.default_rng(1).normal(size=(N, 4)).astype(np.float32) + Y[:, None]
PARAMETERS = {
    "w": np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32),
    "v": np.ones(3, np.float32),
}


def _network(parameters):
    return jnp.tanh(X @ parameters["w"]) @ parameters["v"]


def _half_jaccard(sums):
    return dj.jaccard_loss(sums, smooth=0.5)


def test_at_a_networks_parameters_functions_of_dice_are_parallel_and_others_are_not():
    def cosine(other):
        return float(
            analysis.compare_at_parameters(dj.dice_loss, other, PARAMETERS, _network, Y).cosine
        )

    assert cosine(_half_jaccard) == pytest.approx(1, abs=1e-5)
    assert cosine(dj.log_dice_loss) == pytest.approx(1, abs=1e-5)
    assert cosine(dj.squared_dice_loss) < 0.9999
    assert cosine(dj.binary_cross_entropy_loss) < 0.999


def test_the_suggested_weight_makes_both_pull_equally_hard():
    def pull(weight, loss):
        return jax.grad(lambda z: weight * loss(dj.sigmoid_region_sums(z, Y)))(jnp.asarray(Z))

    weight = analysis.suggest_weight(dj.dice_loss, dj.binary_cross_entropy_loss, Z, Y)
    first, second = pull(1.0, dj.dice_loss), pull(weight, dj.binary_cross_entropy_loss)
    np.testing.assert_allclose(jnp.linalg.norm(first), jnp.linalg.norm(second), rtol=1e-5)


def test_the_suggested_weight_at_the_parameters_is_another():
    losses = dj.dice_loss, dj.binary_cross_entropy_loss
    logits = _network(PARAMETERS)
    at_logits = analysis.suggest_weight(*losses, logits, Y)
    there = analysis.suggest_weight(*losses, logits, Y, parameters=PARAMETERS, predict=_network)
    expected = analysis.compare_at_parameters(*losses, PARAMETERS, _network, Y)
    np.testing.assert_allclose(there, expected.relative_scale, rtol=1e-6)

    def norm(loss):
        def value(parameters):
            return loss(dj.sigmoid_region_sums(_network(parameters), Y))

        return np.sqrt(
            sum(np.sum(np.square(g)) for g in jax.tree.leaves(jax.grad(value)(PARAMETERS)))
        )

    np.testing.assert_allclose(there, norm(losses[0]) / norm(losses[1]), rtol=1e-5)
    assert abs(float(there / at_logits) - 1) > 0.01


def test_the_balancing_weight_moves_over_training():
    """As D → 1 it tends to the scale 1/(2π) of C12 times p_t: here 10 at π = 0.05."""
    logits = np.stack([scale * (2 * Y - 1) for scale in (0.0, 3.0, 9.0)]).astype(np.float32)
    losses = dj.dice_loss, dj.binary_cross_entropy_loss
    weights = analysis.weight_trajectory(*losses, logits, Y)
    each = [analysis.suggest_weight(*losses, z, Y) for z in logits]
    np.testing.assert_allclose(weights, each, rtol=1e-5)
    np.testing.assert_allclose(weights[-1], 10, rtol=0.05)
    assert float(weights[0]) < 1


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: analysis.compare_gradients(jnp.ones(2), jnp.ones(3)), ValueError, "shapes"),
        (lambda: analysis.compare_gradients({}, {}), ValueError, "nothing"),
        (
            lambda: analysis.suggest_weight(dj.dice_loss, dj.dice_loss, Z, Y, parameters=1),
            ValueError,
            "together",
        ),
        (
            lambda: analysis.compare_losses(dj.dice_loss, dj.dice_loss, Y, Y),
            TypeError,
            "floating",
        ),
        (
            lambda: analysis.weight_trajectory(dj.dice_loss, dj.dice_loss, 1.0, 1),
            ValueError,
            "steps",
        ),
    ],
)
def test_a_wrong_argument_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
