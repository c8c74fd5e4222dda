"""What the pages say goes wrong elsewhere: there it does, in the installed library; here not."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import dice_jax as dj
from tests.parity import peers
from tests.parity.images import images

SIDE = 512


@pytest.fixture
def library():
    """The names of an installed library, or a skip; warnings are its own business."""

    def names(peer):
        try:
            peers.version(peer)
            return peers.PEERS[peer].names()
        except (peers.Missing, ImportError) as reason:
            pytest.skip(f"needs {peer}: {reason}")

    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"):
        warnings.simplefilter("ignore")
        yield names


def half_images():
    """4 images of 512² in float16: their sums do not fit into the type."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4, SIDE, SIDE)).astype(np.float16)
    return jnp.asarray(logits), jnp.asarray(rng.random(logits.shape) < 0.3)


# Here: the ordinary run.


def test_half_precision_has_a_loss_and_a_gradient():
    logits, targets = half_images()

    def loss(x, y):
        return 2.0**15 * dj.dice_loss(dj.sigmoid_region_sums(x, y))

    value, gradient = jax.value_and_grad(loss)(logits, targets)
    expected = loss(logits.astype(jnp.float32), targets)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert 0 < value / 2**15 < 1
    assert (np.asarray(gradient) != 0).mean() > 0.99


def test_an_empty_mask_that_is_predicted_empty_is_0_without_smoothing():
    logits = jnp.full((2, 5, 6), -1e4)

    def loss(x):
        sums = dj.sigmoid_region_sums(x, jnp.zeros((2, 5, 6), bool), axis=(1, 2))
        return dj.dice_loss(sums, smooth=0).sum()

    value, gradient = jax.value_and_grad(loss)(logits)
    assert value == 0
    assert np.isfinite(gradient).all()


def test_an_empty_target_is_learnt_from_with_smoothing():
    def loss(x):
        return dj.dice_loss(dj.sigmoid_region_sums(x, jnp.zeros(x.shape, bool)), smooth=1e-5)

    assert (jax.grad(loss)(jnp.zeros((5, 6))) > 0).all()


def test_an_absent_class_does_not_take_all_the_weight():
    drawn = images("missing")

    def loss(x):
        sums = dj.softmax_region_sums(x, drawn["labels"])
        return dj.generalized_dice_loss(sums, smooth=0)

    gradient = np.abs(jax.grad(loss)(jnp.asarray(drawn["logits"]))).sum((0, 1, 2))
    assert gradient[:2].min() > 0.1 * gradient.max()


def test_probabilities_work_under_jit():
    p, y = jnp.full((5, 6), 0.25), jnp.zeros((5, 6), bool)
    assert np.isfinite(jax.jit(lambda p: dj.dice_loss(dj.region_sums(p, y)))(p))


def test_the_unified_focal_loss_is_flat_at_the_truth():
    labels = images("two")["labels"]
    logits = jnp.asarray(1e4 * jax.nn.one_hot(labels, 2))
    gradient = jax.grad(lambda x: dj.unified_focal_loss(x, labels))(logits)
    assert np.isfinite(gradient).all()


def test_hausdorff_distances_of_oblong_images_are_scipy_s():
    drawn, other, expected = oblong()
    distance = dj.metrics.hausdorff_distance(drawn, other, percentile=100.0)
    np.testing.assert_allclose(float(distance), expected, rtol=1e-6)


def oblong():
    masks = np.zeros((2, 9, 25), bool)
    masks[0, 2:6, 3:9], masks[1, 3:8, 12:21] = True, True
    edges = [m & ~ndimage.binary_erosion(m) for m in masks]
    to = [ndimage.distance_transform_edt(~e) for e in edges]
    return *masks, max(to[1][edges[0]].max(), to[0][edges[1]].max())


def test_a_batch_of_images_without_a_channel_is_no_softmax_over_the_width():
    with pytest.raises((ValueError, TypeError), match="labels"):
        dj.softmax_region_sums(jnp.zeros((2, 5, 6)), jnp.zeros((2, 5, 6), jnp.int32))


ONE_CLASS = [(0, 0, 0.0), (1, 1, 0.0), (1, 0, 1.0), (0, 1, 1.0)]


@pytest.mark.parametrize(("predicted", "target", "loss"), ONE_CLASS)
def test_correlation_of_one_class_images_is_0_or_1(predicted, target, loss):
    p, y = jnp.full((5, 6), float(predicted)), jnp.full((5, 6), target)
    assert dj.matthews_loss(dj.region_sums(p, y)) == loss


# There: with the libraries.


@pytest.mark.parity
def test_optax_half_precision_has_no_gradient(library):
    optax = library("optax")["optax"]
    if "alpha" not in optax.losses.dice_loss.__kwdefaults__:
        pytest.skip("said of 0.2.7 and later")
    logits, targets = half_images()
    x, y = logits[..., None], targets[..., None].astype(jnp.float16)
    value, gradient = jax.value_and_grad(lambda x: optax.losses.dice_loss(x, y).mean())(x)
    assert value == 1
    assert (gradient == 0).all()


