"""The rows of softmax and sigmoid losses at float32, beside every peer and the floor."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contenders import jax_programs as jaxes
from benchmarks.contenders import monai_losses as monai
from benchmarks.contenders.objectives import (
    SIGMOID_DICE,
    SIGMOID_DICE_BCE,
    SOFTMAX_DICE,
    SOFTMAX_DICE_CE,
    Work,
)
from benchmarks.harness.case import Builder, Case, Family, Settings
from benchmarks.harness.problems import Problem

__all__ = ["SIGMOID", "SOFTMAX", "pixel_case"]


def pixel_case(name: str, work: Work, problem: Problem, *, compile_monai: bool = True) -> Case:
    """Put every library's loss and gradient side by side.

    Args:
        name: of the row.
        work: the loss.
        problem: the images.
        compile_monai: whether to wait for ``torch.compile``.

    Returns:
        The row.
    """
    builders: dict[str, Builder] = {
        "dice_jax": jaxes.dice_jax(work, problem),
        "optax": jaxes.optax(work, problem),
        "MONAI": monai.eager(work, problem),
        "MONAI compiled": monai.compiled(work, problem),
        f"one {work.activation.__name__}": jaxes.activation(work, problem),
        "copy of the least bytes": jaxes.copy(problem),
    }
    if not compile_monai:
        del builders["MONAI compiled"]
    return Case(name=name, work=f"{work.title}, {problem.words}", builders=builders)


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
    works = (SOFTMAX_DICE_CE,) if settings.quick else (SOFTMAX_DICE, SOFTMAX_DICE_CE)
    return [
        pixel_case(
            f"{work.name}-c{classes}",
            work,
            Problem(pixels, classes),
            # Half a minute each, the first time: the quick table has it where it matters most.
            compile_monai=not settings.quick or classes == 4,
        )
        for classes, pixels in sizes.items()
        for work in works
    ]


def _sigmoid_cases(settings: Settings) -> Sequence[Case]:
    problem = Problem((16, 256, 256) if settings.quick else (64, 512, 512), None)
    works = (SIGMOID_DICE_BCE,) if settings.quick else (SIGMOID_DICE, SIGMOID_DICE_BCE)
    return [
        pixel_case(work.name, work, problem, compile_monai=not settings.quick) for work in works
    ]


SOFTMAX = Family("softmax", "Softmax losses, float32 logits, integer labels", _softmax_cases)
SIGMOID = Family("sigmoid", "Sigmoid losses, float32 logits, integer targets", _sigmoid_cases)
