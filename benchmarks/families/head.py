"""The rows of a linear head: its loss from the features, and from logits that are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dice_jax as dj
from benchmarks.contenders.jax_programs import figures
from benchmarks.families.compiled import program_figures
from benchmarks.harness.case import Case, Contender, Family, Result, Settings
from benchmarks.harness.targets import H100, TPU_V5E, Target

__all__ = ["HEAD", "HEAD_COMPILED", "head_case"]

_FEATURES = 32


def head_case(name: str, pixels: int, classes: int) -> Case:
    """Put the loss of the features beside the loss of the logits.

    Args:
        name: of the row.
        pixels: how many.
        classes: how many.

    Returns:
        The row.
    """
    builders = {
        "logits, then dice_jax": lambda: _contender(_with_logits, pixels, classes),
        "dice_jax, no logits": lambda: _contender(_without_logits, pixels, classes),
    }
    work = (
        f"head of {_FEATURES} features, softmax Dice + CE, {pixels:,} pixels, {classes} classes; "
        "gradients of features, kernel and bias"
    )
    return Case(name=name, work=work, builders=builders, ours=tuple(builders))


def _loss(sums: dj.RegionSums) -> jax.Array:
    return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)


def _with_logits(head: Any, labels: jax.Array) -> jax.Array:
    features, kernel, bias = head
    return _loss(dj.softmax_region_sums(features @ kernel + bias, labels))


def _without_logits(head: Any, labels: jax.Array) -> jax.Array:
    features, kernel, bias = head
    return _loss(dj.linear_softmax_region_sums(features, kernel, labels, bias=bias))


def _contender(loss: Callable[..., jax.Array], pixels: int, classes: int) -> Contender:
    rng = np.random.default_rng(0)
    shapes = (pixels, _FEATURES), (_FEATURES, classes), (classes,)
    head = tuple(jnp.asarray(0.3 * rng.standard_normal(s), jnp.float32) for s in shapes)
    labels = jnp.asarray(rng.integers(0, classes, pixels), jnp.int32)
    program = jax.jit(jax.value_and_grad(loss)).lower(head, labels).compile()

    def result() -> Result:
        value, gradients = program(head, labels)
        # Each array over its largest entry: the kernel's must not hide the features'.
        scaled = [g.ravel() / jnp.max(jnp.abs(g)) for g in gradients]
        return float(value), np.concatenate([np.asarray(g) for g in scaled])

    return Contender(
        call=lambda: jax.block_until_ready(program(head, labels)),
        result=result,
        figures=figures(program),
    )


def _cases(settings: Settings) -> Sequence[Case]:
    pixels = 2**16 if settings.quick else 2**20
    return [head_case(f"c{classes}", pixels, classes) for classes in (4, 32, 104)]


def _compiled_case(target: Target, name: str, pixels: int, classes: int, dtype: Any) -> Case:
    """Compile the same for a device that is not here: traffic over the least bytes, temporaries."""
    shapes = (pixels, _FEATURES), (_FEATURES, classes), (classes,)
    head = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)
    labels = jax.ShapeDtypeStruct((pixels,), jnp.int32)
    # Features and labels are read twice, and the features' gradient is written.
    least = pixels * (3 * _FEATURES * jnp.dtype(dtype).itemsize + 2 * 4)

    def built(loss: Callable[..., jax.Array]) -> Contender:
        figures = program_figures(target, jax.value_and_grad(loss), (head, labels), least)
        return Contender(call=None, figures=figures)

    builders = {
        "logits, then dice_jax": lambda: built(_with_logits),
        "dice_jax, no logits": lambda: built(_without_logits),
    }
    kind = jnp.dtype(dtype).name
    work = f"head of {_FEATURES} features, softmax Dice + CE, {pixels:,} pixels, {classes} classes"
    work = f"{target.title}, {work}, {kind}"
    return Case(name=name, work=work, builders=builders, ours=tuple(builders))


def _compiled_cases(settings: Settings) -> Sequence[Case]:
    pixels, classes = (2**18 if settings.quick else 2**21), 104
    return [
        _compiled_case(target, f"{name}-c{classes}{suffix}", pixels, classes, dtype)
        for name, target in (("tpu", TPU_V5E), ("gpu", H100))
        for suffix, dtype in (("", jnp.float32), ("-bfloat16", jnp.bfloat16))
    ]


_TITLE = "A linear head, compiled for a TPU v5e and an H100, not run: traffic over the least bytes"
HEAD_COMPILED = Family("head-compiled", _TITLE, _compiled_cases)
HEAD = Family("head", "A linear head, with and without its logits", _cases)
