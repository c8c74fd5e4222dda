"""Hard clDice by hand and as the soft loss of hard masks has it."""

import jax
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import metrics


def test_the_parts_of_skeletons_inside_masks():
    rng = np.random.default_rng(0)
    p, y, s_p, s_y = rng.random((4, 3, 40)) < 0.5
    s_p, s_y = s_p & p, s_y & y
    scores = metrics.centreline_dice(p, y, s_p, s_y, axis=1)
    for i in range(3):
        a, b = y[i][s_p[i]].mean(), p[i][s_y[i]].mean()
        np.testing.assert_allclose(scores.value[i], 2 * a * b / (a + b), rtol=1e-6)
    where = rng.random((3, 40)) < 0.6
    masked = metrics.centreline_dice(p, y, s_p, s_y, axis=1, where=where)
    cut = metrics.centreline_dice(*(x & where for x in (p, y, s_p, s_y)), axis=1)
    np.testing.assert_allclose(masked.value, cut.value)


def test_it_is_the_loss_of_hard_masks():
    tube = np.zeros((9, 20), np.float32)
    tube[3:6, 1:19] = 1
    broken = tube.copy()
    broken[:, 8:11] = 0
    skeletons = [dj.soft_skeleton(x, iterations=2) > 0.5 for x in (broken, tube)]
    score = metrics.centreline_dice(broken > 0, tube > 0, *skeletons)
    loss = dj.cldice_loss(broken, tube, iterations=2, smooth=0.0)
    np.testing.assert_allclose(float(score), 1 - loss, rtol=1e-6)
    traced = jax.jit(metrics.centreline_dice)(broken > 0, tube > 0, *skeletons)
    np.testing.assert_allclose(traced.value, score.value)


def test_masks_without_a_skeleton():
    nothing, something = np.zeros((1, 4), bool), np.ones((1, 4), bool)
    for p, y, value in (
        (nothing, nothing, 1.0),
        (something, nothing, 0.0),
        (nothing, something, 0.0),
        (something, something, 1.0),
    ):
        score = metrics.centreline_dice(p, y, p, y, axis=1)
        assert (float(score), bool(score.present[0])) == (value, y.any())
    with pytest.raises(TypeError, match="target_skeleton must be boolean or integer"):
        metrics.centreline_dice(nothing, nothing, nothing, nothing.astype(np.float32))
    with pytest.raises(ValueError, match="prediction_skeleton must have the shape of prediction"):
        metrics.centreline_dice(nothing, nothing, nothing[:, :2], nothing)
