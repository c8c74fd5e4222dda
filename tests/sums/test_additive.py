"""Sums add where they are alike; where they are not, adding them is an error, never a value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj

P, Y = jnp.array([[0.5, 0.25, 1.0], [0.75, 0.0, 0.5]]), jnp.array([[1, 0, 1], [1, 0, 0]])
IMAGES = dj.region_sums(P, Y, axis=1)
ONE = dj.region_sums(P[:1], Y[:1], axis=1)


def test_sums_of_other_shapes_are_not_added():
    line = r"shape \(2,\) and \(1,\) cannot be added; write a.broadcast_to\(\(2,\)\).*"
    with pytest.raises(ValueError, match=line + r"concatenate_sums\(\[a, b\]\)"):
        IMAGES + ONE
    with pytest.raises(ValueError, match=r"broadcast_to\(\(2,\)\)"):
        sum([IMAGES, ONE[0]])
    with pytest.raises(ValueError, match="cannot be added"):
        jax.jit(lambda a, b: a + b)(IMAGES, ONE)


def test_broadcast_to_adds_one_region_to_each():
    both = IMAGES + ONE[0].broadcast_to(IMAGES.shape)
    np.testing.assert_allclose(both.prediction, IMAGES.prediction + ONE.prediction[0])
    np.testing.assert_array_equal(both.count, [6, 6])


def test_0_is_neutral_and_other_things_are_no_sums():
    np.testing.assert_array_equal(sum([IMAGES]).target, IMAGES.target)
    for other in (1, 0.5, P, dj.sensitivity_specificity_sums(P, Y, axis=1)):
        with pytest.raises(TypeError):
            IMAGES + other


def test_concatenated_sums_have_the_regions_of_all():
    joined = dj.concatenate_sums([IMAGES, ONE])
    np.testing.assert_allclose(joined.intersection, [1.5, 0.75, 1.5])
    classes = dj.softmax_region_sums(jnp.zeros((2, 5, 3)), jnp.zeros((2, 5), jnp.int32), axis=1)
    assert dj.concatenate_sums([classes, classes[:1]]).shape == (3, 3)
    assert dj.concatenate_sums([classes, classes[:, :1]], axis=-1).shape == (2, 4)


@pytest.mark.parametrize(
    ("sums", "error", "message"),
    [
        ([], ValueError, "at least one"),
        ([IMAGES, P], TypeError, "one kind.*RegionSums, Array"),
        ([IMAGES[0], IMAGES[1]], ValueError, r"an axis of regions.*shape \(\)"),
        ([IMAGES, IMAGES[None]], ValueError, "one shape but for axis 0"),
        ([IMAGES[None], ONE[None]], ValueError, "one shape but for axis 0"),
    ],
)
def test_what_cannot_be_concatenated_is_named(sums, error, message):
    with pytest.raises(error, match=message):
        dj.concatenate_sums(sums)


MATRIX = 1 - np.eye(3)
CLASSES = jax.nn.softmax(jnp.arange(12.0).reshape(4, 3) % 5)
LABELS = jnp.array([0, 1, 2, 2])
# Makers of sums whose option is one value, and then another.
UNLIKE = {
    "noise_robust_dice": [lambda g=g: dj.noise_robust_dice_sums(P, Y, gamma=g) for g in (1.5, 2)],
    "dice_plus_plus": [lambda g=g: dj.dice_plus_plus_sums(P, Y, gamma=g) for g in (1.5, 2)],
    "self_adjusting": [lambda a=a: dj.self_adjusting_dice_sums(P, Y, alpha=a) for a in (0, 1)],
    "hausdorff alpha": [lambda a=a: dj.hausdorff_distance_sums(P, Y, alpha=a) for a in (1, 2)],
    "hausdorff spacing": [
        lambda s=s: dj.hausdorff_distance_sums(P, Y, spacing=s) for s in (None, (1, 2))
    ],
    "cldice": [lambda n=n: dj.cldice_sums(P, Y, iterations=n) for n in (1, 2)],
    "wasserstein": [
        lambda k=k: dj.generalized_wasserstein_dice_sums(CLASSES, LABELS, MATRIX**k * k)
        for k in (1, 2)
    ],
    "unified focal delta": [
        lambda d=d: dj.unified_focal_sums(CLASSES, LABELS, delta=d) for d in (0.6, 0.7)
    ],
    "unified focal gamma": [
        lambda g=g: dj.unified_focal_sums(CLASSES, LABELS, gamma=g) for g in (0.5, 0.6)
    ],
}


@pytest.mark.parametrize("name", UNLIKE)
def test_sums_with_other_options_are_not_added(name):
    ours, theirs = (make() for make in UNLIKE[name])
    assert isinstance(ours + UNLIKE[name][0](), type(ours))
    with pytest.raises(ValueError, match="cannot be added"):
        ours + theirs
    with pytest.raises(ValueError, match="cannot be added"):
        dj.concatenate_sums([ours[None], theirs[None]])
    with pytest.raises(ValueError, match="metadata"):
        jax.tree.map(jnp.add, ours, theirs)
    with pytest.raises((ValueError, TypeError)):
        jax.lax.cond(True, lambda: ours, lambda: theirs)


def test_an_option_is_the_same_number_in_every_type():
    ours = dj.dice_plus_plus_sums(P, Y, gamma=1.1)
    for gamma in (np.float32(1.1), np.float64(1.1), jnp.float32(1.1)):
        assert dj.dice_plus_plus_sums(P, Y, gamma=gamma) + ours
    with pytest.raises(ValueError, match="gamma must be finite and > 0"):
        dj.dice_plus_plus_sums(P, Y, gamma=0.0)


def test_a_traced_option_goes_to_the_loss_itself():
    gammas = jnp.array([1.0, 2.0])
    swept = jax.vmap(lambda g: dj.dice_plus_plus_loss(P, Y, gamma=g))(gammas)
    each = [dj.dice_plus_plus_loss(P, Y, gamma=g) for g in (1.0, 2.0)]
    np.testing.assert_allclose(swept, each, rtol=1e-6)
    with pytest.raises(TypeError, match="gamma must be a known number for DicePlusPlusSums"):
        jax.vmap(lambda g: dj.dice_plus_plus_loss(dj.dice_plus_plus_sums(P, Y, gamma=g)))(gammas)


def test_options_of_the_sums_are_refused_beside_sums():
    sums = dj.dice_plus_plus_sums(P, Y)
    line = "got sums, which have their gamma already; give it to dice_plus_plus_sums"
    with pytest.raises(TypeError, match=line):
        dj.dice_plus_plus_loss(sums, gamma=2.0)
    with pytest.raises(TypeError, match="have their targets already"):
        dj.dice_plus_plus_loss(sums, Y)
    with pytest.raises(TypeError, match="axis, where already"):
        dj.dice_plus_plus_loss(sums, axis=1, where=P > 0)
    wrong = (
        r"takes DicePlusPlusSums or arrays, got RegionSums; write dice_plus_plus_loss\(dice_plus"
    )
    with pytest.raises(TypeError, match=wrong):
        dj.dice_plus_plus_loss(IMAGES)
    with pytest.raises(TypeError, match="targets must be an array"):
        dj.dice_plus_plus_loss(P)


def test_sums_of_another_kind_are_refused_by_a_loss_of_region_sums():
    with pytest.raises(TypeError, match="dice_loss takes RegionSums"):
        dj.dice_loss(dj.dice_plus_plus_sums(P, Y))


def test_one_program_serves_every_option():
    from dice_jax.losses import of_arrays

    dj.dice_plus_plus_loss(dj.dice_plus_plus_sums(P, Y, gamma=1.25), smooth=0.5)
    programs = (of_arrays._combine._cache_size(), of_arrays._fields._cache_size())
    dj.dice_plus_plus_loss(dj.dice_plus_plus_sums(P, Y, gamma=1.75), smooth=0.25)
    assert (of_arrays._combine._cache_size(), of_arrays._fields._cache_size()) == programs
    dj.dice_plus_plus_loss(P, Y, gamma=1.25, smooth=0.5)
    programs = of_arrays._loss._cache_size()
    dj.dice_plus_plus_loss(P, Y, gamma=1.75, smooth=0.25)
    assert of_arrays._loss._cache_size() == programs
