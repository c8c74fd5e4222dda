"""Expected Dice of the most probable pixels of one image when labels are independent."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax._core import checks

__all__ = ["best_mask", "check_nodes", "dice_of_most_probable", "exponentials"]

_FEWEST_NODES = 4


def check_nodes(nodes: Any) -> int:
    """Check the number of quadrature nodes.

    Args:
        nodes: an integer, at least 4.

    Returns:
        The number.

    Raises:
        TypeError: if it is no integer.
        ValueError: if it is smaller.
    """
    return checks.check_count("nodes", nodes, least=_FEWEST_NODES, hint="; write nodes=64")


def best_mask(posterior: jax.Array, *, nodes: int) -> tuple[jax.Array, jax.Array]:
    """Make the mask with the largest expected Dice.

    Args:
        posterior: [N], as of `dice_of_most_probable`.
        nodes: Q, as there.

    Returns:
        0 and 1, [N]; its expected Dice.
    """
    order, dice = dice_of_most_probable(posterior, nodes=nodes)
    k = jnp.argmax(dice)
    taken = (jnp.arange(posterior.size) < k).astype(posterior.dtype)
    return jnp.zeros_like(posterior).at[order].set(taken), dice[k]


def dice_of_most_probable(posterior: jax.Array, *, nodes: int) -> tuple[jax.Array, jax.Array]:
    """Sort the pixels and compute the expected Dice of the k most probable ones, for every k.

    With independent labels Y and S = ΣY, the expected Dice of k pixels is E[2 Σ_{j≤k} Yⱼ/(k + S)].
    With 1/K ≈ Σ_q w_q·e^(−K·t_q) from `exponentials`, each term is a product over the pixels. It
    takes O(N log N + N·Q) steps. The loop over the nodes keeps [N] numbers, not [N, Q].

    Args:
        posterior: [N], μ = P(y = 1) of each pixel, float32 or float64.
        nodes: Q.

    Returns:
        The order of the pixels, the most probable first, [N]; the expected Dice for k = 0 … N,
        [N + 1]. With k = 0 it is the probability that there is nothing.
    """
    order = jnp.argsort(-posterior)
    mu = posterior[order]
    dtype = mu.dtype
    sizes = jnp.arange(1, mu.size + 1).astype(dtype)

    def add_node(dice: jax.Array, node: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, weight = node
        # E[e^(−tY)] = 1 − μ(1 − e^(−t)). Far from 1 it is computed without the difference, near 1
        # without rounding to 1: that error would add up over the pixels.
        lost = -mu * jnp.expm1(-t)
        left = 1 - mu + mu * jnp.exp(-t)
        half = jnp.full_like(lost, 0.5)
        logs = jnp.where(lost < half, jnp.log1p(-jnp.minimum(lost, half)), jnp.log(left))
        scale = 2 * weight * jnp.exp(jnp.sum(logs) - (sizes + 1) * t)
        return dice + scale * jnp.cumsum(mu / left), None

    points, weights = (jnp.asarray(x, dtype) for x in exponentials(mu.size, nodes))
    dice, _ = jax.lax.scan(add_node, jnp.zeros_like(mu), (points, weights))
    nothing = jnp.prod(1 - mu)
    return order, jnp.concatenate([nothing[None], dice])


def exponentials(pixels: int, nodes: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Approximate 1/K by a sum of exponentials, for every K that the sizes of two masks can have.

    1/K = ∫₀^∞ e^(−Kt) dt. With t = e^u, the trapezoidal rule of step h in u has a relative error
    near e^(−π²/h). The nodes below the first one are replaced by a single one that has their weight
    and their first moment. Both ends and h are chosen so that all errors are alike.

    Args:
        pixels: N: the rule is for K from 2 to 2N.
        nodes: Q, at least 4.

    Returns:
        The nodes t and the weights w, [Q] each, in float64.
    """
    largest = math.log(2 * max(pixels, 1))
    # The error is e^(−digits): it solves digits · (length of the interval of u) = π²·(steps).
    digits = 10.0
    for _ in range(60):
        length = math.log(max(digits, 2.0)) + digits / 3 + largest
        digits = math.sqrt(digits * math.pi**2 * (nodes - 2) / length)
    last = math.log(max(digits, 2.0) / 2)
    u, h = np.linspace(-digits / 3 - largest, last, nodes - 1, retstep=True)
    t = np.exp(u)
    weight, moment = h * t[0] / np.expm1(h), h * t[0] ** 2 / np.expm1(2 * h)
    return np.append(moment / weight, t), np.append(weight, h * t)
