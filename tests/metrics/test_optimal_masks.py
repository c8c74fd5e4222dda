"""The mask with the best expected Dice against enumeration of all masks and all labels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import metrics
from dice_jax.sums import expected_dice


def enumerated(pixels):
    """All masks, and a function that gives the expected Dice of each, in float64."""
    masks = np.array(list(itertools.product([0.0, 1.0], repeat=pixels)))
    size = masks.sum(1)[:, None] + masks.sum(1)
    dice = np.where(size == 0, 1, 2 * masks @ masks.T / np.maximum(size, 1))

    def expected(posterior):
        return dice @ np.prod(np.where(masks == 1, posterior, 1 - posterior), -1)

    return masks, expected


@pytest.mark.parametrize("pixels", [1, 10])
def test_no_mask_has_a_larger_expected_dice(pixels):
    rng = np.random.default_rng(pixels)
    masks, expected = enumerated(pixels)
    images = rng.beta(0.5, 0.7, (6, pixels)).astype(np.float32)
    images[0] = rng.choice(np.array([0.0, 0.3, 1.0], np.float32), pixels)
    found = metrics.dice_optimal_mask(images, axis=1)
    oracles = jax.vmap(dj.analysis.per_image_dice_oracle)(images)
    np.testing.assert_array_equal(oracles.prediction, found)
    for i, image in enumerate(images):
        values = expected(image.astype(np.float64))
        reached = values[(masks == np.asarray(found[i])).all(1)]
        np.testing.assert_allclose(reached, values.max(), atol=1e-6)
        np.testing.assert_allclose(oracles.optimum[i], values.max(), rtol=3e-6)


def test_no_threshold_is_right_for_two_images():
    """The mean expected Dice at ½, at the best common threshold, and with a mask per image."""
    images = np.array([[0.99] * 4 + [0.3] * 4, [0.3] * 2 + [0.2] * 6])
    masks, expected = enumerated(8)
    values = [expected(image) for image in images]

    def mean(predicted):
        found = [v[(masks == m).all(1)] for v, m in zip(values, predicted, strict=True)]
        return float(np.mean(found))

    tuned = max(mean(images >= t) for t in (*np.unique(images), 2.0))
    best = np.asarray(metrics.dice_optimal_mask(images.astype(np.float32), axis=1))
    np.testing.assert_array_equal(best.sum(1), [4, 8])
    scores = [mean(images >= 0.5), tuned, mean(best)]
    np.testing.assert_allclose(scores, [0.5005, 0.5612, 0.6084], atol=1e-4)


@pytest.mark.parametrize("pixels", [1, 10, 2**18])
def test_the_rule_fits_every_size(pixels):
    sizes = np.geomspace(2, 2 * pixels, 500)

    def worst(nodes):
        t, w = expected_dice.exponentials(pixels, nodes)
        assert t.shape == w.shape == (nodes,)
        return np.max(np.abs(sizes * (np.exp(-sizes[:, None] * t) @ w) - 1))

    assert worst(64) < (1e-9 if pixels > 10 else 1e-13)
    errors = [worst(nodes) for nodes in (8, 16, 32)]
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 25


def test_twice_the_nodes_show_the_error_of_the_expected_dice():
    posterior = jnp.linspace(0.1, 0.9, 9)
    few, many, more = (
        float(dj.analysis.per_image_dice_oracle(posterior, nodes=nodes).optimum)
        for nodes in (8, 16, 64)
    )
    assert abs(few - many) == pytest.approx(abs(few - more), rel=0.02)


@pytest.mark.parametrize("chance", [1e-3, 0.1, 0.9, 1.0])
def test_rounding_does_not_add_up_over_many_pixels(chance):
    """All pixels alike: S is nearly N·μ, and all are taken, so Dice is 2μ/(1 + μ)."""
    oracle = dj.analysis.per_image_dice_oracle(jnp.full((256, 256), chance))
    assert float(oracle.optimum) == pytest.approx(2 * chance / (1 + chance), rel=3e-4)
    assert float(oracle.prediction.min()) == 1


def test_memory_does_not_grow_with_the_nodes():
    image = jax.ShapeDtypeStruct((1 << 14,), jnp.float32)

    def temporaries(nodes):
        function = jax.jit(lambda p: metrics.dice_optimal_mask(p, nodes=nodes))
        return function.lower(image).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(256) < temporaries(16) + (1 << 14)


def test_axes_masks_and_types():
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 0.7, (4, 3, 5)).astype(np.float32)
    kept = rng.random((4, 1, 5)) < 0.7
    found = metrics.dice_optimal_mask(np.where(kept, p, np.nan), axis=(0, 2), where=kept)
    assert found.shape == p.shape
    first = kept[:, 0]
    alone = metrics.dice_optimal_mask(p[:, 1][first])
    np.testing.assert_array_equal(np.asarray(found[:, 1])[first], alone)
    assert (np.asarray(found)[~np.broadcast_to(kept, p.shape)] == 0).all()
    half = metrics.dice_optimal_mask(jnp.asarray(p, jnp.bfloat16), axis=(0, 2))
    assert half.dtype == jnp.bfloat16
    nothing = np.zeros((4, 1, 5), bool)
    everything_masked = metrics.dice_optimal_mask(p, axis=(0, 2), where=nothing)
    assert not everything_masked.any()
    assert metrics.dice_optimal_mask(np.zeros((0,), np.float32)).shape == (0,)


def test_what_is_no_probability_is_loud():
    logits = np.array([[3.0, -2.0], [0.2, 0.4]], np.float32)
    with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\].*sigmoid\(logits\)"):
        metrics.dice_optimal_mask(logits, axis=1)
    traced = jax.jit(lambda p: metrics.dice_optimal_mask(p, axis=1))(logits)
    np.testing.assert_array_equal(np.isnan(traced), [[True, True], [False, False]])
    nan = metrics.dice_optimal_mask(np.array([np.nan, 0.5], np.float32))
    assert np.isnan(nan).all()
    with pytest.raises(TypeError, match="probabilities must be floating"):
        metrics.dice_optimal_mask(np.array([0, 1]))
    with pytest.raises(ValueError, match="nodes must be >= 4, got 2"):
        metrics.dice_optimal_mask(np.array([0.5]), nodes=2)
    with pytest.raises(TypeError, match="nodes must be an int"):
        dj.analysis.per_image_dice_oracle(np.array([0.5]), nodes=64.0)
