"""Calibration errors against float64 NumPy: edges of bins, equal masses, classes, ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dice_jax import metrics

UNIT_METRICS = (
    metrics.adaptive_calibration_error,
    metrics.brier_score,
    metrics.expected_calibration_error,
    metrics.maximum_calibration_error,
)


def drawn(size=3000, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.random(size).astype(np.float32)
    return p, rng.random(size) < p**2


def equal_widths(p, y, weight, bins):
    """Per bin: weight, mean probability and frequency, in float64."""
    edges = np.arange(bins + 1) / bins
    number = np.clip(np.searchsorted(edges.astype(p.dtype), p, side="right") - 1, 0, bins - 1)
    total, confidence, hits = (
        np.bincount(number, weight * x, bins) for x in (np.ones_like(p), p, y)
    )
    return total, confidence, hits


@pytest.mark.parametrize("bins", [1, 2, 7, 10, 15, 22, 23, 37])
def test_an_edge_belongs_to_the_bin_above_it(bins):
    """⌊p·bins⌋ in float32 puts 13/22, 7/23, 14/23 and others a bin too low."""
    edges = (np.arange(bins) / bins).astype(np.float32)
    below = np.nextafter(edges[1:], np.float32(0))
    counts = metrics.calibration(edges, np.ones(bins), bins=bins).count
    np.testing.assert_array_equal(counts, np.ones(bins))
    counts = metrics.calibration(below, np.ones(bins - 1), bins=bins).count
    np.testing.assert_array_equal(counts, [1] * (bins - 1) + [0])
    last = metrics.calibration(np.ones(1, np.float32), np.ones(1), bins=bins).count
    np.testing.assert_array_equal(last, [0] * (bins - 1) + [1])


def test_equal_widths():
    p, y = drawn()
    weight = np.random.default_rng(1).choice([0.0, 0.5, 2.0], p.size)
    total, confidence, hits = equal_widths(p, y, weight, 15)
    where = weight.astype(np.float32)
    expected = np.sum(np.abs(hits - confidence)) / total.sum()
    error = metrics.expected_calibration_error(p, y, where=where)
    np.testing.assert_allclose(float(error), expected, rtol=1e-4)
    worst = np.max(np.abs(hits - confidence) / total)
    error = metrics.maximum_calibration_error(p, y, where=where)
    np.testing.assert_allclose(float(error), worst, rtol=1e-4)
    whole = metrics.calibration(p, y, where=where)
    np.testing.assert_allclose(whole.maximum_calibration_error, worst, rtol=1e-4)


def test_equal_masses():
    p, y = drawn()
    order = np.argsort(p)
    parts = [np.array_split(x[order].astype(np.float64), 15) for x in (p, y)]
    expected = np.mean([abs(a.mean() - b.mean()) for a, b in zip(*parts, strict=True)])
    error = metrics.adaptive_calibration_error(p, y)
    np.testing.assert_allclose(float(error), expected, rtol=1e-4)
    # Weights count as so many pixels, and 0 as none.
    weight = np.random.default_rng(1).integers(0, 4, p.size)
    repeated = metrics.adaptive_calibration_error(np.repeat(p, weight), np.repeat(y, weight))
    weighted = metrics.adaptive_calibration_error(p, y, where=weight.astype(np.float32))
    np.testing.assert_allclose(float(weighted), float(repeated), rtol=1e-4)


def test_equal_masses_do_not_depend_on_the_order_of_equals():
    p, y = drawn(600)
    p = np.round(p, 1)
    one = metrics.adaptive_calibration_error(p, y, bins=7)
    for order in (np.lexsort((y, p)), np.lexsort((~y, p))):
        other = metrics.adaptive_calibration_error(p[order], y[order], bins=7)
        np.testing.assert_allclose(float(other), float(one), rtol=1e-5)
    # In two bins of one probability each, the errors are known.
    p, y = np.array([0.25] * 4 + [0.75] * 4, np.float32), np.array([1, 0, 1, 0, 1, 1, 1, 1])
    np.testing.assert_allclose(float(metrics.adaptive_calibration_error(p, y, bins=2)), 0.25)


def test_several_classes():
    rng = np.random.default_rng(4)
    p = rng.dirichlet(np.ones(3), 500).astype(np.float32)
    labels = rng.integers(0, 3, 500)
    top = metrics.maximum_calibration_error(*metrics.top_label(p, labels), bins=5)
    total, confidence, hits = equal_widths(p.max(1), p.argmax(1) == labels, np.ones(500), 5)
    used = total > 0
    expected = np.max((np.abs(hits - confidence) / np.maximum(total, 1))[used])
    np.testing.assert_allclose(float(top), expected, rtol=1e-5)
    each = metrics.expected_calibration_error(p, labels[..., None] == np.arange(3), axis=0)
    alone = [metrics.expected_calibration_error(p[:, c], labels == c) for c in range(3)]
    np.testing.assert_allclose(each.value, [float(a) for a in alone], rtol=1e-5)
    labels[7] = 255
    confidence, hit = metrics.top_label(p, labels)
    assert np.isnan(metrics.expected_calibration_error(confidence, hit).value)
    kept = metrics.expected_calibration_error(confidence, hit, where=labels != 255)
    assert np.isfinite(float(kept))


@pytest.mark.parametrize("metric", UNIT_METRICS, ids=lambda f: f.__name__)
def test_values_out_of_range_are_loud(metric):
    """In the report, logits went into the calibration error and the Brier score unseen."""
    logits, y = np.array([5.0, -4.0, 3.0], np.float32), np.array([1, 0, 0])
    with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\].*sigmoid\(logits\)"):
        metric(logits, y)
    gray = np.array([0.0, 255.0, 0.0], np.float32)
    with pytest.raises(ValueError, match=r"targets must be in \[0, 1\].*write targets /"):
        metric(jax.nn.sigmoid(logits), gray)
    for arrays in ((logits, y), (gray / 255, gray)):
        assert np.isnan(jax.jit(metric)(*arrays).value)
    nan = metric(np.array([np.nan, 0.5], np.float32), y[:2])
    assert np.isnan(nan.value)
    masked = metric(np.where(logits > 4, 0.5, logits), y, where=logits > 4)
    assert np.isfinite(masked.value)
    nothing = metric(logits, y, where=np.zeros(3, bool))
    assert (float(nothing), bool(nothing.present)) == (0.0, False)


def test_maxima_of_batches_come_from_merged_sums():
    p, y = drawn()
    parts = [metrics.calibration(p[i], y[i]) for i in (slice(0, 700), slice(700, None))]
    whole = metrics.maximum_calibration_error(p, y)
    np.testing.assert_allclose(sum(parts).maximum_calibration_error, float(whole), rtol=1e-4)
    assert jnp.ndim(whole.value) == 0
