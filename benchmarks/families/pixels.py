"""The rows of softmax and sigmoid losses in float32, beside every peer and the yardsticks."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contenders import jax_programs, monai_losses
from benchmarks.contenders.objectives import (
    SIGMOID_DICE,
    SIGMOID_DICE_BCE,
    SOFTMAX_DICE,
    SOFTMAX_DICE_CE,
    Objective,
)
from benchmarks.harness.case import Builder, Case, Family, Settings
from benchmarks.harness.problems import Problem

__all__ = ["SIGMOID", "SOFTMAX", "pixel_case"]


def pixel_case(
    name: str, objective: Objective, problem: Problem, *, compile_monai: bool = True
) -> Case:
    """Put every library's loss and gradient side by side.

    Args:
        name: of the row.
        objective: the loss.
        problem: the images.
        compile_monai: whether to wait for ``torch.compile``.

    Returns:
        The row.
    """
    builders: dict[str, Builder] = {
        "dice_jax": jax_programs.dice_jax_loss(objective, problem),
        "optax": jax_programs.optax_loss(objective, problem),
        "MONAI": monai_losses.eager_loss(objective, problem),
        "MONAI compiled": monai_losses.compiled_loss(objective, problem),
        f"one {objective.activation.__name__}": jax_programs.one_activation(objective, problem),
        "copy of the least bytes": jax_programs.least_copy(problem),
    }
    if not compile_monai:
        del builders["MONAI compiled"]
    return Case(name=name, work=f"{objective.title}, {problem.words}", builders=builders)


_SOFTMAX = {
    2: (64, 256, 256),
    4: (16, 256, 256),
    32: (8, 256, 256),
    104: (2, 96, 96, 96),
}
_SOFTMAX_QUICK = {
    2: (8, 256, 256),
    4: (8, 256, 256),
    32: (2, 256, 256),
}


def _softmax_cases(settings: Settings) -> Sequence[Case]:
    sizes = _SOFTMAX_QUICK if settings.quick else _SOFTMAX
    objectives = (SOFTMAX_DICE_CE,) if settings.quick else (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    return [
        pixel_case(
            f"{objective.name}-c{classes}",
            objective,
            Problem(pixels, classes),
            # Compiling takes half a minute the first time. The quick table has one such row.
            compile_monai=not settings.quick or classes == 4,
        )
        for classes, pixels in sizes.items()
        for objective in objectives
    ]


def _sigmoid_cases(settings: Settings) -> Sequence[Case]:
    problem = Problem((16, 256, 256) if settings.quick else (64, 512, 512), None)
    objectives = (SIGMOID_DICE_BCE,) if settings.quick else (SIGMOID_DICE, SIGMOID_DICE_BCE)
    return [
        pixel_case(objective.name, objective, problem, compile_monai=not settings.quick)
        for objective in objectives
    ]


SOFTMAX = Family("softmax", "Softmax losses, float32 logits, integer labels", _softmax_cases)
SIGMOID = Family("sigmoid", "Sigmoid losses, float32 logits, integer targets", _sigmoid_cases)
