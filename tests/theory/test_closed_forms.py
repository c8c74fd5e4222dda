"""Closed forms, smoothing and weights included, against automatic differentiation of the losses."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import analysis

RNG = np.random.default_rng(3)
P = RNG.uniform(0.05, 0.95, 12)
Y = (np.arange(12) < 4).astype(np.float64)


def _gradient(loss, **options):
    """The gradient at every pixel, and the sums that the closed forms take."""
    p = jnp.asarray(P)
    return jax.grad(lambda x: loss(dj.region_sums(x, Y), **options))(p), dj.region_sums(p, Y)


SMOOTHING = [(0.0, None), (3.0, None), (3.0, 0.5), (0.0, 2.0)]


@pytest.mark.parametrize(("smooth", "below"), SMOOTHING)
def test_the_two_values_of_dice_and_their_ratio(smooth, below):
    options = {"smooth": smooth, "smooth_denominator": below}
    with jax.enable_x64(True):
        gradient, sums = _gradient(dj.dice_loss, **options)
        values = analysis.dice_gradient_values(sums, **options)
        ratio = analysis.gradient_ratio(sums, **options)
    np.testing.assert_allclose(values, [gradient[0], gradient[-1]], rtol=1e-12)
    np.testing.assert_allclose(ratio, -gradient[0] / gradient[-1], rtol=1e-12)


@pytest.mark.parametrize("smooth", [0.0, 3.0])
def test_the_line_of_squared_dice(smooth):
    with jax.enable_x64(True):
        gradient, sums = _gradient(dj.squared_dice_loss, smooth=smooth)
        line = analysis.squared_dice_gradient_values(sums, smooth=smooth)
    a, b, index = map(np.asarray, line)
    np.testing.assert_allclose(a * Y + b * P, gradient, rtol=1e-12)
    expected = (2 * (P * Y).sum() + smooth) / ((P**2 + Y**2).sum() + smooth)
    np.testing.assert_allclose(index, expected, rtol=1e-12)


@pytest.mark.parametrize("smooth", [0.0, 3.0])
def test_the_two_values_of_tversky(smooth):
    options = {"alpha": 0.3, "beta": 0.8, "smooth": smooth}
    with jax.enable_x64(True):
        gradient, sums = _gradient(dj.tversky_loss, **options)
        values = analysis.tversky_gradient_values(sums, **options)
    np.testing.assert_allclose(values, [gradient[0], gradient[-1]], rtol=1e-12)


OUT_OF_RANGE = {
    "cross_entropy_best_constant": {"fraction": 1.5},
    "balanced_cross_entropy_best_constant": {"fraction": -0.1},
    "dice_best_constant": {"fraction": 0.1, "target": 9.0, "smooth": -1.0},
    "squared_dice_best_constant": {"fraction": 0.1, "target": -9.0},
    "tversky_best_constant": {"fraction": 0.1, "target": 9.0, "beta": 1.0, "alpha": -1.0},
    "dice_cross_entropy_best_constant": {"fraction": 0.1, "weight": -1.0},
    "dice_mass_ratio": {"fraction": 0.1, "foreground_mean": 0.5, "background_mean": 1.5},
    "squared_dice_mass_ratio": {"fraction": 0.1, "prediction": 1.5},
    "cross_entropy_mass_ratio": {"prediction": 0.1, "fraction": 1.5},
    "two_class_dice_mass_ratio": {"fraction": 0.1, "prediction": -0.5},
    "squared_dice_gradient_ratio": {"index": 0.5, "foreground": 0.5, "background": 2.0},
    "power_factor": {"loss": 0.5, "gamma": -1.0},
    "empty_mask_dice": {"smooth": 1.0, "prediction": -1.0},
    "volume_bounds": {"dice": 1.1},
    "dice_escape_time": {"target": 9.0, "background": 1.0, "start": 2.0},
    "cross_entropy_escape_time": {"start": -2.0, "count": -9.0},
    "escape_crossing": {"fraction": 0.9},
    "dice_oracle": {"posterior": [0.5, 1.5]},
    "squared_dice_oracle": {"posterior": [0.5, 1.5]},
    "cross_entropy_oracle": {"posterior": [0.5, 1.5]},
    "per_image_dice_oracle": {"posterior": [0.5, 1.5]},
    "empty_image_oracle": {"volume": 3.0, "smooth": 1.0, "presence": 1.5},
    "break_even_odds": {"volume": 3.0, "smooth": 1.0, "prediction": 1.5},
    "self_adjusting_peak": {"alpha": -0.5},
    "dice_calibration_error": {"fraction": 0.1, "dice": 1.5},
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_number_out_of_range_is_an_error(name):
    """The last argument is the wrong one."""
    arguments = OUT_OF_RANGE[name]
    with pytest.raises(ValueError, match=f"^{list(arguments)[-1]} must be .*, got"):
        getattr(analysis, name)(**arguments)


@pytest.mark.parametrize(
    "name", ["dice_cross_entropy_best_constant", "dice_mass_ratio", "volume_bounds"]
)
def test_a_traced_number_out_of_range_is_nan(name):
    arguments = {key: jnp.float32(value) for key, value in OUT_OF_RANGE[name].items()}
    assert all(map(np.isnan, jax.tree.leaves(jax.jit(getattr(analysis, name))(**arguments))))


def test_rounding_is_not_out_of_range():
    assert analysis.volume_bounds(1 + 2**-23)[1] == pytest.approx(1)


FRACTIONS, TARGETS = np.array([0.02, 0.3, 0.7]), np.array([2.0, 50.0])
# Less than a factor of 2 apart: a threshold that is off by 2 shows.
SMOOTHS = np.geomspace(1e-2, 200, 16)


def _best_end(loss, fraction, target, **options):
    """The lower of the loss's two ends, with a count of pixels in place of an image."""
    y = jnp.array([1.0, 0.0])
    weight = jnp.array([target, target / fraction - target])
    loss_at = [float(loss(dj.region_sums(q + 0 * y, y, where=weight), **options)) for q in (0, 1)]
    return float(np.argmin(loss_at))


