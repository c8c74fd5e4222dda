"""The rows that time tracing and compiling, beside Optax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.contenders import jax_programs as jaxes
from benchmarks.contenders.objectives import SIGMOID_DICE_BCE, SOFTMAX_DICE, SOFTMAX_DICE_CE, Work
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings
from benchmarks.harness.problems import Problem

__all__ = ["COMPILATION", "compilation_case"]


def _compiling(loss: Callable[[jax.Array, jax.Array], jax.Array], problem: Problem) -> Contender:
    x = jax.ShapeDtypeStruct(problem.logits_shape, jnp.float32)
    y = jax.ShapeDtypeStruct(problem.pixels, jnp.int32)

    def call() -> Any:
        return jax.jit(jax.value_and_grad(loss)).lower(x, y).compile()

    # What is kept from an earlier trace would make the next one cheaper.
    return Contender(call=call, prepare=jax.clear_caches)


def compilation_case(name: str, work: Work, problem: Problem) -> Case:
    """Put the two compilations side by side, from the Python function to the executable.

    Args:
        name: of the row.
        work: the loss.
        problem: the images.

    Returns:
        The row.
    """

    def theirs() -> Contender:
        jaxes.require_optax()
        return _compiling(work.optax, problem)

    builders: dict[str, Builder] = {
        "dice_jax": lambda: _compiling(work.dice_jax, problem),
        "optax": theirs,
    }
    return Case(name=name, work=f"compiling {work.title}, {problem.words}", builders=builders)


def _cases(settings: Settings) -> Sequence[Case]:
    softmax = (
        {4: (16, 256, 256)}
        if settings.quick
        else {2: (64, 256, 256), 4: (16, 256, 256), 32: (8, 256, 256)}
    )
    works = (SOFTMAX_DICE_CE,) if settings.quick else (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    cases = [
        compilation_case(f"compile-{work.name}-c{classes}", work, Problem(pixels, classes))
        for classes, pixels in softmax.items()
        for work in works
    ]
    binary = Problem((64, 512, 512), None)
    return [*cases, compilation_case("compile-dice-bce", SIGMOID_DICE_BCE, binary)]


COMPILATION = Family(
    "compilation", "Compilation, from the Python function to the executable", _cases
)
