"""The rows that sweep the sizes of tiles: the same loss, compiled once for every choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import Objective
from benchmarks.harness.case import Builder, Case, Contender
from benchmarks.harness.problems import Problem

__all__ = ["tiling_case"]


def tiling_case(
    name: str,
    objective: Objective,
    problem: Problem,
    replaced: Callable[..., AbstractContextManager[Any]],
    choices: Mapping[str, Mapping[str, int]],
) -> Case:
    """Put the choices of sizes side by side.

    Args:
        name: of the row.
        objective: the loss.
        problem: the images.
        replaced: called with sizes by name, gives a context in which dice_jax compiles with them.
        choices: the sizes to replace, for every contender by its name; the first is the baseline.

    Returns:
        The row.
    """

    def compiled_with(sizes: Mapping[str, int]) -> Builder:
        def build() -> Contender:
            with replaced(**sizes):
                return jax_programs.dice_jax_loss(objective, problem)()

        return build

    builders = {choice: compiled_with(sizes) for choice, sizes in choices.items()}
    # Another version may have other sizes.
    return Case(name, f"{objective.title}, {problem.words}", builders, ours=())
