"""The models: shapes, what they can see, and no ReLU before the U-Net's head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.learning.models import MODELS, UNet, initialise, start_of

# One program per model and shape: eager, every operation would compile by itself.
_apply = jax.jit(lambda graph, p, images: nnx.merge(graph, p)(images), static_argnums=0)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_shapes_start_and_reproducibility(name):
    graph, parameters = initialise(name, 3)
    images = jax.random.normal(jax.random.key(0), (2, 16, 16))
    logits = _apply(graph, parameters, images)
    assert logits.shape == images.shape
    assert logits.dtype == jnp.float32
    # Every model starts at about p = ½, where C5 gives the shares.
    assert np.abs(jax.nn.sigmoid(logits) - 0.5).max() < 0.2
    again = initialise(name, 3)[1]
    for a, b in zip(jax.tree.leaves(parameters), jax.tree.leaves(again), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_output_starts_at_the_prior_where_asked_to(name):
    """The bias is all that differs: the logits are shifted by logit π, whatever the image."""
    images = jax.random.normal(jax.random.key(0), (2, 16, 16))
    start = start_of("prior", 0.003)
    at_half, at_prior = (
        _apply(*initialise(name, 3, start=p), images) for p in (start_of("half", 0.003), start)
    )
    np.testing.assert_allclose(at_prior - at_half, np.log(0.003 / 0.997), rtol=1e-4)
    assert abs(float(jax.nn.sigmoid(at_prior).mean()) - 0.003) < 0.002


def test_seeds_differ():
    a, b = (jax.tree.leaves(initialise("unet", seed)[1]) for seed in (0, 1))
    assert any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(a, b, strict=True))


def test_a_model_that_sees_no_pixels_predicts_a_constant():
    images = jax.random.normal(jax.random.key(0), (2, 16, 16))
    for name, model in MODELS.items():
        graph, parameters = initialise(name, 0)
        parameters = jax.tree.map(lambda leaf: leaf + 0.5, parameters)
        constant = bool(np.ptp(_apply(graph, parameters, images)) == 0)
        assert constant is not model.sees_pixels, name


def test_linear_model_is_linear_and_local():
    graph, parameters = initialise("linear", 0)
    parameters = jax.tree.map(lambda leaf: leaf + 0.5, parameters)

    def model(images):
        return _apply(graph, parameters, images)

    x, y = jax.random.normal(jax.random.key(0), (2, 1, 32, 32))
    bias = model(jnp.zeros((1, 32, 32)))
    np.testing.assert_allclose(
        model(2 * x + 3 * y) - bias, 2 * (model(x) - bias) + 3 * (model(y) - bias), atol=1e-4
    )
    far = model(x.at[0, 0, 0].add(100.0)) - model(x)
    assert np.abs(far[0, 25:, 25:]).max() < 1e-3


def test_head_sees_features_of_both_signs_and_p_can_pass_a_half():
    """Behind a ReLU every feature is non-negative, and p is capped at σ(bias) if w ≤ 0."""
    model = UNet(generator=np.random.default_rng(0))
    seen = []
    head = model.head
    model.head = lambda features: seen.append(features) or head(features)
    images = jax.random.normal(jax.random.key(1), (2, 16, 16))
    model(images)
    assert float(seen[0].min()) < -0.1
    assert float(seen[0].max()) > 0.1
    # Even with all weights of the head negative and a bias below 0, p passes ½ somewhere.
    head.kernel[...] = -jnp.ones_like(head.kernel[...])
    head.bias[...] = jnp.full_like(head.bias[...], -0.5)
    assert float(head(seen[0]).max()) > 0


def test_an_images_score_does_not_depend_on_its_batch():
    graph, parameters = initialise("unet", 0)
    images = jax.random.normal(jax.random.key(0), (2, 16, 16))
    other = images.at[1].set(5.0)
    first, second = _apply(graph, parameters, images), _apply(graph, parameters, other)
    np.testing.assert_allclose(first[0], second[0], atol=1e-5)
    assert np.abs(first[1] - second[1]).max() > 0.01
