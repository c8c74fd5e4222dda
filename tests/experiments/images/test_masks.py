"""The synthetic images: the fraction is hit, shapes are theirs, the seed decides everything."""

import functools
import itertools

import jax
import numpy as np
import pytest
from scipy import ndimage

from experiments.images.masks import gaussian_blur, make_images
from experiments.images.shapes import SHAPES

# One worker runs the module: its tests look at the same few draws.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("masks")]

_TOUCHING = np.ones((3, 3))


@functools.lru_cache(maxsize=16)
def _draw(shape, objects, fraction, seed=3, noise=0.2, **more):
    """Few shapes of arrays, so that few programs are compiled."""
    drawn = make_images(
        jax.random.key(seed),
        fraction,
        noise,
        count=120,
        size=64,
        objects=objects,
        shape=shape,
        **more,
    )
    return [np.asarray(x) for x in drawn if x is not None]


@pytest.mark.parametrize(
    ("shape", "objects"),
    [*((shape, 1) for shape in SHAPES), ("ellipse", 5), ("tube", 5), ("blob", 5)],
)
def test_fraction_is_hit_and_the_seed_decides_every_bit(shape, objects):
    relative = []
    # A seed decides how far sizes are from their mean: three seeds tell more of it than one.
    for seed, fraction in ((5, 0.2), (3, 0.05), (4, 0.03)):
        images, masks, *_ = _draw(shape, objects, fraction, seed=seed)
        sizes = masks.sum(axis=(1, 2)) / (fraction * 64**2)
        # Sizes differ, by as much as the shape says.
        spread = np.log(sizes).std()
        assert 0.8 < spread / SHAPES[shape].spread < 1.3
        _assert_mean_of_one(sizes)
        relative.append(sizes)
    _assert_mean_of_one(np.concatenate(relative))
    again = _draw.__wrapped__(shape, objects, fraction, seed=seed)
    assert images.tobytes() == again[0].tobytes()
    assert masks.tobytes() == again[1].tobytes()
    other = _draw(shape, objects, fraction)
    assert (masks != other[1]).any(axis=(1, 2)).all()


def _assert_mean_of_one(sizes):
    assert abs(sizes.mean() - 1) < 4 * sizes.std() / np.sqrt(len(sizes))


def test_the_smallest_fraction_is_hit_without_rounding_up():
    """Of twelve pixels on average, half a pixel more would be seen."""
    drawn = make_images(jax.random.key(3), 0.012, 0.2, count=1500, size=32)
    _assert_mean_of_one(np.asarray(drawn.masks).sum(axis=(1, 2)) / (0.012 * 32**2))


@pytest.mark.parametrize("shape", [name for name, kind in SHAPES.items() if not kind.posterior])
def test_objects_are_of_one_piece_each_and_inside_the_image(shape):
    _, masks = _draw(shape, 1, 0.05)
    pieces = [ndimage.label(mask, _TOUCHING)[1] for mask in masks]
    assert np.mean(np.array(pieces) == 1) > 0.99
    _, many = _draw(shape, 5, 0.03)
    pieces = [ndimage.label(mask, _TOUCHING)[1] for mask in many]
    # Neighbours may touch.
    assert 4.3 < np.mean(pieces) <= 5
    edge = np.concatenate([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], axis=1)
    assert edge.any(axis=1).mean() < 0.2


def _covariance(mask):
    """Of a mask's pixels: the ratio of its axes, and how much of its ellipse it fills."""
    y, x = np.nonzero(mask)
    small, large = np.sort(np.linalg.eigvalsh(np.cov(y, x)))
    return np.sqrt(large / small), mask.sum() / (4 * np.pi * np.sqrt(small * large))


def test_shapes_are_what_their_names_say():
    masks = {shape: _draw(shape, 1, 0.05)[1][:60] for shape in ("disk", "ellipse", "tube", "blob")}
    axes, fills = {}, {}
    for shape, drawn in masks.items():
        axes[shape], fills[shape] = np.array([_covariance(mask) for mask in drawn]).T
    # A disk is round; an ellipse is stretched up to 1.5² and still fills its own ellipse.
    assert axes["disk"].max() < 1.1
    assert 1.2 < np.median(axes["ellipse"]) < 1.8
    assert fills["disk"].min() > 0.95
    assert fills["ellipse"].min() > 0.95
    # A blob does not, a tube even less.
    assert 0.6 < np.median(fills["blob"]) < 0.98
    assert np.median(fills["tube"]) < 0.5
    # Nowhere is a tube thicker than a few pixels, however long.
    inside = [ndimage.distance_transform_edt(mask).max() for mask in masks["tube"]]
    assert max(inside) <= 3
    lengths = [mask.sum() / 2 for mask in masks["tube"]]
    assert np.median(lengths) > 80


