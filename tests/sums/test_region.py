"""Pixels -> sums: values and derivatives of every path against float64 NumPy, and the masks."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import reference

FIELDS = [f.name for f in dataclasses.fields(dj.RegionSums)]

# Below 4,096 pixels there is one expression, above it tiles: sizes on both sides, primes among
# them, one to four pixel axes.
BINARY_SHAPES = [(1,), (7,), (3, 5, 4), (4099,), (3, 61, 67), (2, 64, 64), (2, 3, 17, 64)]
SOFTMAX_SHAPES = [
    (5, 1),
    (7, 2),
    (3, 5, 4, 3),
    (4099, 2),
    (2, 64, 64, 4),
    (3, 37, 41, 5),
    (2, 64, 33, 17),
    (5, 7, 104),
]


def binary_case(shape, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, shape).astype(dtype)
    return logits, rng.integers(0, 2, shape), rng.uniform(size=shape) < 0.7


def softmax_case(shape, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, shape).astype(dtype)
    return logits, rng.integers(0, shape[-1], shape[:-1]), rng.uniform(size=shape[:-1]) < 0.7


def assert_sums_close(sums, expected, rtol):
    for field in FIELDS:
        actual, oracle = np.asarray(getattr(sums, field)), getattr(expected, field)
        np.testing.assert_allclose(
            actual, np.broadcast_to(oracle, actual.shape), rtol=rtol, atol=rtol, err_msg=field
        )


def check_gradient(make, oracle, x, seed=0):
    """The gradient of a random combination of all fields, against central differences."""
    rng = np.random.default_rng(seed)
    mix = {f: rng.uniform(0.5, 2) for f in FIELDS}

    @jax.jit
    @jax.grad
    def slopes(x):
        sums = make(x)
        return sum(mix[f] * jnp.sum(getattr(sums, f)) for f in FIELDS)

    gradient = slopes(x)
    chex.assert_equal_shape([gradient, x])
    chex.assert_type(gradient, x.dtype)

    def value(x):
        sums = oracle(x)
        return sum(mix[f] * np.sum(getattr(sums, f)) for f in FIELDS if f != "count")

    for _ in range(2):
        i = tuple(rng.integers(0, n) for n in x.shape)
        step = np.zeros(x.shape)
        step[i] = 1e-5
        slope = (value(x + step) - value(x - step)) / 2e-5
        # The sums are large beside one pixel's part in them: the difference keeps few digits.
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("shape", BINARY_SHAPES, ids=str)
def test_sigmoid_sums_equal_the_reference(shape):
    logits, targets, _ = binary_case(shape)
    expected = reference.sigmoid_region_sums(logits, targets)
    sums = dj.sigmoid_region_sums(jnp.asarray(logits, jnp.float32), targets)
    chex.assert_shape(jax.tree.leaves(sums), ())
    assert_sums_close(sums, expected, 1e-5)
    with jax.enable_x64(True):
        assert_sums_close(dj.sigmoid_region_sums(logits, targets), expected, 1e-12)
        check_gradient(
            lambda x: dj.sigmoid_region_sums(x, targets),
            lambda x: reference.sigmoid_region_sums(x, targets),
            logits,
        )


@pytest.mark.parametrize("shape", BINARY_SHAPES[1::2], ids=str)
def test_probability_sums_equal_the_reference(shape):
    logits, targets, _ = binary_case(shape)
    p = reference.sigmoid(logits)
    expected = reference.region_sums(p, targets)
    assert_sums_close(dj.region_sums(jnp.asarray(p, jnp.float32), targets), expected, 2e-5)
    with jax.enable_x64(True):
        assert_sums_close(dj.region_sums(p, targets), expected, 1e-12)
        check_gradient(
            lambda p: dj.region_sums(p, targets), lambda p: reference.region_sums(p, targets), p
        )


@pytest.mark.parametrize("shape", SOFTMAX_SHAPES, ids=str)
def test_softmax_sums_equal_the_reference(shape):
    logits, labels, _ = softmax_case(shape)
    expected = reference.softmax_region_sums(logits, labels)
    sums = dj.softmax_region_sums(jnp.asarray(logits, jnp.float32), labels)
    chex.assert_shape(jax.tree.leaves(sums), shape[-1:])
    assert_sums_close(sums, expected, 3e-5)
    with jax.enable_x64(True):
        assert_sums_close(dj.softmax_region_sums(logits, labels), expected, 1e-11)
        if shape[-1] > 1:
            check_gradient(
                lambda x: dj.softmax_region_sums(x, labels),
                lambda x: reference.softmax_region_sums(x, labels),
                logits,
            )


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1, 2), (-2, -1), ()], ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 64, 66)], ids=["plain", "tiled"])
def test_axis_chooses_what_one_sum_runs_over(axis, shape):
    logits, targets, where = binary_case(shape)
    expected = reference.sigmoid_region_sums(logits, targets, axis=axis, where=where)
    sums = dj.sigmoid_region_sums(jnp.asarray(logits, jnp.float32), targets, axis=axis, where=where)
    chex.assert_shape(jax.tree.leaves(sums), jnp.sum(jnp.asarray(targets), axis).shape)
    assert_sums_close(sums, expected, 2e-5)

    scores, labels, where = softmax_case((*shape, 3))
    expected = reference.softmax_region_sums(
        scores, labels, axis=axis if axis != () else [], where=where
    )
    sums = dj.softmax_region_sums(jnp.asarray(scores, jnp.float32), labels, axis=axis, where=where)
    chex.assert_shape(jax.tree.leaves(sums), (*jnp.sum(jnp.asarray(labels), axis).shape, 3))
    assert_sums_close(sums, expected, 2e-5)


@pytest.mark.parametrize("targets_dtype", [np.bool_, np.uint8, np.int8, np.int32, np.uint32])
def test_integer_types_of_targets_do_not_matter(targets_dtype):
    logits, targets, _ = binary_case((5, 7))
    expected = reference.sigmoid_region_sums(logits, targets)
    logits = jnp.asarray(logits, jnp.float32)
    assert_sums_close(dj.sigmoid_region_sums(logits, targets.astype(targets_dtype)), expected, 1e-5)
    if targets_dtype is not np.bool_:
        scores, labels, _ = softmax_case((5, 7, 100))
        sums = dj.softmax_region_sums(
            jnp.asarray(scores, jnp.float32), labels.astype(targets_dtype)
        )
        assert_sums_close(sums, reference.softmax_region_sums(scores, labels), 1e-5)


def test_an_int8_label_map_may_have_more_classes_than_int8_holds():
    scores, labels, _ = softmax_case((5, 7, 200))
    labels = labels % 120
    sums = dj.softmax_region_sums(jnp.asarray(scores, jnp.float32), labels.astype(np.int8))
    assert_sums_close(sums, reference.softmax_region_sums(scores, labels), 1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (2, 65, 64)], ids=["plain", "tiled"])
def test_soft_targets(shape):
    rng = np.random.default_rng(1)
    logits, soft = rng.normal(0, 3, shape), rng.uniform(size=shape)
    expected = reference.sigmoid_region_sums(logits, soft)
    with jax.enable_x64(True):
        assert_sums_close(dj.sigmoid_region_sums(logits, soft), expected, 1e-12)
        scores, soft = rng.normal(0, 3, (*shape, 4)), rng.dirichlet(np.ones(4), shape)
        expected = reference.softmax_region_sums(scores, soft)
        assert_sums_close(dj.softmax_region_sums(scores, soft), expected, 1e-11)
        check_gradient(
            lambda x: dj.softmax_region_sums(x, soft),
            lambda x: reference.softmax_region_sums(x, soft),
            scores,
        )


def test_a_one_hot_float_label_is_the_integer_label():
    scores, labels, _ = softmax_case((6, 7, 5), dtype=np.float32)
    one_hot = reference.one_hot(labels, 5).astype(np.float32)
    chex.assert_trees_all_close(
        dj.softmax_region_sums(scores, labels), dj.softmax_region_sums(scores, one_hot), rtol=1e-6
    )


def test_a_boolean_prediction_is_a_hard_mask():
    rng = np.random.default_rng(0)
    predicted, mask = rng.uniform(size=(2, 9, 9)) < 0.4
    sums = dj.region_sums(predicted, mask)
    assert float(sums.intersection) == np.sum(predicted & mask)
    assert float(sums.absolute_difference) == np.sum(predicted ^ mask)


# Masks and weights.

BAD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("shape", [(6, 7), (2, 65, 64)], ids=["plain", "tiled"])
@pytest.mark.parametrize("weight", [False, True], ids=["mask", "weight"])
def test_what_is_masked_out_is_as_if_cut_away(shape, weight):
    """NaN, infinity and label 255 under the mask: same values and gradients as without them."""
    rng = np.random.default_rng(2)
    where = rng.uniform(size=shape) < 0.6
    w = (where * rng.uniform(0.5, 2, shape)).astype(np.float32) if weight else where

    def check(make, clean, targets):
        clean, y = clean.astype(np.float32), np.where(where, targets, 255).astype(np.uint8)

        @jax.jit
        @jax.value_and_grad
        def total(x, y, w):
            sums = make(x, y, w)
            return sum(jnp.sum(f) for f in jax.tree.leaves(sums))

        # Cut away: the kept pixels alone, in one row.
        expected, kept = total(clean[where], y[where], w[where])
        for bad in BAD:
            x = np.where(where if clean.ndim == where.ndim else where[..., None], clean, bad)
            compare(*total(x.astype(np.float32), y, w), expected, kept)

    def compare(value, gradient, expected, kept):
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(gradient)[where], kept, rtol=1e-4, atol=1e-5)
        assert not np.asarray(gradient)[~where].any()

    logits, targets, _ = binary_case(shape)
    check(lambda x, y, w: dj.sigmoid_region_sums(x, y, where=w), logits, targets)
    p = reference.sigmoid(logits)
    check(lambda x, y, w: dj.region_sums(x, y, where=w), p, targets)
    scores, labels, _ = softmax_case((*shape, 3))
    check(lambda x, y, w: dj.softmax_region_sums(x, y, where=w), scores, labels)


def test_where_broadcasts_to_the_pixels():
    logits, targets, _ = binary_case((3, 64, 65), dtype=np.float32)
    rows = np.array([True, False, True])[:, None, None]
    full = np.broadcast_to(rows, logits.shape)
    for make in (dj.sigmoid_region_sums, dj.region_sums):
        x = (
            logits
            if make is dj.sigmoid_region_sums
            else reference.sigmoid(logits).astype(np.float32)
        )
        chex.assert_trees_all_close(
            make(x, targets, where=rows), make(x, targets, where=full), rtol=1e-6
        )
    weights = np.linspace(0, 1, 65, dtype=np.float32)
    sums = dj.sigmoid_region_sums(logits, targets, axis=(1, 2), where=weights)
    assert_sums_close(
        sums, reference.sigmoid_region_sums(logits, targets, axis=(1, 2), where=weights), 2e-5
    )


def test_a_weight_has_a_gradient_of_its_own():
    logits, targets, _ = binary_case((9,), dtype=np.float32)
    weight = jnp.linspace(0.1, 1, 9)
    gradient = jax.grad(lambda w: dj.sigmoid_region_sums(logits, targets, where=w).prediction)(
        weight
    )
    np.testing.assert_allclose(gradient, reference.sigmoid(logits), rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 65, 64)], ids=["plain", "tiled"])
def test_an_out_of_range_label_outside_the_mask_makes_its_region_nan(shape):
    scores, labels, _ = softmax_case((*shape, 3), dtype=np.float32)
    labels[1, 2, 3] = 255
    sums = dj.softmax_region_sums(scores, labels, axis=(1, 2))
    for field in jax.tree.leaves(sums):
        assert np.isnan(field[1]).all()
        assert np.isfinite(field[0]).all()
    for loss in (dj.dice_loss, dj.jaccard_loss, dj.squared_dice_loss, dj.log_dice_loss):
        assert np.isnan(loss(sums)[1]).all()
        assert np.isfinite(loss(sums)[0]).all()
    for loss in (dj.generalized_dice_loss, dj.cross_entropy_loss):
        assert np.isnan(loss(sums)[1])
        assert np.isfinite(loss(sums)[0])
    negative = dj.softmax_region_sums(scores, np.where(labels == 255, -1, labels), axis=(1, 2))
    assert np.isnan(dj.dice_loss(negative)[1]).all()
    masked = dj.softmax_region_sums(scores, labels, axis=(1, 2), where=labels != 255)
    chex.assert_tree_all_finite(masked)

    logits, targets, _ = binary_case(shape, dtype=np.float32)
    targets[1, 2, 3] = 255
    for make, x in (
        (dj.sigmoid_region_sums, logits),
        (dj.region_sums, reference.sigmoid(logits).astype(np.float32)),
        (dj.region_sums, logits > 0),
    ):
        sums = make(x, targets, axis=(1, 2))
        for field in jax.tree.leaves(sums):
            assert np.isnan(field[1])
            assert np.isfinite(field[0])
        for loss in (dj.dice_loss, dj.binary_cross_entropy_loss):
            assert np.isnan(loss(sums)[1])


# RegionSums itself.


def test_region_sums_is_a_frozen_pytree_whose_fields_have_one_shape():
    scores, labels, _ = softmax_case((4, 6, 6, 3), dtype=np.float32)
    sums = dj.softmax_region_sums(scores, labels, axis=(1, 2))
    chex.assert_shape(jax.tree.leaves(sums), (4, 3))
    assert sums.shape == (4, 3)
    assert sums.dtype == np.float32
    assert sums[..., 1:].shape == (4, 2)
    assert sums[2].shape == (3,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sums.count = jnp.zeros(())  # pyright: ignore
    assert jax.jit(lambda s: s)(sums).shape == (4, 3)
    for loss in (dj.dice_loss, dj.squared_dice_loss, dj.jaccard_loss, dj.binary_cross_entropy_loss):
        chex.assert_shape(loss(sums[..., 1:]), (4, 2))


def test_sums_add_and_losses_do_not():
    logits, targets, _ = binary_case((4, 30), dtype=np.float32)
    targets[1:] = 0
    whole = dj.sigmoid_region_sums(logits, targets)
    parts = [dj.sigmoid_region_sums(x, y) for x, y in zip(logits, targets, strict=True)]
    chex.assert_trees_all_close(sum(parts), whole, rtol=1e-6)
    chex.assert_trees_all_close(parts[0] + parts[1] + parts[2] + parts[3], whole, rtol=1e-6)
    mean = np.mean([dj.dice_loss(p) for p in parts])
    assert abs(mean - dj.dice_loss(whole)) > 0.01
    images = dj.sigmoid_region_sums(logits, targets, axis=1)
    merged = images + parts[0].broadcast_to(images.shape)
    chex.assert_shape(jax.tree.leaves(merged), (4,))


def test_adding_anything_else_to_sums_is_an_error():
    sums = dj.region_sums(jnp.ones(3), jnp.ones(3))
    with pytest.raises(TypeError):
        _ = sums + 1
    with pytest.raises(TypeError):
        _ = sums + jnp.ones(())


# Transformations.


@pytest.mark.parametrize("shape", [(3, 5), (2, 65, 32)], ids=["plain", "tiled"])
@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
def test_derivatives_of_every_order_and_mode(shape, kind):
    rng = np.random.default_rng(3)

    def binary(x, targets, where):
        s = dj.sigmoid_region_sums(x, targets, where=where)
        return dj.dice_loss(s) + dj.binary_cross_entropy_loss(s)

    def categorical(x, labels, where):
        s = dj.softmax_region_sums(x, labels, where=where)
        return dj.dice_loss(s).mean() + dj.cross_entropy_loss(s)

    with jax.enable_x64(True):
        x, y, where = binary_case(shape) if kind == "sigmoid" else softmax_case((*shape, 3))
        v = rng.normal(size=x.shape)

        def loss(x):
            return (binary if kind == "sigmoid" else categorical)(x, y, where)

        gradient = jax.jit(jax.grad(loss))

        @jax.jit
        def derivatives(x):
            forward = jax.jvp(loss, (x,), (v,))[1]
            forward_over_reverse = jax.jvp(jax.grad(loss), (x,), (v,))[1]
            reverse_over_reverse = jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), v))(x)
            reverse_over_forward = jax.grad(lambda x: jax.jvp(loss, (x,), (v,))[1])(x)
            return forward, forward_over_reverse, reverse_over_reverse, reverse_over_forward

        forward, *products = derivatives(x)
        step = 1e-5
        np.testing.assert_allclose(forward, np.vdot(gradient(x), v), rtol=1e-10)
        numeric = (loss(x + step * v) - loss(x - step * v)) / (2 * step)
        np.testing.assert_allclose(forward, numeric, rtol=1e-6)
        numeric = (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)
        for product in products:
            np.testing.assert_allclose(product, numeric, rtol=1e-5, atol=1e-9)


def test_a_hessian_can_be_made_in_every_order():
    logits, targets, _ = binary_case((6,))
    with jax.enable_x64(True):

        def loss(x):
            return dj.dice_loss(dj.sigmoid_region_sums(x, targets), smooth=0.0)

        hessian = jax.jit(jax.hessian(loss))(logits)
        chex.assert_shape(hessian, (6, 6))
        reverse = jax.jit(jax.jacrev(jax.jacrev(loss)))(logits)
        np.testing.assert_allclose(hessian, reverse, rtol=1e-9)
        gradient = jax.jit(jax.grad(loss))
        numeric = [
            (np.asarray(gradient(logits + e)) - np.asarray(gradient(logits - e))) / 2e-6
            for e in np.eye(6) * 1e-6
        ]
        np.testing.assert_allclose(hessian, numeric, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("shape", [(4, 3, 5), (3, 65, 64)], ids=["plain", "tiled"])
def test_vmap_is_a_loop_and_an_axis(shape):
    scores, labels, where = softmax_case((*shape, 3), dtype=np.float32)

    def one(x, y, w):
        return dj.softmax_region_sums(x, y, where=w)

    mapped = jax.jit(jax.vmap(one))(scores, labels, where)
    looped = [one(x, y, w) for x, y, w in zip(scores, labels, where, strict=True)]
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *looped)
    chex.assert_trees_all_close(mapped, stacked, rtol=1e-5)
    axis = tuple(range(1, len(shape)))
    chex.assert_trees_all_close(
        mapped, dj.softmax_region_sums(scores, labels, axis=axis, where=where), rtol=1e-5
    )
    gradient = jax.vmap(jax.grad(lambda x, y, w: dj.dice_loss(one(x, y, w)).mean()))
    per_image = jax.grad(
        lambda x: (
            dj.dice_loss(dj.softmax_region_sums(x, labels, axis=axis, where=where)).mean(-1).sum()
        )
    )
    np.testing.assert_allclose(
        jax.jit(gradient)(scores, labels, where), jax.jit(per_image)(scores), rtol=1e-4, atol=1e-8
    )


def test_checkpoint_and_jit_change_nothing():
    scores, labels, _ = softmax_case((2, 65, 64, 3), dtype=np.float32)

    def loss(x):
        return dj.dice_loss(dj.softmax_region_sums(x, labels)).mean()

    plain = jax.value_and_grad(loss)(scores)
    chex.assert_trees_all_close(jax.value_and_grad(jax.checkpoint(loss))(scores), plain, rtol=1e-6)
    chex.assert_trees_all_close(jax.jit(jax.value_and_grad(loss))(scores), plain, rtol=1e-6)
    tangent = jnp.ones_like(scores).at[..., 0].set(2.0)
    forward = jax.jvp(loss, (jnp.asarray(scores),), (tangent,))[1]
    np.testing.assert_allclose(forward, jnp.vdot(plain[1], tangent), rtol=1e-3, atol=1e-7)
