"""Soft skeletons against SciPy's filters, and the gradient through the predicted skeleton."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import reference

SHAPE = (14, 19)


@pytest.fixture(scope="module")
def tube():
    """A tube, three pixels thick, and a doubtful prediction of it."""
    rng = np.random.default_rng(0)
    y = np.zeros(SHAPE, np.float32)
    y[6:9, 2:17] = 1
    p = np.where(y == 1, rng.uniform(0.6, 0.9, SHAPE), rng.uniform(0.05, 0.3, SHAPE))
    return p.astype(np.float32), y


@pytest.mark.parametrize("shape", [(23,), (14, 19), (7, 9, 8)], ids=["1-D", "2-D", "3-D"])
def test_skeleton_is_the_paper_s(shape):
    x = np.random.default_rng(1).random((2, *shape)).astype(np.float32)
    axis = tuple(range(1, len(shape) + 1))
    for iterations in (0, 3):
        skeleton = dj.soft_skeleton(x, axis=axis, iterations=iterations)
        for image, result in zip(x, skeleton, strict=True):
            expected = reference.soft_skeleton(image, iterations=iterations)
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_tube_s_skeleton_is_its_centreline(tube):
    _, y = tube
    skeleton = np.asarray(dj.soft_skeleton(y, iterations=2))
    assert (skeleton[7, 3:16] == 1).all()
    assert skeleton[[6, 8]].sum() == 0


def test_masked_pixels_are_no_one_s_neighbour(tube):
    p, _ = (a.copy() for a in tube)
    inner = np.zeros(SHAPE, bool)
    inner[2:11, 3:15] = True
    expected = dj.soft_skeleton(p[2:11, 3:15], iterations=2)
    p[~inner] = np.nan
    skeleton = np.asarray(dj.soft_skeleton(p, iterations=2, where=inner))
    np.testing.assert_allclose(skeleton[2:11, 3:15], expected, rtol=1e-6)
    assert (skeleton[~inner] == 0).all()


def test_gradient_flows_through_the_predicted_skeleton(tube):
    """With y given, S_y is constant; what S_p adds to the gradient is seen without S_y's term."""
    p, y = tube

    def topology_precision(p):
        skeleton = dj.soft_skeleton(p, iterations=2)
        return jnp.sum(skeleton * y) / jnp.sum(skeleton)

    gradient = np.asarray(jax.grad(topology_precision)(p))
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient) > 1e-4).sum() > 20

    def oracle(p):
        skeleton = reference.soft_skeleton(p, iterations=2)
        return np.sum(skeleton * y) / np.sum(skeleton)

    direction = np.random.default_rng(2).normal(size=SHAPE)
    up, down = (oracle(reference.float64(p) + s * direction) for s in (1e-7, -1e-7))
    np.testing.assert_allclose(np.sum(gradient * direction), (up - down) / 2e-7, rtol=1e-3)


def test_cldice_moves_the_skeleton_too(tube):
    """The loss's gradient is not what it would be with the predicted skeleton detached."""
    p, y = tube

    def detached(p):
        skeleton = jax.lax.stop_gradient(dj.soft_skeleton(p, iterations=2))
        target = dj.soft_skeleton(y, iterations=2)
        a = jnp.sum(skeleton * y) / jnp.sum(skeleton)
        b = jnp.sum(target * p) / jnp.sum(target)
        return 1 - 2 * a * b / (a + b)

    loss = partial(dj.cldice_loss, iterations=2, smooth=0.0)
    value, gradient = jax.value_and_grad(loss)(p, y)
    other, without = jax.value_and_grad(detached)(p)
    np.testing.assert_allclose(value, other, rtol=1e-5)
    off_centre = y == 0
    assert np.abs(np.asarray(without)[off_centre]).max() == 0
    assert (np.abs(np.asarray(gradient)[off_centre]) > 1e-5).sum() > 20


def test_a_gap_costs_more_than_a_rough_edge(tube):
    _, y = tube
    gap, rough = y.copy(), y.copy()
    gap[6:9, 8:10] = 0
    rough[6, 3:9] = 0
    loss = partial(dj.cldice_loss, iterations=2, smooth=0.0)
    assert gap.sum() == rough.sum()
    assert loss(gap, y) > 2 * loss(rough, y)


def test_empty_masks_without_smoothing():
    empty = np.zeros((5, 6), np.float32)
    full = np.pad(np.ones((3, 4), np.float32), 1)
    loss = jax.jit(jax.value_and_grad(partial(dj.cldice_loss, iterations=1, smooth=0.0)))
    for p, y, expected in ((empty, empty, 0.0), (empty, full, 1.0), (full, empty, 1.0)):
        value, gradient = loss(p, y)
        assert value == expected
        assert np.isfinite(gradient).all()


def test_wrong_arguments_say_what_is_expected(tube):
    p, y = tube
    with pytest.raises(TypeError, match="x must be floating"):
        dj.soft_skeleton(y.astype(np.int32), iterations=1)
    with pytest.raises(TypeError, match="iterations must be an int"):
        dj.soft_skeleton(p, iterations=1.0)  # pyright: ignore
    with pytest.raises(ValueError, match="iterations must be >= 0"):
        dj.cldice_loss(p, y, iterations=-1)
    with pytest.raises(ValueError, match="smooth"):
        dj.cldice_loss(p, y, iterations=1, smooth=-1.0)
