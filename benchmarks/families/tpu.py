"""The rows of one TPU: the kernel, which is off by default, beside the fused expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

import dice_jax as dj
from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import Objective
from benchmarks.families.compiled import TPU_IMAGES, accelerator_rows
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings
from benchmarks.harness.problems import Problem

__all__ = ["TPU_RUN", "implementations_case"]


def implementations_case(name: str, objective: Objective, problem: Problem, dtype: Any) -> Case:
    """Put the implementations of the pass side by side, checked against the fused expression.

    Args:
        name: of the row.
        objective: the loss.
        problem: the images.
        dtype: of the logits.

    Returns:
        The row.
    """
    loss = jax_programs.dice_jax_loss(objective, problem, dtype=dtype)

    def chosen(implementation: str) -> Builder:
        def build() -> Contender:
            with dj.pass_implementation(implementation):
                return loss()

        return build

    ours = {f"dice_jax, {choice}": chosen(choice) for choice in ("fused", "auto", "kernel")}
    half = jnp.dtype(dtype) != jnp.float32
    return Case(
        name=name,
        work=f"{objective.title}, {problem.words}, {jnp.dtype(dtype).name}",
        builders=ours | {"copy of the least bytes": jax_programs.least_copy(problem)},
        ours=tuple(ours),
        # bfloat16 has 8 bits, and the gradient is rounded to it.
        tolerance=3e-2 if half else 1e-4,
        notes=("the copy is of float32 logits",) if half else (),
    )


def _cases(settings: Settings) -> Sequence[Case]:
    return [
        jax_programs.only_on(
            "tpu", implementations_case(f"kernel-{name}", objective, problem, dtype)
        )
        for name, objective, problem, dtype in accelerator_rows(TPU_IMAGES, settings)
    ]


TPU_RUN = Family("tpu-run", "One TPU: the kernel beside the fused expression", _cases)
