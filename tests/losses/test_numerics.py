"""Where others give NaN, 0 or drift: empty, full, saturated, half precision, 2^26 pixels."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import reference

# Every loss of plain sums that the core has, with the options it needs.
LOSSES = {
    "dice": dj.dice_loss,
    "squared_dice": dj.squared_dice_loss,
    "jaccard": dj.jaccard_loss,
    "tversky": lambda s, **k: dj.tversky_loss(s, alpha=0.3, beta=0.7, **k),
    "focal_tversky": lambda s, **k: dj.focal_tversky_loss(s, alpha=0.3, beta=0.7, gamma=0.75, **k),
    "generalized_dice": lambda s, **k: dj.generalized_dice_loss(s[None], **k),
    "log_dice": dj.log_dice_loss,
    "log_cosh_dice": dj.log_cosh_dice_loss,
}
INDICES = {
    "dice": dj.dice_index,
    "squared_dice": dj.squared_dice_index,
    "jaccard": dj.jaccard_index,
    "tversky": lambda s, **k: dj.tversky_index(s, alpha=0.3, beta=0.7, **k),
    "generalized_dice": lambda s, **k: dj.generalized_dice_index(s[None], **k),
}


def constant_sums(p, y, pixels):
    return dj.region_sums(jnp.full(pixels, p), jnp.full(pixels, y))


@pytest.mark.parametrize("name", INDICES)
def test_nothing_there_and_nothing_claimed_is_an_index_of_one(name):
    empty = constant_sums(0.0, 0.0, 9)
    assert INDICES[name](empty) == 1
    assert INDICES[name](constant_sums(1.0, 1.0, 9)) == 1
    assert LOSSES[name](empty, smooth=0.0) == 0
    gradient = jax.grad(lambda p: LOSSES[name](dj.region_sums(p, jnp.zeros(9)), smooth=0.0))
    np.testing.assert_array_equal(gradient(jnp.zeros(9)), np.zeros(9))


@pytest.mark.parametrize("name", LOSSES)
def test_a_masked_out_region_has_loss_zero_and_no_gradient_whatever_the_smoothing(name):
    nowhere, y = jnp.zeros(9, bool), jnp.ones(9)

    @jax.jit
    @jax.vmap
    def both(smooth, denominator):
        def loss(p):
            sums = dj.region_sums(p, y, where=nowhere)
            one = LOSSES[name](sums, smooth=smooth)
            return jnp.stack(
                [one, LOSSES[name](sums, smooth=smooth, smooth_denominator=denominator)]
            )

        p = jnp.full(9, 0.5)
        return loss(p), jax.jacobian(loss)(p)

    values, gradients = both(jnp.array([0.0, 1.0, 0.0, 1.0]), jnp.array([1.0, 1.0, 1e-7, 3.0]))
    np.testing.assert_array_equal(values, np.zeros((4, 2)))
    np.testing.assert_array_equal(gradients, np.zeros((4, 2, 9)))


def test_a_masked_out_region_has_no_cross_entropy():
    nowhere = jnp.zeros(9, bool)
    binary = dj.sigmoid_region_sums(jnp.zeros(9), jnp.ones(9), where=nowhere)
    assert dj.binary_cross_entropy_loss(binary) == 0
    several = dj.softmax_region_sums(jnp.zeros((9, 3)), jnp.zeros(9, int), where=nowhere)
    assert dj.cross_entropy_loss(several) == 0
    assert dj.cross_entropy_loss(several, weights=jnp.ones(3)) == 0


@pytest.mark.parametrize("name", LOSSES)
def test_no_smoothing_and_an_empty_target_at_any_logit(name):
    """S² underflows at −60 where −50 and −100 pass: every logit from −30 to −200 is tried."""

    @jax.jit
    @jax.vmap
    def both(logit):
        def loss(x):
            return LOSSES[name](dj.sigmoid_region_sums(x, jnp.zeros(7)), smooth=0.0).sum()

        x = jnp.full(7, logit)
        product = jax.jvp(jax.grad(loss), (x,), (jnp.ones(7),))[1]
        return *jax.value_and_grad(loss)(x), product

    values, gradients, products = both(-jnp.arange(30.0, 201.0, 1.0))
    chex.assert_tree_all_finite((values, gradients, products))
    # All is false positive, until there is no more of it than float32 can hold.
    assert (values[:12] > 0.4).all()
    assert (values[-20:] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_saturated_predictions_give_finite_values_and_gradients(name):
    logits = np.array([-1e4, -104.0, -20.0, 0.0, 20.0, 104.0, 1e4], np.float32)
    targets, smoothings = np.array([0, 1]), np.array([0.0, 1e-5, 1.0], np.float32)

    @jax.jit
    @jax.vmap
    def both(logit, target, smooth):
        def loss(x):
            sums = dj.sigmoid_region_sums(x, jnp.full(5, target))
            return LOSSES[name](sums, smooth=smooth).sum()

        return jax.value_and_grad(loss)(jnp.full(5, logit))

    every = np.meshgrid(logits, targets, smoothings, indexing="ij")
    values, gradients = both(*(jnp.asarray(a.ravel()) for a in every))
    chex.assert_tree_all_finite((values, gradients))
    # Towards the target, or not at all.
    sign = np.where(every[1].ravel() == 0, 1, -1)
    assert (np.asarray(gradients) * sign[:, None] >= 0).all()


def test_cross_entropy_is_exact_where_probabilities_round():
    logits = np.array([-200.0, -90.0, -17.0, 0.0, 17.0, 90.0, 200.0])
    for target in (0, 1):
        targets = np.full(7, target)
        sums = dj.sigmoid_region_sums(jnp.asarray(logits, jnp.float32), targets, axis=())
        expected = reference.sigmoid_region_sums(logits, targets, axis=())
        np.testing.assert_allclose(
            sums.foreground_cross_entropy, expected.foreground_cross_entropy, rtol=1e-6, atol=1e-37
        )
        np.testing.assert_allclose(
            sums.background_cross_entropy, expected.background_cross_entropy, rtol=1e-6, atol=1e-37
        )
    scores = np.array([[0.0, 200.0, -200.0], [150.0, 0.0, 149.0], [20.0, 0.0, 0.0]])
    for label in range(3):
        labels = np.full(3, label)
        sums = dj.softmax_region_sums(jnp.asarray(scores, jnp.float32), labels, axis=())
        expected = reference.softmax_region_sums(scores, labels, axis=[])
        for field in ("foreground_cross_entropy", "background_cross_entropy"):
            np.testing.assert_allclose(
                getattr(sums, field), getattr(expected, field), rtol=1e-5, atol=1e-8
            )


def test_cross_entropy_pulls_a_saturated_mistake_with_full_force():
    for logit in (30.0, 200.0):
        gradient = jax.grad(
            lambda x: dj.binary_cross_entropy_loss(dj.sigmoid_region_sums(x, jnp.zeros(4)))
        )(jnp.full(4, logit))
        np.testing.assert_allclose(gradient, 0.25)


def test_the_gradient_of_a_confident_false_positive_does_not_die_at_17():
    """1 − p is 0 in float32 beyond a logit of 17; q = σ(−x) is not."""
    x = jnp.array([5.0, 20.0, 40.0])
    slope = jax.grad(lambda x: dj.sigmoid_region_sums(x, jnp.zeros(3)).prediction)(x)
    expected = reference.sigmoid(x) * reference.sigmoid(-np.asarray(x))
    np.testing.assert_allclose(slope[:2], expected[:2], rtol=1e-5)
    np.testing.assert_allclose(slope[2], np.exp(-40.0), rtol=1e-5)


def test_the_slope_of_the_sigmoid_at_zero_is_a_quarter():
    """A head that starts at zero starts at logit 0, where |x| has no derivative."""
    sums = jax.jacobian(lambda x: dj.sigmoid_region_sums(x, jnp.ones(3)))(jnp.zeros(3))
    np.testing.assert_allclose(sums.prediction, 0.25)
    np.testing.assert_allclose(sums.foreground_cross_entropy, -0.5)


def test_a_logarithm_of_a_probability_is_clamped_at_minus_100_with_a_finite_gradient():
    for p, y, field in ((0.0, 1, "foreground_cross_entropy"), (1.0, 0, "background_cross_entropy")):
        value, gradient = jax.value_and_grad(
            lambda p, y=y, field=field: getattr(dj.region_sums(p, jnp.full(3, y)), field)
        )(jnp.full(3, p))
        assert value == 300
        chex.assert_tree_all_finite(gradient)
    # −0 · log 0 is 0, not NaN.
    assert dj.binary_cross_entropy_loss(constant_sums(0.0, 0.0, 3)) == 0
    assert dj.binary_cross_entropy_loss(constant_sums(1.0, 1.0, 3)) == 0


def test_a_class_ruled_out_by_a_logit_of_minus_infinity():
    logits = jnp.array([[0.0, -jnp.inf, 1.0], [2.0, -jnp.inf, 0.0]])
    labels = jnp.array([0, 2])

    def loss(x):
        s = dj.softmax_region_sums(x, labels)
        return dj.cross_entropy_loss(s) + dj.dice_loss(s).mean()

    value, gradient = jax.value_and_grad(loss)(logits)
    chex.assert_tree_all_finite((value, gradient))
    without = dj.softmax_region_sums(logits[:, ::2], labels // 2)
    np.testing.assert_allclose(
        dj.cross_entropy_loss(dj.softmax_region_sums(logits, labels)),
        dj.cross_entropy_loss(without),
    )


# Precision.


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("pixels", [(60, 60), (512, 512)], ids=["plain", "tiled"])
def test_half_precision_sums_do_not_overflow_and_keep_their_gradient(dtype, pixels):
    """Float16 holds no sum above 65,504: other libraries give a loss of 1 and a gradient of 0."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=pixels), dtype)
    targets = rng.uniform(size=pixels) < 0.4
    # A loss scale of 2^15, as in mixed-precision training: without it a float16 output cannot hold
    # a per-pixel gradient of 1/N.
    scale = 2.0**15

    def loss(x):
        s = dj.sigmoid_region_sums(x, targets)
        return scale * (dj.dice_loss(s) + dj.binary_cross_entropy_loss(s))

    value, gradient = jax.jit(jax.value_and_grad(loss))(logits)
    exact_value, exact = jax.jit(jax.value_and_grad(loss))(logits.astype(jnp.float32))
    chex.assert_type([value, gradient], [jnp.float32, dtype])
    np.testing.assert_allclose(value, exact_value, rtol=1e-6)
    tolerance = 2e-3 if dtype == jnp.float16 else 1e-2
    np.testing.assert_allclose(gradient.astype(jnp.float32), exact, rtol=tolerance, atol=1e-6)
    assert (gradient != 0).all()

    scores = jnp.asarray(rng.normal(size=(*pixels, 3)), dtype)
    labels = rng.integers(0, 3, pixels)

    def several(x):
        s = dj.softmax_region_sums(x, labels)
        return scale * (dj.dice_loss(s).mean() + dj.cross_entropy_loss(s))

    value, gradient = jax.jit(jax.value_and_grad(several))(scores)
    exact_value, exact = jax.jit(jax.value_and_grad(several))(scores.astype(jnp.float32))
    chex.assert_type([value, gradient], [jnp.float32, dtype])
    np.testing.assert_allclose(value, exact_value, rtol=1e-6)
    np.testing.assert_allclose(gradient.astype(jnp.float32), exact, rtol=tolerance, atol=1e-6)


