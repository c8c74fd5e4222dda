"""The rows of gradient accumulation on a U-Net: exact accumulation beside averaging."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dice_jax as dj
from benchmarks.contenders.jax_programs import figures
from benchmarks.harness.case import Case, Contender, Family, Result, Settings, Unavailable

__all__ = ["ACCUMULATION", "accumulation_case"]


def accumulation_case(name: str, microbatches: int, images: int, size: int) -> Case:
    """Put exact accumulation, ordinary accumulation and the whole batch side by side.

    Ordinary accumulation averages one compiled gradient per microbatch. It computes another loss,
    so only its time is compared; a note says how far its gradient is off.

    Args:
        name: of the row.
        microbatches: how many.
        images: of one microbatch.
        size: height and width of an image.

    Returns:
        The row.
    """
    shape = (microbatches, images, size, size)
    builders = {
        "dice_jax, exact": lambda: _exact(shape),
        "ordinary, averaged": lambda: _ordinary(shape),
        "the whole batch at once": lambda: _whole(shape),
    }
    work = f"U-Net, Dice + BCE, {microbatches} microbatches of {images}×{size}²"
    return Case(name=name, work=work, builders=builders, ours=("dice_jax, exact",))


def _network(shape: tuple[int, ...]) -> tuple[Callable[..., Any], Any, Any]:
    """Return the sums of a piece, the parameters and the microbatches."""
    if importlib.util.find_spec("flax") is None:
        raise Unavailable("flax is not installed: pip install 'dice_jax[experiments]'")
    from flax import nnx

    from experiments.learning.models import initialise

    graph, parameters = initialise("unet", 0)
    rng = np.random.default_rng(0)
    # The foreground fraction grows from piece to piece, which is where averaging goes wrong.
    fractions = np.linspace(0.01, 0.3, shape[0])[:, None, None, None]
    masks = rng.random(shape) < fractions
    noisy = masks + rng.standard_normal(shape)

    def sums(parameters: Any, piece: tuple[jax.Array, jax.Array]) -> dj.RegionSums:
        return dj.sigmoid_region_sums(nnx.merge(graph, parameters)(piece[0]), piece[1])

    return sums, parameters, (jnp.asarray(noisy, jnp.float32), jnp.asarray(masks))


def _loss(sums: dj.RegionSums) -> jax.Array:
    return dj.dice_loss(sums, smooth=1e-5) + dj.binary_cross_entropy_loss(sums)


def _result(answer: tuple[jax.Array, Any]) -> Result:
    leaves = [np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(answer[1])]
    return float(answer[0]), np.concatenate(leaves)


def _contender(value_and_grad: Callable[..., Any], *arguments: Any) -> Contender:
    """Make a contender that computes the gradient of the whole batch."""
    program = jax.jit(value_and_grad).lower(*arguments).compile()
    return Contender(
        call=lambda: jax.block_until_ready(program(*arguments)),
        result=lambda: _result(program(*arguments)),
        figures=figures(program),
    )


def _exact(shape: tuple[int, ...]) -> Contender:
    sums, parameters, pieces = _network(shape)
    exact = dj.accumulated_value_and_grad(sums, _loss)
    # Versions before this wrapper was public rewrote convolutions unasked.
    canonical = getattr(dj, "with_canonical_convolutions", lambda function: function)
    return _contender(canonical(exact), parameters, pieces)


def _batch(pieces: Any) -> Any:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), pieces)


def _whole(shape: tuple[int, ...]) -> Contender:
    sums, parameters, pieces = _network(shape)
    whole = jax.value_and_grad(lambda p, batch: _loss(sums(p, batch)))
    return _contender(whole, parameters, _batch(pieces))


def _ordinary(shape: tuple[int, ...]) -> Contender:
    sums, parameters, pieces = _network(shape)
    count = shape[0]
    each = [jax.tree.map(lambda x, i=i: x[i], pieces) for i in range(count)]

    def add(total: Any, piece: Any) -> Any:
        answer = jax.value_and_grad(lambda p: _loss(sums(p, piece)))(parameters)
        return jax.tree.map(lambda t, a: t + a / count, total, answer)

    zero = jax.tree.map(jnp.zeros_like, (jnp.float32(0), parameters))
    program = jax.jit(add).lower(zero, each[0]).compile()

    def run() -> Any:
        total = zero
        for piece in each:
            total = program(total, piece)
        return jax.block_until_ready(total)

    batch = _batch(pieces)
    _, right = _result(jax.value_and_grad(lambda p: _loss(sums(p, batch)))(parameters))
    _, found = _result(run())
    off = float(np.linalg.norm(found - right) / np.linalg.norm(right))
    return Contender(
        call=run, figures=figures(program), notes=(f"its gradient is {100 * off:.0f} % off",)
    )


def _cases(settings: Settings) -> Sequence[Case]:
    images, size = (4, 64) if settings.quick else (16, 64)
    return [accumulation_case("unet-4-microbatches", 4, images, size)]


ACCUMULATION = Family("accumulation", "Gradient accumulation on a U-Net", _cases)
