"""New images in every step: a function of the seed and the step, never seen twice."""

import dataclasses

import numpy as np

from experiments.learning.batches import Pool
from experiments.runs.batches import batches_of
from experiments.runs.data import splits
from tests.experiments.conftest import TINY

FRESH = dataclasses.replace(TINY, train_images=None)


def _images(batches, step):
    images, masks = batches.at(step)
    return np.asarray(images), np.asarray(masks)


def test_every_step_and_seed_has_images_of_its_own_and_the_same_ones_again():
    streams = [batches_of(FRESH, 0.1, seed) for seed in (0, 1)]
    drawn = [_images(stream, step)[0] for stream in streams for step in (0, 1, 7)]
    validation, test = (np.asarray(split.images) for split in splits(FRESH, 0.1, 0)[1:])
    assert drawn[0].shape == (FRESH.batch_size, 32, 32)
    flat = np.concatenate([*drawn, validation, test]).reshape(-1, 32 * 32)
    assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).max() < 0.9
    np.testing.assert_array_equal(_images(streams[0], 7)[0], drawn[2])


def test_the_images_are_those_of_the_study():
    stream = batches_of(FRESH, 0.1, 0)
    pairs = [_images(stream, step) for step in range(10)]
    images, masks = (np.concatenate(x) for x in zip(*pairs, strict=True))
    test = splits(FRESH, 0.1, 0)[2]
    assert abs(masks.mean() - 0.1) < 0.02
    np.testing.assert_allclose(
        images[masks].mean(), np.asarray(test.images)[test.masks].mean(), rtol=0.1
    )


def test_label_noise_spoils_the_labels_and_not_the_images():
    clean, noisy = (
        _images(batches_of(dataclasses.replace(FRESH, label_noise=noise), 0.1, 0), 3)
        for noise in (0.0, 1.0)
    )
    np.testing.assert_array_equal(clean[0], noisy[0])
    assert (clean[1] != noisy[1]).any(axis=(1, 2)).all()


def test_a_fixed_set_is_visited_in_its_order():
    pool = batches_of(TINY, 0.1, 0)
    assert isinstance(pool, Pool)
    np.testing.assert_array_equal(pool.at(2)[0], np.asarray(pool.images)[pool.order[2]])
