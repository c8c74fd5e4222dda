"""The best constant prediction under each loss, which a model with a bias only reaches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax.theory.arrays import at_least_0, unit

__all__ = [
    "balanced_cross_entropy_best_constant",
    "cross_entropy_best_constant",
    "dice_best_constant",
    "dice_cross_entropy_best_constant",
    "squared_dice_best_constant",
    "tversky_best_constant",
]


def cross_entropy_best_constant(fraction: ArrayLike) -> jax.Array:
    """The best constant prediction under mean binary cross-entropy (C6): q = π.

    Args:
        fraction: π, the foreground fraction, in [0, 1].

    Returns:
        q, of the shape of ``fraction``.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.cross_entropy_best_constant(0.25))
        0.25

    References:
        C6 of the theory page.
    """
    return unit("fraction", fraction)


def balanced_cross_entropy_best_constant(fraction: ArrayLike) -> jax.Array:
    """The best constant prediction under class-balanced binary cross-entropy (C6): q = ½.

    Args:
        fraction: π, the foreground fraction, in [0, 1].

    Returns:
        ½, in the shape of ``fraction``.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.balanced_cross_entropy_best_constant(0.25))
        0.5

    References:
        C6 of the theory page.
    """
    fraction = unit("fraction", fraction)
    return jnp.where(jnp.isnan(fraction), fraction, jnp.full_like(fraction, 0.5))


def tversky_best_constant(
    fraction: ArrayLike,
    target: ArrayLike,
    *,
    alpha: ArrayLike,
    beta: ArrayLike,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    """The best constant prediction under the Tversky loss (C6): 0 or 1.

    1 if βπT > s(α(1−π) − βπ), 0 if <, and ½ at equality, where every q has the same loss. No finite
    bias reaches 0 or 1; training only approaches it.

    Args:
        fraction: π, the foreground fraction of the pooled pixels, in [0, 1].
        target: T ≥ 0, the number of foreground pixels pooled.
        alpha: α ≥ 0, on false positives.
        beta: β ≥ 0, on false negatives.
        smooth: s ≥ 0, in pixels, as in `tversky_loss`.

    Returns:
        0, ½ or 1, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.tversky_best_constant(0.01, 40.0, alpha=0.3, beta=0.7, smooth=1.0))
        0.0
        >>> print(dj.analysis.tversky_best_constant(0.01, 40.0, alpha=0.3, beta=0.7, smooth=1e-5))
        1.0

    References:
        C6 of the theory page.
    """
    f = unit("fraction", fraction)
    t, a, b, s = (
        at_least_0(name, x)
        for name, x in (
            ("target", target),
            ("alpha", alpha),
            ("beta", beta),
            ("smooth", smooth),
        )
    )
    return (1 + jnp.sign(b * f * t - s * (a * (1 - f) - b * f))) / 2


def dice_best_constant(
    fraction: ArrayLike, target: ArrayLike, *, smooth: ArrayLike = 1.0
) -> jax.Array:
    """The best constant prediction under the Dice loss (C6): 0 or 1.

    1 if s(1−2π) < 2πT, 0 if >, and ½ at equality, where every q has the same loss. With the
    article's s = 1 it is 0 for a small object.

    Args:
        fraction: π, the foreground fraction of the pooled pixels, in [0, 1].
        target: T ≥ 0, the number of foreground pixels pooled.
        smooth: s ≥ 0, in pixels, as in `dice_loss`. Jaccard with s/2 has the same optimum.

    Returns:
        0, ½ or 1, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.dice_best_constant(0.01, 40.0))    # the article's smooth = 1
        0.0
        >>> print(dj.analysis.dice_best_constant(0.01, 40.0, smooth=1e-5))
        1.0

    References:
        C6 of the theory page; Lipton et al. (2014), https://arxiv.org/abs/1402.1892.
    """
    # Dice with s is Tversky with α = β = ½ and s/2.
    half = at_least_0("smooth", smooth) / 2
    return tversky_best_constant(fraction, target, alpha=0.5, beta=0.5, smooth=half)


def squared_dice_best_constant(
    fraction: ArrayLike, target: ArrayLike, *, smooth: ArrayLike = 1.0
) -> jax.Array:
    """The best constant prediction under the squared Dice loss (C6): √π at s = 0.

    The positive solution of πNq² + sq − (πT + πs) = 0.

    Args:
        fraction: π, the foreground fraction of the pooled pixels, in [0, 1].
        target: T > 0, the number of foreground pixels pooled.
        smooth: s ≥ 0, in pixels, as in `squared_dice_loss`.

    Returns:
        q, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.squared_dice_best_constant(0.25, 100.0, smooth=0.0))
        0.5

    References:
        C6 of the theory page.
    """
    f, t, s = unit("fraction", fraction), at_least_0("target", target), at_least_0("smooth", smooth)
    # The other form of the root subtracts two nearly equal numbers.
    free = f * (t + s)
    return 2 * free / (s + jnp.sqrt(s * s + 4 * t * free))


def dice_cross_entropy_best_constant(fraction: ArrayLike, *, weight: ArrayLike = 1.0) -> jax.Array:
    r"""The best constant prediction under Dice + λ·mean BCE without smoothing (C25).

    The solution in [π, 1] of 2π²q(1 − q) = λ(q − π)(q + π)². As π → 0 it is q = cπ, with
    (c − 1)(c + 1)² = 2c/λ: c = 1.481 at λ = 1.

    Args:
        fraction: π, the foreground fraction, in [0, 1].
        weight: λ ≥ 0, on mean binary cross-entropy.

    Returns:
        q, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> q = dj.analysis.dice_cross_entropy_best_constant(0.001)
        >>> print(f"{q / 0.001:.3f}")
        1.481

    References:
        C25 of the theory page.
    """
    f, weight = jnp.broadcast_arrays(unit("fraction", fraction), at_least_0("weight", weight))
    low, high = jnp.zeros_like(f), -jnp.log(f)
    # Bisection in log(q/π), so that a small π keeps its digits.
    for _ in range(60):
        middle = (low + high) / 2
        c = jnp.exp(middle)
        up = 2 * c * (1 - c * f) > weight * (c - 1) * jnp.square(c + 1)
        low, high = jnp.where(up, middle, low), jnp.where(up, high, middle)
    return jnp.where(jnp.isnan(weight), weight, f * jnp.exp(low))
