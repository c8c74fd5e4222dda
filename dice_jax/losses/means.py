"""Means over the regions that are there, with a value where none is."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio

__all__ = ["safe_mean"]


def safe_mean(values: ArrayLike, *, where: ArrayLike, axis: checks.Axis = None) -> jax.Array:
    r"""Mean over the entries that count, 0 with a zero gradient where none does.

    Σ w·x / Σ w. ``jnp.mean(losses, where=present)`` is NaN where nothing is present: a patch
    without foreground then ends the training. This is 0 there.

    Args:
        values: x [...], floating: losses of regions or classes, say.
        where: w, boolean or a floating weight at least 0, broadcastable to [...]. An entry of
            weight 0 adds nothing to the value or the gradient, whatever it holds.
        axis: the axes to average over; ``None`` for all.

    Returns:
        An array of the shape of ``jnp.mean(values, axis)``; 0 where no entry counts.

    Raises:
        TypeError: if ``values`` is not floating, or ``where`` is neither boolean nor floating.
        ValueError: if an axis does not exist, or ``where`` does not broadcast to ``values``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> losses, present = jnp.array([[0.2, 0.9], [0.4, 0.8]]), jnp.array([[1, 0], [0, 0]]) > 0
        >>> print(dj.safe_mean(losses, where=present, axis=1))
        [0.2 0. ]
    """
    values = checks.as_array("values", values)
    if not checks.is_float(values):
        raise TypeError(f"values must be floating, got {checks.describe(values)}")
    axes = checks.normalize_axis("axis", axis, values.ndim, what="values")
    weight = checks.check_where(where, values.shape)
    if weight is None:
        raise TypeError("where must say which values count, got None; for all of them: jnp.mean")
    return _safe_mean(values, weight, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _safe_mean(values: jax.Array, where: jax.Array, *, axes: tuple[int, ...]) -> jax.Array:
    weight = checks.weight_or_nan(where.astype(values.dtype))
    weight = jnp.broadcast_to(weight, values.shape)
    # Selected before it is multiplied: 0 · NaN is NaN.
    counted = jnp.where(weight == 0, jnp.zeros_like(values), values)
    size = jnp.sum(weight, axes)
    return ratio(jnp.sum(weight * counted, axes), size, jnp.zeros_like(size))
