"""The rows of programs compiled for a TPU v5e and for an H100: traffic, kernels. None is run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

import dice_jax as dj
from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import SIGMOID_DICE_BCE, SOFTMAX_DICE_CE, Objective
from benchmarks.families.compilation import without_persistent_cache
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings
from benchmarks.harness.problems import Problem
from benchmarks.harness.targets import H100, TPU_V5E, Target
from benchmarks.harness.traffic import traffic

__all__ = [
    "GPU_COMPILED",
    "TPU_COMPILED",
    "TPU_IMAGES",
    "accelerator_rows",
    "compiled_figures",
    "program_figures",
]

# An instruction goes over the image if it moves more than this share of the least bytes.
_OVER_THE_IMAGE = 1 / 200


def compiled_figures(
    target: Target, loss: Callable[..., jax.Array], problem: Problem, dtype: Any
) -> dict[str, float]:
    """Compile a loss with its gradient, and read its figures off the program.

    Args:
        target: the device that it is compiled for.
        loss: of logits and labels.
        problem: their sizes.
        dtype: of the logits.

    Returns:
        ``traffic_ratio``, the bytes through the device's memory over the least ones;
        ``image_kernels``, how many instructions go over the image; ``temporary_bytes``;
        ``gathers``; and ``compile_seconds``, the process time of tracing, lowering and compiling.
    """
    x = jax.ShapeDtypeStruct(problem.logits_shape, dtype)
    y = jax.ShapeDtypeStruct(problem.pixels, jnp.int32)
    least = problem.least_bytes(logit_bytes=x.dtype.itemsize)
    return program_figures(target, jax.value_and_grad(loss), (x, y), least)


def program_figures(
    target: Target, function: Callable[..., Any], arguments: Sequence[Any], least: float
) -> dict[str, float]:
    """Compile a function, and read the figures of `compiled_figures` off the program.

    Args:
        target: the device that it is compiled for.
        function: of arrays.
        arguments: their types.
        least: the bytes that it must move.

    Returns:
        The figures.
    """
    target.devices()
    jax.clear_caches()
    with without_persistent_cache():
        began = time.process_time()
        compiled = target.compile(function, *arguments)
        seconds = time.process_time() - began
    text = compiled.as_text()
    assert text is not None
    moved = traffic(text)
    return {
        "traffic_ratio": sum(moved.values()) / least,
        "image_kernels": sum(size > _OVER_THE_IMAGE * least for size in moved.values()),
        **jax_programs.figures(compiled),
        "gathers": len(re.findall(r"\bgather\(", text)),
        "compile_seconds": seconds,
    }


def _case(target: Target, name: str, objective: Objective, problem: Problem, dtype: Any) -> Case:
    def built(loss: Callable[..., jax.Array]) -> Contender:
        return Contender(call=None, figures=compiled_figures(target, loss, problem, dtype))

    def optax() -> Contender:
        jax_programs.require_optax()
        return built(objective.optax)

    def kernel() -> Contender:
        with dj.pass_implementation("kernel"):
            return built(objective.dice_jax)

    builders: dict[str, Builder] = {"dice_jax": lambda: built(objective.dice_jax)}
    if target is TPU_V5E:
        builders["dice_jax, kernel"] = kernel
    builders["optax"] = optax
    work = f"{objective.title}, {problem.words}, {jnp.dtype(dtype).name}"
    ours = tuple(who for who in builders if who != "optax")
    return Case(name=name, work=work, builders=builders, ours=ours)


def accelerator_rows(
    images: Mapping[int | None, tuple[int, ...]], settings: Settings
) -> Iterator[tuple[str, Objective, Problem, Any]]:
    """List the losses and sizes of an accelerator's rows.

    Args:
        images: the pixels for each number of classes; ``None`` for a sigmoid.
        settings: of the run.

    Yields:
        The end of the row's name, the loss, its sizes, and the type of the logits.
    """
    for dtype in (jnp.float32, jnp.bfloat16):
        for classes, pixels in images.items():
            if settings.quick and (classes not in (2, 4) or dtype != jnp.float32):
                continue
            objective = SIGMOID_DICE_BCE if classes is None else SOFTMAX_DICE_CE
            words = [objective.name]
            words += [f"c{classes}"] * (classes is not None)
            words += ["bfloat16"] * (dtype == jnp.bfloat16)
            yield "-".join(words), objective, Problem(pixels, classes), dtype


_TPU_BATCH = (64, 256, 256)
TPU_IMAGES: dict[int | None, tuple[int, ...]] = dict.fromkeys((2, 3, 4, 8, 32), _TPU_BATCH)
TPU_IMAGES |= {104: (16, 256, 256), None: _TPU_BATCH}
# Of `benchmarks.families.gpu`, where it has them.
_GPU_IMAGES: dict[int | None, tuple[int, ...]] = {
    classes: (batch, 512, 512)
    for classes, batch in {2: 128, 3: 64, 4: 64, 8: 32, 32: 16, 104: 8, None: 512}.items()
}


def _tpu_cases(settings: Settings) -> Sequence[Case]:
    return [
        _case(TPU_V5E, f"tpu-{name}", objective, problem, dtype)
        for name, objective, problem, dtype in accelerator_rows(TPU_IMAGES, settings)
    ]


def _gpu_cases(settings: Settings) -> Sequence[Case]:
    return [
        _case(H100, f"gpu-{name}", objective, problem, dtype)
        for name, objective, problem, dtype in accelerator_rows(_GPU_IMAGES, settings)
    ]


_TITLE = "Compiled for {}, not run: traffic through the device's memory over the least bytes"
TPU_COMPILED = Family("tpu-compiled", _TITLE.format("a TPU v5e"), _tpu_cases)
GPU_COMPILED = Family("gpu-compiled", _TITLE.format("an H100"), _gpu_cases)
