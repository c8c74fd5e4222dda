"""The noise makes every fraction equally hard, as an independent reference measures it."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from experiments.images.calibration import calibrated_noise
from experiments.images.masks import make_images

pytestmark = pytest.mark.slow


def _reference_dice(images, masks):
    best = 0.0
    for scale in (0.5, 0.8, 1.2, 1.8, 2.7, 4.0):
        blurred = ndimage.gaussian_filter(images, (0, scale, scale), mode="constant")
        for threshold in np.linspace(0.1, 1.0, 37):
            found = blurred > threshold
            best = max(best, 2 * (found & masks).sum() / (found.sum() + masks.sum()))
    return best


@pytest.mark.parametrize(
    ("shape", "objects", "count", "fractions"),
    [("ellipse", 1, 64, (0.05, 0.003)), ("tube", 5, 32, (0.05, 0.03))],
)
def test_noise_is_calibrated_by_an_independent_reference_segmenter(
    shape, objects, count, fractions
):
    scores = {}
    for fraction in fractions:
        settings = {"count": count, "size": 64, "objects": objects, "shape": shape}
        noise = calibrated_noise(fraction, 0.8, **settings)
        images, masks, _ = make_images(jax.random.key(77), fraction, noise, **settings)
        images, masks = np.asarray(images, np.float64), np.asarray(masks)
        scores[fraction] = _reference_dice(images * np.sqrt(1 + noise**2), masks)
    assert all(abs(score - 0.8) < 0.04 for score in scores.values()), scores


def test_softness_is_calibrated_to_the_best_dice_there_is():
    """D* by brute force over all thresholds, in float64, of images with another seed."""
    for fraction in (0.2, 0.015):
        settings = {"count": 32, "size": 64, "objects": 2, "shape": "posterior"}
        softness = calibrated_noise(fraction, 0.7, **settings)
        drawn = make_images(jax.random.key(77), fraction, softness, **settings)
        mu = np.sort(np.asarray(drawn.posterior, np.float64), axis=None)[::-1]
        best = (2 * np.cumsum(mu) / (np.arange(1, mu.size + 1) + mu.sum())).max()
        assert best == pytest.approx(0.7, abs=0.01)
