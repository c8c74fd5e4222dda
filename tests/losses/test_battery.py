"""One battery of properties, run over every public loss: a loss that is not in it fails a test.

The losses differ in what they take. A `Kind` says how to draw what a loss takes and how to call it,
so that every test below sees one form: ``loss(predictions, targets, axis=…, where=…)``, with some
pixel axes and, for some kinds, a class axis last.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import reference
from tests.support.processes import sharding_facts

CLASSES = 3
BATCH = (3, 6, 8)  # images, height, width of the shared compiled function
CROP = (5, 7)  # odd, and what the mask leaves of each image


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a family of losses takes.

    draw: a generator and a pixel shape to float32 predictions and hard targets.
    perfect: targets to predictions that say just that.
    saturated: the predictions pushed to the ends of their range.
    call: (a module, a function's name, options) to the common form.
    """

    draw: Callable[..., Any]
    perfect: Callable[..., Any]
    saturate: Callable[..., Any]
    call: Callable[..., Any]
    junk: Any = 255  # what a masked target may hold


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss in the battery.

    at_truth: the value at perfect predictions; -inf if that is a minimum that depends on the
        targets; None if it is no minimum.
    signed: whether foreground is never pushed down, nor background up.
    """

    kind: Kind
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    at_truth: float | None = 0.0
    signed: bool = False


def _binary_targets(rng, shape):
    return (rng.random(shape) < 0.4).astype(np.int32)


def _draw_probabilities(rng, shape):
    return rng.uniform(0.05, 0.95, shape).astype(np.float32), _binary_targets(rng, shape)


def _draw_distances(rng, shape):
    p, y = _draw_probabilities(rng, shape)
    return p, reference.signed_distance(y).astype(np.float32)


def _draw_logits(rng, shape):
    return rng.normal(0, 2, shape).astype(np.float32), _binary_targets(rng, shape)


def _draw_class_logits(rng, shape):
    logits = rng.normal(0, 2, (*shape, CLASSES)).astype(np.float32)
    return logits, rng.integers(0, CLASSES, shape).astype(np.int32)


def _draw_class_probabilities(rng, shape):
    logits, labels = _draw_class_logits(rng, shape)
    return reference.softmax(logits).astype(np.float32), labels


def _as_probabilities(targets):
    return np.asarray(targets, np.float32)


def _as_class_probabilities(labels):
    return reference.one_hot(labels, CLASSES).astype(np.float32)


def _sums_call(sums_name):
    def call(module, name, options):
        sums, loss = getattr(module, sums_name), getattr(module, name)
        return lambda x, y, axis=None, where=None: loss(
            sums(x, y, axis=axis, where=where), **options
        )

    return call


def _array_call(module, name, options):
    loss = getattr(module, name)
    return lambda x, y, axis=None, where=None: loss(x, y, axis=axis, where=where, **options)


def _pixel_call(module, name, options):
    """One number per pixel: summed over the region here, so that it has the common form."""
    loss, add = getattr(module, name), np.sum if module is reference else jnp.sum
    return lambda x, y, axis=None, where=None: add(loss(x, y, where=where, **options), axis)


def _distances_call(module, name, options):
    loss, matrix = getattr(module, name), options["distances"]
    return lambda x, y, axis=None, where=None: loss(x, y, matrix, axis=axis, where=where)


SUMS = Kind(_draw_probabilities, _as_probabilities, np.round, _sums_call("region_sums"))
CLASS_SUMS = Kind(
    _draw_class_logits,
    lambda y: 60 * _as_class_probabilities(y),
    lambda x: 1e4 * np.sign(x),
    _sums_call("softmax_region_sums"),
)
ARRAYS = Kind(_draw_probabilities, _as_probabilities, np.round, _array_call)
LOGITS = Kind(_draw_logits, lambda y: 60.0 * (2 * y - 1), lambda x: 1e4 * np.sign(x), _array_call)
DISTANCES = Kind(
    _draw_distances, lambda phi: (phi < 0).astype(np.float32), np.round, _array_call, np.nan
)
CLASS_LOGITS = dataclasses.replace(CLASS_SUMS, call=_array_call)
CLASS_PIXELS = dataclasses.replace(CLASS_SUMS, call=_pixel_call)
CLASS_ARRAYS = Kind(_draw_class_probabilities, _as_class_probabilities, np.round, _array_call)
CLASS_DISTANCES = dataclasses.replace(CLASS_ARRAYS, call=_distances_call)

TVERSKY = {"alpha": 0.3, "beta": 0.7}
CASES: dict[str, Case] = {
    "binary_cross_entropy_loss": Case(SUMS, signed=True),
    "boundary_loss": Case(DISTANCES, at_truth=-np.inf),
    "cldice_loss": Case(ARRAYS, {"iterations": 2}),
    "cross_entropy_loss": Case(CLASS_SUMS, {"weights": np.array([0.2, 1.0, 3.0])}),
    "dice_loss": Case(SUMS, signed=True),
    "dice_plus_plus_loss": Case(ARRAYS, signed=True),
    "dice_semimetric_loss": Case(SUMS, signed=True),
    "exponential_logarithmic_dice_loss": Case(SUMS, {"gamma": 0.3}, signed=True),
    "focal_tversky_loss": Case(SUMS, TVERSKY | {"gamma": 0.75}, signed=True),
    "generalized_dice_loss": Case(CLASS_SUMS),
    "generalized_wasserstein_dice_loss": Case(
        CLASS_DISTANCES,
        {"distances": np.array([[0.0, 2.0, 2.0], [2.0, 0.0, 1.0], [2.0, 1.0, 0.0]])},
    ),
    "hausdorff_distance_loss": Case(ARRAYS, signed=True),
    "jaccard_loss": Case(SUMS, signed=True),
    "jaccard_metric_loss": Case(SUMS, signed=True),
    "log_cosh_dice_loss": Case(SUMS, signed=True),
    "log_dice_loss": Case(SUMS, signed=True),
    "lovasz_hinge_loss": Case(LOGITS, signed=True),
    "lovasz_softmax_loss": Case(CLASS_ARRAYS),
    "matthews_loss": Case(SUMS, signed=True),
    "noise_robust_dice_loss": Case(ARRAYS),
    "self_adjusting_dice_loss": Case(ARRAYS, at_truth=None),
    "sensitivity_specificity_loss": Case(ARRAYS, signed=True),
    "softmax_focal_loss": Case(CLASS_PIXELS, {"gamma": 2.0, "alpha": np.array([0.5, 1.0, 2.0])}),
    "squared_dice_loss": Case(SUMS, signed=True),
    "top_k_cross_entropy_loss": Case(CLASS_LOGITS, {"fraction": 0.3}),
    "tversky_loss": Case(SUMS, TVERSKY, signed=True),
    "unified_focal_loss": Case(CLASS_LOGITS),
}


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
    assert public == set(CASES)


def loss_of(name):
    case = CASES[name]
    return case.kind.call(dj, name, case.options)


def oracle_of(name):
    case = CASES[name]
    return case.kind.call(reference, name, case.options)


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


@every_loss(but=lambda case: case.kind not in (SUMS, CLASS_SUMS))
def test_merged_parts_equal_the_whole(name):
    case = CASES[name]
    x, y = draw(name, BATCH)
    make = dj.region_sums if case.kind is SUMS else dj.softmax_region_sums
    loss = getattr(dj, name)
    parts = [make(x[:1], y[:1]), make(x[1:], y[1:])]
    whole = loss(make(x, y), **case.options)
    np.testing.assert_allclose(loss(sum(parts), **case.options), whole, rtol=1e-5, atol=1e-7)


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
