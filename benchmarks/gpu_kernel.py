"""Would a kernel by hand be worth it on a GPU? Dice + CE in Pallas, and the loss's share of a step.

Run: python benchmarks/gpu_kernel.py [--small]     (anywhere but on a GPU the kernel is interpreted)

The library has no such kernel: Pallas's Triton backend is deprecated since JAX 0.12, and the second
table says what a training step would gain.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.experimental import pallas as pl

from benchmarks.jax_contenders import figures
from benchmarks.problems import Problem
from benchmarks.works import SOFTMAX_DICE_CE

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
        run = call(
            forwards,
            in_specs=[x_block, y_block],
            out_specs=[sums_block] * 4,
            out_shape=[partial] * 4,
        )
        overlap, size, count, log = (jnp.sum(term, 0) for term in run(x, y))
        return overlap, size, count, jnp.sum(log)

    def pull(x: jax.Array, cotangents: tuple[jax.Array, ...]) -> tuple[jax.Array]:
        of_overlap, of_size, _, of_log = cotangents
        run = call(
            backwards,
            in_specs=[x_block, y_block, class_block, class_block, class_block],
            out_specs=x_block,
            out_shape=jax.ShapeDtypeStruct((pixels, classes), jnp.float32),
        )
        return (run(x, y, of_overlap, of_size, jnp.full(classes, of_log)),)

    sums.defvjp(lambda x: (sums(x), x), pull)
    overlap, size, count, log = sums(logits.reshape(-1, classes))
    return jnp.mean(1 - (2 * overlap + 1) / (size + count + 1)) + log / pixels


def milliseconds(call: Callable[[], Any], *, times: int) -> float:
    """Time a call, started several times in a row before it is waited for.

    Args:
        call: starts the work.
        times: how often.

    Returns:
        The median of five, per call.
    """
    jax.block_until_ready(call())
    found = []
    for _ in range(5):
        began = time.perf_counter()
        last = None
        for _ in range(times):
            last = call()
        jax.block_until_ready(last)
        found.append((time.perf_counter() - began) / times)
    return statistics.median(found) * 1e3


def compare_kernels(*, small: bool) -> None:
    """Print how near the copy's bandwidth the library and the kernel come.

    Args:
        small: for a look at whether it runs.
    """
    interpret = jax.default_backend() != "gpu"
    sizes = {2: (128, 512, 512), 4: (64, 512, 512), 32: (16, 512, 512)}
    times = 2 if small else 30
    for classes, pixels in sizes.items():
        problem = Problem((1, 64, 64) if small else pixels, classes)
        x, y = map(jnp.asarray, problem.arrays())
        source = jnp.ones(problem.least_bytes() // 8, jnp.uint32)
        copy = jax.jit(lambda source: source + jnp.uint32(1))
        floor = milliseconds(lambda copy=copy, source=source: copy(source), times=times)
        print(f"C={classes}: a copy of the least bytes {floor:.3f} ms")
        contenders: dict[str, Loss] = {
            "dice_jax": SOFTMAX_DICE_CE.dice_jax,
            "kernel": functools.partial(kernel_loss, interpret=interpret),
        }
        values = {}
        for name, loss in contenders.items():
            run = jax.jit(jax.value_and_grad(loss)).lower(x, y).compile()
            values[name], gradient = run(x, y)
            took = milliseconds(lambda run=run, x=x, y=y: run(x, y), times=times)
            temporaries = figures(run).get("temporary_bytes", 0.0)
            print(
                f"  {name:9} {took:8.3f} ms, {floor / took:.0%} of the copy's bandwidth, "
                f"temporaries {temporaries / 1e6:.1f} MB, "
                f"loss {values[name]:.6f}, gradient {jnp.abs(gradient).sum():.6f}"
            )


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


def compare_steps(*, small: bool) -> None:
    """Print what an optimiser step takes without a loss to speak of, with ours, with Optax's.

    Args:
        small: for a look at whether it runs.
    """
    images, side = (1, 32) if small else (8, 512)
    channels = (4, 8) if small else (32, 64, 128, 256)
    losses: dict[str, Loss] = {
        "no loss": lambda x, _: jnp.mean(x),
        "dice_jax": SOFTMAX_DICE_CE.dice_jax,
        "optax": SOFTMAX_DICE_CE.optax,
    }
    adam = optax.adam(1e-3)
    x = jax.random.normal(jax.random.key(1), (images, side, side, 1))
    for classes in (4, 32):
        y = jax.random.randint(jax.random.key(2), x.shape[:-1], 0, classes)
        for name, loss in losses.items():

            def step(parameters: Any, moments: Any, x: Any, y: Any, loss: Loss = loss) -> Any:
                def of(parameters: Any) -> jax.Array:
                    return loss(_network(parameters, x), y)

                value, gradient = jax.value_and_grad(of)(parameters)
                updates, moments = adam.update(gradient, moments)
                return optax.apply_updates(parameters, updates), moments, value

            start = _parameters(classes, channels)
            state = [start, adam.init(start)]
            run = jax.jit(step).lower(*state, x, y).compile()

            def call(run: Any = run, state: list[Any] = state, x: Any = x, y: Any = y) -> Any:
                *state[:], value = run(*state, x, y)
                return value

            took = milliseconds(call, times=1 if small else 10)
            print(f"a step, {images}×{side}², C={classes}, {name:9} {took:6.2f} ms", flush=True)


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="only to see that it runs")
    small = parser.parse_args().small
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}")
    compare_kernels(small=small)
    compare_steps(small=small)


if __name__ == "__main__":
    main()
