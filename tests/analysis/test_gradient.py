"""Pixel gradients, their closed form and their balance: masks, axes, types, transforms, errors."""

import subprocess
import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import analysis

RNG = np.random.default_rng(0)
P = RNG.uniform(0.05, 0.95, (3, 6, 7)).astype(np.float32)
Y = (RNG.random((3, 6, 7)) < 0.3).astype(np.int32)


def test_importing_the_library_imports_no_extra():
    code = (
        "import sys, dice_jax; dice_jax.analysis.pixel_gradient; "
        "print([m for m in ('matplotlib', 'flax', 'optax', 'scipy', 'rich', 'PIL') "
        "if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    # SciPy comes with JAX itself.
    assert set(eval(result.stdout)) <= {"scipy"}


def test_the_pictures_are_there_when_asked_for():
    assert analysis.plots.matrix.__module__ == "dice_jax.analysis.plots"
    with pytest.raises(AttributeError, match="pictures"):
        _ = analysis.pictures


def test_per_image_gradients_match_the_closed_form():
    sums = dj.region_sums(P, Y, axis=(1, 2))
    closed = analysis.dice_pixel_gradient(sums, Y, axis=(1, 2))
    found = analysis.pixel_gradient(dj.dice_loss, P, Y, sums=partial(dj.region_sums, axis=(1, 2)))
    chex.assert_equal_shape([closed, P])
    np.testing.assert_allclose(closed, found, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.bool_, np.float32])
def test_a_masked_pixel_has_no_gradient_and_changes_none(dtype):
    where = (RNG.random(P.shape) < 0.7).astype(dtype)
    p, y = np.where(where, P, np.nan).astype(np.float32), np.where(where, Y, 255)
    sums = partial(dj.region_sums, where=where)
    found = analysis.pixel_gradient(dj.dice_loss, p, y, sums=sums)
    closed = analysis.dice_pixel_gradient(sums(p, y), y, where=where)
    np.testing.assert_allclose(closed, found, rtol=1e-5)
    assert (np.asarray(found)[where == 0] == 0).all()
    inside = where == 1
    alone = analysis.pixel_gradient(dj.dice_loss, P[inside], Y[inside])
    np.testing.assert_allclose(np.asarray(found)[inside], alone, rtol=1e-5)
    balance = analysis.gradient_balance(np.where(where, found, np.nan), y, where=where)
    np.testing.assert_allclose(
        balance.foreground_share,
        analysis.gradient_balance(alone, Y[inside]).foreground_share,
        rtol=1e-5,
    )


def test_a_fractional_weight_multiplies_the_gradient_of_its_pixel():
    weight = RNG.uniform(0.1, 2.5, P.shape).astype(np.float32)
    for axis in (None, (1, 2)):
        sums = partial(dj.region_sums, axis=axis, where=weight)
        found = analysis.pixel_gradient(dj.dice_loss, P, Y, sums=sums)
        closed = analysis.dice_pixel_gradient(sums(P, Y), Y, axis=axis, where=weight)
        np.testing.assert_allclose(closed, found, rtol=1e-5)


def test_logit_space_and_softmax():
    z = np.log(P / (1 - P))
    at_logits = analysis.pixel_gradient(dj.dice_loss, z, Y, sums=dj.sigmoid_region_sums)
    in_p = analysis.pixel_gradient(dj.dice_loss, P, Y)
    np.testing.assert_allclose(at_logits, in_p * P * (1 - P), rtol=1e-4)
    classes = analysis.pixel_gradient(
        dj.generalized_dice_loss,
        RNG.normal(size=(5, 4, 3)).astype(np.float32),
        RNG.integers(0, 3, (5, 4)),
        sums=dj.softmax_region_sums,
    )
    # Adding a constant to a pixel's logits changes nothing.
    np.testing.assert_allclose(classes.sum(-1), 0, atol=1e-7)


def test_the_gradient_comes_back_in_the_predictions_type():
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        assert analysis.pixel_gradient(dj.dice_loss, P.astype(dtype), Y).dtype == dtype


def test_it_works_under_jit_and_vmap():
    one = [analysis.pixel_gradient(dj.dice_loss, p, y) for p, y in zip(P, Y, strict=True)]
    mapped = jax.vmap(partial(analysis.pixel_gradient, dj.dice_loss))(P, Y)
    jitted = jax.jit(partial(analysis.pixel_gradient, dj.dice_loss))(P[0], Y[0])
    np.testing.assert_allclose(mapped, jnp.stack(one), rtol=1e-5)
    np.testing.assert_allclose(jitted, one[0], rtol=1e-5)
    closed = jax.vmap(lambda p, y: analysis.dice_pixel_gradient(dj.region_sums(p, y), y))(P, Y)
    np.testing.assert_allclose(closed, jnp.stack(one), rtol=1e-5)
    shares = jax.vmap(analysis.gradient_balance)(mapped, Y).foreground_share
    pooled = analysis.gradient_balance(mapped, Y, axis=(1, 2)).foreground_share
    np.testing.assert_allclose(shares, pooled, rtol=1e-5)


