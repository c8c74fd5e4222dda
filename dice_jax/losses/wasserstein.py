"""Dice that knows which mistakes are worse: the generalised Wasserstein Dice loss."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.sums.operands import class_indicators, class_operands, weighted_sums

__all__ = ["generalized_wasserstein_dice_loss"]


def generalized_wasserstein_dice_loss(
    probabilities: ArrayLike,
    labels: ArrayLike,
    distances: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Generalised Wasserstein Dice loss: mistakes between classes that are close cost less.

    1 − (2Σ_i a_i·(1 − W_i) + s) / (2Σ_i a_i·(1 − W_i) + ΣW_i + s), with W_i = Σ_c M[y_i, c]·p_ic
    the Wasserstein distance of pixel i's probabilities from its label, a_i = 1 on the foreground
    and 0 on the background (class 0), and M the distances over their largest.

    Args:
        probabilities: [..., C], floating in [0, 1], classes last, the background first.
        labels: integer [...] in 0 … C−1.
        distances: [C, C], at least 0, with zeros on the diagonal: how bad it is to take one class
            for another. Only their ratios matter.
        axis: the axes of the pixel shape [...] that one region runs over (negative ones too);
            ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds: ``where=labels != 255``.
        smooth: s, in pixels, added above and below.

    Returns:
        An array of the shape of ``jnp.sum(labels, axis)``, in [0, 1]; 0 at 0/0. A label out of
        range outside the mask makes its region NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, ``distances`` is not a [C, C] matrix or, where
            its values are known, one is negative or not finite or its diagonal is not 0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> near = jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.5], [1.0, 0.5, 0.0]])
        >>> p = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> for y in (1, 2):    # class 1 taken for its neighbour 2, and right
        ...     print(dj.generalized_wasserstein_dice_loss(p, jnp.array([0, y]), near, smooth=0.0))
        0.33333334
        0.0

    References:
        Fidon et al., Generalised Wasserstein Dice score (2017), https://arxiv.org/abs/1707.00478,
        section 3 (with the weights of their published code).
    """
    checks.check_number("smooth", smooth)
    p, y, where, axes = class_operands("probabilities", probabilities, labels, axis, where)
    distances = checks.as_array("distances", distances)
    classes = p.shape[-1]
    if distances.shape != (classes, classes):
        raise ValueError(
            f"distances must be a square matrix, shape {(classes, classes)} for {classes} classes, "
            f"got {checks.describe(distances)}"
        )
    if not isinstance(distances, Tracer):
        checks.check_number("distances", distances)
        if np.any(np.diagonal(np.asarray(distances)) != 0):
            raise ValueError("distances must have zeros on the diagonal: a class is itself")
    return _generalized_wasserstein_dice_loss(p, y, where, distances, smooth, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _generalized_wasserstein_dice_loss(
    probabilities: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    distances: jax.Array,
    smooth: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, where)
    distances = distances.astype(dtype)
    largest = jnp.max(distances)
    distances = ratio(distances, jnp.broadcast_to(largest, distances.shape), distances)

    def terms(
        p: jax.Array, labels: jax.Array, distances: jax.Array, *, axis: int
    ) -> dict[str, jax.Array]:
        y = class_indicators(labels, distances.shape[0], dtype, axis=axis)
        # Not in the accelerators' fast, short formats.
        precision = jax.lax.Precision.HIGHEST
        from_label = jnp.tensordot(y, distances, ((axis,), (0,)), precision=precision)
        error = jnp.sum(jnp.moveaxis(from_label, -1, axis) * p.astype(dtype), axis)
        background = jnp.take(y, 0, axis)
        return {"error": error, "size": 2 * (1 - background) * (1 - error) + error}

    arrays, ndim = (probabilities, labels), labels.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=(distances,))
    size = sums["size"] + jnp.asarray(smooth, dtype)
    return ratio(sums["error"], size, jnp.zeros_like(size))
