"""Overlap losses whose minimum is at the labels also where the labels are soft."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from dice_jax.losses.indices import Fraction, smoothed_error, takes_sums
from dice_jax.sums.region import RegionSums

__all__ = ["dice_semimetric_loss", "jaccard_metric_loss"]


@takes_sums
def dice_semimetric_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Dice loss for soft labels, of `RegionSums`, per region and class.

    1 − (P + T − A + s) / (P + T + s), with A = Σ\|p − y\|: the intersection is taken as
    (P + T − A)/2. Equal to `dice_loss` for hard labels.
    For soft ones the product Σpy makes a hard threshold the optimum; this one has it at p = y.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 0 at 0/0 and where no pixel was counted.

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
    return smoothed_error(_dice_semimetric, sums, smooth, smooth_denominator)


def _dice_semimetric(s: RegionSums) -> Fraction:
    return s.absolute_difference, s.prediction + s.target


@takes_sums
def jaccard_metric_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Jaccard loss for soft labels, of `RegionSums`, per region and class.

    1 − (I + s) / (U + s), with I = (P + T − A)/2, U = (P + T + A)/2 and A = Σ\|p − y\|. Equal to
    `jaccard_loss` for hard labels; for soft ones its optimum is at p = y. A metric at s = 0.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 0 at 0/0 and where no pixel was counted.

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
    return smoothed_error(_jaccard_metric, sums, smooth, smooth_denominator)


def _jaccard_metric(s: RegionSums) -> Fraction:
    # The error is the union minus the intersection, (P + T + A)/2 − (P + T − A)/2 = A.
    return s.absolute_difference, (s.prediction + s.target + s.absolute_difference) / 2
