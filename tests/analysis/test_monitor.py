"""The monitor's numbers, and its alarms for failures that real libraries have had."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dice_jax as dj
from dice_jax import analysis
from dice_jax.analysis import Alarm
from tests.support import WITHOUT_EXTRA

N = 600


def _targets(foreground=30, n=N):
    return (np.arange(n) < foreground).astype(np.int32)


def _alarm(losses, logits, targets, **options):
    report = analysis.gradient_monitor(losses, jnp.asarray(logits), targets, **options)
    reason = Alarm(int(report.reason))
    assert bool(report.alarm) == (reason != Alarm.NONE)
    return reason, report


OURS = {
    "dice": dj.dice_loss,
    "jaccard": dj.jaccard_loss,
    "bce": dj.binary_cross_entropy_loss,
}


def test_the_numbers_are_those_of_numpy():
    rng = np.random.default_rng(0)
    y = _targets()
    z = rng.normal(size=N).astype(np.float32) - 4
    z[:3], z[3:5], z[-2:] = -12, -6.95, 9
    _, report = _alarm(OURS, z, y)
    z = z.astype(np.float64)
    p = 1 / (1 + np.exp(-z))
    top, bottom = 2 * (p * y).sum() + 1, p.sum() + y.sum() + 1
    dice = -(2 * y * bottom - top) / bottom**2 * p * (1 - p)
    bce = (p - y) / N
    found = report.losses["dice"]
    np.testing.assert_allclose(found.value, 1 - top / bottom, rtol=1e-5)
    np.testing.assert_allclose(found.norm, np.linalg.norm(dice), rtol=1e-5)
    np.testing.assert_allclose(report.losses["bce"].norm, np.linalg.norm(bce), rtol=1e-5)
    share = np.abs(dice[y == 1]).sum() / np.abs(dice).sum()
    np.testing.assert_allclose(found.foreground_share, share, rtol=1e-5)
    ratio = np.abs(dice[y == 1]).mean() / np.abs(dice[y == 0]).mean()
    np.testing.assert_allclose(found.ratio, ratio, rtol=1e-5)
    cosine = dice @ bce / np.linalg.norm(dice) / np.linalg.norm(bce)
    np.testing.assert_allclose(report.cosines["dice|bce"], cosine, rtol=1e-5)
    np.testing.assert_allclose(
        report.scales["dice|bce"], np.linalg.norm(dice) / np.linalg.norm(bce), rtol=1e-5
    )
    truth = np.where(y == 1, p, 1 - p)
    np.testing.assert_allclose(report.saturated, (np.maximum(p, 1 - p) > 0.999).mean(), rtol=1e-5)
    np.testing.assert_allclose(report.confident_errors, (truth < 1e-3).mean(), rtol=1e-5)
    np.testing.assert_allclose(report.foreground_fraction, 0.05, rtol=1e-5)
    np.testing.assert_allclose(report.mean_probability, p.mean(), rtol=1e-5)
    dead = np.abs(dice) <= 1e-2 * np.abs(bce)
    confident = truth < 1e-3
    np.testing.assert_allclose(found.dead_errors, dead[confident].mean(), rtol=1e-5)
    assert 0 < float(found.dead_errors) < 1
    assert float(report.losses["bce"].dead_errors) == 0


def test_dice_and_jaccard_at_half_the_smoothing_pull_the_same_way():
    z = np.random.default_rng(1).normal(size=N).astype(np.float32)
    losses = {"dice": dj.dice_loss, "half": lambda s: dj.jaccard_loss(s, smooth=0.5)}
    _, report = _alarm(losses, z, _targets())
    assert float(report.cosines["dice|half"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "logits",
    [np.zeros(N), np.full(N, -3.0), np.where(_targets() == 1, 9.0, -9.0)],
    ids=["start", "prior bias", "nearly perfect"],
)
def test_a_healthy_step_raises_no_alarm(logits):
    reason, _ = _alarm(OURS, logits.astype(np.float32), _targets())
    assert reason == Alarm.NONE


def test_even_a_perfect_prediction_raises_no_alarm():
    y = _targets()
    reason, _ = _alarm(OURS, np.where(y == 1, 200.0, -200.0).astype(np.float32), y)
    assert reason == Alarm.NONE


def _keras_style(sums):
    """Smoothing in the denominator only: loss 1 and no gradient on an empty target."""
    return dj.dice_loss(sums, smooth=0.0, smooth_denominator=1e-7)


def test_it_catches_a_zero_gradient_on_an_empty_target():
    empty = np.zeros(N, np.int32)
    reason, report = _alarm({"keras": _keras_style}, np.zeros(N, np.float32), empty)
    assert reason == Alarm.EMPTY_TARGET | Alarm.DEAD_GRADIENT
    assert float(report.losses["keras"].value) == 1
    reason, _ = _alarm({"dice": dj.dice_loss}, np.zeros(N, np.float32), empty)
    assert reason == Alarm.EMPTY_TARGET


def _arrays(logits, targets):
    return logits, targets


def _half_precision_sums(arrays):
    """Sums in the logits' own type: float16 holds nothing beyond 65,504."""
    logits, targets = arrays
    p, y = jax.nn.sigmoid(logits), targets.astype(logits.dtype)
    return 1 - (2 * jnp.sum(p * y) + 1) / (jnp.sum(p) + jnp.sum(y) + 1)


