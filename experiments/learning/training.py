"""Training: a model, a loss and a stream of batches become parameters and a history."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import dice_jax as dj
from experiments.learning.arms import Arm, arm_sums
from experiments.learning.batches import Batches
from experiments.learning.checkpoints import Checkpointer, NullCheckpointer
from experiments.learning.class_arms import ClassArm, diagnose_classes
from experiments.learning.models import initialise
from experiments.learning.optimisers import Optimiser
from experiments.learning.placement import Placement, one_device, runs_apart

__all__ = ["History", "Task", "TrainedRun", "diagnose", "scans_by_default", "schedule", "train"]

# Per name, one number per step.
History = dict[str, np.ndarray]
Report = Callable[[int], None]

# Between two reports of progress: long enough that the device seldom waits for the host.
_SECONDS_PER_PART = 1.0
_FIRST_STEPS, _MOST_STEPS = 2, 200


class Task(NamedTuple):
    """What one run learns from; runs of one seed share it whatever their loss.

    Args:
        batches: give every step its images and masks.
        rates: [steps], the learning rate of every step.
        seed: of the initial parameters.
        start: the probability at which the model's output starts.
        channels: of the images.
        outputs: logits of a pixel: 1, or one for each class.
    """

    batches: Batches
    rates: np.ndarray
    seed: int
    start: float = 0.5
    channels: int = 1
    outputs: int = 1


class TrainedRun(NamedTuple):
    """The parameters after the last step, what was measured in each step, and the time.

    The history has the scalars of `diagnose`, and the norms of the gradient at the parameters
    (``gradient_norm``) and of the step (``update_norm``). Runs that are trained together share
    their time equally.
    """

    parameters: nnx.State
    history: History
    seconds: float


class _State(NamedTuple):
    parameters: Any
    optimiser: Any


class _Position(NamedTuple):
    """The state in the middle of a training: what a checkpoint holds."""

    step: Any
    state: _State
    history: dict[str, Any]
    seconds: Any


def diagnose(
    arm: Arm | ClassArm, logits: jax.Array, masks: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """Compute a batch's gradient at the logits, and measure what it does.

    Args:
        arm: the loss.
        logits: [B, H, W].
        masks: [B, H, W], boolean.

    Returns:
        The gradient of the loss with respect to the logits, and scalars by name.
        ``gradient_ratio`` is the measured |g₊|/|g₋| of means over pixels, in probability space;
        ``gradient_ratio_dice`` is its closed form 2/D − 1 for Dice of the whole batch. Of a loss of
        classes: those of `diagnose_classes`.
    """
    if isinstance(arm, ClassArm):
        return diagnose_classes(arm, logits, masks)
    gradient = dj.analysis.pixel_gradient(arm, logits, masks, sums=arm.sums)
    # g_p = g_z / p(1 − p). Going through the logits stays exact where p rounds to 1. They are
    # bounded: below −87, p(1 − p) rounds to 0, and Dice's constant gradient would be lost.
    bounded = jnp.clip(logits, -40, 40)
    slope = jax.nn.sigmoid(bounded) * jax.nn.sigmoid(-bounded)
    by_probability = dj.analysis.pixel_gradient(arm, bounded, masks, sums=arm.sums) / slope
    at_logits = dj.analysis.gradient_balance(gradient, masks)
    at_probabilities = dj.analysis.gradient_balance(by_probability, masks)
    # Over the whole batch, whatever the loss pools over.
    s = arm_sums(logits, masks).foreground
    return gradient, {
        "loss": arm(arm.sums(logits, masks)),
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


# A step has three parts: forward, the loss's gradient at the pixels, backward. Only the middle part
# depends on the loss, and it is small, so that the network compiles once for a whole study.


def _forward(graph: nnx.GraphDef[Any], parameters: Any, images: jax.Array) -> tuple[Any, Any]:
    return jax.vjp(lambda parameters: nnx.merge(graph, parameters)(images), parameters)


def _update(
    optimiser: Optimiser,
    placement: Placement,
    state: _State,
    pullback: Any,
    gradient: Any,
    rate: Any,
) -> tuple[_State, dict[str, Any]]:
    (gradients,) = pullback(gradient)
    # Optax's bias correction mixes Python numbers and integers, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        direction, moments = optimiser.transformation.update(gradients, state.optimiser)
    parameters = jax.tree.map(lambda p, d: p - rate * d, state.parameters, direction)
    norms = {
        "gradient_norm": optax.tree.norm(gradients),
        "update_norm": rate * optax.tree.norm(direction),
    }
    return placement.constrain(_State(parameters, moments)), norms


class _Program(Protocol):
    """Trains a part of the steps. The length of the parts changes no number."""

    def begin(self) -> _Position: ...

    def advance(self, position: _Position, stop: int) -> _Position: ...


def _take(placement: Placement, batches: Batches, step: Any) -> tuple[jax.Array, jax.Array]:
    return placement.cut(batches.at(step))


_jit_take = jax.jit(_take, static_argnums=0)
_jit_forward = jax.jit(_forward, static_argnums=0)
_jit_diagnose = jax.jit(diagnose, static_argnums=0)
_jit_update = jax.jit(_update, static_argnums=(0, 1))


class _Stepwise:
    """One run, step by step."""

    def __init__(
        self,
        model: str,
        arm: Arm | ClassArm,
        task: Task,
        optimiser: Optimiser,
        placement: Placement,
    ) -> None:
        self._arm, self._optimiser, self._placement = arm, optimiser, placement
        self._graph, self._state = _start(model, task, optimiser)
        self._batches = placement.put(task.batches)
        self._rates = np.asarray(task.rates, np.float32)
        self._names = _measured(arm, task)

    def begin(self) -> _Position:
        return _beginning(self._state, self._names, self._rates.shape)

    def advance(self, position: _Position, stop: int) -> _Position:
        state, measured = self._placement.put(position.state), []
        for step in range(int(position.step), stop):
            images, masks = _jit_take(self._placement, self._batches, np.int32(step))
            logits, pullback = _jit_forward(self._graph, state.parameters, images)
            gradient, numbers = _jit_diagnose(self._arm, logits, masks)
            state, norms = _jit_update(
                self._optimiser, self._placement, state, pullback, gradient, self._rates[step]
            )
            measured.append(numbers | norms)
        host = jax.device_get(measured)
        history = {name: values.copy() for name, values in position.history.items()}
        for step, numbers in enumerate(host, start=int(position.step)):
            for name, value in numbers.items():
                history[name][step] = value
        jax.block_until_ready(state)
        return _Position(np.int64(stop), state, history, position.seconds)


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=(4, 5))
def _steps_together(
    graph: nnx.GraphDef[Any],
    arm: Arm | ClassArm,
    optimiser: Optimiser,
    placement: Placement,
    states: _State,
    histories: dict[str, jax.Array],
    batches: Batches,
    rates: jax.Array,
    first: jax.Array,
    stop: jax.Array,
) -> tuple[_State, dict[str, jax.Array]]:
    def one(state: _State, history: dict[str, jax.Array], batches: Batches, rates: Any) -> Any:
        def step(now: jax.Array, carried: tuple[_State, dict[str, jax.Array]]) -> Any:
            state, history = carried
            images, masks = batches.at(now)
            logits, pullback = _forward(graph, state.parameters, images)
            gradient, numbers = diagnose(arm, logits, masks)
            state, norms = _update(optimiser, one_device(), state, pullback, gradient, rates[now])
            numbers |= norms
            return state, {name: history[name].at[now].set(numbers[name]) for name in history}

        # The bounds are arguments, so that parts of any length are one program.
        return jax.lax.fori_loop(first, stop, step, (state, history))

    return placement.constrain(jax.vmap(one)(states, histories, batches, rates))


class _Together:
    """Several runs, and many steps, in one compiled program."""

    def __init__(
        self, model: str, arm: Arm | ClassArm, tasks: Sequence[Task], optimiser: Optimiser
    ) -> None:
        self._arm, self._optimiser = arm, optimiser
        self._placement = placement = runs_apart(len(tasks))
        starts = [_start(model, task, optimiser) for task in tasks]
        self._graph = starts[0][0]
        self._states = _stack([state for _, state in starts])
        self._batches = placement.put(_stack([task.batches for task in tasks]))
        self._host_rates = np.stack([np.asarray(task.rates, np.float32) for task in tasks])
        self._rates = placement.put(self._host_rates)
        self._names = _measured(arm, tasks[0])

    def begin(self) -> _Position:
        return _beginning(self._states, self._names, self._host_rates.shape)

    def advance(self, position: _Position, stop: int) -> _Position:
        state, history = _steps_together(
            self._graph,
            self._arm,
            self._optimiser,
            self._placement,
            self._placement.put(position.state),
            self._placement.put(position.history),
            self._batches,
            self._rates,
            np.int32(position.step),
            np.int32(stop),
        )
        jax.block_until_ready(state)
        return _Position(np.int64(stop), state, history, position.seconds)


def _start(model: str, task: Task, optimiser: Optimiser) -> tuple[nnx.GraphDef[Any], _State]:
    graph, parameters = initialise(
        model, task.seed, start=task.start, channels=task.channels, outputs=task.outputs
    )
    return graph, _State(parameters, optimiser.transformation.init(parameters))


def _measured(arm: Arm | ClassArm, task: Task) -> tuple[str, ...]:
    masks = jax.eval_shape(lambda: task.batches.at(0))[1]
    classes = () if task.outputs == 1 else (task.outputs,)
    logits = jax.ShapeDtypeStruct((*masks.shape, *classes), "float32")
    # Tracing here fills the jit cache, so the first step does not trace again.
    return (*_jit_diagnose.eval_shape(arm, logits, masks)[1], "gradient_norm", "update_norm")


def _beginning(state: _State, names: Sequence[str], shape: tuple[int, ...]) -> _Position:
    history = {name: np.zeros(shape, np.float32) for name in names}
    return _Position(np.int64(0), state, history, np.float64(0))


def schedule(steps: int, warmup: int | None = None) -> np.ndarray:
    """Shape the learning rate: a linear ramp up, then half a cosine down.

    Adam's first steps are as long as its later ones, whatever the gradient: hence the ramp.

    Args:
        steps: in all.
        warmup: steps of the ramp; ``None``: a tenth of all.
    """
    ramp = max(steps // 10, 1) if warmup is None else warmup
    up = np.minimum((np.arange(steps) + 1) / ramp, 1)
    down = np.clip((np.arange(steps) - ramp) / max(steps - ramp, 1), 0, 1)
    return (up * (0.5 + 0.5 * np.cos(np.pi * down))).astype(np.float32)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def scans_by_default() -> bool:
    """Tell whether runs train together in one compiled loop: everywhere but on a CPU.

    On a CPU, convolutions inside a loop are about nine times slower than single steps.
    """
    return jax.default_backend() != "cpu"


def train(
    model: str,
    arm: Arm | ClassArm,
    tasks: Sequence[Task],
    *,
    optimiser: Optimiser | None = None,
    scanned: bool | None = None,
    placement: Placement | None = None,
    checkpointer: Checkpointer | None = None,
    report: Report = lambda steps: None,
) -> list[TrainedRun]:
    """Train one model with one loss on several tasks of equal shape.

    Args:
        model: a name in `models.MODELS`.
        arm: the loss.
        tasks: one per run.
        optimiser: with its settings; ``None``: Adam.
        scanned: train all tasks in one compiled program (vmap over tasks, a loop over steps),
            spread over this process's devices; ``None``: yes if there is no placement and the
            device is not a CPU.
        placement: of a training step by step; ``None``: on one device.
        checkpointer: saves and restores the training; only for one program, or for one task.
        report: called with the number of steps that were done.

    Returns:
        One `TrainedRun` per task.
    """
    if scanned is None:
        scanned = placement is None and scans_by_default()
    checkpointer, optimiser = checkpointer or NullCheckpointer(), optimiser or Optimiser()
    steps = len(tasks[0].rates)
    if not scanned:
        ends = [
            _drive(
                _Stepwise(model, arm, task, optimiser, placement or one_device()),
                steps,
                checkpointer,
                report,
            )
            for task in tasks
        ]
    else:
        end = _drive(_Together(model, arm, tasks, optimiser), steps, checkpointer, report)
        end = end._replace(
            seconds=np.full(len(tasks), end.seconds / len(tasks)), step=np.zeros(len(tasks))
        )
        ends = [jax.tree.map(lambda leaf, run=run: leaf[run], end) for run in range(len(tasks))]
    return [
        TrainedRun(jax.tree.map(jnp.asarray, end.state.parameters), end.history, float(end.seconds))
        for end in ends
    ]


def _drive(program: _Program, steps: int, checkpointer: Checkpointer, report: Report) -> _Position:
    """Train to the end, part by part, and return everything on the host."""
    began = time.perf_counter()
    beginning = program.begin()
    position = checkpointer.restore(beginning) or beginning
    before, part = float(position.seconds), _FIRST_STEPS
    while position.step < steps:
        looked = time.perf_counter()
        stop = min(int(position.step) + part, steps)
        done = stop - int(position.step)
        position = program.advance(position, stop)
        report(done)
        now = time.perf_counter()
        part = _next_part(done, now - looked)
        if checkpointer.due() and stop < steps:
            checkpointer.save(jax.device_get(position._replace(seconds=before + now - began)))
    return jax.device_get(position._replace(seconds=before + time.perf_counter() - began))


def _next_part(done: int, seconds: float) -> int:
    """Choose how many steps the next part has: as many as take about a second."""
    # At most four times as many as before: the first part's time includes its compilation.
    wanted = np.clip(done * _SECONDS_PER_PART / seconds, done // 4, done * 4)
    return int(np.clip(wanted, 1, _MOST_STEPS))
