"""Time a Pallas kernel of Dice + CE on a GPU, and the loss's share of a training step.

Run: python -m benchmarks.gpu_kernel [--small]     (without a GPU the kernel is interpreted)

The library has no such kernel. Pallas's Triton backend is deprecated since JAX 0.11, and the rows
of training steps show how little a step would gain.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.experimental import pallas as pl

from benchmarks.contenders import jax_programs
from benchmarks.contenders.objectives import SOFTMAX_DICE_CE
from benchmarks.harness import table
from benchmarks.harness.case import Case, Contender, Family, Settings
from benchmarks.harness.problems import Problem
from benchmarks.harness.repetition import repeat, repetitions
from benchmarks.harness.runs import run
from benchmarks.harness.timing import Budget

Loss = Callable[[jax.Array, jax.Array], jax.Array]

# Pixels of a block: 4,096 logits, what four warps hold in registers.
_BLOCK_LOGITS = 4096


def kernel_loss(logits: jax.Array, labels: jax.Array, *, interpret: bool) -> jax.Array:
    """Compute Dice + CE, pooled over the batch with smoothing 1, in one kernel each way.

    Args:
        logits: [..., C], float32; C a power of two, the pixels a multiple of a block.
        labels: integer [...].
        interpret: run the kernels without a GPU.

    Returns:
        The loss.
    """
    classes, pixels = logits.shape[-1], labels.size
    block = min(_BLOCK_LOGITS // classes, pixels)
    blocks = pixels // block
    x_block = pl.BlockSpec((block, classes), lambda i: (i, 0))
    y_block = pl.BlockSpec((block,), lambda i: (i,))
    sums_block = pl.BlockSpec((1, classes), lambda i: (i, 0))
    class_block = pl.BlockSpec((classes,), lambda i: (0,))
    call = functools.partial(pl.pallas_call, grid=(blocks,), interpret=interpret)
    y = labels.reshape(-1)

    def softmax(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        largest = jnp.max(x, 1)
        e = jnp.exp(x - largest[:, None])
        z = jnp.sum(e, 1)
        index = jax.lax.broadcasted_iota(jnp.int32, (block, classes), 1)
        return e / z[:, None], y[:, None] == index, (jnp.log(z) + largest)[:, None] - x

    def forwards(x: Any, y: Any, *out: Any) -> None:
        p, hit, minus_log_p = softmax(x[...], y[...])
        terms = (jnp.where(hit, p, 0.0), p, jnp.where(hit, 1.0, 0.0))
        terms = (*terms, jnp.where(hit, minus_log_p, 0.0))
        for into, term in zip(out, terms, strict=True):
            into[...] = jnp.sum(term, 0)[None]

    def backwards(x: Any, y: Any, of_overlap: Any, of_size: Any, of_log: Any, out: Any) -> None:
        p, hit, _ = softmax(x[...], y[...])
        slope = of_size[...][None] + jnp.where(hit, of_overlap[...][None], 0.0)
        mean = jnp.sum(p * slope, 1)
        out[...] = p * (slope - mean[:, None]) + of_log[...][None] * (p - jnp.where(hit, 1.0, 0.0))

    @jax.custom_vjp
    def sums(x: jax.Array) -> tuple[jax.Array, ...]:
        partial = jax.ShapeDtypeStruct((blocks, classes), jnp.float32)
        sum_up = call(
            forwards,
            in_specs=[x_block, y_block],
            out_specs=[sums_block] * 4,
            out_shape=[partial] * 4,
        )
        overlap, size, count, log = (jnp.sum(term, 0) for term in sum_up(x, y))
        return overlap, size, count, jnp.sum(log)

    def pull(x: jax.Array, cotangents: tuple[jax.Array, ...]) -> tuple[jax.Array]:
        of_overlap, of_size, _, of_log = cotangents
        spread = call(
            backwards,
            in_specs=[x_block, y_block, class_block, class_block, class_block],
            out_specs=x_block,
            out_shape=jax.ShapeDtypeStruct((pixels, classes), jnp.float32),
        )
        return (spread(x, y, of_overlap, of_size, jnp.full(classes, of_log)),)

    sums.defvjp(lambda x: (sums(x), x), pull)
    overlap, size, count, log = sums(logits.reshape(-1, classes))
    return jnp.mean(1 - (2 * overlap + 1) / (size + count + 1)) + log / pixels


def _kernel_case(classes: int, pixels: tuple[int, ...]) -> Case:
    """Put the kernel beside the library and the copy of the least bytes."""
    problem = Problem(pixels, classes)

    def kernel() -> Contender:
        loss = functools.partial(kernel_loss, interpret=jax.default_backend() != "gpu")
        x, y = map(jnp.asarray, problem.arrays())
        return jax_programs.compiled_contender(jax.value_and_grad(loss), (x, y))

    builders = {
        "dice_jax": jax_programs.dice_jax_loss(SOFTMAX_DICE_CE, problem),
        "kernel": kernel,
        "copy of the least bytes": jax_programs.least_copy(problem),
    }
    words = f"{SOFTMAX_DICE_CE.title}, {problem.words}"
    return Case(name=f"kernel-c{classes}", work=words, builders=builders)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    kernel = kernel.astype(x.dtype)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def _block(x: jax.Array, kernels: list[jax.Array]) -> jax.Array:
    for kernel in kernels:
        wide = _convolve(x, kernel).astype(jnp.float32)
        mean, variance = wide.mean((1, 2), keepdims=True), wide.var((1, 2), keepdims=True)
        x = jax.nn.silu((wide - mean) * jax.lax.rsqrt(variance + 1e-5)).astype(x.dtype)
    return x


def _network(parameters: Any, x: jax.Array) -> jax.Array:
    """A U-Net in bfloat16 with float32 logits."""
    skips: list[jax.Array] = []
    x = x.astype(jnp.bfloat16)
    for depth, kernels in enumerate(parameters["down"]):
        if depth:
            b, h, w, c = x.shape
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
        x = _block(x, kernels)
        skips.append(x)
    for kernels, skip in zip(parameters["up"], reversed(skips[:-1]), strict=True):
        x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
        x = _block(jnp.concatenate([x, skip], -1), kernels)
    return _convolve(x, parameters["head"]).astype(jnp.float32)


def _parameters(classes: int, channels: tuple[int, ...]) -> Any:
    keys = iter(jax.random.split(jax.random.key(0), 64))

    def kernel(inputs: int, outputs: int, size: int = 3) -> jax.Array:
        scale = (2 / (size * size * inputs)) ** 0.5
        return scale * jax.random.normal(next(keys), (size, size, inputs, outputs))

    down, up, width = [], [], 1
    for c in channels:
        down.append([kernel(width, c), kernel(c, c)])
        width = c
    for c in reversed(channels[:-1]):
        up.append([kernel(width + c, c), kernel(c, c)])
        width = c
    return {"down": down, "up": up, "head": kernel(width, classes, 1)}


def _step_case(classes: int, *, small: bool) -> Case:
    """Put an optimiser step with a trivial loss beside those with dice_jax's and Optax's loss."""
    images, side = (1, 32) if small else (8, 512)
    channels = (4, 8) if small else (32, 64, 128, 256)
    adam = optax.adam(1e-3)

    def contender(loss: Loss) -> Contender:
        x = jax.random.normal(jax.random.key(1), (images, side, side, 1))
        y = jax.random.randint(jax.random.key(2), x.shape[:-1], 0, classes)

        def step(parameters: Any, moments: Any) -> Any:
            def of(parameters: Any) -> jax.Array:
                return loss(_network(parameters, x), y)

            value, gradient = jax.value_and_grad(of)(parameters)
            updates, moments = adam.update(gradient, moments)
            return optax.apply_updates(parameters, updates), moments, value

        start = _parameters(classes, channels)
        state = [start, adam.init(start)]
        compiled = jax.jit(step).lower(*state).compile()

        def once() -> Any:
            *state[:], value = compiled(*state)
            return value

        call = repeat(once, jax.block_until_ready)
        return Contender(call=call, figures=jax_programs.figures(compiled), amount=repetitions())

    losses: dict[str, Loss] = {
        "no loss": lambda x, _: jnp.mean(x),
        "dice_jax": SOFTMAX_DICE_CE.dice_jax,
        "optax": SOFTMAX_DICE_CE.optax,
    }
    builders = {name: functools.partial(contender, loss) for name, loss in losses.items()}
    return Case(
        name=f"step-c{classes}",
        work=f"a U-Net's step, {images}×{side}², C={classes}",
        builders=builders,
    )


def main() -> None:
    """Measure the rows as `python -m benchmarks` does, and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--small", action="store_true", help="small sizes, only to see that it runs"
    )
    small = parser.parse_args().small
    sizes = {2: (128, 512, 512), 4: (64, 512, 512), 32: (16, 512, 512)}
    cases = [_kernel_case(c, (1, 64, 64) if small else pixels) for c, pixels in sizes.items()]
    cases += [_step_case(c, small=small) for c in (4, 32)]
    family = Family("kernel", "A kernel by hand", lambda _: cases)
    settings = Settings(budget=Budget(least=3, most=15, seconds=1.5))
    command = "python -m benchmarks.gpu_kernel" + " --small" * small
    table.show(run([(family, case) for case in cases], settings, command=command))


if __name__ == "__main__":
    main()
