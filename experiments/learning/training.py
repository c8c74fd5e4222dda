"""One run: a model, an arm and a stream of batches become parameters and a history."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dice_jax as dj
from experiments.images.masks import Images
from experiments.learning.arms import Arm, arm_sums
from experiments.learning.checkpoints import Forget, Keeper
from experiments.learning.models import initialise
from experiments.learning.optimisers import OPTIMISERS
from experiments.learning.placement import OneDevice, Placement, RunsApart

__all__ = ["History", "Task", "TrainedRun", "diagnose", "scans_by_default", "schedule", "train"]

# Per name, one number per step.
History = dict[str, np.ndarray]
Report = Callable[[int], None]

# Between two looks at the progress: long enough that the device seldom waits for the host.
_SECONDS_A_LOOK = 1.0
_FIRST_STEPS, _MOST_STEPS = 2, 200


class Task(NamedTuple):
    """What one run learns from; runs of one seed share it whatever their arm.

    Args:
        images: the training images.
        order: [steps, batch] integer, the images of each step.
        seed: of the initial parameters.
        learning_rate: the optimiser's peak learning rate.
        start: the probability at which the model's output starts.
    """

    images: Images
    order: np.ndarray
    seed: int
    learning_rate: float
    start: float = 0.5


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


class _Position(NamedTuple):
    """The middle of a training: all that the rest of it depends on, and what it gave so far."""

    step: Any
    state: _State
    history: dict[str, Any]
    seconds: Any


def diagnose(arm: Arm, logits: jax.Array, masks: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
    """Measure a batch: the gradient at its logits, and what that gradient does.

    Args:
        arm: the loss.
        logits: [B, H, W].
        masks: [B, H, W], boolean.

    Returns:
        The gradient of the loss with respect to the logits, and scalars by name: the loss, hard
        and soft Dice, the foreground share of the gradient in logit and in probability space, the
        measured |g₊|/|g₋| (means over pixels, probability space), its closed form 2/D − 1 for
        Dice of the whole batch, mean p over foreground and background, and the batch's foreground
        fraction.
    """
    gradient = dj.analysis.pixel_gradient(arm, logits, masks, sums=arm.sums)
    # g_p = g_z / p(1 − p), exact where p would round to 1 and its logarithm to nothing. Logits are
    # bounded first: from −87 on p(1 − p) rounds to 0 and takes Dice's constant gradient with it.
    bounded = jnp.clip(logits, -40, 40)
    slope = jax.nn.sigmoid(bounded) * jax.nn.sigmoid(-bounded)
    by_probability = dj.analysis.pixel_gradient(arm, bounded, masks, sums=arm.sums) / slope
    at_logits = dj.analysis.gradient_balance(gradient, masks)
    at_probabilities = dj.analysis.gradient_balance(by_probability, masks)
    # Measured over the whole batch, whatever the arm pools over.
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


# A step in three parts, forward, the loss's gradient at the pixels, backward. Only the middle one
# depends on the arm, and it is small: the network compiles once for a whole study.


def _forward(graph: nnx.GraphDef[Any], parameters: Any, images: jax.Array) -> tuple[Any, Any]:
    return jax.vjp(lambda parameters: nnx.merge(graph, parameters)(images), parameters)


def _update(
    optimiser: str, placement: Placement, state: _State, pullback: Any, gradient: Any, rate: Any
) -> _State:
    (gradients,) = pullback(gradient)
    # Optax's bias correction mixes Python numbers and integers, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        direction, moments = OPTIMISERS[optimiser].update(gradients, state.optimiser)
    parameters = jax.tree.map(lambda p, d: p - rate * d, state.parameters, direction)
    return placement.keep(_State(parameters, moments))


class _Program(Protocol):
    """Trains a part of the way; how long the parts are changes no number."""

    def begin(self) -> _Position: ...

    def advance(self, position: _Position, stop: int) -> _Position: ...


# Images and masks.
_Pair = tuple[jax.Array, jax.Array]


def _pair(task: Task) -> _Pair:
    return task.images.images, task.images.masks


def _take(data: _Pair, order: jax.Array, step: Any) -> _Pair:
    images, masks = data
    return images[order[step]], masks[order[step]]


_jit_take = jax.jit(_take)
_jit_forward = jax.jit(_forward, static_argnums=0)
_jit_diagnose = jax.jit(diagnose, static_argnums=0)
_jit_update = jax.jit(_update, static_argnums=(0, 1))


class _Stepwise:
    """One run, step by step."""

    def __init__(
        self, model: str, arm: Arm, task: Task, optimiser: str, placement: Placement
    ) -> None:
        self._arm, self._optimiser, self._placement = arm, optimiser, placement
        self._graph, self._state = _start(model, task, optimiser)
        self._data = placement.images(_pair(task))
        self._order = placement.order(task.order)
        self._rates = _rates(task)
        self._names = _measured(arm, task)

    def begin(self) -> _Position:
        return _beginning(self._state, self._names, self._rates.shape)

    def advance(self, position: _Position, stop: int) -> _Position:
        state, measured = self._placement.state(position.state), []
        for step in range(int(position.step), stop):
            images, masks = _jit_take(self._data, self._order, np.int32(step))
            logits, pullback = _jit_forward(self._graph, state.parameters, images)
            gradient, numbers = _jit_diagnose(self._arm, logits, masks)
            state = _jit_update(
                self._optimiser, self._placement, state, pullback, gradient, self._rates[step]
            )
            measured.append(numbers)
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
    arm: Arm,
    optimiser: str,
    placement: Placement,
    states: _State,
    histories: dict[str, jax.Array],
    data: _Pair,
    orders: jax.Array,
    rates: jax.Array,
    first: jax.Array,
    stop: jax.Array,
) -> tuple[_State, dict[str, jax.Array]]:
    def one(
        state: _State, history: dict[str, jax.Array], data: _Pair, order: Any, rates: Any
    ) -> Any:
        def step(now: jax.Array, carried: tuple[_State, dict[str, jax.Array]]) -> Any:
            state, history = carried
            images, masks = _take(data, order, now)
            logits, pullback = _forward(graph, state.parameters, images)
            gradient, numbers = diagnose(arm, logits, masks)
            state = _update(optimiser, OneDevice(), state, pullback, gradient, rates[now])
            return state, {name: history[name].at[now].set(numbers[name]) for name in history}

        # The bounds are arguments, so that parts of any length are one program.
        return jax.lax.fori_loop(first, stop, step, (state, history))

    return placement.keep(jax.vmap(one)(states, histories, data, orders, rates))


class _Together:
    """Several runs, and many steps, in one compiled program."""

    def __init__(self, model: str, arm: Arm, tasks: Sequence[Task], optimiser: str) -> None:
        self._arm, self._optimiser = arm, optimiser
        self._placement = placement = RunsApart(len(tasks))
        starts = [_start(model, task, optimiser) for task in tasks]
        self._graph = starts[0][0]
        self._states = _stack([state for _, state in starts])
        self._data = placement.images(_stack([_pair(task) for task in tasks]))
        self._orders = placement.order(np.stack([task.order for task in tasks]))
        self._host_rates = np.stack([_rates(task) for task in tasks])
        self._rates = placement.state(self._host_rates)
        self._names = _measured(arm, tasks[0])

    def begin(self) -> _Position:
        return _beginning(self._states, self._names, self._host_rates.shape)

    def advance(self, position: _Position, stop: int) -> _Position:
        state, history = _steps_together(
            self._graph,
            self._arm,
            self._optimiser,
            self._placement,
            self._placement.state(position.state),
            self._placement.state(position.history),
            self._data,
            self._orders,
            self._rates,
            np.int32(position.step),
            np.int32(stop),
        )
        jax.block_until_ready(state)
        return _Position(np.int64(stop), state, history, position.seconds)


def _start(model: str, task: Task, optimiser: str) -> tuple[nnx.GraphDef[Any], _State]:
    graph, parameters = initialise(model, task.seed, start=task.start)
    return graph, _State(parameters, OPTIMISERS[optimiser].init(parameters))


def _measured(arm: Arm, task: Task) -> tuple[str, ...]:
    """Name what `diagnose` measures."""
    shape = (task.order.shape[1], *task.images.images.shape[1:])
    logits, masks = jax.ShapeDtypeStruct(shape, "float32"), jax.ShapeDtypeStruct(shape, "bool")
    # The very program's: its trace is kept for the first step.
    return tuple(_jit_diagnose.eval_shape(arm, logits, masks)[1])


def _rates(task: Task) -> np.ndarray:
    return np.float32(task.learning_rate) * schedule(len(task.order))


def _beginning(state: _State, names: Sequence[str], shape: tuple[int, ...]) -> _Position:
    history = {name: np.zeros(shape, np.float32) for name in names}
    return _Position(np.int64(0), state, history, np.float64(0))


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
    """Tell whether runs train together in one compiled loop: everywhere but on a CPU.

    There, convolutions inside a loop are about nine times slower than single steps.
    """
    return jax.default_backend() != "cpu"


def train(
    model: str,
    arm: Arm,
    tasks: Sequence[Task],
    *,
    optimiser: str = "adam",
    scanned: bool | None = None,
    placement: Placement | None = None,
    keeper: Keeper | None = None,
    report: Report = lambda steps: None,
) -> list[TrainedRun]:
    """Train one model with one arm on several tasks of equal shape.

    The learning rate is shaped by `schedule`.

    Args:
        model: a name in `models.MODELS`.
        arm: the loss.
        tasks: one per run.
        optimiser: a name in `optimisers.OPTIMISERS`.
        scanned: train all of them in one compiled program (vmap over tasks, a loop over steps),
            spread over this process's devices; ``None``: where no placement is given, and the
            device is no CPU.
        placement: of a training step by step; ``None``: on one device.
        keeper: keeps the middle of the training; only for one program, or for one task.
        report: called with a number of steps that were done.

    Returns:
        One `TrainedRun` per task.
    """
    if scanned is None:
        scanned = placement is None and scans_by_default()
    if scanned:
        program = _Together(model, arm, tasks, optimiser)
        end = _drive(program, len(tasks[0].order), keeper or Forget(), report)
        seconds = end.seconds / len(tasks)
        trained = []
        for run in range(len(tasks)):
            state, history = jax.tree.map(lambda leaf, run=run: leaf[run], (end.state, end.history))
            trained.append(_trained(state, history, seconds))
        return trained
    trained = []
    for task in tasks:
        program = _Stepwise(model, arm, task, optimiser, placement or OneDevice())
        end = _drive(program, len(task.order), keeper or Forget(), report)
        trained.append(_trained(end.state, end.history, end.seconds))
    return trained


def _trained(state: _State, history: dict[str, Any], seconds: float) -> TrainedRun:
    return TrainedRun(jax.tree.map(jnp.asarray, state.parameters), history, float(seconds))


def _drive(program: _Program, steps: int, keeper: Keeper, report: Report) -> _Position:
    """Train to the end, part by part, and give everything back on the host."""
    began = time.perf_counter()
    beginning = program.begin()
    position = keeper.restore(beginning) or beginning
    before, part = float(position.seconds), _FIRST_STEPS
    while position.step < steps:
        looked = time.perf_counter()
        stop = min(int(position.step) + part, steps)
        done = stop - int(position.step)
        position = program.advance(position, stop)
        report(done)
        now = time.perf_counter()
        part = _next_part(done, now - looked)
        if keeper.due() and stop < steps:
            keeper.save(jax.device_get(position._replace(seconds=before + now - began)))
    return jax.device_get(position._replace(seconds=before + time.perf_counter() - began))


def _next_part(done: int, seconds: float) -> int:
    """Choose how many steps the next part has: about a second's."""
    # Step by step from the first part's, which was compiled on the way.
    wanted = np.clip(done * _SECONDS_A_LOOK / seconds, done // 4, done * 4)
    return int(np.clip(wanted, 1, _MOST_STEPS))
