"""Pixels counted by their logit give the scores that the images give."""

import numpy as np
import pytest

from experiments.learning.thresholds import (
    THRESHOLD_LOGITS,
    PixelCounts,
    best_threshold,
    counts_at,
)


def _draw(seed=0, empty=0):
    generator = np.random.default_rng(seed)
    masks = generator.random((12, 16, 16)) < 0.1
    masks[:empty] = False
    return (generator.normal(size=masks.shape) + 1.5 * masks - 1) * 3, masks


def test_counts_are_the_images_at_every_threshold():
    z, y = _draw()
    packed = PixelCounts.of(z, y).packed()
    assert packed.background.dtype == np.uint8
    found = packed.at_thresholds
    for place in (0, 100, 140, 177, 280):
        expected = counts_at(z, y, THRESHOLD_LOGITS[place])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(np.broadcast_to(a, found.hit.shape)[:, place], b)


def test_the_pooled_threshold_minds_false_positives_on_empty_images():
    """With half the images empty the mean over the others prefers a lower threshold."""
    z, y = _draw(empty=6)
    z[y] -= 1
    counts = PixelCounts.of(z, y)
    mean, _ = best_threshold(counts)
    pooled, reached = best_threshold(counts, pooled=True)
    assert mean < pooled
    scores = [
        2 * ((z >= level) & y).sum() / ((z >= level).sum() + y.sum()) for level in THRESHOLD_LOGITS
    ]
    assert reached == pytest.approx(max(scores))
    claimed = [(counts_at(z, y, level).found[:6] > 0).mean() for level in (mean, pooled)]
    assert claimed[0] >= claimed[1]


def test_without_foreground_or_prediction_pooled_dice_is_one():
    z, y = _draw()
    assert best_threshold(PixelCounts.of(z - 100, np.zeros_like(y)), pooled=True)[1] == 1.0
    assert best_threshold(PixelCounts.of(z, np.zeros_like(y)))[1] == 0.0