@pytest.mark.parity
def test_optax_says_nan_of_an_empty_mask_without_smoothing(library):
    optax = library("optax")["optax"]
    x = jnp.full((1, 5, 6, 1), -1e4)
    assert np.isnan(optax.losses.dice_loss(x, jnp.zeros_like(x), smooth=0.0)).all()


@pytest.mark.parity
def test_optax_refuses_probabilities(library):
    optax = library("optax")["optax"]
    p, y = jnp.full((1, 5, 6, 2), 0.5), jnp.zeros((1, 5, 6, 2))
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(lambda p: optax.losses.dice_loss(p, y, apply_softmax=False))(p)
    with pytest.raises(ValueError):
        optax.losses.binary_dice_loss(p[..., :1], y[..., :1], apply_sigmoid=False)


@pytest.mark.parity
def test_optax_takes_a_softmax_over_the_width(library):
    optax = library("optax")["optax"]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 6)), (rng.random((2, 5, 6)) < 0.3).astype(np.float32)
    p = jax.nn.softmax(jnp.asarray(x), -1)
    both, size = (p * y).sum(1), (p + y).sum(1)
    np.testing.assert_allclose(
        optax.losses.dice_loss(x, y), (1 - (2 * both + 2) / (size + 2)).mean(-1), rtol=1e-4
    )


@pytest.mark.parity
def test_optax_gives_an_absent_class_all_the_weight(library):
    optax = library("optax")["optax"]
    drawn = images("missing")
    y = jax.nn.one_hot(drawn["labels"], 3)

    x = jnp.asarray(drawn["logits"])
    value = optax.losses.multiclass_generalized_dice_loss(x, y)
    alone = optax.losses.dice_loss(x, y, reduction="none").mean(0)[2]
    np.testing.assert_allclose(value, alone, rtol=1e-3)


@pytest.mark.parity
def test_monai_masks_labels_before_it_makes_them_one_hot(library):
    monai = library("monai")
    torch = monai["torch"]
    x, y = torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    loss = monai["MaskedDiceLoss"](to_onehot_y=True, softmax=True, reduction="none")
    # Every pixel that counts is class 1, yet class 0 has 8 target pixels, all masked ones.
    inside = monai["DiceLoss"](to_onehot_y=True, softmax=True, reduction="none")
    dirty, clean = loss(x, y, mask).flatten(), inside(x[..., :2, :], y[..., :2, :]).flatten()
    np.testing.assert_allclose(dirty[1], clean[1], rtol=1e-4)
    size = 0.5 * 8 + 8
    np.testing.assert_allclose(dirty[0], 1 - 1e-5 / (size + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(clean[0], 1 - 1e-5 / (0.5 * 8 + 1e-5), rtol=1e-6)


@pytest.mark.parity
def test_monai_takes_a_softmax_of_regions_that_overlap(library):
    monai = library("monai")
    torch = monai["torch"]
    drawn = images("regions")
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(drawn["logits"], -1, 1)))
    y = torch.from_numpy(np.moveaxis(drawn["targets"], -1, 1).astype(np.float32))
    both = monai["DiceCELoss"](sigmoid=True)(x, y)
    entropy = both - monai["DiceLoss"](sigmoid=True)(x, y)
    np.testing.assert_allclose(entropy, torch.nn.functional.cross_entropy(x, y), rtol=1e-5)
    sums = dj.sigmoid_region_sums(drawn["logits"], drawn["targets"])
    assert abs(float(entropy) - float(dj.binary_cross_entropy_loss(sums))) > 0.1


@pytest.mark.parity
def test_monai_cuts_the_background_off_before_the_softmax(library):
    monai = library("monai")
    torch = monai["torch"]
    drawn = images("softmax")
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(drawn["logits"], -1, 1)))
    y = torch.from_numpy(drawn["labels"][:, None]).long()
    cut = monai["FocalLoss"](include_background=False, to_onehot_y=True, use_softmax=True)
    before = cut(x, y)
    x[:, 0] += 5  # the background's logits say something else
    assert cut(x, y) == before


@pytest.mark.parity
def test_monai_unified_focal_is_steep_close_to_the_truth(library):
    torch = library("monai")["torch"]
    from monai.losses.unified_focal_loss import AsymmetricFocalTverskyLoss

    y = torch.zeros(1, 1, 4, 4)
    y[..., :2] = 1
    p = (torch.cat([1 - y, y], 1) * (1 - 2**-23) + 2**-24).requires_grad_()
    loss = AsymmetricFocalTverskyLoss(to_onehot_y=True, epsilon=1e-9)(p, y)
    (gradient,) = torch.autograd.grad(loss, p)
    assert gradient.abs().max() > 1000


@pytest.mark.parity
def test_monai_s_perfect_skeleton_is_not_0(library):
    monai = library("monai")
    torch = monai["torch"]
    y = torch.zeros(1, 1, 9, 9)
    y[..., 4, 1:8] = 1
    np.testing.assert_allclose(monai["SoftclDiceLoss"]()(y, y), 5e-5, rtol=0.01)
    tube = np.asarray(y[0, 0])
    assert dj.cldice_loss(jnp.asarray(tube), tube > 0, iterations=3) == 0


