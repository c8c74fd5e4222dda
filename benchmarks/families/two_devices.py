"""The rows of two CPU devices with a batch cut over them, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import (
    OBJECTIVES,
    SIGMOID_DICE,
    SIGMOID_DICE_BCE,
    SOFTMAX_DICE,
    SOFTMAX_DICE_CE,
    Objective,
)
from benchmarks.harness.case import Builder, Case, Contender, Family, Result, Settings, Unavailable
from benchmarks.harness.problems import Problem
from benchmarks.harness.worker import Worker, WorkerError

__all__ = ["TWO_DEVICES", "two_devices_case"]

_DEVICES = 2
_AXIS = "data"

ValueAndGrad = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def _under_jit(objective: Objective, mesh: jax.sharding.Mesh) -> ValueAndGrad:
    """Leave the division to XLA, which sees that the inputs are sharded."""
    del mesh
    return jax.value_and_grad(objective.dice_jax)


def _in_shard_map(objective: Objective, mesh: jax.sharding.Mesh) -> ValueAndGrad:
    """Let every device sum its own images; the devices exchange the sums only."""

    def one_shard(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return objective.loss(jax.lax.psum(objective.sums(logits, labels), _AXIS))

    spec = PartitionSpec(_AXIS)
    return jax.shard_map(
        jax.value_and_grad(one_shard),
        mesh=mesh,
        in_specs=(spec, spec),
        out_specs=(PartitionSpec(), spec),
    )


_FORMS = {"shard_map": _in_shard_map, "plain jit": _under_jit}


class _TwoDevices:
    """A contender in a process that has two CPU devices."""

    def __init__(self, form: str, objective_name: str, problem: Problem) -> None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", _DEVICES)
        mesh = jax.make_mesh((_DEVICES,), (_AXIS,), axis_types=(AxisType.Auto,))
        sharding = NamedSharding(mesh, PartitionSpec(_AXIS))
        arrays = tuple(jax.device_put(a, sharding) for a in problem.arrays())
        function = _FORMS[form](OBJECTIVES[objective_name], mesh)
        self._contender = jax_programs.compiled_contender(function, arrays)

    def figures(self) -> dict[str, float]:
        return dict(self._contender.figures)

    def call(self) -> None:
        # The gradient stays in this process: sending it to the other one would be timed too.
        assert self._contender.call is not None
        self._contender.call()

    def result(self) -> Result:
        assert self._contender.result is not None
        value, gradient = self._contender.result()
        return value, np.asarray(gradient)


def _two_devices(form: str, objective: Objective, problem: Problem) -> Builder:
    def build() -> Contender:
        try:
            worker = Worker(_TwoDevices, form, objective.name, problem)
        except WorkerError as failure:
            raise Unavailable(f"its process failed: {failure}") from None
        return Contender(
            call=lambda: worker.ask("call"),
            result=lambda: worker.ask("result"),
            figures=worker.ask("figures"),
            close=worker.close,
        )

    return build


def two_devices_case(name: str, objective: Objective, problem: Problem) -> Case:
    """Put one device and two side by side; only one process computes at a time.

    Args:
        name: of the row.
        objective: the loss.
        problem: the images; the batch is what is sharded.

    Returns:
        The row.
    """
    ours: dict[str, Builder] = {
        "dice_jax, one device": jax_programs.dice_jax_loss(objective, problem)
    }
    for form in _FORMS:
        ours[f"dice_jax, two devices, {form}"] = _two_devices(form, objective, problem)
    peers = {
        "optax": jax_programs.optax_loss(objective, problem),
        f"one {objective.activation.__name__}": jax_programs.one_activation(objective, problem),
    }
    work = f"{objective.title}, {problem.words}"
    return Case(name=name, work=work, builders=ours | peers, ours=tuple(ours))


def _cases(settings: Settings) -> Sequence[Case]:
    if jax.default_backend() != "cpu":
        return []
    if settings.quick:
        return [two_devices_case("devices-dice-ce-c4", SOFTMAX_DICE_CE, Problem((8, 256, 256), 4))]
    softmax = {2: (64, 256, 256), 4: (16, 256, 256), 32: (8, 256, 256)}
    rows = [
        two_devices_case(
            f"devices-{objective.name}-c{classes}", objective, Problem(pixels, classes)
        )
        for classes, pixels in softmax.items()
        for objective in (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    ]
    binary = Problem((64, 512, 512), None)
    return rows + [
        two_devices_case(f"devices-{objective.name}", objective, binary)
        for objective in (SIGMOID_DICE, SIGMOID_DICE_BCE)
    ]


TWO_DEVICES = Family("devices", "Two CPU devices, inputs sharded by batch", _cases)