def _half_precision_ratio(arrays):
    logits, targets = arrays
    p = jax.nn.sigmoid(logits)
    y = targets.astype(logits.dtype)
    return 1 - 2 * jnp.sum(p) * jnp.sum(y) / (jnp.sum(p) * jnp.sum(p) + jnp.sum(y))


def test_it_catches_sums_that_overflow_in_float16():
    pixels = 512 * 512
    y, z = _targets(2000, pixels), np.ones(pixels, np.float16)
    reason, report = _alarm({"half": _half_precision_sums}, z, y, sums=_arrays)
    # The sum is infinite, so the loss is 1 and nothing is learnt: silent, but for the monitor.
    assert float(report.losses["half"].value) == 1
    assert Alarm.DEAD_GRADIENT in reason
    reason, _ = _alarm({"half": _half_precision_ratio}, z, y, sums=_arrays)
    assert Alarm.OVERFLOW in reason


def _dice(sums):
    return dj.dice_loss(sums, smooth=1e-5)


def _scaled_dice(sums):
    return 2.0**15 * _dice(sums)


def test_it_catches_gradients_too_small_for_float16_and_sees_loss_scaling_cure_it():
    pixels = 4 * 512 * 512
    y, z = _targets(pixels // 50, pixels), np.zeros(pixels, np.float16)
    reason, report = _alarm({"dice": _dice}, z, y)
    assert Alarm.UNDERFLOW in reason
    assert float(report.losses["dice"].underflow) > 0.5
    reason, report = _alarm({"dice": _scaled_dice}, z, y)
    assert reason == Alarm.NONE
    assert float(report.losses["dice"].underflow) == 0


def test_it_catches_what_is_not_finite():
    z = np.zeros(N, np.float32)
    z[3] = np.nan
    assert Alarm.OVERFLOW in _alarm({"dice": dj.dice_loss}, z, _targets())[0]


def _uncapped(sums):
    w = 1 / jnp.square(sums.target + 1e-6)
    above, below = 2 * w * sums.intersection, w * (sums.prediction + sums.target)
    return 1 - above.sum(-1) / below.sum(-1)


def test_it_catches_generalised_dice_with_an_absent_class():
    labels = _targets()
    z = np.random.default_rng(2).normal(size=(N, 3)).astype(np.float32)
    reason, report = _alarm({"uncapped": _uncapped, "capped": dj.generalized_dice_loss}, z, labels)
    assert reason == Alarm.DEAD_GRADIENT
    assert bool(report.losses["uncapped"].dead)
    assert not bool(report.losses["capped"].dead)


def test_it_catches_a_collapse_to_all_foreground():
    reason, report = _alarm({"dice": _dice}, np.full(N, 12.0, np.float32), _targets())
    assert Alarm.ALL_FOREGROUND in reason
    assert float(report.mean_probability) > 0.99


def test_it_catches_saturation_at_a_bad_initial_bias():
    reason, report = _alarm(OURS, np.full(N, -20.0, np.float32), _targets())
    assert reason == Alarm.DEAD_GRADIENT | Alarm.COLLAPSE
    assert float(report.saturated) == 1
    assert float(report.losses["dice"].dead_errors) == 1
    assert not bool(report.losses["bce"].dead)
    # A sum with cross-entropy is what revives it.
    both = {"both": lambda s: dj.dice_loss(s) + dj.binary_cross_entropy_loss(s)}
    assert _alarm(both, np.full(N, -20.0, np.float32), _targets())[0] == Alarm.NONE


# The steps of a run of the study of collapses (Dice, the rate rises over 5 steps, seed 13): mean p
# over the foreground and over the background, at a foreground fraction of 0.3 %.
COLLAPSING = [
    (1.0, 0.184),
    (1.0, 0.0853),
    (0.632, 0.00564),
    (2.73e-09, 0.000269),
    (1.89e-09, 8.31e-05),
]
# Another one (clipped at norm 1, seed 0), which loses the foreground in three steps.
SLOWER = [(0.972, 0.00413), (0.00603, 0.000224), (0.000414, 8.36e-05), (1.29e-06, 3.2e-05)]


@pytest.mark.parametrize(("run", "first", "dead"), [(COLLAPSING, 3, 3), (SLOWER, 3, 9)])
def test_it_catches_a_collapse_before_the_gradient_is_dead(run, first, dead):
    targets = _targets(12, 4000)
    both = {"both": lambda s: _dice(s) + dj.binary_cross_entropy_loss(s)}
    for step, (foreground, background) in enumerate(run):
        p = np.where(targets == 1, foreground, background).astype(np.float64)
        logits = (np.log(p) - np.log1p(-np.minimum(p, 1 - 1e-7))).astype(np.float32)
        reason, report = _alarm({"dice": _dice}, logits, targets)
        assert (Alarm.COLLAPSE in reason) == (step >= first)
        assert (Alarm.DEAD_GRADIENT in reason) == (step >= dead)
        # C12: p̄₊·2UN/S², while p is small.
        if foreground < 0.01:
            i, s = p[targets == 1].sum(), p.sum() + 12
            pull = foreground * 2 * (s - i) * 4000 / s**2
            np.testing.assert_allclose(report.losses["dice"].foreground_pull, pull, rtol=0.01)
    # With cross-entropy in the loss the foreground comes back.
    assert _alarm(both, logits, targets)[0] == Alarm.NONE


def test_masked_pixels_change_nothing_whatever_they_hold():
    rng = np.random.default_rng(3)
    z, y = rng.normal(size=(N, 3)).astype(np.float32), _targets()
    losses = {"dice": lambda s: dj.dice_loss(s)[..., 1:].mean(), "ce": dj.cross_entropy_loss}
    inside = np.arange(N) % 3 > 0
    _, clean = _alarm(losses, z[inside], y[inside])
    z[~inside], y[~inside] = np.nan, 255
    reason, masked = _alarm(losses, z, y, where=inside)
    assert reason == Alarm.NONE
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(masked), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-8)


