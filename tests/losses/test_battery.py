"""One battery of properties, run over every public loss: a loss that is not in it fails a test.

A loss enters by its oracle in tests/support/oracles.py; tests/support/cases.py says what it takes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import oracles, reference
from tests.support.cases import ARRAYS, CASES, CLASS_ARRAYS, DISTANCES, LOGITS, SUMS, Case
from tests.support.processes import sharding_facts

BATCH = (3, 6, 8)  # images, height, width of the shared compiled function
CROP = (5, 7)  # odd, and what the mask leaves of each image


def every_loss(*, but: Callable[[Case], bool] = lambda case: False):
    # One worker runs all tests of a loss: they share its programs.
    cases = [
        pytest.param(name, marks=pytest.mark.xdist_group(f"battery: {name}"))
        for name, case in CASES.items()
        if not but(case)
    ]
    return pytest.mark.parametrize("name", cases)


def test_every_public_loss_is_here():
    public = {n for n in dir(dj) if n.endswith("_loss") and callable(getattr(dj, n))}
    assert public == {case.name for case in CASES.values()}


def loss_of(name):
    case = CASES[name]
    return case.kind.call(case.loss, dj, case.options)


def oracle_of(name):
    case = CASES[name]
    return case.kind.call(getattr(oracles, case.name), reference, case.options)


@functools.cache
def batched(name):
    """(predictions, targets, weights) of BATCH to one value an image and the gradient."""
    loss = loss_of(name)

    def total(x, y, w):
        value = loss(x, y, axis=(1, 2), where=w)
        # A sum of unequal parts, so that a gradient that went to the wrong image shows.
        scale = jnp.arange(1.0, 1 + value.size).reshape(value.shape)
        return jnp.sum(value * scale.astype(value.dtype)), value

    def run(x, y, w):
        (_, value), gradient = jax.value_and_grad(total, has_aux=True)(x, y, w)
        return value, gradient

    return jax.jit(run)


@functools.cache
def single(name):
    """(predictions, targets) of CROP to the value and the gradient."""
    loss = loss_of(name)

    def total(x, y):
        value = loss(x, y)
        return jnp.sum(value), value

    def run(x, y):
        (_, value), gradient = jax.value_and_grad(total, has_aux=True)(x, y)
        return value, gradient

    return jax.jit(run)


def draw(name, shape, seed=0):
    return CASES[name].kind.draw(np.random.default_rng(seed), shape)


def everywhere():
    return np.ones(BATCH, np.float32)


def crop_mask():
    mask = np.zeros(BATCH, np.float32)
    mask[:, : CROP[0], : CROP[1]] = 1
    return mask


def assert_finite(*arrays):
    for array in arrays:
        assert np.isfinite(np.asarray(array)).all()


@every_loss()
def test_value_and_slope_are_the_oracle_s(name):
    x, y = draw(name, BATCH)
    w = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 2.0], BATCH).astype(np.float32)
    value, gradient = batched(name)(x, y, w)
    oracle = functools.partial(oracle_of(name), axis=(1, 2), where=w)
    expected = oracle(x, y)
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-6)

    np.testing.assert_allclose(
        np.sum(gradient * _direction(x)), _slope(oracle, x, y), rtol=1e-3, atol=1e-5
    )


def _direction(x):
    return np.random.default_rng(2).normal(size=x.shape)


def _slope(oracle, x, y):
    """Of the weighted sum of its values along a direction, by differences in float64."""
    step = 1e-6
    up, down = (oracle(reference.float64(x) + s * _direction(x), y) for s in (step, -step))
    scale = np.arange(1.0, 1 + up.size).reshape(up.shape)
    return np.sum(scale * (up - down)) / (2 * step)


@every_loss(but=lambda case: case.at_truth is None)
def test_minimal_at_the_truth(name):
    case = CASES[name]
    _, y = draw(name, BATCH)
    x = case.kind.perfect(y)
    value, gradient = batched(name)(x, y, everywhere())
    assert_finite(gradient)
    if np.isfinite(case.at_truth):
        np.testing.assert_allclose(value, case.at_truth, atol=1e-6)
    for seed in range(1, 4):
        elsewhere, _ = draw(name, BATCH, seed)
        other, _ = batched(name)(elsewhere, y, everywhere())
        assert (np.asarray(other) >= value).all()
        assert np.sum(other) > np.sum(value)


@every_loss(but=lambda case: not case.signed)
def test_foreground_is_pushed_up_and_background_down(name):
    x, y = draw(name, BATCH)
    _, gradient = batched(name)(x, y, everywhere())
    gradient = np.asarray(gradient)
    assert (gradient[y == 1] <= 0).all()
    assert (gradient[y == 1] < 0).any()
    assert (gradient[y == 0] >= 0).all()
    assert (gradient[y == 0] > 0).any()


@every_loss()
def test_masked_equals_cropped_image_by_image(name):
    x, y = (np.array(a) for a in draw(name, BATCH))
    mask = crop_mask()
    clean, _ = x.copy(), y.copy()
    x[mask == 0] = np.nan
    y[mask == 0] = CASES[name].kind.junk
    value, gradient = batched(name)(x, y, mask)
    assert (np.asarray(gradient)[mask == 0] == 0).all()
    weight = np.arange(1.0, 1 + value.size).reshape(value.shape)
    for i in range(BATCH[0]):
        one, slope = single(name)(clean[i, : CROP[0], : CROP[1]], y[i, : CROP[0], : CROP[1]])
        np.testing.assert_allclose(value[i], one, rtol=2e-5, atol=1e-6)
        if value.ndim == 1:
            part = gradient[i, : CROP[0], : CROP[1]]
            np.testing.assert_allclose(part, weight[i] * slope, rtol=2e-4, atol=1e-6)


@every_loss()
def test_everything_masked_is_0_and_pulls_nowhere(name):
    x, y = (np.array(a) for a in draw(name, BATCH))
    x[:] = np.nan
    y[:] = CASES[name].kind.junk
    value, gradient = batched(name)(x, y, np.zeros(BATCH, np.float32))
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(gradient, 0)


@every_loss()
def test_vmap_equals_loop(name):
    x, y = draw(name, (2, *CROP))
    values = jax.jit(jax.vmap(lambda x, y: loss_of(name)(x, y)))(x, y)
    for i in range(2):
        np.testing.assert_allclose(values[i], single(name)(x[i], y[i])[0], rtol=1e-5, atol=1e-7)


@every_loss()
def test_eager_with_a_boolean_mask_equals_jit_with_weights(name):
    x, y = draw(name, BATCH)
    mask = crop_mask()
    eager = loss_of(name)(jnp.asarray(x), jnp.asarray(y), axis=(-2, -1), where=mask == 1)
    np.testing.assert_allclose(eager, batched(name)(x, y, mask)[0], rtol=1e-5, atol=1e-6)


@every_loss()
def test_forward_mode_equals_reverse_mode(name):
    x, y = draw(name, CROP)
    direction = np.random.default_rng(3).normal(size=x.shape).astype(np.float32)
    loss = loss_of(name)
    forward = jax.jit(lambda x, t: jax.jvp(lambda x: jnp.sum(loss(x, y)), (x,), (t,))[1])
    _, gradient = single(name)(x, y)
    expected = np.sum(reference.float64(gradient) * direction)
    np.testing.assert_allclose(forward(x, direction), expected, rtol=1e-4, atol=1e-6)


@every_loss()
@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_half_precision_in_float32_sums(name, half):
    x, y = draw(name, CROP)
    rounded = jnp.asarray(x).astype(half)
    value, gradient = single(name)(rounded, y)
    expected, slope = single(name)(rounded.astype(jnp.float32), y)
    assert value.dtype == jnp.float32
    assert gradient.dtype == half
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        reference.float64(gradient), slope, rtol=float(jnp.finfo(half).eps), atol=1e-4
    )


@every_loss()
@pytest.mark.parametrize("state", ["empty", "full", "saturated"])
def test_awkward_regions_are_finite(name, state):
    kind = CASES[name].kind
    x, y = (np.array(a) for a in draw(name, BATCH))
    if state == "empty":
        y[:] = 0
    elif state == "full":
        y[:] = 1
    # Image 0 as drawn; image 1 saturated, at odds with the targets; image 2 says nothing anywhere.
    x[1], x[2] = kind.saturate(x[1]), kind.perfect(np.zeros_like(y[2]))
    if state == "saturated":
        x = kind.saturate(x).astype(x.dtype)
    assert_finite(*batched(name)(x, y, everywhere()))


@every_loss()
@pytest.mark.parametrize("shape", [(11,), (17, 16, 17)], ids=["1-D", "3-D"])
def test_other_dimensions(name, shape):
    """The second is large enough to be summed tile by tile."""
    x, y = draw(name, shape)
    loss, oracle = loss_of(name), oracle_of(name)

    def total(x):
        value = loss(x, y)
        scale = jnp.arange(1.0, 1 + value.size).reshape(value.shape)
        return jnp.sum(value * scale.astype(value.dtype)), value

    (_, value), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(x)
    np.testing.assert_allclose(value, oracle(x, y), rtol=2e-5, atol=2e-6)
    slope = np.sum(reference.float64(gradient) * _direction(x))
    np.testing.assert_allclose(slope, _slope(oracle, x, y), rtol=1e-3, atol=2e-5)


@every_loss(but=lambda case: not case.kind.soft)
def test_soft_targets_are_the_oracle_s(name):
    x, _ = draw(name, BATCH)
    y = np.random.default_rng(4).uniform(0, 1, BATCH).astype(np.float32)
    value, gradient = batched(name)(x, y, everywhere())
    oracle = functools.partial(oracle_of(name), axis=(1, 2))
    np.testing.assert_allclose(value, oracle(x, y), rtol=2e-5, atol=2e-6)
    # A case with distances from the prediction is not smooth enough for more than this.
    np.testing.assert_allclose(
        np.sum(gradient * _direction(x)), _slope(oracle, x, y), rtol=1e-3, atol=2e-5
    )


@every_loss()
def test_hard_predictions_are_the_oracle_s(name):
    """Where powers, roots and logarithms meet their ends."""
    x, y = draw(name, BATCH)
    x = CASES[name].kind.saturate(x).astype(np.float32)
    value, _ = batched(name)(x, y, everywhere())
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        expected = oracle_of(name)(x, y, axis=(1, 2))
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-6)


@every_loss(but=lambda case: case.kind is DISTANCES)
@pytest.mark.parametrize("label", [-1, 3])
def test_a_target_that_does_not_exist_makes_its_image_nan(name, label):
    x, y = (np.array(a) for a in draw(name, BATCH))
    y[1, 2, 3] = label if y.max() > 1 or label < 0 else 2
    value, _ = batched(name)(x, y, everywhere())
    bad = np.isnan(value).reshape(BATCH[0], -1)
    assert bad[1].all()
    assert not bad[[0, 2]].any()


RARE = (48, 64)


def rare_background(name):
    """A region that is nearly all foreground, and predictions that nearly say so."""
    rng = np.random.default_rng(5)
    y = np.ones(RARE, np.int32)
    y.reshape(-1)[rng.choice(y.size, 3, replace=False)] = 0
    kind = CASES[name].kind
    # All different and none 0: no loss has a kink there.
    noise = rng.permutation(np.linspace(2e-4, 1e-3, y.size)).reshape(RARE).astype(np.float32)
    if kind is DISTANCES:
        return np.where(y == 1, 1 - noise, noise), reference.signed_distance(y).astype(np.float32)
    if kind in (SUMS, ARRAYS):
        return np.where(y == 1, 1 - noise, 0.3 + noise), y
    if kind is LOGITS:
        return np.where(y == 1, 6, -1) + 1e3 * noise, y
    logits = np.stack([np.where(y == 1, -8, 1) + 1e3 * noise, 0 * noise, -7 - 1e3 * noise], -1)
    logits = logits.astype(np.float32)
    return (reference.softmax(logits).astype(np.float32) if kind is CLASS_ARRAYS else logits), y


@every_loss()
def test_a_rare_background_keeps_its_digits(name):
    """FP = P − I, FN = T − I and TN = N − P − T + I are small differences of large sums here."""
    x, y = rare_background(name)
    value, gradient = single(name)(x, y)
    oracle = oracle_of(name)
    np.testing.assert_allclose(value, oracle(x, y), rtol=2e-4, atol=1e-7)
    # Each class has its own direction: the rare pixels must not vanish beside the many.
    for chosen in (y == y.max(), y != y.max()) if CASES[name].kind is not DISTANCES else (y > 0,):
        direction = _direction(x) * np.reshape(chosen, chosen.shape + (1,) * (x.ndim - y.ndim))
        step = 1e-9
        up, down = (oracle(reference.float64(x) + s * direction, y) for s in (step, -step))
        expected = np.sum(up - down) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-3, atol=1e-6)


# Sums: what is a function of sums is merged, accumulated and streamed, whatever the sums are.


def every_ratio(*, but=lambda case: False):
    return every_loss(but=lambda case: case.make_sums is None or but(case))


@every_ratio()
def test_the_loss_of_its_sums_is_the_loss_of_the_arrays(name):
    x, y = draw(name, BATCH)
    w = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 2.0], BATCH).astype(np.float32)
    case = CASES[name]
    sums = case.make_sums(x, y, axis=(1, 2), where=w)
    value = case.loss_of_sums(sums)
    expected, _ = batched(name)(x, y, w)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)
    assert sums.dtype == jnp.float32
    assert sums.shape[0] == BATCH[0]
    np.testing.assert_array_equal(case.loss_of_sums(sums[1:]), value[1:])


@every_ratio()
def test_merged_parts_equal_the_whole(name):
    case = CASES[name]
    x, y = draw(name, BATCH)
    images = case.make_sums(x, y, axis=(1, 2))
    whole = jax.tree.map(lambda field: field.sum(0), images)
    if not case.whole_images:
        whole = case.make_sums(x, y)
    parts = [case.make_sums(x[k], y[k]) for k in range(BATCH[0])]
    expected = case.loss_of_sums(whole)
    np.testing.assert_allclose(case.loss_of_sums(sum(parts)), expected, rtol=1e-5, atol=1e-7)
    joined = dj.concatenate_sums([images[:1], images[1:]])
    np.testing.assert_array_equal(case.loss_of_sums(joined), case.loss_of_sums(images))
    one_with_each = case.loss_of_sums(images + parts[0].broadcast_to(images.shape))
    np.testing.assert_allclose(
        one_with_each[2], case.loss_of_sums(parts[2] + parts[0]), rtol=1e-5, atol=1e-7
    )


@pytest.mark.slow
@every_ratio()
def test_accumulated_and_streamed_images_equal_one_step_over_all(name):
    case = CASES[name]
    x, y = draw(name, BATCH)

    def sums_fn(scale, piece):
        x, y = piece
        return case.make_sums(x * scale, y)

    def loss_fn(sums):
        return jnp.sum(case.loss_of_sums(sums))

    def whole(scale):
        images = jax.vmap(lambda *image: sums_fn(scale, image))(x, y)
        return loss_fn(jax.tree.map(lambda field: field.sum(0), images))

    scale = jnp.float32(0.9)
    expected, slope = jax.jit(jax.value_and_grad(whole))(scale)
    assert slope != 0
    for value, gradient in (
        dj.accumulated_value_and_grad(sums_fn, loss_fn)(scale, (x, y)),
        dj.streamed_value_and_grad(sums_fn, loss_fn)(scale, list(zip(x, y, strict=True))),
    ):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_sharded_equals_the_oracle():
    """One process with eight CPU devices for all losses: it starts slowly."""
    results = sharding_facts("losses")
    assert set(results) == set(CASES)
    wrong = {
        name: result
        for name, result in results.items()
        if result["value_error"] > 2e-5 or result["slope_error"] > 1e-4 or result["devices"] != 8
    }
    assert not wrong
    merged = {name for name, result in results.items() if "psum_value_error" in result}
    assert merged == {name for name, case in CASES.items() if case.make_sums is not None}
    wrong = {
        name: results[name]
        for name in merged
        if results[name]["psum_value_error"] > 1e-5 or results[name]["psum_gradient_error"] > 1e-4
    }
    assert not wrong
