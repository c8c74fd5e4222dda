"""Soft skeletons of tubes, by repeated erosion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax.sums.operands import floating, inside

__all__ = ["check_iterations", "soft_skeleton"]


def soft_skeleton(
    x: ArrayLike,
    *,
    axis: checks.Axis = None,
    iterations: int,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Soft skeleton of probabilities: what an opening removes, summed over erosions.

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
    given, x = x, floating("x", x)
    axes = checks.normalize_axis("axis", axis, x.ndim, what="x")
    kept = checks.check_where(where, x.shape)
    checks.check_unit("x", given, where=where, hint="jax.nn.sigmoid(logits)")
    return _soft_skeleton(x, kept, axes=axes, iterations=check_iterations(iterations))


def check_iterations(iterations: int) -> int:
    """Check the number of erosions.

    Args:
        iterations: an integer, at least 0.

    Returns:
        The number.

    Raises:
        TypeError: if it is no integer.
        ValueError: if it is negative.
    """
    return checks.check_count("iterations", iterations, least=0)


@partial(jax.jit, static_argnames=("axes", "iterations"))
def _soft_skeleton(
    x: jax.Array, where: jax.Array | None, *, axes: tuple[int, ...], iterations: int
) -> jax.Array:
    """Erosions in a scan that recomputes them backwards: memory for one, not for all."""
    x = checks.unit_or_nan(inside(x, where))

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
