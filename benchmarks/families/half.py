"""The rows of float16 and bfloat16 logits against float32."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import SOFTMAX_DICE, SOFTMAX_DICE_CE, Objective
from benchmarks.harness.case import Case, Family, Settings
from benchmarks.harness.problems import Problem

__all__ = ["HALF", "half_case"]

# A pixel's gradient is about 1/N, which is less than float16 can hold. So losses are scaled, as in
# training.
_SCALE = 2.0**15


def half_case(name: str, objective: Objective, problem: Problem) -> Case:
    """Put dice_jax and Optax side by side, each in the three types.

    Args:
        name: of the row.
        objective: the loss.
        problem: the images.

    Returns:
        The row.
    """
    types = {"float32": jnp.float32, "float16": jnp.float16, "bfloat16": jnp.bfloat16}
    ours = {
        f"dice_jax {n}": jax_programs.dice_jax_loss(objective, problem, dtype=t, scale=_SCALE)
        for n, t in types.items()
    }
    theirs = {
        f"optax {n}": jax_programs.optax_loss(objective, problem, dtype=t, scale=_SCALE)
        for n, t in types.items()
    }
    return Case(
        name=name,
        work=f"{objective.title}, {problem.words}",
        builders=ours | theirs,
        ours=tuple(ours),
        # bfloat16 has 8 bits; both the logits and the gradient are rounded to it.
        tolerance=3e-2,
        notes=("half types: the loss is multiplied by 2^15; checked to 3 % of the largest entry",),
    )


def _cases(settings: Settings) -> Sequence[Case]:
    problem = Problem((4 if settings.quick else 16, 256, 256), 4)
    objectives = (SOFTMAX_DICE_CE,) if settings.quick else (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    return [half_case(f"half-{objective.name}-c4", objective, problem) for objective in objectives]


HALF = Family("half", "Half-precision logits", _cases)
