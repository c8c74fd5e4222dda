"""Arguments as floating arrays in their range, and a division that gives 0 at 0/0."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio

__all__ = ["at_least_0", "floating", "ratio_or_zero", "unit"]

# A Dice index of 1 + 1e-7, say, comes from rounding.
_ROUNDING = 1e-6


def floating(
    name: str, x: ArrayLike, *, least: float = -math.inf, most: float = math.inf
) -> jax.Array:
    """Turn an argument into a floating array; integers and booleans get the default type.

    Args:
        name: the argument's name, for the error.
        x: numbers.
        least: the smallest number allowed.
        most: the largest number allowed.

    Returns:
        The array. Numbers that are out of range and not known on the host are NaN.

    Raises:
        ValueError: if a number that is known on the host is out of range.
    """
    array = checks.as_array(name, x)
    array = array if checks.is_float(array) else array.astype(jnp.result_type(float))
    if (least, most) == (-math.inf, math.inf):
        return array
    low, high = least - _ROUNDING, most + _ROUNDING
    values = checks.host_values(array)
    outside = [] if values is None else values[(values < low) | (values > high)]
    if len(outside):
        bounds = (
            f"in [{least:.4g}, {most:.4g}]"
            if math.isfinite(least + most)
            else (f">= {least:.4g}" if math.isfinite(least) else f"<= {most:.4g}")
        )
        raise ValueError(f"{name} must be {bounds}, got {np.ravel(outside)[0]:.4g}")
    return jnp.where((array >= low) & (array <= high), array, jnp.full_like(array, jnp.nan))


def unit(name: str, x: ArrayLike) -> jax.Array:
    """Turn a probability, a fraction or an index into a floating array in [0, 1]."""
    return floating(name, x, least=0, most=1)


def at_least_0(name: str, x: ArrayLike) -> jax.Array:
    """Turn a size or a weight into a floating array of numbers at least 0."""
    return floating(name, x, least=0)


def ratio_or_zero(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Divide arrays that broadcast; the result is 0 at 0/0."""
    shape = jnp.broadcast_shapes(numerator.shape, denominator.shape)
    numerator, denominator = (jnp.broadcast_to(x, shape) for x in (numerator, denominator))
    return ratio(numerator, denominator, jnp.zeros_like(numerator))
