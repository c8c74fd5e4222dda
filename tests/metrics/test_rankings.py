"""Metrics of ranked scores against scikit-learn, with negative scores, ties and NaNs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from dice_jax import metrics

RANKED = (metrics.average_precision, metrics.roc_auc, metrics.best_threshold)


def drawn(kind, seed=0):
    """Scores and targets; rounded scores tie."""
    rng = np.random.default_rng(seed)
    y = rng.random(300) < 0.3
    z = rng.normal(size=300) + y
    scores = {
        "logits": z,
        "tied logits": np.round(z, 1) + 0.0,
        "all negative": -1 - np.exp(z),
        "signed zeros": np.where(z > 0.5, 0.0, -0.0),
        "probabilities": 1 / (1 + np.exp(-z)),
        "huge": z * 1e37,
        "with infinities": np.where(z > 1.5, np.inf, np.where(z < -1.5, -np.inf, z)),
    }[kind]
    return scores.astype(np.float32), y


KINDS = ("logits", "tied logits", "all negative", "signed zeros", "probabilities", "huge")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [None, "boolean", "floating"])
def test_any_scores_are_ranked_as_scikit_learn_ranks_them(kind, weighted):
    scores, y = drawn(kind)
    where = None if weighted is None else np.random.default_rng(1).random(y.size) < 0.8
    if weighted == "floating":
        where = where * np.random.default_rng(2).choice([0.5, 2.0], y.size).astype(np.float32)
    weight = np.ones(y.size) if where is None else where.astype(np.float64)
    for metric, expected in (
        (metrics.average_precision, sklearn.metrics.average_precision_score),
        (metrics.roc_auc, sklearn.metrics.roc_auc_score),
    ):
        score = metric(scores, y, where=where)
        expected = expected(y, scores, sample_weight=weight)
        np.testing.assert_allclose(float(score), expected, rtol=2e-5)
    threshold = metrics.best_threshold(scores, y, where=where)
    claimed = scores >= np.append(np.unique(scores), threshold)[:, None]
    dice = 2 * (claimed & y) @ weight / (claimed @ weight + y @ weight)
    np.testing.assert_allclose(dice[-1], max(dice), rtol=1e-6)


def test_infinite_scores_rank_at_the_ends():
    scores, y = drawn("with infinities")
    finite = np.clip(scores, -100, 100)
    for metric in (metrics.average_precision, metrics.roc_auc):
        np.testing.assert_array_equal(metric(scores, y).value, metric(finite, y).value)


def test_nothing_to_rank():
    p = jnp.array([0.1, 0.2])
    for y in (jnp.zeros(2, int), jnp.ones(2, int)):
        score = metrics.roc_auc(p, y)
        assert (float(score), bool(score.present)) == (0.5, False)


@pytest.mark.parametrize("metric", RANKED, ids=lambda f: f.__name__)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_nan_is_not_lost(metric, sign):
    """In the report: average_precision([NaN, .9, .1], [1, 0, 0]) was 1."""
    p, y = np.array([np.nan, 0.9, 0.1], np.float32), np.array([1, 0, 0])
    p = np.copysign(p, np.float32(sign))
    for call in (metric, jax.jit(metric)):
        assert np.isnan(np.asarray(call(p, y)))
        rows = call(np.stack([p, p + np.array([-np.inf, 0, 0])]), np.stack([y, y]))
        assert np.isnan(np.asarray(rows))
    two = metric(np.stack([p, [0.5, 0.9, 0.1]]).astype(np.float32), np.stack([y, y]), axis=1)
    np.testing.assert_array_equal(np.isnan(np.asarray(two)), [True, False])
    assert (
        np.isfinite(np.asarray(metric(p, y, where=~np.isnan(p))))
        or metric is metrics.best_threshold
    )
    assert np.isnan(np.asarray(metric(p[1:], np.array([1.0, np.nan], np.float32))))


def test_logits_of_the_report():
    """In the report, average precision ranked logits by their absolute value: .057, not .643."""
    rng = np.random.default_rng(3)
    y = rng.random(2000) < 0.05
    z = (rng.normal(size=2000) - 5 + 3 * y).astype(np.float32)
    expected = sklearn.metrics.average_precision_score(y, z)
    np.testing.assert_allclose(float(metrics.average_precision(z, y)), expected, rtol=1e-5)
    p = jax.nn.sigmoid(z)
    np.testing.assert_allclose(
        jax.nn.sigmoid(metrics.best_threshold(z, y)), metrics.best_threshold(p, y), rtol=1e-6
    )
