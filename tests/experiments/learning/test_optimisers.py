"""Directions by hand: Adam's, and a heavy ball's."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.learning.optimisers import OPTIMISERS


def _directions(name, gradients):
    optimiser = OPTIMISERS[name]
    state = optimiser.init(jnp.zeros(2))
    # Optax's bias correction mixes types, which the tests refuse.
    with jax.numpy_dtype_promotion("standard"):
        for gradient in gradients:
            direction, state = optimiser.update(jnp.asarray(gradient), state)
    return np.asarray(direction)


GRADIENTS = np.array([[1.0, -3.0], [0.5, 2.0], [0.25, 1.0]], np.float32)


def test_sgd_is_a_heavy_ball():
    expected = 0.81 * GRADIENTS[0] + 0.9 * GRADIENTS[1] + GRADIENTS[2]
    np.testing.assert_allclose(_directions("sgd", GRADIENTS), expected, rtol=1e-6)


def test_adam_is_kingmas():
    first, second = np.zeros(2), np.zeros(2)
    for gradient in GRADIENTS:
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
    expected = (first / (1 - 0.9**3)) / (np.sqrt(second / (1 - 0.999**3)) + 1e-8)
    np.testing.assert_allclose(_directions("adam", GRADIENTS), expected, rtol=1e-5)


def test_only_adam_forgets_the_scale_of_a_loss():
    for name, same in (("adam", True), ("sgd", False)):
        small, large = (_directions(name, k * GRADIENTS) for k in (1, 1000))
        assert np.allclose(small, large, rtol=1e-4) == same