def test_the_best_constant_of_dice_is_the_lower_end():
    best = {0.0: 0, 1.0: 0}
    for fraction, target, smooth in itertools.product(FRACTIONS, TARGETS, SMOOTHS):
        with jax.enable_x64(True):
            found = float(analysis.dice_best_constant(fraction, target, smooth=smooth))
            assert found == _best_end(dj.dice_loss, fraction, target, smooth=smooth)
        best[found] += 1
    assert min(best.values()) > 3


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.9), (0.9, 0.2)])
def test_the_best_constant_of_tversky_is_the_lower_end(alpha, beta):
    best = {0.0: 0, 1.0: 0}
    for fraction, target, smooth in itertools.product(FRACTIONS, TARGETS, SMOOTHS):
        options = {"alpha": alpha, "beta": beta, "smooth": smooth}
        with jax.enable_x64(True):
            found = float(analysis.tversky_best_constant(fraction, target, **options))
            assert found == _best_end(dj.tversky_loss, fraction, target, **options)
        best[found] += 1
    assert min(best.values()) > 3


def test_where_the_two_ends_are_equal_any_constant_is_as_good():
    # βπT = s(α(1 − π) − βπ) with π = ¼, T = 4.
    equal = 0.25 * 0.25 * 4 / (0.75 * 0.75 - 0.25 * 0.25)
    found = analysis.tversky_best_constant(0.25, 4.0, alpha=0.75, beta=0.25, smooth=equal)
    assert float(found) == 0.5


@pytest.mark.parametrize("smooth", [0.0, 2.0])
def test_the_hessian_and_its_extreme_eigenvalues(smooth):
    loss = partial(dj.dice_loss, smooth=smooth)
    with jax.enable_x64(True):
        p = jnp.asarray(P)
        expected = jax.hessian(lambda x: loss(dj.region_sums(x, Y)))(p)
        sums = dj.region_sums(p, Y)
        found = analysis.dice_hessian(sums, Y, smooth=smooth)
        extremes = analysis.dice_curvatures(sums, smooth=smooth)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(extremes, np.linalg.eigvalsh(expected)[[0, -1]], rtol=1e-11)
