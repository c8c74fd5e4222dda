"""Surface metrics against SciPy and MedPy's formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import dice_jax as dj
from dice_jax import metrics
from dice_jax.metrics import image_pairs


def distances(predicted, target, spacing=None):
    """Both directed lists of distances, with SciPy, in float64."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (predicted, target)]
    to = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return to[1][edges[0]], to[0][edges[1]]


def blobs(shape, seed=0):
    rng = np.random.default_rng(seed)
    fields = (ndimage.gaussian_filter(rng.normal(size=shape), 2) for _ in range(2))
    return tuple(field > 0.05 for field in fields)


CASES = [((21, 34), None), ((21, 34), (2.0, 0.7)), ((9, 12, 14), (3.0, 1.2, 1.2))]


@pytest.mark.parametrize(("shape", "spacing"), CASES)
def test_directions_and_medpy_s_formulas(shape, spacing):
    predicted, target = blobs(shape)
    one, other = distances(predicted, target, spacing)
    both = np.concatenate([one, other])
    expected = {
        metrics.directed_hausdorff_distance: one.max(),
        metrics.directed_surface_distance: one.mean(),
        metrics.medpy_hd95: np.percentile(both, 95),
        metrics.medpy_assd: (one.mean() + other.mean()) / 2,
    }
    for metric, value in expected.items():
        score = metric(predicted, target, spacing=spacing)
        np.testing.assert_allclose(float(score), value, rtol=1e-5, err_msg=metric.__name__)
    back = metrics.directed_hausdorff_distance(target, predicted, spacing=spacing, percentile=80)
    np.testing.assert_allclose(float(back), np.percentile(other, 80), rtol=1e-5)


def test_directed_distances_of_empty_masks():
    something, nothing = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
    predicted = np.stack([something, nothing, nothing])
    target = np.stack([nothing, something, nothing])
    for metric in (
        metrics.directed_hausdorff_distance,
        metrics.directed_surface_distance,
        metrics.medpy_hd95,
        metrics.medpy_assd,
    ):
        scores = metric(predicted, target, axis=(1, 2))
        np.testing.assert_array_equal(scores.value, [np.inf, np.inf, 0])
        np.testing.assert_array_equal(scores.present, [False, True, False])


# Distances that are the tolerance up to rounding.


def test_a_distance_of_three_pixels_of_1_2_mm_is_within_3_6_mm():
    """The report's case: in float32, 3·1.2 is above 3.6."""
    mask = np.zeros((3, 24), bool)
    mask[:, 4] = True
    moved = np.roll(mask, 3, 1)
    for call in (metrics.surface_dice, jax.jit(metrics.surface_dice, static_argnames="spacing")):
        assert float(call(moved, mask, tolerance=3.6, spacing=(5.0, 1.2))) == 1
        assert float(call(moved, mask, tolerance=3.599, spacing=(5.0, 1.2))) == 0


@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 1.2, 1.4, 2.3, 4.9])
def test_multiples_of_a_pixel_s_size_are_within_their_product(size):
    mask = np.zeros((1, 40), bool)
    mask[0, 2] = True
    for pixels in range(1, 30):
        moved = np.roll(mask, pixels, 1)
        for tolerance, expected in ((pixels * size, 1), (pixels * size * (1 - 1e-5), 0)):
            score = metrics.surface_dice(moved, mask, tolerance=tolerance, spacing=(5.0, size))
            assert float(score) == expected, (pixels, tolerance)


def test_a_sphere_of_1_2_mm_pixels_is_scipy_s():
    """In the report, rounding lost a tenth of this sphere's surface."""
    grid = np.moveaxis(np.indices((26, 26, 26)), 0, -1) * 1.2
    spheres = [np.linalg.norm(grid - c, axis=-1) < 9 for c in ((15, 15, 15), (15, 15, 18.6))]
    spacing = (1.2, 1.2, 1.2)
    both = np.concatenate(distances(*spheres, spacing))
    for tolerance in (1.2, 2.4, 3.6):
        score = metrics.surface_dice(*spheres, tolerance=tolerance, spacing=spacing)
        np.testing.assert_allclose(float(score), np.mean(both <= tolerance * (1 + 1e-9)), rtol=1e-6)


# Programs: one for many shapes.


def test_images_of_other_shapes_need_no_other_program():
    compiled = image_pairs._of_masks._cache_size
    metrics.medpy_assd(*blobs((33, 40, 17)), spacing=(1.0, 1.0, 2.0))
    before = compiled()
    shapes = [(34, 47, 18), (48, 33, 24), (40, 40, 23)]
    for shape in shapes:
        pair = blobs(shape, 3)
        one, other = distances(*pair, (0.5, 1.0, 2.0))
        score = metrics.medpy_assd(*pair, spacing=(0.5, 1.0, 2.0))
        np.testing.assert_allclose(float(score), (one.mean() + other.mean()) / 2, rtol=1e-5)
        score = metrics.medpy_assd(*map(jnp.asarray, pair), spacing=(0.5, 1.0, 2.0))
        np.testing.assert_allclose(float(score), (one.mean() + other.mean()) / 2, rtol=1e-5)
    assert compiled() == before
    # Padding is background: where it could matter, at the image's edge, it changes nothing.
    full = np.ones((20, 20), bool)
    hole = full.copy()
    hole[10, 10] = False
    expected = max(distances(full, hole)[1])
    assert float(metrics.hausdorff_distance(full, hole, percentile=100)) == expected


@pytest.mark.parametrize(
    ("n", "least", "size"),
    [
        *((0, 16, 16), (16, 16, 16), (17, 16, 24), (25, 16, 32), (100, 16, 112), (150, 16, 160)),
        *((0, 1, 1), (1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 1, 6), (7, 1, 8), (65, 1, 80)),
    ],
)
def test_sizes_that_have_programs(n, least, size):
    assert image_pairs._size(n, least) == size


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0,), (2, 0, 3)])
def test_images_without_pixels_have_no_surface(shape):
    empty = np.zeros(shape, bool)
    score = metrics.hausdorff_distance(empty, empty)
    assert (float(score), bool(score.present)) == (0.0, False)
    images = metrics.hausdorff_distance(
        empty[None][:0], empty[None][:0], axis=tuple(range(1, empty.ndim + 1))
    )
    assert images.shape == (0,)


def test_batch_axes_anywhere():
    predicted, target = (np.stack([a, b], 1) for a, b in (blobs((18, 20)), blobs((18, 20), 1)))
    scores = metrics.surface_dice(predicted, target, tolerance=1.3, axis=(0, 2), spacing=(2.0, 1.2))
    for i in range(2):
        both = np.concatenate(distances(predicted[:, i], target[:, i], (2.0, 1.2)))
        np.testing.assert_allclose(scores.value[i], np.mean(both <= 1.3), rtol=1e-6)
    traced = jax.jit(lambda p, t: metrics.medpy_hd95(p, t, axis=(0, 2)))(predicted, target)
    np.testing.assert_array_equal(
        traced.value, metrics.medpy_hd95(predicted, target, axis=(0, 2)).value
    )


def test_distances_are_those_of_the_boundary_loss_s_transform():
    """A surface metric of a single pixel is the distance transform there."""
    pixel = np.zeros((30, 31), bool)
    pixel[3, 4] = True
    other = np.zeros((30, 31), bool)
    other[20, 25] = True
    expected = dj.distance_transform(~other, spacing=(0.7, 1.3))[3, 4]
    score = metrics.directed_hausdorff_distance(pixel, other, spacing=(0.7, 1.3))
    np.testing.assert_array_equal(score.value, expected)
