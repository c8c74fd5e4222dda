"""Checks of arguments: 64-bit integers, values outside [0, 1], numbers outside their range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import metrics
from dice_jax._core import checks

LONG = (np.iinfo(np.int64).min, -(2**32), 2**32, 2**32 + 1, 2**33 + 2, np.iinfo(np.int64).max)


@pytest.mark.parametrize("value", [*LONG, 2**64 - 1])
def test_long_integers_are_clipped_not_cut(value):
    dtype = np.int64 if value < 2**63 else np.uint64
    array = checks.as_array("labels", np.array([value, 1], dtype))
    limits = np.iinfo(np.int32 if dtype == np.int64 else np.uint32)
    np.testing.assert_array_equal(array, [limits.max if value > 0 else limits.min, 1])
    assert int(checks.as_array("labels", dtype(value))) not in (0, 1, 2)


def test_what_fits_is_the_same_as_before():
    for x in (np.arange(3), [1, 2], 3, 0.5, [0.5], True, np.float64(2), jnp.arange(2), (1, 2.5)):
        expected, array = jnp.asarray(x), checks.as_array("x", x)
        assert (array.dtype, array.weak_type) == (expected.dtype, expected.weak_type)
        np.testing.assert_array_equal(array, expected)
    with jax.enable_x64(True):
        assert checks.as_array("x", np.array([2**40])).tolist() == [2**40]
    assert checks.as_array("x", [2**40]).tolist() == [2**31 - 1]


# A raster's "no data" and numbers of the form k·2³² + class, as labels of three classes.
NO_DATA = np.array([np.iinfo(np.int64).min, 1, 2, 0])
HIGH_BITS = np.array([1, 2**32 + 1, 2, 0])


@pytest.mark.parametrize("labels", [NO_DATA, HIGH_BITS], ids=["no data", "high bits"])
def test_labels_that_do_not_exist_are_loud_however_long(labels):
    logits = jnp.zeros((4, 3))
    p = jax.nn.softmax(logits)
    assert np.isnan(dj.dice_loss(dj.softmax_region_sums(logits, labels))).all()
    assert np.isnan(dj.lovasz_softmax_loss(p, labels)).all()
    assert np.isnan(metrics.confusion_matrix(labels, labels, num_classes=3)).all()
    assert np.isnan(metrics.top_label(p, labels)[1][labels > 3]).all()
    binary = np.where(labels == 2, 0, labels)
    assert np.isnan(dj.dice_loss(dj.region_sums(p[:, 0], binary)))
    assert np.isnan(dj.lovasz_hinge_loss(logits[:, 0], binary))
    for metric in (metrics.brier_score, metrics.average_precision, metrics.roc_auc):
        assert np.isnan(float(metric(p[:, 0], binary)))
    with pytest.raises(ValueError, match="instances must be within"):
        dj.instance_region_sums(p[:, 0], labels > 0, labels, num_instances=2)
    kept = (labels >= 0) & (labels < 3)
    masked = dj.softmax_region_sums(logits, labels, where=kept)
    assert np.isfinite(dj.dice_loss(masked)).all()


def test_a_long_integer_is_foreground_of_a_mask():
    mask = np.array([0, 2**32, 0])
    assert dj.distance_transform(mask).tolist() == [0, 1, 0]
    assert float(metrics.hausdorff_distance(mask, mask)) == 0
    assert metrics.hausdorff_distance(mask, mask).present
    with pytest.raises(ValueError, match="components must be numbers of 32 bits"):
        dj.voronoi_regions(np.array([0, 2**32 + 1]))


OUTSIDE = {
    "logits": np.array([5.0, -4.0, 3.0], np.float32),
    "gray values": np.array([0.0, 255.0, 0.0], np.float32),
}


@pytest.mark.parametrize("values", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("place", ["numpy", "jax", "list"])
def test_values_outside_the_unit_interval_are_refused(values, place):
    make = {"numpy": np.asarray, "jax": jnp.asarray, "list": np.ndarray.tolist}[place]
    low, high = f"{values.min():g}", f"{values.max():g}"
    if place == "list":
        values = values.astype(np.float64)
    with pytest.raises(ValueError, match=rf"p must be in \[0, 1\], .*{low} to {high}; write this"):
        checks.check_unit("p", make(values), hint="this")
    kept = np.abs(values) <= 1
    checks.check_unit("p", make(values), where=kept.astype(np.float32), hint="this")
    jax.jit(lambda p: checks.check_unit("p", p, hint="this"))(jnp.asarray(values))
    assert np.isnan(checks.unit_or_nan(jnp.asarray(values))).any()


@pytest.mark.parametrize(
    "dtype", [jnp.float32, jnp.float16, jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2]
)
def test_rounding_is_no_fault(dtype):
    step = float(jnp.finfo(dtype).eps)
    values = jnp.array([-step, 0.0, 0.5, 1.0, 1 + step], dtype)
    checks.check_unit("p", values, hint="this")
    np.testing.assert_array_equal(checks.unit_or_nan(values), values)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_overshoot_of_a_resized_mask_is_no_fault(ndim):
    # Two pixels wide: the negative weights of both sides add up.
    mask = jnp.zeros((6,) * ndim).at[(slice(2, 4),) * ndim].set(1.0)
    resized = jax.image.resize(mask, (48,) * ndim, "cubic")
    assert resized.max() > 1.25
    checks.check_unit("targets", resized, hint="this")
    assert not np.isnan(checks.unit_or_nan(resized)).any()


def test_what_is_not_looked_at():
    checks.check_unit("p", np.array([3, 4]), hint="this")  # integers have checks of their own
    checks.check_unit("p", np.array([np.nan, 0.5]), hint="this")  # the result will be NaN
    checks.check_unit("p", np.zeros((0, 2)), hint="this")
    assert checks.host_values(None) is None
    seen = []
    jax.jit(lambda x: seen.append(checks.host_values(x)))(1.0)
    assert seen == [None]


@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan, np.inf])
def test_a_bound_that_is_not_allowed(value):
    with pytest.raises(ValueError, match=r"x must be finite and >= 0 and < 1, got"):
        checks.check_number("x", value, most=1.0, open_at_most=True)
    checks.check_number("x", 0.999, most=1.0, open_at_most=True)
