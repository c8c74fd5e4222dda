"""The rows that show how the cost grows with the number of pixels: time per pixel at every size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import SIGMOID_DICE_BCE, SOFTMAX_DICE_CE, Objective
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings
from benchmarks.harness.problems import Problem

__all__ = ["LINEARITY", "linearity_case"]


def linearity_case(
    name: str,
    objective: Objective,
    classes: int | None,
    exponents: Sequence[int],
    *,
    yardstick: bool = False,
) -> Case:
    """Put the sizes side by side, by time per pixel.

    Args:
        name: of the row.
        objective: the loss.
        classes: as in `Problem`.
        exponents: the sizes are these powers of two, ascending; the middle one is the baseline.
        yardstick: time the activation alone, to show how the machine itself responds to the sizes.

    Returns:
        The row.
    """
    builders: dict[str, Builder] = {}
    for exponent in exponents:
        side = 2 ** min(exponent // 2, 8)
        problem = Problem((2**exponent // side**2, side, side), classes)
        pixels = math.prod(problem.pixels)
        make = jax_programs.one_activation if yardstick else jax_programs.dice_jax_loss
        builders[f"2^{exponent} pixels"] = _unchecked(make(objective, problem, amount=pixels))
    middle = f"2^{exponents[len(exponents) // 2]} pixels"
    what = f"one {objective.activation.__name__}" if yardstick else objective.title
    words = what if classes is None else f"{what}, C={classes}"
    return Case(
        name=name,
        work=f"{words}, time per pixel",
        builders=builders,
        baseline=middle,
        ours=() if yardstick else tuple(builders),
    )


def _unchecked(builder: Builder) -> Builder:
    # The sizes are different problems, so their values must differ.
    def build() -> Contender:
        return dataclasses.replace(builder(), result=None)

    return build


def _cases(settings: Settings) -> Sequence[Case]:
    largest = 22 if settings.quick else 28 if settings.huge else 26
    exponents = range(16, largest + 1, 2)
    softmax = [
        linearity_case("linear-dice-ce-c2", SOFTMAX_DICE_CE, 2, exponents),
        linearity_case("linear-softmax-c2", SOFTMAX_DICE_CE, 2, exponents, yardstick=True),
    ]
    if settings.quick:
        return softmax
    return [
        *softmax,
        linearity_case("linear-dice-bce", SIGMOID_DICE_BCE, None, exponents),
        linearity_case("linear-sigmoid", SIGMOID_DICE_BCE, None, exponents, yardstick=True),
    ]


LINEARITY = Family("linearity", "Cost per pixel against the number of pixels", _cases)
