"""The rows that sweep the sizes of tiles: the same loss, compiled once for every choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import SOFTMAX_DICE_CE, Objective
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings
from benchmarks.harness.problems import Problem
from dice_jax._pass.config import Config, replaced

__all__ = ["TILING", "tiling_case"]


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


def _around(name: str) -> dict[str, dict[str, int]]:
    """Half, once and twice the size in use."""
    size = getattr(Config(), name)
    return {f"{name} {value}": {name: value} for value in (size, size // 2, size * 2)}


def _cases(settings: Settings) -> Sequence[Case]:
    few, many = (4, 104) if settings.quick else (16, 104)
    few_classes, many_classes = Problem((few, 256, 256), 4), Problem((1, 256, 256), many)
    sizes = {
        "tile_elements": few_classes,
        "lanes": few_classes,
        "most_rows": few_classes,
        "tile_elements_of_many_classes": many_classes,
        "lane_elements_of_many_classes": many_classes,
    }
    return [
        tiling_case(f"tiling-{name}", SOFTMAX_DICE_CE, problem, replaced, _around(name))
        for name, problem in sizes.items()
    ]


TILING = Family("tiling", "Sizes of tiles, half, once and twice", _cases)
