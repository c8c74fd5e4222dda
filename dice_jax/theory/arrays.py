"""Arguments as floating arrays, and a division that gives 0 at 0/0."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio

__all__ = ["floating", "ratio_or_zero"]


def floating(name: str, x: ArrayLike) -> jax.Array:
    """Turn an argument into a floating array; integers and booleans get the default type."""
    x = checks.as_array(name, x)
    return x if checks.is_float(x) else x.astype(jnp.result_type(float))


def ratio_or_zero(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Divide arrays that broadcast; the result is 0 at 0/0."""
    shape = jnp.broadcast_shapes(numerator.shape, denominator.shape)
    numerator, denominator = (jnp.broadcast_to(x, shape) for x in (numerator, denominator))
    return ratio(numerator, denominator, jnp.zeros_like(numerator))
