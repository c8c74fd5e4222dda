"""Small models end at their optimum: closed forms, and a gradient of 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.learning.arms import parse_arm
from experiments.learning.batches import Pool
from experiments.learning.rest import solve
from experiments.learning.training import Task


@pytest.fixture(scope="module")
def task():
    generator = np.random.default_rng(0)
    masks = generator.random((2, 16, 16)) < 0.05
    images = (generator.normal(size=masks.shape) + 2 * masks).astype(np.float32)
    pool = Pool(jnp.asarray(images), jnp.asarray(masks), np.arange(2, dtype=np.int32)[None])
    return Task(pool, np.ones(120, np.float32), 0)


def _end(model, loss, task):
    found = solve(model, parse_arm(loss), task)
    assert len(found.history["loss"]) == 120
    return found, {name: values[-1] for name, values in found.history.items()}


def test_the_constant_of_bce_is_the_foreground_fraction(task):
    """C6, to six digits: no cloud of minibatches around it."""
    _, end = _end("bias", "bce", task)
    assert end["mean_probability_background"] == pytest.approx(
        float(task.batches.masks.mean()), rel=1e-6
    )
    assert end["foreground_share_logit"] == pytest.approx(0.5, abs=1e-6)


def test_the_constant_of_dice_goes_to_its_limit(task):
    """C6: all foreground, which no finite bias attains."""
    _, end = _end("bias", "dice", task)
    assert end["mean_probability_background"] > 0.999


@pytest.mark.parametrize("loss", ["bce", "dice+bce"])
def test_a_linear_model_is_at_rest(loss, task):
    """Its gradient is 0, and with it C7: half of the gradient at the logits is the foreground's."""
    found, end = _end("linear", loss, task)
    assert end["gradient_norm"] < 1e-8
    assert end["foreground_share_logit"] == pytest.approx(0.5, abs=1e-5)
    # The first entry is the start, and the last step no longer moves.
    assert found.history["mean_probability_background"][0] == pytest.approx(0.5)
    assert found.history["update_norm"][0] > 0 == end["update_norm"]
    assert all(leaf.dtype == "float32" for leaf in jax.tree.leaves(found.parameters))
