"""clDice: a loss that asks whether tubes stay connected."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.images.skeleton import check_iterations, soft_skeleton
from dice_jax.sums.operands import binary_operands, inside, soft_targets, weighted_sums

__all__ = ["cldice_loss"]


def cldice_loss(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    iterations: int,
    smooth: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Centreline Dice loss: how much of each skeleton lies outside the other's mask.

    1 − 2·a·b/(a + b), with topology precision a = (ΣS_p·y + s)/(ΣS_p + s) and topology sensitivity
    b = (ΣS_y·p + s)/(ΣS_y + s), S_p and S_y the soft skeletons of prediction and target. Gradient
    flows through S_p as well as p. The paper adds it to soft Dice.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that span space and that one region runs over; ``None`` for all.
        iterations: erosions of `soft_skeleton`: at least the radius of the thickest tube.
        smooth: s, in pixels of skeleton, added above and below in both terms.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value, skeleton and gradient, whatever it holds.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in [0, 1]; 0 where neither has a
        skeleton and where no pixel was counted.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or an option is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> tube = jnp.zeros((3, 8)).at[1].set(1.0)
        >>> broken = tube.at[1, 3:5].set(0.0)
        >>> print(f"{dj.cldice_loss(broken, tube, iterations=1, smooth=0.0):.4f}")
        0.1429

    References:
        Shit et al., clDice (2021), https://arxiv.org/abs/2003.07311, equation 2 and algorithm 2.
    """
    checks.check_number("smooth", smooth)
    iterations = check_iterations(iterations)
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _cldice_loss(p, y, where, smooth, axes=axes, iterations=iterations)


@partial(jax.jit, static_argnames=("axes", "iterations"))
def _cldice_loss(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    smooth: ArrayLike,
    *,
    axes: tuple[int, ...],
    iterations: int,
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    p = inside(probabilities, where).astype(dtype)
    y = soft_targets(inside(targets, where), dtype)
    skeleton = partial(soft_skeleton, axis=axes, iterations=iterations, where=where)

    def terms(
        p: jax.Array, y: jax.Array, s_p: jax.Array, s_y: jax.Array, *, axis: int
    ) -> dict[str, jax.Array]:
        return {"s_p": s_p, "s_y": s_y, "s_p in y": s_p * y, "s_y in p": s_y * p}

    arrays = (p, y, skeleton(p), skeleton(y))
    sums = weighted_sums(terms, arrays, where, axes, ndim=p.ndim, dtype=dtype)
    smooth = jnp.asarray(smooth, dtype)
    one, zero = jnp.ones_like(sums["count"]), jnp.zeros_like(sums["count"])
    precision = ratio(sums["s_p in y"] + smooth, sums["s_p"] + smooth, one)
    sensitivity = ratio(sums["s_y in p"] + smooth, sums["s_y"] + smooth, one)
    # Both 0: nothing of either skeleton is where it should be.
    index = ratio(2 * precision * sensitivity, precision + sensitivity, zero)
    return jnp.where(sums["count"] == 0, zero, 1 - index)
