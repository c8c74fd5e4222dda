"""The rows of float16 and bfloat16 logits against float32."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from benchmarks.contenders import jax_programs as jaxes
from benchmarks.contenders.objectives import SOFTMAX_DICE, SOFTMAX_DICE_CE, Work
from benchmarks.harness.case import Case, Family, Settings
from benchmarks.harness.problems import Problem

__all__ = ["HALF", "half_case"]

# A pixel's gradient is about 1/N: below what float16 can hold, so losses are scaled as in training.
_SCALE = 2.0**15


def half_case(name: str, work: Work, problem: Problem) -> Case:
    """Put the three types side by side, and Optax's halves.

    Args:
        name: of the row.
        work: the loss.
        problem: the images.

    Returns:
        The row.
    """
    types = {"float32": jnp.float32, "float16": jnp.float16, "bfloat16": jnp.bfloat16}
    ours = {
        f"dice_jax {n}": jaxes.dice_jax(work, problem, dtype=t, scale=_SCALE)
        for n, t in types.items()
    }
    theirs = {
        f"optax {n}": jaxes.optax(work, problem, dtype=t, scale=_SCALE) for n, t in types.items()
    }
    return Case(
        name=name,
        work=f"{work.title}, {problem.words}",
        builders=ours | theirs,
        # Two roundings to 8 bits, of the logits and of the gradient.
        tolerance=3e-2,
        notes=("half types: the loss is multiplied by 2^15; checked to 3 % of the largest entry",),
    )


def _cases(settings: Settings) -> Sequence[Case]:
    problem = Problem((4 if settings.quick else 16, 256, 256), 4)
    works = (SOFTMAX_DICE_CE,) if settings.quick else (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    return [half_case(f"half-{work.name}-c4", work, problem) for work in works]


HALF = Family("half", "Half-precision logits", _cases)
