"""Directions by hand: Adam's, and a heavy ball's."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.learning.optimisers import Optimiser


def _directions(name, gradients, **settings):
    optimiser = Optimiser(name, **settings).transformation
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


def test_clipping_shortens_a_long_gradient_and_leaves_a_short_one():
    unit = GRADIENTS[:1] / np.linalg.norm(GRADIENTS[0])
    np.testing.assert_allclose(_directions("sgd", GRADIENTS[:1], clip_norm=1.0), unit[0], rtol=1e-6)
    np.testing.assert_array_equal(_directions("sgd", unit / 2, clip_norm=1.0), unit[0] / 2)


def test_a_short_memory_follows_a_gradient_that_grows():
    """Ten small gradients, then one a hundred times as large: Adam's step is up to 1/√(1 − β₂)."""
    growing = np.array([[0.01, 0.01]] * 10 + [[1.0, 1.0]], np.float32)
    for beta2 in (0.999, 0.9):
        first = second = 0.0
        for gradient in growing[:, 0]:
            first, second = 0.9 * first + 0.1 * gradient, beta2 * second + (1 - beta2) * gradient**2
        expected = (first / (1 - 0.9**11)) / np.sqrt(second / (1 - beta2**11))
        found = _directions("adam", growing, beta2=beta2)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
