"""Closed forms of curvature: the Hessian of the Dice loss and its two non-zero eigenvalues."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax.losses.indices import check_smooth, dice_index
from dice_jax.sums.region import RegionSums
from dice_jax.theory.arrays import ratio_or_zero

__all__ = ["dice_curvatures", "dice_hessian"]


def dice_hessian(sums: RegionSums, targets: ArrayLike, *, smooth: ArrayLike = 1.0) -> jax.Array:
    r"""Hessian of the Dice loss with respect to the probabilities (C13).

    (2/(S + s)²)(y1ᵀ + 1yᵀ) − (2(2I + s)/(S + s)³)11ᵀ: rank 2, one positive and one negative
    eigenvalue.

    Args:
        sums: of one region (shape ()).
        targets: [N], the region's targets.
        smooth: s, in pixels, as in `dice_loss`.

    Returns:
        [N, N], in the sums' type.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or ``smooth`` is not a number.
        ValueError: if ``sums`` holds several regions, ``targets`` is not a vector, or ``smooth`` is
            negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> y = jnp.array([1, 0])
        >>> sums = dj.region_sums(jnp.array([0.5, 0.5]), y)
        >>> print(dj.analysis.dice_hessian(sums, y, smooth=0.0))
        [[ 0.75  0.25]
         [ 0.25 -0.25]]

    References:
        C13 of the theory page.
    """
    if not isinstance(sums, RegionSums):
        raise TypeError(
            "dice_hessian takes RegionSums; write dice_hessian(region_sums(probabilities, "
            f"targets), targets) (got {checks.describe(sums)})"
        )
    check_smooth(smooth, None)
    targets = checks.as_array("targets", targets)
    if sums.shape != () or targets.ndim != 1:
        raise ValueError(
            "dice_hessian takes the sums of one region and targets [N], got sums of shape "
            f"{sums.shape} and {checks.describe(targets)}"
        )
    y, s = targets.astype(sums.dtype), jnp.asarray(smooth, sums.dtype)
    index = dice_index(sums, smooth=smooth)
    size = sums.prediction + sums.target + s
    # Divided twice, because the square of a tiny size would underflow.
    return ratio_or_zero(ratio_or_zero(2 * (y[:, None] + y[None, :]) - 2 * index, size), size)


def dice_curvatures(sums: RegionSums, *, smooth: ArrayLike = 1.0) -> tuple[jax.Array, jax.Array]:
    r"""The two non-zero eigenvalues of the Hessian of the Dice loss (C13).

    `dice_hessian` has rank 2. Its eigenvalues are those of a 2×2 matrix over the mean foreground
    and background directions, so the [N, N] matrix is not formed. One is negative, one positive.

    Args:
        sums: of the region's probabilities and hard targets.
        smooth: s, in pixels, as in `dice_loss`; it makes both smaller.

    Returns:
        The lowest and the highest, each of the shape of ``sums``.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or ``smooth`` is not a number.
        ValueError: if ``smooth`` is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([0.5, 0.5]), jnp.array([1, 0]))
        >>> low, high = dj.analysis.dice_curvatures(sums, smooth=0.0)
        >>> print(f"{low:.4f} {high:.4f}")
        -0.3090 0.8090

    References:
        C13 of the theory page.
    """
    if not isinstance(sums, RegionSums):
        raise TypeError(f"dice_curvatures takes RegionSums, got {checks.describe(sums)}")
    index = dice_index(sums, smooth=smooth)
    size = sums.prediction + sums.target + jnp.asarray(smooth, sums.dtype)
    rest = sums.count - sums.target
    both, mixed, none = (
        ratio_or_zero(ratio_or_zero(factor - 2 * index, size), size) for factor in (4.0, 2.0, 0.0)
    )
    a, b, c = both * sums.target, mixed * jnp.sqrt(sums.target * rest), none * rest
    middle, spread = (a + c) / 2, jnp.hypot((a - c) / 2, b)
    return middle - spread, middle + spread
