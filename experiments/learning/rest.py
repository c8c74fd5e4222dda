"""Small models are solved to rest: a quasi-Newton method on all training images at once."""

from __future__ import annotations

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from scipy import optimize

from experiments.learning.arms import Arm, parse_arm
from experiments.learning.models import initialise
from experiments.learning.training import Task, TrainedRun, diagnose

__all__ = ["solve"]

# The largest entry of the gradient at which the search stops. A loss is of order 1.
_GRADIENT = 1e-9


def solve(model: str, arm: Arm, task: Task) -> TrainedRun:
    """Minimise a loss over a model's parameters by BFGS, on the batch of step 0, in float64.

    The search starts from the optimum of BCE, which is convex in these models. The overlap losses
    are not: from p = ½ a search may end where the whole image is foreground or background.

    An optimiser of minibatches ends in a cloud around the optimum, whose size depends on the
    learning rate. Here the loss has one value for one set of parameters, and the search ends where
    its gradient is 0 up to rounding. Where the optimum is at infinity, the search goes on until
    the gradient is as small.

    Args:
        model: a name in `models.MODELS`, of few parameters.
        arm: the loss.
        task: its batch of step 0 holds all training images. It has as many rates as there may be
            iterations; what the rates are does not matter.

    Returns:
        A `TrainedRun`. Its history has one entry per iteration, and repeats the last one once the
        search has ended: the parameters no longer move.
    """
    began = time.perf_counter()
    graph, parameters = initialise(model, task.seed, start=task.start, channels=task.channels)
    images, masks = jax.jit(lambda batches: batches.at(0))(task.batches)
    start, unravel = ravel_pytree(parameters)
    with jax.enable_x64(True):
        wide = jnp.asarray(np.asarray(images), jnp.float64)

        def logits_of(flat: jax.Array) -> jax.Array:
            return nnx.merge(graph, unravel(flat))(wide)

        @partial(jax.jit, static_argnums=0)
        def loss_and_slope(arm: Arm, flat: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.value_and_grad(lambda x: arm(arm.sums(logits_of(x), masks)))(flat)

        @jax.jit
        def measured(flat: jax.Array) -> dict[str, jax.Array]:
            numbers = diagnose(arm, logits_of(flat), masks)[1]
            return numbers | {"gradient_norm": jnp.linalg.norm(loss_and_slope(arm, flat)[1])}

        def path(arm: Arm, start: np.ndarray, iterations: int) -> list[np.ndarray]:
            track = [start]
            optimize.minimize(
                lambda x: tuple(map(np.asarray, loss_and_slope(arm, jnp.asarray(x)))),
                start,
                jac=True,
                method="BFGS",
                callback=lambda x: track.append(x.copy()),
                options={"gtol": _GRADIENT, "maxiter": iterations},
            )
            return track

        most = len(task.rates) // 2
        track = path(parse_arm("bce"), np.asarray(start, np.float64), most - 1)
        if arm.losses != ("bce",):
            track += path(arm, track[-1], most - 1)
        entries = [jax.device_get(measured(jnp.asarray(x))) for x in track]
    steps = np.linalg.norm(np.diff(track, axis=0), axis=1)
    history = {name: np.array([entry[name] for entry in entries]) for name in entries[0]}
    history["update_norm"] = np.append(steps, 0.0)
    missing = len(task.rates) - len(track)
    history = {name: np.pad(values, (0, missing), mode="edge") for name, values in history.items()}
    end = unravel(jnp.asarray(track[-1].astype(np.float32)))
    return TrainedRun(end, history, time.perf_counter() - began)
