"""Draw what averaging over microbatches gets wrong as their foreground grows unequal.

Run: python docs/figures/naive_accumulation.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jax.flatten_util import ravel_pytree

import dice_jax as dj

mpl.use("Agg")
import matplotlib.pyplot as plt

MICROBATCHES, SIZE, FOREGROUND, SEEDS = 4, 64, 0.1, 8
IMBALANCES = np.linspace(0, 1, 9)


def model(params: Any, image: jax.Array) -> jax.Array:
    """Two convolutions: logits of a small network."""
    x = image[..., None]
    for kernel in params["hidden"], params["head"]:
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = x if kernel is params["head"] else jax.nn.relu(x)
    return x[..., 0] + params["bias"]


def sums_fn(params: Any, microbatch: tuple[jax.Array, jax.Array]) -> dj.RegionSums:
    """Compute the sums of one microbatch."""
    image, target = microbatch
    return dj.sigmoid_region_sums(model(params, image), target)


def dice(sums: dj.RegionSums) -> jax.Array:
    """Dice loss alone."""
    return dj.dice_loss(sums, smooth=1e-5)


def dice_and_cross_entropy(sums: dj.RegionSums) -> jax.Array:
    """Dice loss plus cross-entropy."""
    return dice(sums) + dj.binary_cross_entropy_loss(sums)


def batch(imbalance: float, seed: int) -> tuple[jax.Array, jax.Array]:
    """Make a batch of fixed foreground; from equal microbatches (0) to all of it in one (1)."""
    rng = np.random.default_rng(seed)
    one = np.zeros(MICROBATCHES)
    one[0] = MICROBATCHES
    fraction = FOREGROUND * ((1 - imbalance) + imbalance * one)
    uniform = rng.uniform(size=(MICROBATCHES, 1, SIZE, SIZE))
    target = (uniform < fraction[:, None, None, None]).astype(np.int32)
    image = target + 0.7 * rng.normal(size=target.shape)
    return jnp.asarray(image, jnp.float32), jnp.asarray(target)


def start(seed: int) -> Any:
    """Draw parameters that see the foreground, roughly."""
    keys = jax.random.split(jax.random.key(seed))
    return {
        "hidden": 0.3 * jax.random.normal(keys[0], (3, 3, 1, 8)).at[1, 1].add(1.0),
        "head": 0.2 * jax.random.normal(keys[1], (3, 3, 8, 1)).at[1, 1].add(0.5),
        "bias": jnp.float32(-3),
    }


def measure(loss_fn: Any) -> dict[str, np.ndarray]:
    """Measure error and cosine of the averaged gradient, and the error of the exact one."""
    exact = jax.jit(dj.accumulated_value_and_grad(sums_fn, loss_fn))

    @jax.jit
    def naive(params: Any, data: Any) -> Any:
        each = jax.vmap(jax.grad(lambda p, d: loss_fn(sums_fn(p, d))), (None, 0))(params, data)
        return jax.tree.map(lambda g: g.mean(0), each)

    @jax.jit
    def whole(params: Any, data: Any) -> Any:
        pooled = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)
        return jax.grad(lambda p: loss_fn(sums_fn(p, pooled)))(params)

    rows = []
    for imbalance in IMBALANCES:
        for seed in range(SEEDS):
            params, data = start(seed), batch(float(imbalance), seed)
            g = [ravel_pytree(f(params, data))[0] for f in (whole, naive)]
            g.append(ravel_pytree(exact(params, data)[1])[0])
            w, n, e = (np.asarray(x, np.float64) for x in g)
            norm = np.linalg.norm
            rows.append((norm(n - w) / norm(w), norm(e - w) / norm(w), n @ w / norm(n) / norm(w)))
    table = np.array(rows).reshape(len(IMBALANCES), SEEDS, 3)
    return dict(zip(("naive", "exact", "cosine"), np.moveaxis(table, -1, 0), strict=True))


def draw(path: Path) -> None:
    """Draw the two panels."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, loss_fn, colour in (
        ("Dice", dice, "#b2182b"),
        ("Dice + cross-entropy", dice_and_cross_entropy, "#2166ac"),
    ):
        table = measure(loss_fn)
        for axes, key, style, label in (
            (left, "naive", "-o", f"{name}, averaged"),
            (left, "exact", "--s", f"{name}, exact (two passes)"),
            (right, "cosine", "-o", f"{name}, averaged"),
        ):
            values = table[key]
            axes.plot(
                IMBALANCES, np.median(values, 1), style, color=colour, label=label, markersize=4
            )
            axes.fill_between(
                IMBALANCES, values.min(1), values.max(1), color=colour, alpha=0.15, linewidth=0
            )
        print(f"{name}: error {np.median(table['naive'], 1).round(3)}")
        print(f"{name}: cosine {np.median(table['cosine'], 1).round(3)}")
    left.set(yscale="log", ylim=(1e-8, 20), ylabel="relative error of the gradient")
    left.set_title("Error: |averaged − whole| / |whole|", loc="left", fontsize=10)
    left.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(0.22, 0.4))
    right.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    right.set(ylabel="cosine with the whole batch's gradient")
    right.set_title("Direction of the averaged gradient", loc="left", fontsize=10)
    right.legend(frameon=False, fontsize=8, loc="lower left")
    for axes in (left, right):
        axes.set_xlabel(
            "imbalance of the foreground\n(0: equal microbatches, 1: all of it in one of four)"
        )
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