@pytest.mark.parity
def test_nnunet_scores_an_empty_class_0_without_smoothing(library):
    names = library("nnunet")
    import torch

    x, y = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
    x[:, 0] = 1
    loss = names["SoftDiceLoss"](ddp=False, smooth=0)
    assert loss(x, y) == -0.5
    sums = dj.region_sums(jnp.asarray([1.0, 0.0]), jnp.asarray([1, 0]), axis=())
    assert dj.dice_index(sums).mean() == 1


@pytest.mark.parity
def test_smp_soft_cross_entropy_has_no_working_default(library):
    losses = library("smp")["losses"]
    import torch

    with pytest.raises(TypeError):
        losses.SoftCrossEntropyLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4).long())


@pytest.mark.parity
@pytest.mark.parametrize(("predicted", "target", "loss"), ONE_CLASS)
def test_smp_correlation_of_one_class_images(library, predicted, target, loss):
    losses = library("smp")["losses"]
    import torch

    p, y = (torch.full((1, 1, 8, 8), float(v)) for v in (predicted, target))
    np.testing.assert_allclose(losses.MCCLoss()(p, y), 0.5 + loss, rtol=1e-4)


@pytest.mark.parity
def test_smp_half_precision_overflows(library):
    losses = library("smp")["losses"]
    import torch

    logits, targets = half_images()
    x = torch.from_numpy(np.array(logits))[:, None]
    value = losses.DiceLoss("binary")(x, torch.from_numpy(np.array(targets))[:, None].half())
    assert not 0 < float(value) < 0.99


@pytest.mark.parity
def test_keras_learns_nothing_from_an_empty_target(library):
    keras = library("keras")["keras"]
    y = jnp.zeros((1, 5, 6, 1))
    value, gradient = jax.value_and_grad(lambda p: keras.losses.Dice()(y, p))(y + 0.5)
    assert value == 1
    assert (gradient == 0).all()


@pytest.mark.parity
def test_keras_half_precision_is_nan(library):
    keras = library("keras")["keras"]
    logits, targets = half_images()
    p = jax.nn.sigmoid(logits)
    assert np.isnan(keras.losses.dice(targets.astype(jnp.float16), p))


@pytest.mark.parity
def test_keras_axis_takes_no_weights(library):
    keras = library("keras")["keras"]
    y = jnp.zeros((2, 5, 6, 1))
    with pytest.raises(Exception, match=r"."):
        keras.losses.Dice(axis=(1, 2, 3))(y, y, sample_weight=jnp.ones((2, 5, 6)))


@pytest.mark.parity
def test_kornia_says_1_of_an_ignored_image(library):
    losses = library("kornia")["losses"]
    import torch

    x, y = torch.zeros(1, 2, 4, 4), torch.full((1, 4, 4), 255)
    assert losses.dice_loss(x, y, ignore_index=255) == 1
    labels = np.full((4, 4), 255)
    sums = dj.softmax_region_sums(jnp.zeros((4, 4, 2)), labels, where=labels != 255)
    assert dj.dice_loss(sums).max() == 0


@pytest.mark.parity
def test_torchmetrics_distances_of_oblong_images_are_wrong(library):
    segmentation = library("torchmetrics")["segmentation"]
    import torch

    drawn, other, expected = oblong()
    masks = [torch.from_numpy(np.array(m)).long()[None] for m in (drawn, other)]
    index = {"num_classes": 2, "input_format": "index"}
    found = float(segmentation.hausdorff_distance(*masks, **index))
    assert not np.isclose(found, expected, rtol=0.01)


@pytest.mark.parity
def test_distances_of_empty_masks_are_no_numbers_elsewhere(library):
    binary, distances = library("medpy")["binary"], library("surface-distance")
    something, nothing = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
    for pair in ((something, nothing), (nothing, something), (nothing, nothing)):
        with pytest.raises(RuntimeError, match="does not contain any binary object"):
            binary.hd95(*pair)
        measured = distances["compute_surface_distances"](*pair, (1, 1))
        assert distances["compute_robust_hausdorff"](measured, 95) == np.inf
    with np.errstate(invalid="ignore"):
        assert np.isnan(distances["compute_surface_dice_at_tolerance"](measured, 1.0))


@pytest.mark.parity
def test_stardist_scores_nothing_0(library):
    nothing = np.zeros((4, 4), int)
    assert library("stardist")["matching"](nothing, nothing).f1 == 0
    assert dj.metrics.instance_counts(nothing, nothing).f1 == 1


@pytest.mark.parity
def test_torchmetrics_generalized_dice_depends_on_the_neighbours(library):
    names = library("torchmetrics")
    segmentation, index = names["segmentation"], names["index"]
    import torch

    drawn = images("masks")
    x, y = (torch.from_numpy(drawn[n]).long() for n in ("predicted", "labels"))
    x[1, 0, 0] = 2  # class 2 is claimed where it is not
    alone = segmentation.generalized_dice_score(x[1:], y[1:], **index)
    beside = segmentation.generalized_dice_score(x, y, **index)[1:]
    assert not np.isclose(float(alone), float(beside), rtol=1e-3)
