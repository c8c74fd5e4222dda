"""The rows of one GPU. The images are so large that caches and kernel launches do not matter."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contenders.jax_programs import only_on
from benchmarks.contenders.objectives import (
    SIGMOID_DICE,
    SIGMOID_DICE_BCE,
    SOFTMAX_DICE,
    SOFTMAX_DICE_CE,
)
from benchmarks.families.half import half_case
from benchmarks.families.pixels import pixel_case
from benchmarks.harness.case import Case, Family, Settings
from benchmarks.harness.problems import Problem

__all__ = ["GPU"]

# A quarter of a gigabyte of logits and more: several times the cache of the largest cards.
_SOFTMAX = {2: (128, 512, 512), 3: (64, 512, 512), 4: (64, 512, 512), 32: (16, 512, 512)}
_SIGMOID = (512, 512, 512)


def _cases(_: Settings) -> Sequence[Case]:
    cases = [
        pixel_case(
            f"gpu-{objective.name}-c{classes}",
            objective,
            Problem(pixels, classes),
            # Of Dice alone with two classes, torch.compile had not ended after 85 s on an H200.
            compile_monai=objective is SOFTMAX_DICE_CE,
        )
        for classes, pixels in _SOFTMAX.items()
        for objective in (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    ]
    sigmoid = Problem(_SIGMOID, None)
    cases += [
        pixel_case(f"gpu-{objective.name}", objective, sigmoid)
        for objective in (SIGMOID_DICE, SIGMOID_DICE_BCE)
    ]
    cases.append(half_case("gpu-half-dice-ce-c4", SOFTMAX_DICE_CE, Problem(_SOFTMAX[4], 4)))
    return [only_on("gpu", case) for case in cases]


GPU = Family("gpu", "One GPU, float32 logits unless it says otherwise", _cases)
