"""Arithmetic whose derivatives stay finite at the awkward points: 0/0, log 0, 0 to a power."""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["clamped_log", "log_cosh", "power", "product", "ratio"]

# The smallest value of a clamped logarithm, in nats; PyTorch's BCE uses the same.
LOG_FLOOR = -100.0


def _is_nothing(denominator: jax.Array) -> jax.Array:
    # Not `== 0`: 1/d overflows just above the smallest normal number, and inf * 0 is NaN. And not
    # `~(d > tiny)`: a NaN denominator has to come out as NaN, not as "nothing there".
    return jnp.abs(denominator) <= 8 * jnp.finfo(denominator.dtype).tiny


@jax.custom_jvp
def ratio(numerator: jax.Array, denominator: jax.Array, empty: jax.Array) -> jax.Array:
    """Divide, giving ``empty`` with a zero gradient where the denominator is nothing.

    The derivative is written as (dn - r dd) / d: `jax.grad` of a plain division squares the
    denominator, which underflows at d = 1e-23 in float32 and turns the gradient into NaN.

    Args:
        numerator: the dividend, any floating shape.
        denominator: the divisor, of the same shape and type.
        empty: the value at 0/0, of the same shape and type.

    Returns:
        The quotient, of the same shape and type.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> zero, one = jnp.float32(0), jnp.float32(1)
        >>> print(ratio(zero, zero, one), jax.grad(ratio, 1)(zero, jnp.float32(1e-30), one))
        1.0 -0.0
    """
    nothing = _is_nothing(denominator)
    quotient = numerator / jnp.where(nothing, jnp.ones_like(denominator), denominator)
    return jnp.where(nothing, empty, quotient)


@ratio.defjvp
def _ratio_jvp(
    primals: tuple[jax.Array, jax.Array, jax.Array],
    tangents: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    numerator, denominator, empty = primals
    numerator_dot, denominator_dot, empty_dot = tangents
    nothing = _is_nothing(denominator)
    quotient = ratio(numerator, denominator, empty)
    # Multiplied by an inverse that is a `ratio` itself, and in this order, so that no derivative of
    # any order and mode squares the denominator or its inverse.
    inverse = ratio(jnp.ones_like(denominator), denominator, jnp.zeros_like(denominator))
    change = numerator_dot * inverse - (denominator_dot * inverse) * quotient
    return quotient, jnp.where(nothing, empty_dot, change)


def product(weight: jax.Array, x: jax.Array) -> jax.Array:
    """Multiply by a weight, giving 0 where the weight is 0: 0 · ∞ is NaN.

    Args:
        weight: a floating array.
        x: a floating array of the same type, broadcastable against it; may be infinite.

    Returns:
        weight · x, of the common shape.

    Example:
        >>> import jax.numpy as jnp
        >>> print(product(jnp.array([0.0, 0.5]), jnp.array([jnp.inf, 3.0])))
        [0.  1.5]
    """
    weighted = weight * x
    return jnp.where(weight == 0, jnp.zeros_like(weighted), weighted)


def clamped_log(x: jax.Array) -> jax.Array:
    """Logarithm clamped at -100, with a zero (never infinite) gradient where it is clamped.

    Args:
        x: a non-negative floating array.

    Returns:
        max(log x, -100), of the same shape and type; NaN stays NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> print(clamped_log(jnp.float32(0)))
        -100.0
    """
    # Anything below the smallest normal number (log = -87 in float32) counts as 0: its reciprocal
    # would overflow in the gradient.
    clamped = x <= jnp.finfo(x.dtype).tiny
    inside = jnp.log(jnp.where(clamped, jnp.ones_like(x), x))
    return jnp.where(clamped, jnp.full_like(x, LOG_FLOOR), jnp.maximum(inside, LOG_FLOOR))


def power(base: jax.Array, exponent: jax.Array) -> jax.Array:
    """Raise a non-negative base to a power, with a zero gradient at base 0.

    Args:
        base: a floating array; values that rounding left below 0 count as 0.
        exponent: a positive scalar or array; below 1 the true slope at 0 is infinite.

    Returns:
        base ** exponent, of the shape and type of ``base``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> print(jax.grad(power)(jnp.float32(0), jnp.float32(0.75)))
        0.0
    """
    zero = base <= jnp.finfo(base.dtype).tiny
    inside = jnp.where(zero, jnp.ones_like(base), base) ** exponent
    return jnp.where(zero, jnp.zeros_like(base), inside)


def log_cosh(x: jax.Array) -> jax.Array:
    """Logarithm of the hyperbolic cosine, accurate near 0.

    Args:
        x: a floating array.

    Returns:
        log cosh x, of the same shape and type.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{log_cosh(jnp.float32(1e-4)):.4g}")
        5e-09
    """
    # cosh(1e-4) rounds to 1 in float32; cosh x - 1 = 2 sinh^2(x/2) keeps the digits.
    half = jnp.sinh(x / 2)
    return jnp.log1p(2 * half * half)
