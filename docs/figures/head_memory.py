"""Draw the memory of a loss and its gradient against the number of classes, with two kinds of head.

Run: python docs/figures/head_memory.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl

import dice_jax as dj

mpl.use("Agg")
import matplotlib.pyplot as plt

VOXELS, FEATURES = (128, 128, 128), 32
CLASSES = (2, 4, 8, 16, 32, 64, 104, 200)


def loss_of(sums: dj.RegionSums) -> jax.Array:
    """Dice loss plus cross-entropy."""
    return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)


def ordinary_head(features: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    """Compute the loss from logits."""
    return loss_of(dj.softmax_region_sums(features @ kernel, labels))


def without_logits(features: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
    """Compute the loss from features and kernel."""
    return loss_of(dj.linear_softmax_region_sums(features, kernel, labels))


def temporaries(loss: Callable[..., jax.Array], classes: int) -> float:
    """Compile value and gradient, and read off the temporaries in bytes. Nothing is run."""
    features = jax.ShapeDtypeStruct((*VOXELS, FEATURES), jnp.float32)
    kernel = jax.ShapeDtypeStruct((FEATURES, classes), jnp.float32)
    labels = jax.ShapeDtypeStruct(VOXELS, jnp.int32)
    program = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(features, kernel, labels).compile()
    memory: Any = program.memory_analysis()
    return float(memory.temp_size_in_bytes)


def draw(path: Path) -> None:
    """Draw both curves, and the features beside them."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for name, loss, colour in (
        ("ordinary head, then softmax_region_sums", ordinary_head, "#b2182b"),
        ("linear_softmax_region_sums", without_logits, "#2166ac"),
    ):
        megabytes = [temporaries(loss, c) / 1e6 for c in CLASSES]
        print(name, dict(zip(CLASSES, (round(m, 1) for m in megabytes), strict=True)))
        axes.plot(CLASSES, megabytes, "-o", color=colour, label=name, markersize=4)
    pixels = VOXELS[0] * VOXELS[1] * VOXELS[2]
    axes.axhline(pixels * FEATURES * 4 / 1e6, color="0.6", linewidth=0.8, linestyle=":")
    axes.text(2, pixels * FEATURES * 4 / 1e6 * 1.15, "the features themselves", color="0.4")
    axes.set(xscale="log", yscale="log", xlabel="classes", ylabel="temporaries in MB")
    axes.set_xticks(CLASSES, [str(c) for c in CLASSES])
    axes.minorticks_off()
    axes.set_title("Loss and gradient of 128³ voxels with 32 features each, on a CPU", loc="left")
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
