"""One run: both ways of training agree, and its history is what theory and autodiff say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from experiments.learning.arms import arm_sums, parse_arm
from experiments.learning.training import Task, diagnose, schedule, train
from experiments.runs.batches import batches_of
from tests.experiments.conftest import TINY

FRESH = dataclasses.replace(TINY, train_images=None)
SMALL = dataclasses.replace(TINY, image_size=16, steps=5)


def _tasks(rates=(1e-3, 3e-3)):
    return [
        Task(batches_of(SMALL, 0.1, seed), rate * schedule(SMALL.steps), seed)
        for seed, rate in enumerate(rates)
    ]


@pytest.mark.parametrize("model", ["linear", pytest.param("unet", marks=pytest.mark.slow)])
def test_scanned_and_stepwise_training_agree(model):
    """On accelerators the steps are scanned and the runs vmapped; here both run on a CPU."""
    arm = parse_arm("dice")
    stepwise = train(model, arm, _tasks(), scanned=False)
    scanned = train(model, arm, _tasks(), scanned=True)
    for a, b in zip(stepwise, scanned, strict=True):
        assert a.history.keys() == b.history.keys()
        for name in a.history:
            np.testing.assert_allclose(a.history[name], b.history[name], rtol=5e-3, atol=1e-4)
        leaves = zip(jax.tree.leaves(a.parameters), jax.tree.leaves(b.parameters), strict=True)
        for x, y in leaves:
            # Adam divides by the gradient's size: rounding in a tiny one is a whole step's.
            np.testing.assert_allclose(x, y, atol=2e-3)
    # Two tasks are two runs: they did not learn the same.
    assert abs(stepwise[0].history["loss"][-1] - stepwise[1].history["loss"][-1]) > 1e-6


def test_training_is_reproducible_bit_for_bit_and_reports_every_step():
    seen = []
    arm = parse_arm("bce")
    first = train("unet", arm, _tasks()[:1], scanned=False, report=seen.append)[0]
    again = train("unet", arm, _tasks()[:1], scanned=False)[0]
    assert sum(seen) == SMALL.steps
    for name in first.history:
        assert first.history[name].tobytes() == again.history[name].tobytes()


def test_training_learns():
    task = Task(batches_of(FRESH, 0.1, 0), 0.1 * schedule(200), 0)
    loss = train("linear", parse_arm("bce"), [task], scanned=False)[0].history["loss"]
    assert loss[-20:].mean() < 0.6 * loss[:5].mean()


def test_schedule():
    factors = schedule(100)
    assert factors.shape == (100,)
    assert factors.max() == 1
    assert (np.diff(factors[:10]) > 0).all()
    assert (np.diff(factors[10:]) < 0).all()
    assert factors[-1] < 0.01
    assert schedule(1).shape == (1,)


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(2)
    masks = generator.random((2, 16, 16)) < 0.05
    logits = (3 * generator.normal(size=masks.shape) + masks).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(masks)


@pytest.mark.parametrize("loss", ["bce", "dice", "focal", "dice+bce"])
def test_shares_are_those_of_finite_differences_and_of_the_chain_rule(loss, batch):
    """In float64 NumPy, by hand for the two spaces."""
    logits, masks = batch
    gradient, numbers = diagnose(parse_arm(loss), logits, masks)
    z, y = np.asarray(logits, np.float64), np.asarray(masks)
    p = 1 / (1 + np.exp(-z))
    by_hand = {
        "bce": (p - y) / y.size,
        "dice": _dice_gradient(p, y) * p * (1 - p),
    }
    by_hand["dice+bce"] = by_hand["dice"] + by_hand["bce"]
    g = by_hand.get(loss, np.asarray(gradient, np.float64))
    np.testing.assert_allclose(gradient, g, rtol=2e-4, atol=1e-9)
    for name, space in (("logit", g), ("probability", g / (p * (1 - p)))):
        size = np.abs(space)
        share = size[y].sum() / size.sum()
        np.testing.assert_allclose(numbers[f"foreground_share_{name}"], share, rtol=1e-3)
    size = np.abs(g / (p * (1 - p)))
    np.testing.assert_allclose(
        numbers["gradient_ratio"], size[y].mean() / size[~y].mean(), rtol=1e-3
    )


def _dice_gradient(p, y):
    i, s = (p * y).sum(), p.sum() + y.sum() + 1e-5
    return ((2 * i + 1e-5) / s - 2 * y) / s


def test_dices_ratio_holds_where_p_is_saturated(batch):
    """At logits of ±100 p(1 − p) is 0 in float32; the gradient in p is not (C1)."""
    logits, masks = batch
    extreme = jnp.where(logits > 0, logits, -100.0)
    _, numbers = diagnose(parse_arm("dice"), extreme, masks)
    np.testing.assert_allclose(numbers["gradient_ratio"], numbers["gradient_ratio_dice"], rtol=1e-3)
    d = float(dj.dice_index(dj.sigmoid_region_sums(extreme, masks)))
    np.testing.assert_allclose(numbers["gradient_ratio"], 2 / d - 1, rtol=1e-3)


def test_other_numbers_of_a_step(batch):
    logits, masks = batch
    arm = parse_arm("dice")
    _, numbers = diagnose(arm, logits, masks)
    z, y = np.asarray(logits, np.float64), np.asarray(masks)
    p = 1 / (1 + np.exp(-z))
    found = z >= 0
    np.testing.assert_allclose(numbers["loss"], arm(arm_sums(logits, masks)), rtol=1e-6)
    np.testing.assert_allclose(
        numbers["dice"], 2 * (found & y).sum() / (found.sum() + y.sum()), rtol=1e-6
    )
    np.testing.assert_allclose(
        numbers["soft_dice"], 2 * p[y].sum() / (p.sum() + y.sum()), rtol=1e-5
    )
    np.testing.assert_allclose(numbers["mean_probability_foreground"], p[y].mean(), rtol=1e-5)
    np.testing.assert_allclose(numbers["mean_probability_background"], p[~y].mean(), rtol=1e-5)
    np.testing.assert_allclose(numbers["foreground_fraction"], y.mean(), rtol=1e-6)
