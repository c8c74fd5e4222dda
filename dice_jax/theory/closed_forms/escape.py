"""Closed forms of the time that a loss takes to leave saturation."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax.theory.arrays import at_least_0, floating

__all__ = ["cross_entropy_escape_time", "dice_escape_time", "escape_crossing"]


def dice_escape_time(start: ArrayLike, target: ArrayLike, background: ArrayLike) -> jax.Array:
    r"""Time that Dice needs to raise free foreground logits from z₀ to 0, as z₀ → −∞ (C11).

    ((T + B)/2)·e^{−z₀}, under gradient descent with unit step.

    Args:
        start: z₀ ≤ 0.
        target: T, the number of foreground pixels.
        background: B, Σp over the background, which stays about constant.

    Returns:
        The time, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.dice_escape_time(-10.0, 100.0, 0.0):.3g}")
        1.1e+06

    References:
        C11 of the theory page.
    """
    size = at_least_0("target", target) + at_least_0("background", background)
    return size / 2 * jnp.exp(-floating("start", start, most=0))


def cross_entropy_escape_time(start: ArrayLike, count: ArrayLike) -> jax.Array:
    r"""Time that mean BCE needs to raise a free foreground logit from z₀ to 0 (C11).

    Exactly N(\|z₀\| + 1 − e^{z₀}), about N\|z₀\| as z₀ → −∞, under gradient descent with unit step.

    Args:
        start: z₀ ≤ 0.
        count: N, the number of pixels.

    Returns:
        The time, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.cross_entropy_escape_time(-10.0, 1e4):.3g}")
        1.1e+05

    References:
        C11 of the theory page.
    """
    start = floating("start", start, most=0)
    return at_least_0("count", count) * (1 - start - jnp.exp(start))


def escape_crossing(fraction: ArrayLike) -> jax.Array:
    r"""The \|z₀\| beyond which Dice leaves saturation more slowly than BCE (C11).

    The larger solution of e^x/x = 2/π.

    Args:
        fraction: π in (0, 2/e], the foreground fraction.

    Returns:
        \|z₀\|, of the shape of ``fraction``.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.escape_crossing(0.01):.2f}")
        7.28

    References:
        C11 of the theory page.
    """
    level = jnp.log(2 / floating("fraction", fraction, least=0, most=2 / math.e))
    x = level + 2
    # Newton's method on x − log x = log(2/π): convex, so it descends from the right to the root.
    for _ in range(12):
        x = x - (x - jnp.log(x) - level) / (1 - 1 / x)
    return x
