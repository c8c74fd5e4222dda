"""One run: a model, an arm and a stream of batches become parameters and a history."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import dice_jax as dj
from experiments.arms import Arm, arm_sums
from experiments.masks import Images
from experiments.models import initialise

__all__ = ["History", "Task", "TrainedRun", "diagnose", "scans_by_default", "schedule", "train"]

# Per name, one number per step.
History = dict[str, np.ndarray]
Report = Callable[[int], None]

_ADAM = optax.scale_by_adam()
# Steps between two looks at the progress: long enough that the device never waits for the host.
_STEPS_A_LOOK = 20


class Task(NamedTuple):
    """What one run learns from; runs of one seed share it whatever their arm.

    Args:
        images: the training images.
        order: [steps, batch] integer, the images of each step.
        seed: of the initial parameters.
        learning_rate: Adam's peak learning rate.
    """

    images: Images
    order: np.ndarray
    seed: int
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a training gives.

    Args:
        parameters: of the model, after the last step.
        history: what `diagnose` measured at every step, before that step's update.
        seconds: the time it took; runs trained together share their time equally.
    """

    parameters: nnx.State
    history: History
    seconds: float


class _State(NamedTuple):
    parameters: Any
    optimiser: Any


def diagnose(arm: Arm, logits: jax.Array, masks: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
    """Measure a batch: the gradient at its logits, and what that gradient does.

    Args:
        arm: the loss.
        logits: [B, H, W].
        masks: [B, H, W], boolean.

    Returns:
        The gradient of the loss with respect to the logits, and scalars by name: the loss, hard
        and soft Dice, the foreground share of the gradient in logit and in probability space, the
        measured |g₊|/|g₋| (means over pixels, probability space), its closed form for Dice
        2/D − 1, mean p over foreground and background, and the batch's foreground fraction.
    """
    sums = arm_sums(logits, masks)
    gradient = dj.analysis.pixel_gradient(arm, logits, masks, sums=arm_sums)
    # g_p = g_z / p(1 − p), exact where p would round to 1 and its logarithm to nothing. Logits are
    # bounded first: from −87 on p(1 − p) rounds to 0 and takes Dice's constant gradient with it.
    bounded = jnp.clip(logits, -40, 40)
    slope = jax.nn.sigmoid(bounded) * jax.nn.sigmoid(-bounded)
    by_probability = dj.analysis.pixel_gradient(arm, bounded, masks, sums=arm_sums) / slope
    at_logits = dj.analysis.gradient_balance(gradient, masks)
    at_probabilities = dj.analysis.gradient_balance(by_probability, masks)
    s = sums.foreground
    return gradient, {
        "loss": arm(sums),
        "dice": dj.dice_index(dj.region_sums(logits >= 0, masks)),
        "soft_dice": dj.dice_index(s),
        "foreground_share_probability": at_probabilities.foreground_share,
        "foreground_share_logit": at_logits.foreground_share,
        "gradient_ratio": at_probabilities.ratio,
        "gradient_ratio_dice": dj.analysis.gradient_ratio(s, smooth=0.0),
        "mean_probability_foreground": s.intersection / jnp.maximum(s.target, 1),
        "mean_probability_background": (s.prediction - s.intersection)
        / jnp.maximum(s.count - s.target, 1),
        "foreground_fraction": s.target / s.count,
    }


# A step in three parts, forward, the loss's gradient at the pixels, backward. Only the middle one
# depends on the arm, and it is small: the network compiles once for a whole study.


def _forward(graph: nnx.GraphDef[Any], parameters: Any, images: jax.Array) -> tuple[Any, Any]:
    return jax.vjp(lambda parameters: nnx.merge(graph, parameters)(images), parameters)


def _update(state: _State, pullback: Any, gradient: jax.Array, rate: jax.Array) -> _State:
    (gradients,) = pullback(gradient)
    # Optax's bias correction mixes Python numbers and integers, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        direction, optimiser = _ADAM.update(gradients, state.optimiser)
    parameters = jax.tree.map(lambda p, d: p - rate * d, state.parameters, direction)
    return _State(parameters, optimiser)


_jit_forward = jax.jit(_forward, static_argnums=0)
_jit_diagnose = jax.jit(diagnose, static_argnums=0)
_jit_update = jax.jit(_update)
_jit_take = jax.jit(lambda images, index: jax.tree.map(lambda x: x[index], images))


def _train_stepwise(
    graph: nnx.GraphDef[Any], arm: Arm, state: _State, task: Task, rates: np.ndarray, report: Report
) -> tuple[_State, History]:
    measured = []
    for step, (index, rate) in enumerate(zip(task.order, rates, strict=True)):
        images, masks = _jit_take(task.images, index)
        logits, pullback = _jit_forward(graph, state.parameters, images)
        gradient, numbers = _jit_diagnose(arm, logits, masks)
        state = _jit_update(state, pullback, gradient, rate)
        measured.append(numbers)
        if (step + 1) % _STEPS_A_LOOK == 0:
            jax.block_until_ready(state)
            report(_STEPS_A_LOOK)
    report(len(rates) % _STEPS_A_LOOK)
    host = jax.device_get(measured)
    return state, {name: np.array([numbers[name] for numbers in host]) for name in host[0]}


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2,))
def _train_scanned(
    graph: nnx.GraphDef[Any],
    arm: Arm,
    states: _State,
    images: Images,
    orders: jax.Array,
    rates: jax.Array,
) -> tuple[_State, dict[str, Any]]:
    def one(state: _State, images: Images, order: jax.Array, rates: jax.Array) -> Any:
        def step(state: _State, now: tuple[jax.Array, jax.Array]) -> tuple[_State, Any]:
            index, rate = now
            logits, pullback = _forward(graph, state.parameters, images.images[index])
            gradient, numbers = diagnose(arm, logits, images.masks[index])
            return _update(state, pullback, gradient, rate), numbers

        return jax.lax.scan(step, state, (order, rates))

    return jax.vmap(one)(states, images, orders, rates)


