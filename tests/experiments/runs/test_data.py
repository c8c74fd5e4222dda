"""The data of a run: fresh per seed, labels spoilt where they are learnt from, tested on clean."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import ndimage

from experiments.images.labels import deformed
from experiments.runs.data import noise_level, splits
from tests.experiments.conftest import TINY


def test_splits_and_seeds_share_no_image():
    images = [np.asarray(s.images) for seed in (0, 1) for s in splits(TINY, 0.1, seed)]
    assert [len(x) for x in images] == [12, 6, 6] * 2
    flat = np.concatenate(images).reshape(-1, 32 * 32)
    correlation = np.corrcoef(flat)
    assert np.abs(correlation - np.eye(len(flat))).max() < 0.9


def test_label_noise_spoils_what_is_learnt_from_and_nothing_else():
    clean = splits(TINY, 0.1, 0)
    for changes in ({"label_noise": 1.0}, {"annotator_bias": 1.0}):
        spoilt = splits(dataclasses.replace(TINY, **changes), 0.1, 0)
        for name, a, b in zip(("training", "validation", "test"), clean, spoilt, strict=True):
            np.testing.assert_array_equal(a.images, b.images)
            changed = (np.asarray(a.masks) != np.asarray(b.masks)).any(axis=(1, 2))
            assert changed.mean() == (0 if name == "test" else 1)


def test_empty_images_are_in_every_split():
    config = dataclasses.replace(TINY, empty_share=0.5)
    empty = [(~np.asarray(s.masks).any(axis=(1, 2))).sum() for s in splits(config, 0.1, 0)]
    assert empty == [6, 3, 3]
    # The task is as hard as at the fraction that the other images have.
    assert noise_level(config, 0.1) == noise_level(TINY, 0.2)


def test_the_posterior_comes_with_the_test_images_alone():
    config = dataclasses.replace(TINY, shape="posterior")
    training, validation, test = splits(config, 0.1, 0)
    assert training.posterior is None
    assert validation.posterior is None
    assert test.posterior is not None
    assert test.posterior.shape == test.masks.shape == (6, 32, 32)


def test_a_smaller_fraction_has_fewer_objects_where_their_size_is_fixed():
    config = dataclasses.replace(TINY, object_pixels=24, fractions=(0.1, 0.025))
    assert [config.objects_at(f) for f in config.fractions] == [4, 1]
    for fraction in config.fractions:
        masks = np.asarray(splits(config, fraction, 0)[0].masks)
        pieces = [ndimage.label(mask)[1] for mask in masks]
        assert masks.sum() / sum(pieces) == pytest.approx(24, rel=0.35)


@pytest.fixture(scope="module")
def squares():
    masks = np.zeros((40, 48, 48), bool)
    masks[:-1, 10:38, 10:38] = True
    return masks


def test_annotator_bias_moves_the_boundary_by_so_many_pixels(squares):
    key = jax.random.key(0)
    for bias in (2.0, -2.0):
        moved = np.asarray(deformed(key, squares, 0.0, bias))
        size = 28 + 2 * int(bias)
        # Along the sides it is exact; dilation rounds the corners.
        assert moved[0, 24].sum() == moved[0, :, 24].sum() == size
        distance = ndimage.distance_transform_edt(~squares[0] if bias > 0 else squares[0])
        expected = distance <= 2.5 if bias > 0 else distance > 2.5
        np.testing.assert_array_equal(moved[0], expected)
        # An empty image stays empty.
        assert not moved[-1].any()
    np.testing.assert_array_equal(deformed(key, squares, 0.0, 0.0), squares)


def test_label_noise_is_the_boundarys_standard_deviation(squares):
    moved = np.asarray(deformed(jax.random.key(1), squares, 2.0, 0.0))[:-1]
    # Where the upper side of the square now lies, away from its corners.
    top = moved[:, :24, 18:30].argmax(axis=1)
    assert top.std() == pytest.approx(2.0, rel=0.15)
    assert top.mean() == pytest.approx(10, abs=0.3)
    # A hand strays over several pixels at once.
    step = np.diff(top.astype(float), axis=1)
    assert step.std() < top.std()
    assert moved.mean() == pytest.approx(squares[:-1].mean(), rel=0.05)
