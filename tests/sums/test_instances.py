"""Sums per object: against a loop over the objects, and what blob losses are for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import dice_jax as dj
from tests.support import oracles, reference

SHAPE = (13, 17)
OBJECTS = 4


@pytest.fixture(scope="module")
def example():
    """Probabilities, targets, and a map of three objects where there is room for four."""
    rng = np.random.default_rng(0)
    instances = np.zeros(SHAPE, np.int32)
    instances[1:7, 1:6], instances[9:11, 3:5], instances[4:6, 12:16] = 1, 3, 4
    targets = (instances > 0) & (rng.random(SHAPE) < 0.9)
    return rng.uniform(0.02, 0.98, SHAPE).astype(np.float32), targets, instances


def looped(p, y, instances, count, where=None):
    weight = np.ones(p.shape) if where is None else np.broadcast_to(where, p.shape)
    each = [
        reference.region_sums(p, y, where=weight * (instances == k)) for k in range(1, count + 1)
    ]
    return reference.Sums(*(np.stack(field) for field in zip(*each, strict=True)))


def assert_same_sums(sums, expected):
    for field in reference.Sums._fields:
        np.testing.assert_allclose(
            getattr(sums, field), getattr(expected, field), rtol=1e-5, atol=1e-6, err_msg=field
        )


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_equals_a_loop_over_the_objects(example, dtype):
    p, y, instances = example
    sums = dj.instance_region_sums(p, y, instances.astype(dtype), num_instances=OBJECTS)
    assert sums.shape == (OBJECTS,)
    assert_same_sums(sums, looped(p, y, instances, OBJECTS))
    assert float(sums.count[1]) == 0  # object 2 is not in the map


def test_masked_pixels_add_nothing_whatever_they_hold(example):
    p, y, instances = (a.copy() for a in example)
    weight = np.random.default_rng(1).choice([0.0, 0.5, 2.0], SHAPE).astype(np.float32)
    expected = looped(p, y, instances, OBJECTS, weight)
    p[weight == 0], instances[weight == 0] = np.nan, 255
    run = jax.jit(partial(dj.instance_region_sums, num_instances=OBJECTS))
    assert_same_sums(run(p, y, instances, where=weight), expected)
    sums = dj.instance_region_sums(p, y, instances, num_instances=OBJECTS, where=weight)
    assert_same_sums(sums, expected)

    def total(p):
        return jnp.sum(dj.dice_loss(run(p, y, instances, where=weight)))

    gradient = np.asarray(jax.grad(total)(p))
    assert np.isfinite(gradient).all()
    assert (gradient[weight == 0] == 0).all()
    assert (gradient[(weight > 0) & (instances == 1)] != 0).all()


def test_an_object_too_many_is_loud(example):
    p, y, instances = example
    with pytest.raises(ValueError, match=r"num_instances = 3.*from 0 to 4"):
        dj.instance_region_sums(p, y, instances, num_instances=3)
    with pytest.raises(ValueError, match="from -1"):
        dj.instance_region_sums(p, y, instances - 1, num_instances=4)
    traced = jax.jit(partial(dj.instance_region_sums, num_instances=3))(p, y, instances)
    assert all(np.isnan(field).all() for field in jax.tree.leaves(traced))


def test_a_batch_by_vmap(example):
    p, y, instances = example
    batch = (np.stack([p, 1 - p]), np.stack([y, ~y]), np.stack([instances, instances[::-1]]))
    sums = jax.vmap(partial(dj.instance_region_sums, num_instances=OBJECTS))(*batch)
    for i in range(2):
        part = jax.tree.map(lambda field, i=i: field[i], sums)
        assert_same_sums(part, looped(*(a[i] for a in batch), OBJECTS))


def test_long_objects_do_not_drift():
    p = np.full(1 << 21, 0.3, np.float32)
    y = np.ones(p.shape, bool)
    instances = np.ones(p.shape, np.int32)
    sums = dj.instance_region_sums(p, y, instances, num_instances=1)
    np.testing.assert_allclose(sums.prediction[0], np.sum(p, dtype=np.float64), rtol=1e-6)


def blob_losses(p, y, instances):
    objects = dj.instance_region_sums(p, y, instances, num_instances=OBJECTS)
    background = dj.region_sums(p, y, where=instances == 0)
    blobs = objects + background.broadcast_to(objects.shape)
    return dj.dice_loss(blobs, smooth=1e-5), objects.count > 0


def component_losses(p, y, instances):
    regions = dj.voronoi_regions(instances)
    objects = dj.instance_region_sums(p, y, regions, num_instances=OBJECTS)
    return dj.dice_loss(objects, smooth=1e-5), objects.count > 0


@pytest.mark.parametrize("losses", [blob_losses, component_losses])
class TestPerObjectLosses:
    def test_the_truth_is_perfect(self, losses, example):
        _, _, instances = example
        y = instances > 0
        loss, present = losses(y.astype(np.float32), y, instances)
        np.testing.assert_array_equal(present, [True, False, True, True])
        np.testing.assert_allclose(np.asarray(loss)[np.asarray(present)], 0, atol=1e-6)

    def test_foreground_everywhere_scores_badly(self, losses, example):
        _, _, instances = example
        y = instances > 0
        loss, present = losses(np.ones(SHAPE, np.float32), y, instances)
        assert (np.asarray(loss)[np.asarray(present)] > 0.3).all()
        assert jnp.mean(loss, where=present) > 0.6
        # Objects alone would have called it perfect.
        alone = dj.instance_region_sums(
            np.ones(SHAPE, np.float32), y, instances, num_instances=OBJECTS
        )
        np.testing.assert_allclose(dj.dice_loss(alone, smooth=1e-5), 0, atol=1e-6)

    def test_a_missed_small_object_is_seen(self, losses, example):
        _, _, instances = example
        y = instances > 0
        missed = (y & (instances != 3)).astype(np.float32)
        loss, present = losses(missed, y, instances)
        assert loss[2] > 0.99
        assert jnp.mean(loss, where=present) > 0.3
        pooled = dj.dice_loss(dj.region_sums(missed, y), smooth=1e-5)
        assert pooled < 0.06  # the ordinary loss hardly notices

    def test_every_false_positive_is_pushed_down(self, losses, example):
        p, y, instances = example

        def mean(p):
            loss, present = losses(p, y, instances)
            return jnp.mean(loss, where=present)

        gradient = np.asarray(jax.grad(mean)(p))
        assert (gradient[instances == 0] > 0).all()


def test_blob_loss_is_the_paper_s(example):
    """Kofler et al.: for each object, the loss over the image without the other objects."""
    p, y, instances = example
    loss, _ = blob_losses(p, y, instances)
    for k in (1, 3, 4):
        kept = (instances == k) | (instances == 0)
        expected = oracles.dice_loss(reference.region_sums(p, y, where=kept), smooth=1e-5)
        np.testing.assert_allclose(loss[k - 1], expected, rtol=1e-5)


def test_components_are_scipy_s_image_by_image():
    rng = np.random.default_rng(2)
    masks = rng.random((3, *SHAPE)) < 0.3
    labels = dj.label_components(masks, axis=(1, 2))
    assert labels.dtype == np.int32
    for mask, label in zip(masks, labels, strict=True):
        np.testing.assert_array_equal(label, ndimage.label(mask, structure=np.ones((3, 3)))[0])
    # Over the first axis too, the images' components are joined.
    assert dj.label_components(masks).max() < sum(label.max() for label in labels)


@pytest.mark.parametrize("spacing", [None, (2.5, 1.0)])
def test_voronoi_regions_are_the_nearest_component(example, spacing):
    _, _, instances = example
    regions = dj.voronoi_regions(instances, spacing=spacing)
    scale = np.array(spacing or (1.0, 1.0))
    places = np.argwhere(instances > 0)
    for pixel in np.ndindex(*SHAPE):
        distances = np.linalg.norm((places - pixel) * scale, axis=1)
        nearest = {instances[tuple(q)] for q in places[np.isclose(distances, distances.min())]}
        assert regions[pixel] in nearest


def test_an_image_without_components_is_one_region():
    maps = np.zeros((2, *SHAPE), np.int32)
    maps[1, 3, 3] = 7
    regions = dj.voronoi_regions(maps, axis=(1, 2))
    assert (regions[0] == 1).all()
    assert (regions[1] == 7).all()


def test_wrong_arguments_say_what_is_expected(example):
    p, y, instances = example
    with pytest.raises(ValueError, match=r"instances must have the shape"):
        dj.instance_region_sums(p, y, instances[0], num_instances=OBJECTS)
    with pytest.raises(TypeError, match="instances must be integers"):
        dj.instance_region_sums(p, y, p, num_instances=OBJECTS)
    with pytest.raises(TypeError, match="num_instances must be an int"):
        dj.instance_region_sums(p, y, instances, num_instances=2.0)  # pyright: ignore
    with pytest.raises(ValueError, match="num_instances must be >= 1"):
        dj.instance_region_sums(p, y, instances, num_instances=0)
    with pytest.raises(TypeError, match="mask must be boolean or integer"):
        dj.label_components(p)
    with pytest.raises(ValueError, match="spacing"):
        dj.voronoi_regions(instances, spacing=(1.0, -1.0))
    with pytest.raises(ValueError, match="spacing must have one entry per axis"):
        dj.voronoi_regions(instances, spacing=(1.0,))
