"""Losses that weigh pixels by their distance from the boundary: boundary and Hausdorff."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import power, ratio
from dice_jax.images.distance import Spacing, signed_distance
from dice_jax.sums.operands import binary_operands, floating, inside, soft_targets, weighted_sums

__all__ = ["boundary_loss", "hausdorff_distance_loss"]


def boundary_loss(
    probabilities: ArrayLike,
    signed_distances: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Boundary loss: the mean of φ·p, with φ the signed distance to the target's boundary.

    Its gradient at a pixel is φ over the number of pixels, whatever the prediction. It is
    negative at the truth, and an empty target has φ = 0: combine it with a Dice loss.

    Args:
        probabilities: [...], floating in [0, 1].
        signed_distances: φ [...], floating, negative inside: from `signed_distance` of the targets,
            which can be computed once, when the data are made.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in units of the distances; 0
        where no pixel was counted.

    Raises:
        TypeError: if an argument is not floating.
        ValueError: if shapes or an axis do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> y = jnp.array([0, 0, 1, 1])
        >>> phi = dj.signed_distance(y)
        >>> print(dj.boundary_loss(jnp.array([1.0, 0.0, 0.5, 1.0]), phi))
        -0.125

    References:
        Kervadec et al., Boundary loss for highly unbalanced segmentation (2019),
        https://arxiv.org/abs/1812.07032, equation 5.
    """
    distances = floating("signed_distances", signed_distances)
    p, phi, where, axes = binary_operands("probabilities", probabilities, distances, axis, where)
    return _boundary_loss(p, phi, where, axes=axes)


def hausdorff_distance_loss(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    spacing: Spacing | None = None,
    alpha: ArrayLike = 2.0,
) -> jax.Array:
    r"""Hausdorff distance loss: squared errors, weighed by their distance from both boundaries.

    The mean of (p − y)²·(d_p^α + d_y^α), with d_y and d_p the distances to the boundaries of the
    target and of the prediction thresholded at ½. The distances are constants in the gradient.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1] (its boundary is at ½).
        axis: the axes that span space and that one region runs over; ``None`` for all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value, distance and gradient, whatever it holds.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        alpha: α > 0; the paper's is 2.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in units of distance^α; 0 where
        no pixel was counted. A mask of one class only has no boundary: its distances are 0.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes, an axis or ``spacing`` do not fit, or ``alpha`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([1.0, 0.0, 0.0, 0.5]), jnp.array([1, 0, 0, 0])
        >>> print(dj.hausdorff_distance_loss(p, y))    # one doubt, three pixels off: 0.25 · 18 / 4
        1.125

    References:
        Karimi & Salcudean, Reducing the Hausdorff distance in medical image segmentation with
        convolutional neural networks (2019), https://arxiv.org/abs/1904.10030, equation 8.
    """
    checks.check_number("alpha", alpha, open_at_least=True)
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    steps = checks.check_spacing(spacing, axis, p.ndim)
    return _hausdorff_distance_loss(p, y, where, steps, alpha, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _boundary_loss(
    probabilities: jax.Array,
    signed_distances: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, signed_distances, where)

    def terms(p: jax.Array, phi: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        return {"product": p.astype(dtype) * phi.astype(dtype)}

    arrays, ndim = (probabilities, signed_distances), probabilities.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype)
    return ratio(sums["product"], sums["count"], jnp.zeros_like(sums["count"]))


@partial(jax.jit, static_argnames="axes")
def _hausdorff_distance_loss(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    steps: tuple[Any, ...],
    alpha: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    half = jnp.asarray(0.5, dtype)

    def weight(mask: jax.Array) -> jax.Array:
        distance = jnp.abs(signed_distance(mask, axis=axes, spacing=steps, where=where)).astype(
            dtype
        )
        return power(distance, jnp.asarray(alpha, dtype))

    p = inside(probabilities, where).astype(dtype)
    y = soft_targets(inside(targets, where), dtype)
    weights = jax.lax.stop_gradient(weight(p > half) + weight(y > half))

    def terms(p: jax.Array, y: jax.Array, d: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        return {"error": jnp.square(p - y) * d}

    sums = weighted_sums(terms, (p, y, weights), where, axes, ndim=p.ndim, dtype=dtype)
    return ratio(sums["error"], sums["count"], jnp.zeros_like(sums["count"]))
