"""Overlap losses whose minimum is at the labels also where the labels are soft."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core.safe_math import ratio
from dice_jax.losses.indices import check_smooth, takes_sums
from dice_jax.sums.region import RegionSums

__all__ = ["dice_semimetric_loss", "jaccard_metric_loss"]


@takes_sums
def dice_semimetric_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Dice loss for soft labels: the intersection taken as (P + T − Σ\|p − y\|)/2.

    1 − (P + T − A + s) / (P + T + s), with A = Σ\|p − y\|. Equal to `dice_loss` for hard labels.
    For soft ones the product Σpy makes a hard threshold the optimum; this one has it at p = y.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 0 at 0/0 and where no pixel was counted.

    Raises:
        TypeError: if ``sums`` is not `RegionSums` (arrays, say), or an option is not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> soft = jnp.array([0.75, 0.25, 0.0])
        >>> sums = dj.region_sums(soft, soft)
        >>> print(dj.dice_semimetric_loss(sums, smooth=0.0), dj.dice_loss(sums, smooth=0.0))
        0.0 0.375

    References:
        Wang et al., Dice semimetric losses (2023), https://arxiv.org/abs/2303.16296, section 3
        (the first of their two forms).
    """
    check_smooth(smooth, smooth_denominator)
    return _dice_semimetric_loss(sums, smooth, smooth_denominator)


@takes_sums
def jaccard_metric_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Jaccard loss for soft labels: intersection and union through Σ\|p − y\|.

    1 − (I + s) / (U + s), with I = (P + T − A)/2, U = (P + T + A)/2 and A = Σ\|p − y\|. Equal to
    `jaccard_loss` for hard labels; for soft ones its optimum is at p = y. A metric at s = 0.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 0 at 0/0 and where no pixel was counted.

    Raises:
        TypeError: if ``sums`` is not `RegionSums` (arrays, say), or an option is not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([0.5, 0.5]), jnp.array([0.5, 1.0]))
        >>> print(f"{dj.jaccard_metric_loss(sums, smooth=0.0):.4f}")
        0.3333

    References:
        Wang & Blaschko, Jaccard metric losses (2023), https://arxiv.org/abs/2302.05666, section 3
        (the first of their two forms).
    """
    check_smooth(smooth, smooth_denominator)
    return _jaccard_metric_loss(sums, smooth, smooth_denominator)


@jax.jit
def _dice_semimetric_loss(
    sums: RegionSums, smooth: ArrayLike, smooth_denominator: ArrayLike | None
) -> jax.Array:
    return _difference_share(sums, sums.prediction + sums.target, smooth, smooth_denominator)


@jax.jit
def _jaccard_metric_loss(
    sums: RegionSums, smooth: ArrayLike, smooth_denominator: ArrayLike | None
) -> jax.Array:
    union = (sums.prediction + sums.target + sums.absolute_difference) / 2
    return _difference_share(sums, union, smooth, smooth_denominator)


def _difference_share(
    sums: RegionSums, size: jax.Array, smooth: ArrayLike, smooth_denominator: ArrayLike | None
) -> jax.Array:
    """1 − (size − A + s) / (size + s'), written as one ratio: 1 − (…) would lose A's digits."""
    above = jnp.asarray(smooth, sums.dtype)
    below = above if smooth_denominator is None else jnp.asarray(smooth_denominator, sums.dtype)
    zero = jnp.zeros_like(size)
    nothing = sums.count == 0
    difference = jnp.where(nothing, zero, sums.absolute_difference + (below - above))
    # Where everything is masked, the smoothing alone must not make a loss.
    return ratio(difference, jnp.where(nothing, zero, size + below), zero)