def test_one_trace_per_shape():
    traces = []

    def loss(sums):
        traces.append(1)
        return dj.dice_loss(sums)

    for _ in range(3):
        analysis.pixel_gradient(loss, P, Y)
    assert len(traces) == 1
    analysis.pixel_gradient(loss, P[0], Y[0])
    assert len(traces) == 2


def test_the_balance_is_that_of_numpy():
    gradient = RNG.normal(size=P.shape).astype(np.float32)
    soft = RNG.random(P.shape).astype(np.float32)
    for y in (Y, Y == 1, soft):
        found = analysis.gradient_balance(gradient, y, axis=0)
        size, weight = np.abs(gradient).astype(float), np.asarray(y, float)
        foreground, background = (weight * size).sum(0), ((1 - weight) * size).sum(0)
        np.testing.assert_allclose(found.foreground_mass, foreground, rtol=1e-5)
        np.testing.assert_allclose(found.background_mass, background, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            found.foreground_share, foreground / (foreground + background), rtol=1e-5
        )


def test_a_fractional_weight_multiplies_every_part_of_the_balance():
    gradient, weight = RNG.normal(size=P.shape), RNG.uniform(0.1, 2.5, P.shape)
    with jax.enable_x64(True):
        found = analysis.gradient_balance(gradient, Y, axis=(1, 2), where=weight)
    size = np.abs(gradient)

    def total(x):
        return (weight * x).sum((1, 2))

    masses = total(Y * size), total((1 - Y) * size)
    counts = total(Y), total(1 - Y)
    np.testing.assert_allclose(found.foreground_mass, masses[0], rtol=1e-12)
    np.testing.assert_allclose(found.background_mass, masses[1], rtol=1e-12)
    np.testing.assert_allclose(found.foreground_count, counts[0], rtol=1e-12)
    np.testing.assert_allclose(found.background_count, counts[1], rtol=1e-12)
    np.testing.assert_allclose(found.foreground_share, masses[0] / (masses[0] + masses[1]))
    ratio = masses[0] / counts[0] / (masses[1] / counts[1])
    np.testing.assert_allclose(found.ratio, ratio, rtol=1e-12)


def test_without_foreground_the_balance_is_zero_and_not_nan():
    empty = np.zeros_like(Y)
    gradient = analysis.pixel_gradient(dj.dice_loss, P, empty)
    found = analysis.gradient_balance(gradient, empty)
    assert float(found.foreground_count) == 0
    assert [float(x) for x in (found.foreground_mass, found.foreground_share, found.ratio)] == [
        0
    ] * 3
    assert float(found.background_mass) > 0
    none = analysis.gradient_balance(np.zeros_like(P), Y)
    assert [float(x) for x in (none.foreground_share, none.ratio)] == [0, 0]
    chex.assert_tree_all_finite(found)
    sums = dj.region_sums(P, empty)
    np.testing.assert_allclose(analysis.dice_pixel_gradient(sums, empty), gradient, rtol=1e-5)


def test_a_masked_region_and_an_empty_one_have_a_zero_gradient():
    nothing = dj.region_sums(P, Y, where=np.zeros(P.shape, bool))
    assert (analysis.dice_pixel_gradient(nothing, Y) == 0).all()
    zero = jnp.zeros(4)
    empty = dj.region_sums(zero, zero)
    assert (analysis.dice_pixel_gradient(empty, zero, smooth=0.0) == 0).all()
    assert float(analysis.gradient_ratio(empty, smooth=0.0)) == 1


SUMS = dj.region_sums(P, Y)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: analysis.pixel_gradient("dice", P, Y), TypeError, "loss must be a function"),
        (lambda: analysis.pixel_gradient(dj.dice_loss, Y, Y), TypeError, "floating"),
        (lambda: analysis.pixel_gradient(dj.dice_loss, P, Y[0]), ValueError, "targets"),
        (lambda: analysis.dice_pixel_gradient(P, Y), TypeError, "region_sums"),
        (lambda: analysis.dice_pixel_gradient(SUMS, Y, smooth=-1.0), ValueError, "smooth"),
        (lambda: analysis.dice_pixel_gradient(SUMS, Y, axis=0), ValueError, "axis"),
        (lambda: analysis.dice_pixel_gradient(SUMS, Y, axis=7), ValueError, "axis 7"),
        (lambda: analysis.gradient_balance(Y, Y), TypeError, "gradient must be floating"),
        (lambda: analysis.gradient_balance(P, Y[0]), ValueError, "targets"),
        (lambda: analysis.gradient_ratio(P, Y), TypeError, "RegionSums"),
        (lambda: analysis.gradient_ratio(SUMS, smooth="1"), TypeError, "smooth"),
    ],
)
def test_a_wrong_argument_is_refused_also_while_tracing(call, error, says):
    with pytest.raises(error, match=says):
        call()
    with pytest.raises(error, match=says):
        jax.jit(call)()
