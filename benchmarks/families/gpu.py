"""The rows of one GPU. The images are so large that caches and kernel launches do not matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax

from benchmarks.contenders.objectives import (
    SIGMOID_DICE,
    SIGMOID_DICE_BCE,
    SOFTMAX_DICE,
    SOFTMAX_DICE_CE,
)
from benchmarks.families.half import half_case
from benchmarks.families.pixels import pixel_case
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings, Unavailable
from benchmarks.harness.problems import Problem

__all__ = ["GPU"]

# A quarter of a gigabyte of logits and more: several times the cache of the largest cards.
_SOFTMAX = {2: (128, 512, 512), 3: (64, 512, 512), 4: (64, 512, 512), 32: (16, 512, 512)}
_SIGMOID = (512, 512, 512)


def _on_a_gpu(case: Case) -> Case:
    def gated(builder: Builder) -> Builder:
        def build() -> Contender:
            if jax.default_backend() != "gpu":
                raise Unavailable(f"JAX runs on {jax.default_backend()}, not on a GPU")
            return builder()

        return build

    builders = {name: gated(builder) for name, builder in case.builders.items()}
    return dataclasses.replace(case, builders=builders)


def _cases(_: Settings) -> Sequence[Case]:
    cases = [
        pixel_case(f"gpu-{objective.name}-c{classes}", objective, Problem(pixels, classes))
        for classes, pixels in _SOFTMAX.items()
        for objective in (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    ]
    sigmoid = Problem(_SIGMOID, None)
    cases += [
        pixel_case(f"gpu-{objective.name}", objective, sigmoid)
        for objective in (SIGMOID_DICE, SIGMOID_DICE_BCE)
    ]
    cases.append(half_case("gpu-half-dice-ce-c4", SOFTMAX_DICE_CE, Problem(_SOFTMAX[4], 4)))
    return [_on_a_gpu(case) for case in cases]


GPU = Family("gpu", "One GPU, float32 logits unless it says otherwise", _cases)
