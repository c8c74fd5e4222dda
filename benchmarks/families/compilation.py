"""The rows of start-up cost: tracing, lowering and compiling, beside Optax."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import (
    SIGMOID_DICE_BCE,
    SOFTMAX_DICE,
    SOFTMAX_DICE_CE,
    Objective,
)
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings
from benchmarks.harness.problems import Problem
from benchmarks.harness.timing import median

__all__ = ["COMPILATION", "compilation_case", "without_persistent_cache"]

_PARTS = ("trace", "lower", "compile")


@contextlib.contextmanager
def without_persistent_cache() -> Iterator[None]:
    """Compile what an earlier process has compiled too.

    JAX looks at the setting when it first compiles, and again only after a reset.
    """
    # JAX makes its settings attributes at run time, which type checkers do not see.
    settings: Any = jax.config
    enabled = settings.jax_enable_compilation_cache
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()


class _StartUp:
    """Trace, lower and compile a loss with its gradient, and note the time of each part."""

    def __init__(self, loss: Callable[[jax.Array, jax.Array], jax.Array], problem: Problem) -> None:
        self._loss = loss
        self._arguments = (
            jax.ShapeDtypeStruct(problem.logits_shape, jnp.float32),
            jax.ShapeDtypeStruct(problem.pixels, jnp.int32),
        )
        self._seconds: dict[str, list[float]] = {part: [] for part in _PARTS}

    def call(self) -> None:
        with without_persistent_cache():
            marks = [time.process_time()]
            traced = jax.jit(jax.value_and_grad(self._loss)).trace(*self._arguments)
            marks.append(time.process_time())
            lowered = traced.lower()
            marks.append(time.process_time())
            lowered.compile()
            marks.append(time.process_time())
        for part, began, ended in zip(_PARTS, marks, marks[1:], strict=False):
            self._seconds[part].append(ended - began)

    def medians(self) -> Mapping[str, float]:
        return {f"{part}_seconds": median(seconds) for part, seconds in self._seconds.items()}

    def contender(self) -> Contender:
        return Contender(
            call=self.call,
            # Otherwise JAX would use what it kept of the trace before.
            prepare=jax.clear_caches,
            # The seconds of all threads of this process: other processes hardly change them.
            clock=time.process_time,
            later_figures=self.medians,
        )


def compilation_case(name: str, objective: Objective, problem: Problem) -> Case:
    """Put the start-up cost of the two libraries side by side, in process time.

    Args:
        name: of the row.
        objective: the loss.
        problem: the images.

    Returns:
        The row.
    """

    def theirs() -> Contender:
        jax_programs.require_optax()
        return _StartUp(objective.optax, problem).contender()

    builders: dict[str, Builder] = {
        "dice_jax": lambda: _StartUp(objective.dice_jax, problem).contender(),
        "optax": theirs,
    }
    work = f"compiling {objective.title}, {problem.words}"
    return Case(name=name, work=work, builders=builders)


def _cases(settings: Settings) -> Sequence[Case]:
    image = Problem((1, 256, 256), 3)
    cases = [
        compilation_case(f"compile-{objective.name}-image-c3", objective, image)
        for objective in (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    ]
    if settings.quick:
        return cases
    batches = {2: (64, 256, 256), 4: (16, 256, 256), 32: (8, 256, 256)}
    cases += [
        compilation_case(
            f"compile-{objective.name}-c{classes}", objective, Problem(pixels, classes)
        )
        for classes, pixels in batches.items()
        for objective in (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    ]
    binary = Problem((64, 512, 512), None)
    return [*cases, compilation_case("compile-dice-bce", SIGMOID_DICE_BCE, binary)]


COMPILATION = Family(
    "compilation", "Tracing, lowering and compiling value_and_grad, in process time", _cases
)
