"""Metrics of surface elements against contours written out, and the values of DeepMind's tests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dice_jax import metrics
from tests.metrics.test_surfaces import blobs


def elements_2d(mask, spacing):
    """Positions and lengths of the elements of one contour, written out case by case."""
    padded = np.pad(mask, 1).astype(int)
    vertical, horizontal = spacing
    diagonal = 0.5 * np.hypot(vertical, horizontal)
    found = []
    for i, j in np.ndindex(padded.shape[0] - 1, padded.shape[1] - 1):
        (a, b), (c, d) = padded[i : i + 2, j : j + 2]
        inside = a + b + c + d
        if inside in (1, 3):
            length = diagonal
        elif inside == 2 and a == d:
            length = 2 * diagonal
        elif inside == 2:
            length = horizontal if a == b else vertical
        else:
            continue
        found.append((i * vertical, j * horizontal, length))
    return np.array(found)


def expected_scores(one, other, tolerance, percentile):
    """What the three metrics are of two lists of elements, in float64."""
    apart = np.linalg.norm(one[:, None, :2] - other[None, :, :2], axis=-1)
    pairs = [(one[:, 2], apart.min(1)), (other[:, 2], apart.min(0))]
    limit = tolerance * (1 + 1e-9)
    near = sum(area @ (distance <= limit) for area, distance in pairs)
    far = []
    for area, distance in pairs:
        order = np.argsort(distance)
        reached = np.cumsum(area[order]) / area.sum()
        far.append(distance[order][np.argmax(reached >= percentile / 100 - 1e-9)])
    mean = pairs[0][0] @ pairs[0][1] / one[:, 2].sum()
    return near / (one[:, 2].sum() + other[:, 2].sum()), max(far), mean


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 1.0), (1.2, 0.7)])
@pytest.mark.parametrize(("tolerance", "percentile"), [(0.0, 100), (1.0, 95), (2.4, 50)])
def test_elements_of_contours(spacing, tolerance, percentile):
    pair = blobs((17, 19), 5)
    one, other = (elements_2d(mask, spacing) for mask in pair)
    scores = (
        metrics.area_weighted_surface_dice(*pair, tolerance=tolerance, spacing=spacing),
        metrics.area_weighted_hausdorff_distance(*pair, percentile=percentile, spacing=spacing),
        metrics.area_weighted_surface_distance(*pair, spacing=spacing),
    )
    expected = expected_scores(one, other, tolerance, percentile)
    np.testing.assert_allclose([float(score) for score in scores], expected, rtol=1e-5)


@functools.partial(jax.jit, static_argnames="spacing")
def deepmind(predicted, target, spacing):
    """The numbers that DeepMind's tests look at, in their order; one program."""
    hausdorff = [
        metrics.area_weighted_hausdorff_distance(
            predicted, target, spacing=spacing, percentile=percentile
        )
        for percentile in (100, 95)
    ]
    mean = [
        metrics.area_weighted_surface_distance(*pair, spacing=spacing)
        for pair in ((target, predicted), (predicted, target))
    ]
    dice = metrics.area_weighted_surface_dice(predicted, target, tolerance=1, spacing=spacing)
    return jnp.stack([score.value for score in (*mean, *hausdorff, dice)])


@pytest.mark.parametrize("spacing", [(2.0, 1.0), (3.0, 2.0, 1.0)])
def test_deepmind_s_pixels_two_millimetres_apart(spacing):
    target, predicted = np.zeros((2, *(10,) * len(spacing)), bool)
    place = (4,) * (len(spacing) - 1)
    target[(*place, 3)] = predicted[(*place, 5)] = True
    found = deepmind(predicted, target, spacing)
    np.testing.assert_allclose(found, [1.5, 1.5, 2, 2, 0.5], rtol=1e-6)


def test_deepmind_s_squares():
    target, predicted = np.zeros((2, 10, 10), bool)
    target[1:3, 1:3] = predicted[1:4, 1:3] = True
    diagonal = np.sqrt(5) / 2
    there, claimed = 4 * diagonal + 6, 4 * diagonal + 10
    found = deepmind(predicted, target, (2.0, 1.0))
    # The target's lower side is 1 away, the prediction's (with two corners) is 2 away.
    beyond = 2 * diagonal + 1
    dice = 1 - beyond / (there + claimed)
    np.testing.assert_allclose(found, [1 / there, 2 * beyond / claimed, 2, 2, dice], rtol=1e-6)


@pytest.mark.slow
def test_deepmind_s_cubes_shifted_by_a_pixel():
    target = np.zeros((100, 100, 100), bool)
    target[:50] = True
    predicted = target.copy()
    predicted[50] = True
    found = deepmind(predicted, target, (2.0, 1.0, 1.0))
    np.testing.assert_allclose(found, [0.322, 0.339, 2, 2, 0.836], atol=5e-4)


def test_the_area_of_solids():
    """Of boxes, faces and bevelled edges and corners by hand; of a sphere, the usual excess."""
    from dice_jax.metrics import surface_elements

    def area(mask, spacing):
        codes = surface_elements._codes(jnp.asarray(mask), tuple(range(mask.ndim)))
        return float(surface_elements._areas(spacing, jnp.float32)[codes].sum())

    box = np.ones((4, 3, 5), bool)
    faces = 2 * (3 * 2 + 3 * 4 + 2 * 4)
    edges = 4 * (3 + 2 + 4) * np.sqrt(2) / 2
    corners = 8 * np.sqrt(3) / 8
    np.testing.assert_allclose(area(box, (1.0, 1.0, 1.0)), faces + edges + corners, rtol=1e-6)
    grid = np.moveaxis(np.indices((42, 42, 21)), 0, -1) * np.array([1.0, 1.0, 2.0])
    sphere = np.linalg.norm(grid - 20.0, axis=-1) < 17
    np.testing.assert_allclose(area(sphere, (1.0, 1.0, 2.0)), 4 * np.pi * 17**2, rtol=0.12)
    table = surface_elements._normals(3)
    for code in range(256):
        np.testing.assert_array_equal(table[code], table[255 - code])


def test_surface_elements_of_nothing():
    something, nothing = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
    pair = np.stack([something, nothing, nothing]), np.stack([nothing, something, nothing])
    expected = {
        metrics.area_weighted_hausdorff_distance: [np.inf, np.inf, 0],
        metrics.area_weighted_surface_distance: [np.inf, np.inf, 0],
        metrics.area_weighted_surface_dice: [0, 0, 1],
    }
    for metric, values in expected.items():
        option = {"tolerance": 1.0} if metric is metrics.area_weighted_surface_dice else {}
        scores = metric(*pair, axis=(1, 2), **option)
        np.testing.assert_array_equal(scores.value, values)
        np.testing.assert_array_equal(scores.present, [False, True, False])
        with pytest.raises(ValueError, match="axis must name two or three axes of space, got 1"):
            metric(nothing, nothing, axis=1, **option)


def test_elements_beyond_a_mask_do_not_count():
    """A pixel outside `where` is as one beyond the image's edge."""
    predicted, target = blobs((17, 19), 5)
    kept = np.zeros((17, 19), bool)
    kept[:, :17] = True
    noise = np.random.default_rng(0).random((17, 19)) < 0.5
    for metric in (
        metrics.area_weighted_hausdorff_distance,
        metrics.area_weighted_surface_distance,
    ):
        cut = metric(predicted[:, :17], target[:, :17])
        masked = metric(np.where(kept, predicted, noise), target, where=kept)
        np.testing.assert_allclose(float(masked), float(cut), rtol=1e-6)
