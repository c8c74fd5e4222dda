"""The synthetic images: the fraction is hit, the seed decides everything, noise is calibrated."""

import jax
import numpy as np
import pytest

from experiments.data import splits
from experiments.masks import calibrated_noise, gaussian_blur, make_images
from tests.experiments.conftest import TINY


@pytest.mark.parametrize("fraction", [0.2, 0.05, 0.003])
@pytest.mark.parametrize("objects", [1, 5])
def test_fraction_is_hit_on_average(fraction, objects):
    masks = make_images(jax.random.key(3), fraction, 1.0, count=448, size=64, objects=objects).masks
    sizes = np.asarray(masks).sum(axis=(1, 2))
    error = sizes.std() / np.sqrt(len(sizes))
    assert abs(sizes.mean() - fraction * 64**2) < 4 * error
    # Sizes differ, by about the quarter that the docstring says.
    assert 0.15 < sizes.std() / sizes.mean() < 0.4


def test_masks_are_ellipses_of_one_piece_each():
    from scipy import ndimage

    masks = np.asarray(make_images(jax.random.key(0), 0.05, 0.0, count=448, size=64).masks)
    assert all(ndimage.label(mask)[1] == 1 for mask in masks[:50])
    many = make_images(jax.random.key(0), 0.05, 0.0, count=448, size=64, objects=5)
    pieces = [ndimage.label(mask)[1] for mask in np.asarray(many.masks)[:50]]
    assert np.mean(pieces) > 4


def test_same_key_same_bits_and_another_key_other_images():
    def draw(seed):
        drawn = make_images(jax.random.key(seed), 0.05, 1.0, count=448, size=64)
        return np.asarray(drawn.images), np.asarray(drawn.masks)

    first, again, other = draw(5), draw(5), draw(6)
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    # The noise of two seeds is uncorrelated, and so are the places of the ellipses.
    noise = [images - images.mean() for images, _ in (first, other)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    assert (first[1] & other[1]).mean() < 0.01


def test_splits_and_seeds_share_no_image():
    images = [np.asarray(s.images) for seed in (0, 1) for s in splits(TINY, 0.1, seed)]
    assert [len(x) for x in images] == [12, 6, 6] * 2
    flat = np.concatenate(images).reshape(-1, 32 * 32)
    correlation = np.corrcoef(flat)
    assert np.abs(correlation - np.eye(len(flat))).max() < 0.9


def test_image_is_mask_plus_noise_of_unit_scale():
    images, masks = make_images(jax.random.key(1), 0.2, 2.0, count=448, size=64)
    images, masks = np.asarray(images), np.asarray(masks)
    np.testing.assert_allclose(
        images[masks].mean() - images[~masks].mean(), 1 / np.sqrt(5), atol=0.01
    )
    np.testing.assert_allclose(images[~masks].std(), 2 / np.sqrt(5), atol=0.01)


def test_noise_is_calibrated_by_an_independent_reference_segmenter():
    from scipy import ndimage

    scores = {}
    for fraction in (0.05, 0.003):
        noise = calibrated_noise(fraction, 0.8, count=448, size=64)
        images, masks = make_images(jax.random.key(77), fraction, noise, count=448, size=64)
        images, masks = np.asarray(images, np.float64)[:64], np.asarray(masks)[:64]
        images = images * np.sqrt(1 + noise**2)
        best = 0.0
        for scale in (0.5, 0.8, 1.2, 1.8, 2.7, 4.0):
            blurred = ndimage.gaussian_filter(images, (0, scale, scale), mode="constant")
            for threshold in np.linspace(0.1, 1.0, 37):
                found = blurred > threshold
                best = max(best, 2 * (found & masks).sum() / (found.sum() + masks.sum()))
        scores[fraction] = best
    assert all(abs(score - 0.8) < 0.04 for score in scores.values()), scores


def test_blur_is_a_normalised_gaussian():
    from scipy import ndimage

    image = np.zeros((33, 33), np.float32)
    image[16, 16] = 1
    blurred = np.asarray(gaussian_blur(image, 2.0))
    np.testing.assert_allclose(
        blurred, ndimage.gaussian_filter(image.astype(np.float64), 2.0, truncate=8), atol=1e-5
    )
    # A constant stays a constant up to the border.
    np.testing.assert_allclose(gaussian_blur(np.ones((9, 9), np.float32), 3.0), 1, rtol=1e-5)