def test_a_report_becomes_plain_numbers():
    _, report = _alarm(OURS, np.zeros(N, np.float32), _targets())
    metrics = analysis.monitor_metrics(report, prefix="g/")
    assert all(type(value) is float for value in metrics.values())
    assert {"g/dice/norm", "g/bce/foreground_share", "g/cosines/dice|bce", "g/reason"} <= set(
        metrics
    )
    assert metrics["g/alarm"] == 0


def test_an_optax_step_returns_the_report_without_retracing():
    """How to use it with Optax: the report leaves the jitted step with the loss."""
    rng = np.random.default_rng(4)
    targets = _targets()
    inputs = jnp.asarray(rng.normal(size=(N, 3)) + targets[:, None], jnp.float32)
    losses = {"dice": dj.dice_loss, "bce": dj.binary_cross_entropy_loss}
    optimizer = optax.sgd(2.0)
    traces = []

    @jax.jit
    def step(parameters, state):
        traces.append(1)

        def loss_fn(parameters):
            logits = inputs @ parameters["w"] + parameters["b"]
            return dj.dice_loss(dj.sigmoid_region_sums(logits, targets)), logits

        (loss, logits), gradient = jax.value_and_grad(loss_fn, has_aux=True)(parameters)
        updates, state = optimizer.update(gradient, state, parameters)
        report = analysis.gradient_monitor(losses, logits, targets)
        return optax.apply_updates(parameters, updates), state, loss, report

    parameters = {"w": jnp.zeros(3), "b": jnp.zeros(())}
    state = optimizer.init(parameters)
    history = []
    for _ in range(40):
        parameters, state, loss, report = step(parameters, state)
        history.append({"loss": float(loss), **analysis.monitor_metrics(report)})
    assert len(traces) == 1
    assert history[-1]["loss"] < history[0]["loss"] - 0.1
    assert history[-1]["gradient/dice/value"] < history[0]["gradient/dice/value"]
    assert not any(metrics["gradient/alarm"] for metrics in history)


def test_a_flax_nnx_step_returns_the_report():
    """How to use it with Flax NNX, and at the network's own parameters."""
    nnx = pytest.importorskip("flax.nnx", reason=WITHOUT_EXTRA)
    targets = _targets()
    inputs = jnp.asarray(
        np.random.default_rng(5).normal(size=(N, 3)) + targets[:, None], jnp.float32
    )
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(2.0), wrt=nnx.Param)
    losses = {"dice": dj.dice_loss}

    @nnx.jit
    def step(model, optimizer):
        def loss_fn(model):
            logits = model(inputs)[..., 0]
            return dj.dice_loss(dj.sigmoid_region_sums(logits, targets)), logits

        (loss, logits), gradient = nnx.value_and_grad(loss_fn, has_aux=True)(model)
        optimizer.update(model, gradient)
        return loss, analysis.gradient_monitor(losses, logits, targets)

    first, report = step(model, optimizer)
    for _ in range(20):
        last, report = step(model, optimizer)
    assert float(last) < float(first)
    assert not bool(report.alarm)
    graph, parameters = nnx.split(model)
    result = analysis.compare_at_parameters(
        dj.dice_loss,
        dj.log_dice_loss,
        parameters,
        lambda p: nnx.merge(graph, p)(inputs)[..., 0],
        targets,
    )
    assert float(result.cosine) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("losses", "logits", "targets", "error", "says"),
    [
        (dj.dice_loss, np.zeros(4, np.float32), np.zeros(4, int), TypeError, "map names"),
        ({}, np.zeros(4, np.float32), np.zeros(4, int), ValueError, "empty"),
        (OURS, np.zeros(4, int), np.zeros(4, int), TypeError, "floating"),
        (OURS, np.zeros(4, np.float32), np.zeros(5, int), ValueError, r"\(5,\)"),
    ],
)
def test_a_wrong_argument_is_refused(losses, logits, targets, error, says):
    with pytest.raises(error, match=says):
        analysis.gradient_monitor(losses, logits, targets)
