"""Closed forms of what pooling over a batch does to the Dice index."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax.losses.indices import takes_sums
from dice_jax.sums.region import RegionSums
from dice_jax.theory.arrays import floating, ratio_or_zero, unit

__all__ = ["batch_size_bias", "volume_bounds"]


@takes_sums
def batch_size_bias(sums: RegionSums, *, batch: ArrayLike) -> jax.Array:
    r"""How far the expected Dice of a random batch lies from the Dice of all images (C29).

    (D·Var S − Cov(2I, S))/(B·E[S]²), to first order in 1/B, for Dice pooled over each batch. The
    mean of the losses of several microbatches has the bias of one microbatch, and so has the mean
    of the losses of several devices. `accumulated_value_and_grad` has that of the whole batch.

    Args:
        sums: of single images, shape [n]: `region_sums` with the pixels' axes in ``axis``.
        batch: B ≥ 1, the number of images whose sums are added before the loss: those of a batch,
            or of a microbatch where the losses of microbatches are averaged.

    Returns:
        The bias of the index, of the shape of ``batch``; 0 if all sums are 0.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.
        ValueError: if ``sums`` is not [n].

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([[0.5, 0.5], [1.0, 1.0]]), jnp.array([[1, 0], [1, 1]])
        >>> print(dj.analysis.batch_size_bias(dj.region_sums(p, y, axis=1), batch=4))
        -0.018518519

    References:
        C29 of the theory page.
    """
    if len(sums.shape) != 1:
        raise ValueError(
            f"sums must be those of single images, shape [n], got shape {sums.shape}; pass the "
            "pixels' axes to region_sums(..., axis=)"
        )
    size, twice = sums.prediction + sums.target, 2 * sums.intersection
    mean = jnp.mean(size)
    dice = ratio_or_zero(jnp.mean(twice), mean)
    covariance = jnp.mean((twice - jnp.mean(twice)) * (size - mean))
    spread = dice * jnp.var(size) - covariance
    return ratio_or_zero(ratio_or_zero(spread, mean), mean) / floating("batch", batch, least=1)


def volume_bounds(dice: ArrayLike) -> tuple[jax.Array, jax.Array]:
    r"""The smallest and largest volume ratio P/T that a Dice index allows (C27).

    J ≤ P/T ≤ 1/J with J = D/(2 − D), for every prediction in [0, 1].

    Args:
        dice: D in (0, 1], without smoothing.

    Returns:
        The bounds, each of the shape of ``dice``.

    Example:
        >>> import dice_jax as dj
        >>> low, high = dj.analysis.volume_bounds(0.8)
        >>> print(f"{low:.3f} {high:.3f}")
        0.667 1.500

    References:
        C27 of the theory page.
    """
    dice = unit("dice", dice)
    return dice / (2 - dice), (2 - dice) / dice