def test_float64_in_float64_out():
    with jax.enable_x64(True):
        x = jnp.linspace(-3, 3, 12)
        chex.assert_type(jax.tree.leaves(dj.sigmoid_region_sums(x, x > 0)), jnp.float64)
        chex.assert_type(dj.dice_loss(dj.sigmoid_region_sums(x, x > 0)), jnp.float64)


@pytest.mark.parametrize("pixels", [2**26, pytest.param(2**28, marks=pytest.mark.huge)])
def test_sums_stay_accurate_over_many_pixels(pixels):
    """Constants are the worst case: every rounding of a running sum has the same sign."""
    # Many pixels: here the machine code's speed matters.
    jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
    p = jnp.full(pixels, 0.3, jnp.float32)
    sums = jit(lambda p: dj.region_sums(p, p))(p)
    exact = float(np.float32(0.3)) * pixels
    np.testing.assert_allclose(sums.prediction, exact, rtol=1e-6)
    np.testing.assert_allclose(sums.intersection, float(np.float32(0.3)) ** 2 * pixels, rtol=1e-6)
    np.testing.assert_allclose(sums.count, pixels, rtol=1e-7)
    del p
    logits = jnp.broadcast_to(jnp.array([0.0, 1.0], jnp.float32), (pixels // 2, 2))
    sums = jit(lambda x: dj.softmax_region_sums(x, jnp.zeros(pixels // 2, jnp.uint8)))(logits)
    exact = reference.softmax([0.0, 1.0]) * (pixels // 2)
    np.testing.assert_allclose(sums.prediction, exact, rtol=1e-6)
    np.testing.assert_allclose(
        sums.foreground_cross_entropy[0], np.log1p(np.e) * (pixels // 2), rtol=1e-6
    )


# Options.


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize(
    "options", [{}, {"smooth": 2.0}, {"smooth": 0.5, "smooth_denominator": 3.0}]
)
def test_smoothing_is_counted_in_pixels_above_and_below(name, options):
    rng = np.random.default_rng(0)
    p, y = rng.uniform(size=30), rng.integers(0, 2, 30)
    sums = dj.region_sums(jnp.asarray(p, jnp.float32), y)
    expected = getattr(reference, f"{name}_index")
    oracle = reference.region_sums(p, y)
    if name == "tversky":
        options = {**options, "alpha": 0.3, "beta": 0.7}
        index, loss = dj.tversky_index(sums, **options), dj.tversky_loss(sums, **options)
    elif name == "generalized_dice":
        oracle = reference.Sums(*(np.asarray(f)[None] for f in oracle))
        index = dj.generalized_dice_index(sums[None], **options)
        loss = dj.generalized_dice_loss(sums[None], **options)
    else:
        index = getattr(dj, f"{name}_index")(sums, **options)
        loss = getattr(dj, f"{name}_loss")(sums, **options)
    np.testing.assert_allclose(index, expected(oracle, **options), rtol=1e-5)
    of_loss = {"smooth": 1.0, **options}
    np.testing.assert_allclose(loss, 1 - expected(oracle, **of_loss), rtol=1e-5, atol=1e-7)


def test_an_absent_class_does_not_take_generalised_dice_over():
    """With w = 1/(T + ε)² all weight goes to the class that is not there."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(400, 3)), jnp.float32)
    labels = rng.integers(0, 2, 400)

    def loss(x):
        return dj.generalized_dice_loss(dj.softmax_region_sums(x, labels))

    value, gradient = jax.value_and_grad(loss)(logits)
    assert 0.2 < value < 0.8
    present = np.abs(np.asarray(gradient)[:, :2]).sum()
    assert present > 0.1 * np.abs(np.asarray(gradient)).sum()


def test_class_weights_are_those_of_pytorch():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    weights = np.array([0.1, 1.0, 2.0, 5.0])
    sums = dj.softmax_region_sums(jnp.asarray(scores, jnp.float32), labels)
    per_pixel = -reference.log_softmax(scores)[np.arange(50), labels]
    np.testing.assert_allclose(dj.cross_entropy_loss(sums), per_pixel.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        dj.cross_entropy_loss(sums, weights=weights.astype(np.float32)),
        np.average(per_pixel, weights=weights[labels]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("present", [3, 2], ids=["all classes", "one absent"])
@pytest.mark.parametrize("options", [{}, {"smooth": 2.0}, {"smooth_denominator": 3.0}])
def test_generalised_dice_weighs_classes_by_the_square_of_their_rarity(present, options):
    rng = np.random.default_rng(0)
    share = np.array([0.7, 0.2, 0.1])[:present]
    scores, labels = rng.normal(size=(60, 3)), rng.choice(present, 60, p=share / share.sum())
    sums = dj.softmax_region_sums(jnp.asarray(scores, jnp.float32), labels)
    expected = reference.generalized_dice_index(
        reference.softmax_region_sums(scores, labels), **options
    )
    np.testing.assert_allclose(dj.generalized_dice_index(sums, **options), expected, rtol=1e-5)
