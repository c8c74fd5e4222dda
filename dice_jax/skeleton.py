"""Soft skeletons of tubes, and the loss that asks whether they stay connected: clDice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax import checks
from dice_jax.pixels import binary_operands, floating, inside, soft_targets, weighted_sums
from dice_jax.safe_math import ratio

__all__ = ["cldice_loss", "soft_skeleton"]


def soft_skeleton(
    x: ArrayLike,
    *,
    axis: checks.Axis = None,
    iterations: int,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Soft skeleton of probabilities: what openings remove, erosion after erosion.

    S ← S + max(0, (1 − S)·(x_k − open(x_k))) with x_0 = x, x_{k+1} = erode(x_k), for k = 0 …
    ``iterations``. An erosion is the minimum over the cross of neighbours, an opening an erosion
    followed by the maximum over the box of neighbours; both are differentiable, and a tie shares
    its gradient.

    Args:
        x: [...], floating in [0, 1]: probabilities or a mask as floats.
        axis: the axes that span space; the others count images. ``None``: all span space.
        iterations: how many erosions: at least the radius of the thickest tube, in pixels.
        where: boolean or floating, broadcastable to [...]; pixels of weight 0 are no one's
            neighbours (as beyond the image's edge), and the skeleton there is 0.

    Returns:
        The skeleton, of the shape and type of ``x``, in [0, 1].

    Raises:
        TypeError: if ``x`` is not floating or ``iterations`` is not an int.
        ValueError: if an axis does not exist, ``where`` does not broadcast, or ``iterations`` is
            negative.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> bar = jnp.zeros((5, 7)).at[1:4, 1:6].set(1.0)
        >>> print(dj.soft_skeleton(bar, iterations=1).astype(int))
        [[0 0 0 0 0 0 0]
         [0 0 0 0 0 0 0]
         [0 0 1 1 1 0 0]
         [0 0 0 0 0 0 0]
         [0 0 0 0 0 0 0]]

    References:
        Shit et al., clDice (2021), https://arxiv.org/abs/2003.07311, algorithm 1.
    """
    x = floating("x", x)
    axes = checks.normalize_axis("axis", axis, x.ndim, what="x")
    kept = checks.check_where(where, x.shape)
    return _soft_skeleton(x, kept, axes=axes, iterations=_check_iterations(iterations))


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
    iterations = _check_iterations(iterations)
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _cldice_loss(p, y, where, smooth, axes=axes, iterations=iterations)


def _check_iterations(iterations: int) -> int:
    if isinstance(iterations, bool) or not isinstance(iterations, (int, np.integer)):
        raise TypeError(f"iterations must be an int, got {iterations!r}")
    if iterations < 0:
        raise ValueError(f"iterations must be >= 0, got {iterations}")
    return int(iterations)


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
    skeleton = partial(_soft_skeleton, where=where, axes=axes, iterations=iterations)

    def terms(p: jax.Array, y: jax.Array, s_p: jax.Array, s_y: jax.Array) -> dict[str, jax.Array]:
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


@partial(jax.jit, static_argnames=("axes", "iterations"))
def _soft_skeleton(
    x: jax.Array, where: jax.Array | None, *, axes: tuple[int, ...], iterations: int
) -> jax.Array:
    """Erosions in a scan that recomputes them backwards: memory for one, not for all."""
    x = inside(x, where)

    def erode(x: jax.Array) -> jax.Array:
        lines = [_neighbours(jnp.minimum, x, where, axis, jnp.inf) for axis in axes]
        return inside(_reduce(jnp.minimum, lines or [x]), where)

    def opened(eroded: jax.Array) -> jax.Array:
        if where is not None:
            low = jnp.full_like(eroded, -jnp.inf)
            eroded = jnp.where(where.astype(jnp.bool_), eroded, low)
        for axis in axes:
            eroded = _neighbours(jnp.maximum, eroded, None, axis, -jnp.inf)
        return inside(eroded, where)

    @jax.checkpoint
    def step(
        state: tuple[jax.Array, jax.Array], _: None
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        skeleton, x = state
        eroded = erode(x)
        removed = jax.nn.relu(x - opened(eroded))
        return (skeleton + (1 - skeleton) * removed, eroded), None

    start = (jnp.zeros_like(x), x)
    (skeleton, _), _ = jax.lax.scan(step, start, None, length=iterations + 1)
    return skeleton


def _neighbours(
    reduce: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    where: jax.Array | None,
    axis: int,
    neutral: float,
) -> jax.Array:
    """The minimum or maximum over each pixel and its two neighbours along an axis."""
    n = x.shape[axis]
    if where is not None:
        x = jnp.where(where.astype(jnp.bool_), x, jnp.full_like(x, neutral))
    padding = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
    padded = jnp.pad(x, padding, constant_values=neutral)
    before, after = (jax.lax.slice_in_dim(padded, k, k + n, axis=axis) for k in (0, 2))
    return reduce(x, reduce(before, after))


def _reduce(
    reduce: Callable[[jax.Array, jax.Array], jax.Array], arrays: list[jax.Array]
) -> jax.Array:
    result = arrays[0]
    for array in arrays[1:]:
        result = reduce(result, array)
    return result
