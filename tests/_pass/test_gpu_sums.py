"""How a GPU sums, run on a CPU: the same values and gradients as the usual expression."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax._pass import primitive
from dice_jax._pass.fused_xla import fused, rematerialized

IMAGES = (2, 64, 48)
X = jax.random.normal(jax.random.key(0), (*IMAGES, 9)) * 4
LABELS = jax.random.randint(jax.random.key(1), IMAGES, 0, 3)
WHERE = jax.random.uniform(jax.random.key(2), IMAGES)


def softmax(classes, **options):
    def loss(x):
        sums = dj.softmax_region_sums(x[..., :classes], LABELS % classes, **options)
        return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums).mean()

    return loss


def sigmoid(x):
    sums = dj.sigmoid_region_sums(x[..., 0], LABELS == 1, where=WHERE > 0.3)
    return dj.dice_loss(sums) + dj.binary_cross_entropy_loss(sums)


def soft_labels(x):
    sums = dj.softmax_region_sums(x[..., :4], jax.nn.softmax(x[..., 4:8]))
    return dj.jaccard_loss(sums).mean()


def mapped(x):
    return jax.vmap(lambda x, y: dj.jaccard_loss(dj.softmax_region_sums(x, y)).mean())(
        x[..., :3], LABELS
    ).sum()


LOSSES = {
    "two classes": softmax(2),
    "eight classes": softmax(8),
    "nine classes": softmax(9),
    "weights": softmax(3, where=WHERE),
    "per image": softmax(3, axis=(1, 2)),
    "binary": sigmoid,
    "soft labels": soft_labels,
    "mapped": mapped,
}


def lowered_as(implementation, monkeypatch):
    jax.clear_caches()
    monkeypatch.setattr(primitive, "_implementation", lambda *_, **__: implementation)


@pytest.mark.parametrize("name", LOSSES)
def test_the_same_values_and_gradients(name, monkeypatch):
    found = []
    for implementation in (fused, rematerialized):
        lowered_as(implementation, monkeypatch)
        found.append(jax.jit(jax.value_and_grad(LOSSES[name]))(X))
    (value, gradient), (gpu_value, gpu_gradient) = found
    np.testing.assert_allclose(gpu_value, value, rtol=2e-6)
    np.testing.assert_allclose(gpu_gradient, gradient, rtol=1e-5, atol=1e-6 * abs(gradient).max())


def test_saturated_logits_and_bad_labels(monkeypatch):
    """A sure pixel is exact, a class of −∞ has no probability, a bad label makes every sum NaN."""
    lowered_as(rematerialized, monkeypatch)
    x = jnp.zeros((*IMAGES, 3)).at[..., 1].set(-jnp.inf).at[0, ..., 0].set(3e4)
    sums = jax.jit(dj.softmax_region_sums)(x, jnp.zeros(IMAGES, jnp.int32))
    pixels = IMAGES[1] * IMAGES[2]
    np.testing.assert_allclose(sums.prediction, [1.5 * pixels, 0, 0.5 * pixels], rtol=1e-6)
    np.testing.assert_allclose(dj.cross_entropy_loss(sums), np.log(2) / 2, rtol=1e-6)
    bad = jax.jit(dj.softmax_region_sums)(x, jnp.full(IMAGES, 3).at[1:].set(0))
    assert np.isnan(bad.prediction).all()
    assert np.isnan(bad.target).all()
