"""The numbers that other libraries' own tests expect, by the lines of the pages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dice_jax as dj
from dice_jax import metrics

ONE = np.array([[[1.0, -1.0], [-1.0, 1.0]]], np.float32), np.array([[[1, 0], [1, 1]]])
TWO = np.repeat(ONE[0], 2, 0), np.array([[[1, 1], [1, 1]], [[1, 0], [1, 0]]])
SOFT = np.array([[[0.3, 0.4], [0.7, 0.9]], [[1.0, 0.1], [0.5, 0.3]]], np.float32)
ROW = (
    np.array([[[-1, 1], [0, 0], [1, -1]], [[0, 0], [0, 0], [0, 0]]], np.float32),
    np.array([[1, 0, 0], [1, 1, 0]]),
)
HARD = np.array([[0, 0, 1], [0, 1, 0]])
FOCAL = np.moveaxis(np.array([[[[1.0, 1.0], [0.5, 0.0]]] * 3], np.float32), 1, -1)
FOCAL_LABELS = np.array([[[0, 1], [2, 0]]])


def one_hot(labels, classes=2):
    return jax.nn.one_hot(labels, classes)


def planes(case, **kwargs):
    return dj.sigmoid_region_sums(*case, axis=kwargs.pop("axis", (1, 2)), **kwargs)


def row(**kwargs):
    """Each class a sigmoid against the rest."""
    logits, labels = ROW
    return dj.sigmoid_region_sums(logits, one_hot(labels), axis=kwargs.pop("axis", 1), **kwargs)


def soft_sums():
    return dj.region_sums(SOFT, SOFT, axis=(1, 2))


def hard_sums():
    return dj.region_sums(one_hot(HARD), one_hot(HARD), axis=1)


def weighted(sums, power=2):
    w = sums.target**-power
    largest = jnp.max(w, -1, where=jnp.isfinite(w), initial=0.0, keepdims=True)
    w = jnp.where(jnp.isfinite(w), w, largest)
    return jax.tree.map(lambda field: (w * field).sum(-1), sums)


def classes(sums):
    """A class axis of one class, as MONAI has it."""
    return jax.tree.map(lambda field: field[..., None], sums)


def softmax_row(**kwargs):
    return dj.softmax_region_sums(*ROW, axis=kwargs.pop("axis", 1), **kwargs)


def focal(**kwargs):
    targets = one_hot(FOCAL_LABELS, 3)
    return optax.sigmoid_focal_loss(jnp.asarray(FOCAL), targets, gamma=2.0, **kwargs)


def cross_entropy(logits, labels, **kwargs):
    return dj.cross_entropy_loss(dj.softmax_region_sums(logits, labels), **kwargs)


TINY, SMALL, DEFAULT = ({"smooth": s} for s in (1e-6, 1e-4, 1e-5))
LOUD = np.where(HARD[..., None] == np.arange(2), np.float32(1), 0)
FAR = LOUD.copy()
FAR[0, :2, 0] = 100.0
BCE = np.array([[0.8, 0.6, 0.0], [0.0, 0.0, 0.9]], np.float32)

# Of MONAI's tests/losses: the value, and what the page says to write.
LOSSES = {
    "dice: one": (0.307576, lambda: dj.dice_loss(planes(ONE), **TINY).mean()),
    "dice: two": (0.416657, lambda: dj.dice_loss(planes(TWO), **SMALL).mean()),
    "dice: soft_label": (0.0, lambda: dj.dice_semimetric_loss(soft_sums(), **SMALL).mean()),
    "dice: soft": (0.307773, lambda: dj.dice_loss(soft_sums(), **SMALL).mean()),
    "dice: hard": (0.0, lambda: dj.dice_loss(hard_sums(), smooth=0)[:, 1:].mean()),
    "dice: sigmoid": (0.435050, lambda: dj.dice_loss(row(), **SMALL).mean()),
    "dice: none": (
        [[0.296529, 0.415136], [0.599976, 0.428559]],
        lambda: dj.dice_loss(row(), **SMALL),
    ),
    "dice: softmax": (0.383713, lambda: dj.dice_loss(softmax_row(), **SMALL).mean()),
    "dice: sum": (1.534853, lambda: dj.dice_loss(softmax_row(), **SMALL).sum()),
    "dice: squared": (0.178337, lambda: dj.squared_dice_loss(planes(ONE), **DEFAULT).mean()),
    "dice: jaccard": (0.470451, lambda: dj.jaccard_loss(planes(ONE), smooth=5e-6).mean()),
    "generalized dice: two": (
        0.416597,
        lambda: dj.dice_loss(weighted(classes(planes(TWO))), **SMALL).mean(),
    ),
    "generalized dice: soft": (
        0.307748,
        lambda: dj.dice_loss(weighted(classes(soft_sums())), **SMALL).mean(),
    ),
    "generalized dice: sigmoid": (0.469964, lambda: dj.dice_loss(weighted(row()), **SMALL).mean()),
    "generalized dice: softmax": (
        [0.273476, 0.555539],
        lambda: dj.dice_loss(weighted(softmax_row()), **SMALL),
    ),
    "generalized dice: simple": (
        0.250023,
        lambda: dj.dice_loss(
            weighted(
                dj.softmax_region_sums(
                    np.array([[[0.0, 10], [10, 0], [10, 0], [10, 0]]]),
                    np.array([[1, 1, 0, 0]]),
                    axis=1,
                ),
                power=1,
            ),
            smooth=0,
        ).mean(),
    ),
    "tversky: smooth_dr": (
        0.000999,
        lambda: dj.tversky_loss(
            hard_sums(), alpha=0.5, beta=0.5, smooth=0, smooth_denominator=1e-3
        )[:, 1:].mean(),
    ),
    "tversky: batch": (
        0.422979,
        lambda: dj.tversky_loss(row(axis=(0, 1)), alpha=0.5, beta=0.5, **DEFAULT).mean(),
    ),
    "tversky: sum": (1.74013, lambda: dj.tversky_loss(row(), alpha=0.5, beta=0.5, **SMALL).sum()),
    "tversky: none": (
        [[0.210961, 0.295339], [0.599952, 0.428547]],
        lambda: dj.tversky_loss(softmax_row(), alpha=0.5, beta=0.5, **SMALL),
    ),
    "tversky: 0.3, 0.7": (
        0.3589,
        lambda: dj.tversky_loss(planes(ONE), alpha=0.3, beta=0.7, **TINY).mean(),
    ),
    "tversky: 0.7, 0.3": (
        0.247366,
        lambda: dj.tversky_loss(planes(ONE), alpha=0.7, beta=0.3, **TINY).mean(),
    ),
    "dice ce: probabilities": (
        0.3133,  # MONAI takes the hard prediction as probabilities and as logits
        lambda: dj.dice_loss(hard_sums(), **DEFAULT).mean() + cross_entropy(LOUD, HARD),
    ),
    "dice ce: weights": (0.2088, lambda: cross_entropy(FAR, HARD, weights=jnp.ones(2))),
    "dice ce: no background": (
        0.3133,
        lambda: cross_entropy(FAR, HARD, weights=jnp.array([0.0, 1.0])),
    ),
    "focal": (0.34959, lambda: focal().mean()),
    "focal: no background": (0.36498, lambda: focal()[..., 1:].mean()),
    "focal: alpha": (0.08423, lambda: focal(alpha=0.8).mean()),
    "focal: weight": (
        [
            [[0.01133, 0.07019, 0.14037], [0.35093, 0.00227, 0.14037]],
            [[0.18871, 0.03774, 0.01352], [0.08664, 0.01733, 0.03466]],
        ],
        lambda: (jnp.array([0.5, 0.1, 0.2]) * focal())[0],
    ),
    "focal: softmax": (
        0.16276,
        lambda: dj.softmax_focal_loss(FOCAL, FOCAL_LABELS, gamma=2.0).mean() / 3,
    ),
    "focal: softmax, alpha": (
        0.08138,
        lambda: (
            dj.softmax_focal_loss(
                FOCAL, FOCAL_LABELS, gamma=2.0, alpha=jnp.array([0.2, 0.8, 0.8])
            ).mean()
            / 3
        ),
    ),
    "cldice": (
        0.0,
        lambda: dj.cldice_loss(jnp.ones((2, 7, 6)), jnp.ones((2, 7, 6)), axis=(1, 2), iterations=3),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_monai_s_losses(name):
    expected, loss = LOSSES[name]
    np.testing.assert_allclose(np.squeeze(loss()), expected, rtol=6e-5, atol=6e-5)


# Of the metrics' tests.

PANOPTIC = (
    np.array([[0, 1, 1, 1], [0, 0, 0, 0], [2, 0, 3, 3], [4, 2, 2, 0]]),
    np.array([[1, 1, 2, 1], [0, 0, 0, 0], [1, 3, 0, 0], [4, 3, 3, 3]]),
)
COUNTED = (
    np.array(
        [
            [[[0, 1], [0, 0]], [[0, 0], [1, 1]], [[1, 0], [0, 0]]],
            [[[0, 0], [0, 1]], [[1, 0], [0, 0]], [[0, 1], [1, 0]]],
        ],
        bool,
    ),
    np.array(
        [
            [[[0, 0], [0, 1]], [[1, 0], [1, 0]], [[0, 1], [0, 0]]],
            [[[0, 0], [0, 1]], [[1, 1], [0, 0]], [[0, 0], [1, 0]]],
        ],
        bool,
    ),
)


def test_monai_s_panoptic_quality():
    assert float(metrics.panoptic_quality(*PANOPTIC)) == pytest.approx(0.25)
    counts = metrics.instance_counts(*PANOPTIC, iou_threshold=0.3)
    assert counts.segmentation_quality == pytest.approx(0.6)
    assert counts.recognition_quality == pytest.approx(0.75)


def test_monai_s_confusion_matrix():
    sums = dj.region_sums(*COUNTED, axis=(2, 3))
    c = metrics.confusion_counts(sums)
    found = jnp.stack(
        [c.true_positives, c.false_positives, c.true_negatives, c.false_negatives], -1
    )
    expected = [
        [[0, 1, 2, 1], [1, 1, 1, 1], [0, 1, 2, 1]],
        [[1, 0, 3, 0], [1, 0, 2, 1], [1, 1, 2, 0]],
    ]
    np.testing.assert_array_equal(found, expected)
    means = {  # over images, then classes, of what is there in every image
        metrics.recall: [0.5, 0.5, 0.5],
        metrics.specificity: [0.8333, 0.75, 0.6667],
        metrics.precision: [0.5, 0.75, 0.25],
        metrics.negative_predictive_value: [0.8333, 0.5833, 0.8333],
        metrics.accuracy: [0.75, 0.625, 0.625],
        metrics.balanced_accuracy: [0.6667, 0.625, 0.5833],
    }
    for metric, values in means.items():
        np.testing.assert_allclose(metric(sums).mean(0), values, atol=5e-5)


def test_monai_s_dice_and_area_under_the_curve():
    sums = dj.region_sums(*COUNTED, axis=(2, 3))
    expected = [[0.5, 0.0], [0.6667, 0.6667]]
    np.testing.assert_allclose(dj.dice_index(sums)[:, 1:], expected, atol=5e-5)
    scores, targets = jnp.array([0.5, 0.5, 0.2, 8.3]), jnp.array([0, 1, 0, 1])
    assert float(metrics.roc_auc(scores, targets)) == 0.875


def test_keras_s_dice_and_tversky():
    """Its other cases have predictions such as 4 and 6, which are an error here."""
    truth = np.array([[1, 0, 1, 0], [0, 1, 0, 1]] * 2)
    claim = np.array([[0, 1, 0, 1], [1, 0, 1, 1]] * 2, bool)
    sums = dj.region_sums(claim, truth)
    options = {"smooth": 0, "smooth_denominator": 1e-7}
    assert float(dj.dice_loss(sums, **options)) == pytest.approx(0.77777773, rel=1e-6)
    tversky = dj.tversky_loss(sums, alpha=0.2, beta=0.8, **options)
    assert float(tversky) == pytest.approx(0.76190472, rel=1e-6)
    truth = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
    claim = np.array([[0, 1, 0, 1], [0.4, 0, 0, 0.9]], np.float32)
    sums = dj.region_sums(claim, truth, axis=1)
    np.testing.assert_allclose(dj.dice_loss(sums, **options), [0.5, 0.75757575], rtol=1e-6)
    tversky = dj.tversky_loss(sums, alpha=0.2, beta=0.8, **options)
    np.testing.assert_allclose(tversky, [0.5, 0.78494626], rtol=1e-6)


@pytest.mark.parametrize(
    ("predicted", "target", "dice", "jaccard"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], 1, 1),
        ([0, 1, 1, 0], [0, 1, 1, 0], 1, 1),
        ([1, 1, 0, 0], [1, 1, 1, 1], 2 / 3, 1 / 2),
        ([0, 1, 0, 0], [1, 0, 1, 1], 0, 0),
    ],
)
def test_smp_s_scores(predicted, target, dice, jaccard):
    sums = dj.region_sums(np.array(predicted, bool), np.array(target))
    assert float(dj.dice_index(sums)) == pytest.approx(dice, rel=1e-6)
    assert float(dj.jaccard_index(sums)) == pytest.approx(jaccard, rel=1e-6)
