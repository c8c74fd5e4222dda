"""Tiles cover an image of any size, and stitching gives back what was cut."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.images.masks import WholeImages
from experiments.images.tiles import corners, count_of_tiles, cut, stacked
from experiments.learning.stitching import OUTSIDE, predict_whole


@pytest.mark.parametrize("shape", [(8, 8), (9, 20), (3, 30), (5, 5, 2), (16, 24)])
def test_tiles_cover_the_image_and_are_parts_of_it(shape):
    image = np.arange(np.prod(shape)).reshape(shape)
    tiles = cut(image, 8)
    assert tiles.shape == (count_of_tiles(shape, 8), 8, 8, *shape[2:])
    assert set(tiles.ravel()) == set(image.ravel())
    if min(shape[:2]) >= 8:
        np.testing.assert_array_equal(tiles[0], image[:8, :8])
        np.testing.assert_array_equal(tiles[-1], image[-8:, -8:])


def test_tiles_overlap_as_little_as_they_can():
    assert corners(16, 8) == [0, 8]
    assert corners(17, 8) == [0, 4, 9]
    assert corners(7, 8) == [0]
    assert corners(20, 8, 6) == [0, 6, 12]


class Intensity(nnx.Module):
    """A model of each pixel alone: it must not matter how an image was cut."""

    def __call__(self, images):
        return 2 * images - 1


def test_a_stitched_prediction_is_that_of_the_whole_image():
    images = [np.random.default_rng(i).normal(size=s).astype(np.float32)
              for i, s in enumerate([(9, 21), (5, 30), (20, 8)])]  # fmt: skip
    pixels, where = stacked(images)
    graph, parameters = nnx.split(Intensity())
    batch = WholeImages(
        jnp.asarray(pixels), jnp.zeros(pixels.shape, bool), where=jnp.asarray(where)
    )
    found = predict_whole(graph, parameters, batch, 8)
    for row, image in enumerate(images):
        height, width = image.shape
        np.testing.assert_allclose(found[row, :height, :width], 2 * image - 1, rtol=1e-5)
    assert (found[~where] == OUTSIDE).all()
    assert where.sum() == sum(image.size for image in images)


def test_images_of_one_size_are_not_padded():
    assert stacked([np.zeros((4, 5, 3))] * 2)[1] is None