def _over_devices(stacked: Any, runs: int) -> Any:
    """Spread the leading axis, the runs, over the devices: they never speak to each other."""
    used = max(d for d in range(1, jax.local_device_count() + 1) if runs % d == 0)
    mesh = jax.make_mesh(
        (used,),
        ("runs",),
        devices=jax.local_devices()[:used],
        axis_types=(jax.sharding.AxisType.Auto,),
    )
    return jax.device_put(stacked, jax.NamedSharding(mesh, jax.P("runs")))


def schedule(steps: int) -> np.ndarray:
    """Shape the learning rate of a run: up a ramp (a tenth of the steps), down half a cosine.

    Adam's first steps are as long as its later ones whatever the gradient. Without the ramp one of
    them can push every pixel to p = 0, where Dice's gradient at the logits is gone (theory: C11).

    Args:
        steps: of the run.

    Returns:
        [steps], factors of the peak learning rate.
    """
    ramp = max(steps // 10, 1)
    up = np.minimum((np.arange(steps) + 1) / ramp, 1)
    down = np.clip((np.arange(steps) - ramp) / max(steps - ramp, 1), 0, 1)
    return (up * (0.5 + 0.5 * np.cos(np.pi * down))).astype(np.float32)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def scans_by_default() -> bool:
    """Tell whether runs train together in one scanned program: everywhere but on a CPU.

    There, convolutions inside a scan are about nine times slower than single steps.
    """
    return jax.default_backend() != "cpu"


def train(
    model: str,
    arm: Arm,
    tasks: Sequence[Task],
    *,
    scanned: bool | None = None,
    report: Report = lambda steps: None,
) -> list[TrainedRun]:
    """Train one model with one arm on several tasks of equal shape.

    Adam, its learning rate shaped by `schedule`.

    Args:
        model: a name in `models.MODELS`.
        arm: the loss.
        tasks: one per run.
        scanned: train all of them in one compiled program (vmap over tasks, scan over steps,
            spread over the devices); ``None``: unless the device is a CPU.
        report: called with a number of steps that were done.

    Returns:
        One `TrainedRun` per task.
    """
    began = time.perf_counter()
    scanned = scans_by_default() if scanned is None else scanned
    starts: list[tuple[Any, _State]] = []
    for task in tasks:
        graph, parameters = initialise(model, task.seed)
        starts.append((graph, _State(parameters, _ADAM.init(parameters))))
    steps = len(tasks[0].order)
    rates = [np.float32(task.learning_rate) * schedule(steps) for task in tasks]

    finished: list[tuple[_State, History]] = []
    if scanned:
        stacked = _over_devices(
            (
                _stack([state for _, state in starts]),
                _stack([task.images for task in tasks]),
                np.stack([task.order for task in tasks]),
                np.stack(rates),
            ),
            len(tasks),
        )
        states, measured = jax.device_get(_train_scanned(starts[0][0], arm, *stacked))
        for run in range(len(tasks)):
            state = jax.tree.map(lambda leaf, run=run: jnp.asarray(leaf[run]), states)
            finished.append((state, {name: m[run] for name, m in measured.items()}))
        report(steps * len(tasks))
    else:
        for (graph, state), task, rate in zip(starts, tasks, rates, strict=True):
            finished.append(_train_stepwise(graph, arm, state, task, rate, report))
    seconds = (time.perf_counter() - began) / len(tasks)
    return [TrainedRun(state.parameters, history, seconds) for state, history in finished]
