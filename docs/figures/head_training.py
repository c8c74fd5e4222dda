"""Train a 3-D network with 104 classes without its logits, and print the memory of both heads.

Run: python docs/figures/head_training.py [--size 96] [--steps 8]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import dice_jax as dj

CLASSES, CHANNELS, FEATURES = 104, 4, 32
Sums = Callable[[Any, jax.Array, jax.Array], dj.RegionSums]


class Network(nnx.Module):
    """Two convolutions at half the resolution, features at the full one, and a linear head."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(CHANNELS, 16, (3, 3, 3), rngs=rngs)
        self.second = nnx.Conv(16, FEATURES, (3, 3, 3), rngs=rngs)
        self.full = nnx.Linear(CHANNELS, FEATURES, rngs=rngs)
        self.head = nnx.Linear(FEATURES, CLASSES, rngs=rngs)

    def features(self, image: jax.Array) -> jax.Array:
        """Compute what the head reads."""
        low = nnx.avg_pool(image, (2, 2, 2), (2, 2, 2))
        low = self.second(nnx.relu(self.first(low)))
        for axis in (1, 2, 3):
            low = jnp.repeat(low, 2, axis=axis)
        return nnx.relu(low + self.full(image))


def with_logits(network: Any, image: jax.Array, labels: jax.Array) -> dj.RegionSums:
    """Make the logits, and sum."""
    return dj.softmax_region_sums(network.head(network.features(image)), labels)


def without_logits(network: Any, image: jax.Array, labels: jax.Array) -> dj.RegionSums:
    """Sum what the logits would give."""
    kernel, bias = network.head.kernel[...], network.head.bias[...]
    return dj.linear_softmax_region_sums(network.features(image), kernel, labels, bias=bias)


def volume(size: int) -> tuple[jax.Array, jax.Array]:
    """Make labels in 2 × 4 × 13 boxes, and an image in which every class has its own colour."""
    rng = np.random.default_rng(0)
    grid = (2, 4, 13)
    place = [np.arange(size) * n // size for n in grid]
    labels = np.ravel_multi_index(np.meshgrid(*place, indexing="ij"), grid)[None]
    colours = rng.normal(size=(CLASSES, CHANNELS))
    image = colours[labels] + 0.3 * rng.normal(size=(*labels.shape, CHANNELS))
    return jnp.asarray(image, jnp.float32), jnp.asarray(labels, jnp.int32)


def training_step(graph: Any, optimizer: Any, sums_of: Sums) -> Any:
    """Make a step of Dice plus cross-entropy, by one kind of head."""

    def loss_of(params: Any, image: jax.Array, labels: jax.Array) -> jax.Array:
        sums = sums_of(nnx.merge(graph, params), image, labels)
        return dj.dice_loss(sums, smooth=1e-5).mean() + dj.cross_entropy_loss(sums)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, image: jax.Array, labels: jax.Array) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(params, image, labels)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    return step


def peak(compiled: Any) -> int:
    """Add up the arguments and temporaries of a compiled step, in bytes."""
    memory = compiled.memory_analysis()
    return int(memory.argument_size_in_bytes + memory.temp_size_in_bytes)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Compile both steps, train with the one that makes no logits, and print both peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96, help="of the volume, along each axis; even")
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args(arguments)
    image, labels = volume(given.size)
    graph, params = nnx.split(Network(rngs=nnx.Rngs(0)))
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)
    report: dict[str, Any] = {"logits": 4 * labels.size * CLASSES, "losses": []}
    steps = {}
    for name, sums_of in (("with logits", with_logits), ("without logits", without_logits)):
        step = training_step(graph, optimizer, sums_of)
        steps[name] = step.lower(params, state, image, labels).compile()
        report[f"peak {name}"] = peak(steps[name])
        print(f"a training step {name}: {report[f'peak {name}'] / 1e6:.0f} MB")
    print(f"(the logits alone: {report['logits'] / 1e6:.0f} MB)")
    for number in range(given.steps):
        params, state, loss = steps["without logits"](params, state, image, labels)
        report["losses"].append(float(loss))
        print(f"step {number + 1}: loss {report['losses'][-1]:.4f}", flush=True)
    return report


if __name__ == "__main__":
    main()
