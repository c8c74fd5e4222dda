"""The rows of two CPU devices and sharded inputs, in processes of their own, timed in turns."""

from __future__ import annotations

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from benchmarks.contenders import jax_programs as jaxes
from benchmarks.contenders.objectives import (
    SIGMOID_DICE,
    SIGMOID_DICE_BCE,
    SOFTMAX_DICE,
    SOFTMAX_DICE_CE,
    WORKS,
    Work,
)
from benchmarks.harness.case import Builder, Case, Contender, Family, Result, Settings, Unavailable
from benchmarks.harness.problems import Problem

__all__ = ["TWO_DEVICES", "two_devices_case"]

_DEVICES = 2
_AXIS = "data"

ValueAndGrad = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def _under_jit(work: Work, mesh: jax.sharding.Mesh) -> ValueAndGrad:
    """Nothing is said about devices: the inputs are sharded, and XLA divides the work."""
    return jax.value_and_grad(work.dice_jax)


def _in_shard_map(work: Work, mesh: jax.sharding.Mesh) -> ValueAndGrad:
    """Every device sums its own images; only the sums are exchanged."""

    def one_shard(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return work.loss(jax.lax.psum(work.sums(logits, labels), _AXIS))

    spec = PartitionSpec(_AXIS)
    return jax.shard_map(
        jax.value_and_grad(one_shard),
        mesh=mesh,
        in_specs=(spec, spec),
        out_specs=(PartitionSpec(), spec),
    )


_WAYS = {"jit": _under_jit, "shard_map": _in_shard_map}


def _serve(connection: Connection, way: str, work_name: str, problem: Problem) -> None:
    """Answer requests in a process that has several CPU devices."""
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", _DEVICES)
        mesh = jax.make_mesh((_DEVICES,), (_AXIS,), axis_types=(AxisType.Auto,))
        sharding = NamedSharding(mesh, PartitionSpec(_AXIS))
        arrays = tuple(jax.device_put(a, sharding) for a in problem.arrays())
        function = _WAYS[way](WORKS[work_name], mesh)
        contender = jaxes.compiled_contender(function, arrays)
    except Exception:
        connection.send(traceback.format_exc())
        return
    connection.send(None)

    def call() -> None:
        # The gradient stays here: copying it to the other process would be timed too.
        assert contender.call is not None
        contender.call()

    answers = {"figures": lambda: dict(contender.figures), "call": call, "result": contender.result}
    while (request := connection.recv()) is not None:
        connection.send(answers[request]())


def _remote(way: str, work: Work, problem: Problem) -> Builder:
    def build() -> Contender:
        # A fork would copy the threads' locks; and the devices must be counted before JAX starts.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, way, work.name, problem), daemon=True
        )
        process.start()
        theirs.close()

        def ask(request: str) -> Any:
            ours.send(request)
            return ours.recv()

        def result() -> Result:
            value, gradient = ask("result")
            return value, np.asarray(gradient)

        def close() -> None:
            with contextlib.suppress(OSError):
                ours.send(None)
            process.join(timeout=10)
            if process.is_alive():
                process.terminate()
            ours.close()

        try:
            failure = ours.recv()
        except EOFError:
            failure = "the process ended"
        if failure is not None:
            close()
            raise Unavailable(f"its process failed: {failure.strip().splitlines()[-1]}")
        return Contender(
            call=lambda: ask("call"), result=result, figures=ask("figures"), close=close
        )

    return build


def two_devices_case(name: str, work: Work, problem: Problem) -> Case:
    """Put one device and two side by side; only one process works at a time.

    Args:
        name: of the row.
        work: the loss.
        problem: the images; the batch is what is sharded.

    Returns:
        The row.
    """
    builders: dict[str, Builder] = {
        "dice_jax": jaxes.dice_jax(work, problem),
        "dice_jax, 2 devices, jit": _remote("jit", work, problem),
        "dice_jax, 2 devices, shard_map": _remote("shard_map", work, problem),
        "optax": jaxes.optax(work, problem),
        f"one {work.activation.__name__}": jaxes.activation(work, problem),
    }
    return Case(name=name, work=f"{work.title}, {problem.words}", builders=builders)


def _cases(settings: Settings) -> Sequence[Case]:
    if jax.default_backend() != "cpu":
        return []
    if settings.quick:
        return [two_devices_case("devices-dice-ce-c4", SOFTMAX_DICE_CE, Problem((8, 256, 256), 4))]
    softmax = {2: (64, 256, 256), 4: (16, 256, 256), 32: (8, 256, 256)}
    rows = [
        two_devices_case(f"devices-{work.name}-c{classes}", work, Problem(pixels, classes))
        for classes, pixels in softmax.items()
        for work in (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    ]
    binary = Problem((64, 512, 512), None)
    return rows + [
        two_devices_case(f"devices-{work.name}", work, binary)
        for work in (SIGMOID_DICE, SIGMOID_DICE_BCE)
    ]


TWO_DEVICES = Family("devices", "Two CPU devices, inputs sharded by batch", _cases)
