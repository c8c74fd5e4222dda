"""Contenders written in JAX: dice_jax, Optax, and yardsticks for the least possible time."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contenders.objectives import Objective
from benchmarks.harness import memory
from benchmarks.harness.case import Builder, Case, Contender, Result, Unavailable
from benchmarks.harness.problems import Problem
from benchmarks.harness.repetition import repeat, repetitions

__all__ = [
    "compiled_contender",
    "dice_jax_loss",
    "figures",
    "least_copy",
    "one_activation",
    "only_on",
    "optax_loss",
    "require_optax",
]

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def figures(compiled: Any) -> Mapping[str, float]:
    """Read what the compiler reports about a program.

    Args:
        compiled: what ``jax.jit(f).lower(...).compile()`` returns.

    Returns:
        ``temporary_bytes``, where the backend knows, and on a GPU ``traffic_bytes``: what its
        kernels read and write. On a CPU that count is wrong, since a loop's body counts once.
    """
    found: dict[str, float] = {}
    if (memory_use := compiled.memory_analysis()) is not None:
        found["temporary_bytes"] = int(memory_use.temp_size_in_bytes)
    if jax.default_backend() == "gpu" and (cost := compiled.cost_analysis()):
        found["traffic_bytes"] = float(cost["bytes accessed"])
    return found


def compiled_contender(
    function: Callable[..., Any],
    arguments: tuple[jax.Array, ...],
    *,
    amount: float = 1.0,
    **options: Any,
) -> Contender:
    """Compile a function that returns a loss and a gradient, and make it a contender.

    Args:
        function: of the arguments; it is compiled here, outside the timed calls.
        arguments: what it is called with.
        amount: of work in one call of the function.
        **options: further fields of `Contender`.

    Returns:
        The contender, with its temporaries among the figures.
    """
    compiled = jax.jit(function).lower(*arguments).compile()
    facts = figures(compiled)
    # Without room for the temporaries and the gradient, the system would kill the whole run.
    if jax.default_backend() == "cpu":
        gradient = sum(x.nbytes for x in arguments[:1])
        memory.require(facts.get("temporary_bytes", 0) + 2 * gradient, "its temporaries")

    def result() -> Result:
        value, gradient = compiled(*arguments)
        return float(value), np.asarray(gradient, dtype=np.float32)

    return Contender(
        call=repeat(lambda: compiled(*arguments), jax.block_until_ready),
        result=result,
        figures=facts,
        amount=amount * repetitions(),
        **options,
    )


# The contenders of a case share them. Only the last is kept: the largest take gigabytes.
@functools.lru_cache(maxsize=1)
def _arrays(problem: Problem, dtype: Any) -> tuple[jax.Array, jax.Array]:
    logits, labels = problem.arrays()
    return jnp.asarray(logits, dtype=dtype), jnp.asarray(labels)


def _scaled(loss: Loss, scale: float) -> Loss:
    # In float32, so that the factor does not make a half-precision loss overflow.
    return loss if scale == 1 else lambda x, y: loss(x, y).astype(jnp.float32) * scale


def dice_jax_loss(
    objective: Objective,
    problem: Problem,
    *,
    dtype: Any = jnp.float32,
    scale: float = 1.0,
    amount: float = 1.0,
) -> Builder:
    """Make the builder of dice_jax's contender.

    Args:
        objective: the loss.
        problem: the images.
        dtype: of the logits.
        scale: a factor of the loss, as in mixed-precision training.
        amount: see `Contender`.

    Returns:
        The builder.
    """

    def build() -> Contender:
        function = jax.value_and_grad(_scaled(objective.dice_jax, scale))
        return compiled_contender(function, _arrays(problem, dtype), amount=amount)

    return build


def require_optax() -> None:
    """Raise an error where Optax is missing.

    Raises:
        Unavailable: if it is not installed.
    """
    if importlib.util.find_spec("optax") is None:
        raise Unavailable("optax is not installed: pip install 'dice_jax[benchmarks]'")


def optax_loss(
    objective: Objective, problem: Problem, *, dtype: Any = jnp.float32, scale: float = 1.0
) -> Builder:
    """Make the builder of Optax's contender.

    Args:
        objective: the loss.
        problem: the images.
        dtype: of the logits.
        scale: a factor of the loss.

    Returns:
        The builder.
    """

    def build() -> Contender:
        require_optax()
        function = jax.value_and_grad(_scaled(objective.optax, scale))
        return compiled_contender(function, _arrays(problem, dtype), notes=(objective.optax_note,))

    return build


def one_activation(objective: Objective, problem: Problem, *, amount: float = 1.0) -> Builder:
    """Make the builder of a yardstick: one softmax (or sigmoid) of the same logits.

    Args:
        objective: the loss whose activation it is.
        problem: the images.
        amount: see `Contender`.

    Returns:
        The builder.
    """

    def build() -> Contender:
        logits, _ = _arrays(problem, jnp.float32)
        compiled = jax.jit(objective.activation).lower(logits).compile()
        return Contender(
            call=repeat(lambda: compiled(logits), jax.block_until_ready),
            figures=figures(compiled),
            amount=amount * repetitions(),
        )

    return build


def least_copy(problem: Problem) -> Builder:
    """Make the builder of a yardstick: a copy that moves the least bytes and computes nothing.

    It reads half of `Problem.least_bytes` and writes as many. On a CPU, one core does it, into
    memory that is already mapped.

    Args:
        problem: the images.

    Returns:
        The builder.
    """

    def build() -> Contender:
        source = np.ones(problem.least_bytes() // 8, dtype=np.uint32)
        if jax.default_backend() == "cpu":
            target = np.zeros_like(source)
            return Contender(call=lambda: np.copyto(target, source))
        on_device = jnp.asarray(source)
        moved = jax.jit(lambda x: x + np.uint32(1)).lower(on_device).compile()
        call = repeat(lambda: moved(on_device), jax.block_until_ready)
        return Contender(call=call, amount=repetitions())

    return build


def only_on(platform: str, case: Case) -> Case:
    """Skip a row where JAX does not run on a platform.

    Args:
        platform: ``"gpu"`` or ``"tpu"``.
        case: the row.

    Returns:
        The row; elsewhere, its contenders are unavailable.
    """

    def gated(builder: Builder) -> Builder:
        def build() -> Contender:
            if jax.default_backend() != platform:
                raise Unavailable(
                    f"JAX runs on a {jax.default_backend().upper()}, not on a {platform.upper()}"
                )
            return builder()

        return build

    builders = {name: gated(builder) for name, builder in case.builders.items()}
    return dataclasses.replace(case, builders=builders)