def test_objects_of_a_blob_image_differ_in_size():
    sizes = {}
    for shape in ("disk", "blob"):
        per_image = []
        for mask in _draw(shape, 5, 0.05)[1][:100]:
            labels, pieces = ndimage.label(mask, _TOUCHING)
            if pieces == 5:
                per_image.append(np.std(np.log(np.bincount(labels.ravel())[1:])))
        sizes[shape] = np.mean(per_image)
    assert sizes["disk"] < 0.1
    assert 0.3 < sizes["blob"] < 0.7


def test_posterior_is_what_the_image_shows_and_what_the_labels_are_drawn_from():
    images, masks, posterior = _draw("posterior", 1, 0.05, noise=0.15)
    np.testing.assert_allclose(1 / (1 + np.exp(-5 * images)), posterior, rtol=1e-4, atol=1e-7)
    edges = np.linspace(0, 1, 11)
    for low, high in itertools.pairwise(edges):
        inside = (posterior > low) & (posterior <= high)
        claimed, true = posterior[inside].mean(), masks[inside].mean()
        assert abs(claimed - true) < 4 * np.sqrt(claimed * (1 - claimed) / inside.sum())
    # Drawn pixel by pixel: what the posterior leaves unsaid is white.
    rest = (masks - posterior) / np.sqrt(posterior * (1 - posterior))
    rest = np.where(posterior > 0.05, rest, 0)
    neighbours = (rest[:, 1:] * rest[:, :-1]).sum() / (rest**2).sum()
    assert abs(neighbours) < 0.02


@pytest.mark.parametrize("shape", ["ellipse", "posterior"])
def test_empty_images_are_spread_evenly_and_the_overall_fraction_stays(shape):
    images, masks, *posterior = _draw(shape, 1, 0.03, empty_share=0.25)
    empty = ~masks.any(axis=(1, 2))
    assert abs(masks.mean() - 0.03) < 4 * masks.mean(axis=(1, 2)).std() / np.sqrt(len(masks))
    for first in range(0, 112, 8):
        assert 1 <= empty[first : first + 8].sum() <= 3
    assert abs(empty.mean() - 0.25) < 0.005
    if posterior:
        assert posterior[0][empty].max() < 1e-6
    else:
        # Nothing but noise, of the others' scale.
        contrast = 1 / np.sqrt(1 + 0.2**2)
        assert np.abs(images[empty]).max() < 6 * 0.2 * contrast
    assert not (~_draw(shape, 1, 0.03)[1].any(axis=(1, 2))).any()


def test_images_need_not_be_square():
    drawn = make_images(jax.random.key(0), 0.1, 0.5, count=20, size=(24, 48), objects=4)
    assert drawn.images.shape == drawn.masks.shape == (20, 24, 48)
    assert abs(np.asarray(drawn.masks).mean() - 0.1) < 0.02


def test_same_key_same_bits_and_another_key_other_images():
    def draw(seed):
        drawn = make_images(jax.random.key(seed), 0.05, 1.0, count=120, size=64)
        return np.asarray(drawn.images), np.asarray(drawn.masks)

    first, again, other = draw(5), draw(5), draw(6)
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    # The noise of two seeds is uncorrelated, and so are the places of the ellipses.
    noise = [images - images.mean() for images, _ in (first, other)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    assert (first[1] & other[1]).mean() < 0.01


def test_image_is_mask_plus_noise_of_unit_scale():
    images, masks, _ = make_images(jax.random.key(1), 0.2, 2.0, count=120, size=64)
    images, masks = np.asarray(images), np.asarray(masks)
    np.testing.assert_allclose(
        images[masks].mean() - images[~masks].mean(), 1 / np.sqrt(5), atol=0.01
    )
    np.testing.assert_allclose(images[~masks].std(), 2 / np.sqrt(5), atol=0.01)


def test_blur_is_a_normalised_gaussian():
    image = np.zeros((33, 33), np.float32)
    image[16, 16] = 1
    blurred = np.asarray(gaussian_blur(image, 2.0))
    np.testing.assert_allclose(
        blurred, ndimage.gaussian_filter(image.astype(np.float64), 2.0, truncate=8), atol=1e-5
    )
    # A constant stays a constant up to the border.
    np.testing.assert_allclose(gaussian_blur(np.ones((9, 9), np.float32), 3.0), 1, rtol=1e-5)
