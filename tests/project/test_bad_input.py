"""Bad input gets an error that names the argument, what came and what was expected."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj

P = jnp.full((4, 5), 0.5)
Y = jnp.zeros((4, 5), jnp.int32)
LOGITS = jnp.zeros((4, 5, 3))
SUMS = dj.region_sums(P, Y)
CLASS_SUMS = dj.softmax_region_sums(LOGITS, Y)

CORE_LOSSES = {
    dj.dice_loss: {},
    dj.squared_dice_loss: {},
    dj.jaccard_loss: {},
    dj.tversky_loss: {"alpha": 0.5, "beta": 0.5},
    dj.generalized_dice_loss: {},
    dj.focal_tversky_loss: {"alpha": 0.5, "beta": 0.5, "gamma": 1.0},
    dj.log_dice_loss: {},
    dj.log_cosh_dice_loss: {},
    dj.dice_index: {},
    dj.squared_dice_index: {},
    dj.jaccard_index: {},
    dj.tversky_index: {"alpha": 0.5, "beta": 0.5},
    dj.generalized_dice_index: {},
}
CROSS_ENTROPIES = {dj.cross_entropy_loss: {}, dj.binary_cross_entropy_loss: {}}


@pytest.mark.parametrize(
    ("function", "options"),
    (CORE_LOSSES | CROSS_ENTROPIES).items(),
    ids=lambda f: getattr(f, "__name__", ""),
)
def test_arrays_given_to_a_loss_are_told_the_right_line(function, options):
    name = function.__name__
    line = rf"{name} takes RegionSums; write {name}\(region_sums\(probabilities, targets\)\)"
    with pytest.raises(TypeError, match=line):
        function(P, Y, **options)
    with pytest.raises(TypeError, match=line):
        function(P, **options)
    with pytest.raises(TypeError, match=line):
        function(sums=P, **options)
    with pytest.raises(TypeError, match=line):
        jax.jit(lambda p: function(p, Y, **options))(P)


CASES = {
    "shapes differ": (
        lambda: dj.region_sums(P, Y[:2]),
        ValueError,
        r"targets must have the shape of probabilities \(4, 5\), got int32 of shape \(2, 5\)",
    ),
    "shapes differ, logits": (
        lambda: dj.sigmoid_region_sums(P, Y[..., None]),
        ValueError,
        r"targets must have the shape of logits \(4, 5\), got int32 of shape \(4, 5, 1\)",
    ),
    "integer probabilities": (
        lambda: dj.region_sums(Y, Y),
        TypeError,
        r"probabilities must be floating .* or a boolean mask, got int32 of shape \(4, 5\)",
    ),
    "integer logits": (
        lambda: dj.sigmoid_region_sums(Y, Y),
        TypeError,
        r"logits must be floating, got int32 of shape \(4, 5\)",
    ),
    "integer class scores": (
        lambda: dj.softmax_region_sums(LOGITS.astype(int), Y),
        TypeError,
        r"logits must be floating, got int32 of shape \(4, 5, 3\)",
    ),
    "complex targets": (
        lambda: dj.region_sums(P, P.astype(complex)),
        TypeError,
        r"targets must be boolean, integer or floating, got complex64",
    ),
    "no numbers": (
        lambda: dj.region_sums("cat", Y),
        TypeError,
        "probabilities must be an array of numbers, got a str",
    ),
    "no class axis": (
        lambda: dj.softmax_region_sums(jnp.float32(1), jnp.int32(0)),
        ValueError,
        r"logits must have a class axis last, \[..., C\], got float32 of shape \(\)",
    ),
    "labels with a trailing axis": (
        lambda: dj.softmax_region_sums(LOGITS, Y[..., None]),
        ValueError,
        r"labels have an axis too many, got int32 of shape \(4, 5, 1\).*write labels\[..., 0\]",
    ),
    "labels of the wrong rank": (
        lambda: dj.softmax_region_sums(LOGITS, Y[0]),
        ValueError,
        r"labels do not fit the logits, got int32 of shape \(5,\): "
        r"expected integer labels \(4, 5\) or floating ones \(4, 5, 3\)",
    ),
    "floating class indices": (
        lambda: dj.softmax_region_sums(LOGITS, Y.astype(jnp.float32)),
        TypeError,
        r"labels of shape \[...\] must be integers, got float32 of shape \(4, 5\).*"
        r"write labels.astype\(jnp.int32\)",
    ),
    "integer one-hot labels": (
        lambda: dj.softmax_region_sums(LOGITS, LOGITS.astype(jnp.int32)),
        TypeError,
        r"one-hot labels must be floating, got int32 of shape \(4, 5, 3\).*labels.argmax\(-1\)",
    ),
    "boolean one-hot labels": (
        lambda: dj.softmax_region_sums(LOGITS, LOGITS > 0),
        TypeError,
        r"one-hot labels must be floating, got bool of shape \(4, 5, 3\)",
    ),
    "an axis that does not exist": (
        lambda: dj.region_sums(P, Y, axis=2),
        ValueError,
        "axis 2 does not exist: probabilities has 2 axes",
    ),
    "the class axis": (
        lambda: dj.softmax_region_sums(LOGITS, Y, axis=2),
        ValueError,
        r"axis 2 does not exist: the pixel shape \(the class axis is last, and is kept\) has 2",
    ),
    "an axis twice": (
        lambda: dj.region_sums(P, Y, axis=(0, -2)),
        ValueError,
        r"axis \(0, -2\) names an axis twice",
    ),
    "a fractional axis": (
        lambda: dj.region_sums(P, Y, axis=1.0),
        TypeError,
        "axis must be an int, a sequence of ints or None, got 1.0",
    ),
    "an integer mask": (
        lambda: dj.region_sums(P, Y, where=Y),
        TypeError,
        r"where must be boolean or floating, got int32 of shape \(4, 5\)",
    ),
    "a mask that does not fit": (
        lambda: dj.region_sums(P, Y, where=jnp.ones((4, 6), bool)),
        ValueError,
        r"where must broadcast to the pixel shape \(4, 5\), got bool of shape \(4, 6\)",
    ),
    "a mask with a class axis": (
        lambda: dj.softmax_region_sums(LOGITS, Y, where=LOGITS > 0),
        ValueError,
        r"where must broadcast to the pixel shape \(4, 5\), got bool of shape \(4, 5, 3\)",
    ),
    "a mask that would enlarge": (
        lambda: dj.region_sums(P[:1], Y[:1], where=jnp.ones((4, 5), bool)),
        ValueError,
        r"where must broadcast to the pixel shape \(1, 5\)",
    ),
    "a mask without the class axis": (
        lambda: dj.region_sums(LOGITS + 0.5, LOGITS, where=Y == 0),
        ValueError,
        r"where must broadcast to the pixel shape \(4, 5, 3\), got bool of shape \(4, 5\); "
        r"write where\[..., None\]",
    ),
    "a mask that fits in two ways": (
        lambda: dj.region_sums(P[:, :4], Y[:, :4], where=jnp.ones(4)),
        ValueError,
        r"where fits the pixel shape \(4, 4\) in two ways, .*where\[..., None\].*where\[None\]",
    ),
    "a negative weight": (
        lambda: dj.region_sums(P, Y, where=np.full((4, 5), -1.0)),
        ValueError,
        "where must be finite and >= 0, got weights from -1 to -1; write where=mask > 0",
    ),
    "an infinite weight": (
        lambda: dj.safe_mean(np.ones(2), where=np.array([1.0, np.inf])),
        ValueError,
        "where must be finite and >= 0, got weights from 1 to inf",
    ),
    "channels first": (
        lambda: dj.softmax_region_sums(jnp.zeros((2, 3, 4, 5)), jnp.zeros((2, 4, 5), jnp.int32)),
        ValueError,
        r"labels do not fit the logits.*classes last: write jnp.moveaxis\(logits, 1, -1\)",
    ),
    "a channel first": (
        lambda: dj.sigmoid_region_sums(jnp.zeros((2, 1, 4, 5)), jnp.zeros((2, 4, 5))),
        ValueError,
        r"targets must have the shape of logits .*; write logits\[:, 0\]",
    ),
    "a channel last": (
        lambda: dj.sigmoid_region_sums(LOGITS[..., :1], Y),
        ValueError,
        r"targets must have the shape of logits .*; write logits\[..., 0\]",
    ),
    "targets with a channel": (
        lambda: dj.sigmoid_region_sums(P, Y[..., None]),
        ValueError,
        r"targets must have the shape of logits .*; write targets\[..., 0\]",
    ),
    "distances of another shape": (
        lambda: dj.boundary_loss(P, P[:2]),
        ValueError,
        r"signed_distances must have the shape of probabilities",
    ),
    "soft labels where class indices belong": (
        lambda: dj.lovasz_softmax_loss(LOGITS + 0.5, LOGITS),
        ValueError,
        r"labels are soft or one-hot, .* If they are one-hot, write labels.argmax\(-1\); if they "
        "are soft, that would lose the mixture",
    ),
    "logits where probabilities belong": (
        lambda: dj.region_sums(np.array([5.0, -4, 3]), np.array([1, 0, 0])),
        ValueError,
        r"probabilities must be in \[0, 1\], got values from -4 to 5; write jax.nn.sigmoid\(logits",
    ),
    "gray values where targets belong": (
        lambda: dj.sigmoid_region_sums(np.zeros(3), np.array([0.0, 255.0, 0.0])),
        ValueError,
        r"targets must be in \[0, 1\], got values from 0 to 255; write targets / 255",
    ),
    "soft labels of sum 255": (
        lambda: dj.softmax_region_sums(np.zeros((2, 2)), np.array([[255.0, 0.0], [0.0, 1.0]])),
        ValueError,
        r"labels must be in \[0, 1\], got values from 0 to 255; write labels / labels.sum",
    ),
    "negative smoothing": (
        lambda: dj.dice_loss(SUMS, smooth=-1.0),
        ValueError,
        "smooth must be finite and >= 0, got -1",
    ),
    "infinite smoothing": (
        lambda: dj.jaccard_index(SUMS, smooth=np.inf),
        ValueError,
        "smooth must be finite and >= 0, got inf",
    ),
    "negative smoothing below": (
        lambda: dj.squared_dice_loss(SUMS, smooth_denominator=-1e-9),
        ValueError,
        "smooth_denominator must be finite and >= 0",
    ),
    "smoothing that is no number": (
        lambda: dj.dice_loss(SUMS, smooth="a lot"),
        TypeError,
        "smooth must be a number, got 'a lot'",
    ),
    "alpha without beta": (lambda: dj.tversky_loss(SUMS, alpha=0.3), TypeError, "beta"),
    "negative alpha": (
        lambda: dj.tversky_index(SUMS, alpha=-0.3, beta=1.0),
        ValueError,
        "alpha must be finite and >= 0, got -0.3",
    ),
    "no exponent": (
        lambda: dj.focal_tversky_loss(SUMS, alpha=0.5, beta=0.5, gamma=0.0),
        ValueError,
        "gamma must be finite and > 0, got 0",
    ),
    "generalised Dice without classes": (
        lambda: dj.generalized_dice_loss(SUMS),
        ValueError,
        "sums must have a class axis last for generalized Dice, got sums of shape",
    ),
    "categorical cross-entropy without classes": (
        lambda: dj.cross_entropy_loss(SUMS),
        ValueError,
        "sums must have a class axis last for cross_entropy_loss, got sums of shape",
    ),
    "class weights of another length": (
        lambda: dj.cross_entropy_loss(CLASS_SUMS, weights=jnp.ones(4)),
        ValueError,
        r"weights must have one entry per class, shape \(3,\), got float32 of shape \(4,\)",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), CASES.values(), ids=CASES)
def test_a_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):
        # Traced: everything that call() makes is a constant, the error is the same.
        jax.jit(lambda x: (call(), x)[1])(1.0)


def test_the_same_errors_come_from_traced_arrays():
    with pytest.raises(ValueError, match=r"targets must have the shape of probabilities \(4, 5\)"):
        jax.jit(dj.region_sums)(P, Y[:2])
    with pytest.raises(TypeError, match="integers"):
        jax.jit(dj.softmax_region_sums)(LOGITS, P)
    with pytest.raises(ValueError, match="smooth"):
        jax.jit(lambda s: dj.dice_loss(s, smooth=-1.0))(SUMS)


def test_options_may_be_traced():
    """A sweep over α under vmap: values that are not known cannot be checked, and need not be."""
    alphas = jnp.linspace(0.1, 0.9, 3)
    swept = jax.vmap(lambda a: dj.tversky_loss(SUMS, alpha=a, beta=1 - a, smooth=a))(alphas)
    each = [dj.tversky_loss(SUMS, alpha=a, beta=1 - a, smooth=a) for a in alphas.tolist()]
    np.testing.assert_allclose(swept, each, rtol=1e-6)
