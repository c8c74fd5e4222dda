"""The rows of programs compiled for a TPU v5e: traffic, temporaries, collectives. None is run."""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import SOFTMAX_DICE, SOFTMAX_DICE_CE, Objective
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings, Unavailable
from benchmarks.harness.problems import Problem

__all__ = ["TPU", "tpu_case"]

_TOPOLOGY = "v5e:2x4"
# The pixels of one block of dice_jax on a TPU, which is not public.
_BLOCK_PIXELS = 2**20


@functools.cache
def _devices() -> Sequence[Any]:
    if importlib.util.find_spec("libtpu") is None:
        raise Unavailable(
            "libtpu is not installed (pip install libtpu, in an environment of its own)"
        )
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=_TOPOLOGY).devices
    except Exception as failure:
        first_line = str(failure).strip().splitlines()[0]
        raise Unavailable(f"no program can be compiled for a TPU here: {first_line}") from None


def _compile(loss: Callable[..., jax.Array], problem: Problem, sharding: Any) -> Any:
    x = jax.ShapeDtypeStruct(problem.logits_shape, jnp.float32, sharding=sharding)
    y = jax.ShapeDtypeStruct(problem.pixels, jnp.int32, sharding=sharding)
    return jax.jit(jax.value_and_grad(loss)).lower(x, y).compile()


def _traffic(compiled: Any) -> float:
    cost = compiled.cost_analysis()
    return float((cost[0] if isinstance(cost, list) else cost)["bytes accessed"])


def _without_loops(problem: Problem) -> Problem:
    """Cut the batch to what dice_jax takes in one block."""
    batch, *image = problem.pixels
    return Problem((min(batch, _BLOCK_PIXELS // math.prod(image)), *image), problem.classes)


def _inspected(loss: Callable[..., jax.Array], problem: Problem) -> Contender:
    devices = _devices()
    device = SingleDeviceSharding(devices[0])
    one, block = _compile(loss, problem, device), _without_loops(problem)
    mesh = jax.sharding.Mesh(list(devices), ("data",))
    sharded = _compile(loss, problem, NamedSharding(mesh, PartitionSpec("data")))
    facts = {
        # The compiler counts the body of a loop once, however often it runs.
        "traffic_ratio": _traffic(_compile(loss, block, device)) / block.least_bytes(),
        **jax_programs.figures(one),
        # Of a batch sharded over the chips: how often whole arrays are gathered.
        "all_gathers": len(re.findall(r"\ball-gather(?:-start)?\(", sharded.as_text())),
        "gathers": len(re.findall(r"\bgather\(", one.as_text())),
    }
    return Contender(call=None, figures=facts)


def tpu_case(name: str, objective: Objective, problem: Problem) -> Case:
    """Put two compiled programs side by side, without running them.

    Args:
        name: of the row.
        objective: the loss.
        problem: the images; the batch must be a multiple of 8.

    Returns:
        The row.
    """

    def theirs() -> Contender:
        jax_programs.require_optax()
        return _inspected(objective.optax, problem)

    builders: dict[str, Builder] = {
        "dice_jax": lambda: _inspected(objective.dice_jax, problem),
        "optax": theirs,
    }
    return Case(name=name, work=f"{objective.title}, {problem.words}", builders=builders)


def _cases(settings: Settings) -> Sequence[Case]:
    sizes = {2: (64, 256, 256), 4: (16, 256, 256), 32: (8, 256, 256)}
    objectives = (SOFTMAX_DICE_CE,) if settings.quick else (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    return [
        tpu_case(f"tpu-{objective.name}-c{classes}", objective, Problem(pixels, classes))
        for classes, pixels in sizes.items()
        for objective in objectives
    ]


TPU = Family("tpu", "Compiled for TPU v5e: nothing runs, traffic over the least bytes", _cases)
