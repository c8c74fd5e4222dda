"""RegionSums -> overlap index in [0, 1]: a few lines of arithmetic on vectors of length C."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.sums.region import RegionSums

__all__ = [
    "dice_index",
    "generalized_dice_index",
    "jaccard_index",
    "squared_dice_index",
    "takes_sums",
    "tversky_index",
]

takes_sums = checks.takes(
    RegionSums,
    "{name}(region_sums(probabilities, targets)), {name}(sigmoid_region_sums(logits, targets)) or "
    "{name}(softmax_region_sums(logits, labels))",
)


def _smoothed(
    numerator: jax.Array,
    denominator: jax.Array,
    count: jax.Array,
    smooth: ArrayLike,
    smooth_denominator: ArrayLike | None,
) -> jax.Array:
    """(numerator + s) / (denominator + s'), 1 where it is 0/0 and where no pixel was counted."""
    dtype, one = numerator.dtype, jnp.ones_like(numerator)
    below = smooth if smooth_denominator is None else smooth_denominator
    # Where everything is masked, the smoothing alone must not make an index (0 / 1e-7 = 0, say).
    nothing = count == 0
    numerator = jnp.where(nothing, one, numerator + jnp.asarray(smooth, dtype))
    denominator = jnp.where(nothing, one, denominator + jnp.asarray(below, dtype))
    return ratio(numerator, denominator, one)


def check_smooth(smooth: ArrayLike, smooth_denominator: ArrayLike | None) -> None:
    """Check the two smoothing options.

    Args:
        smooth: pixels added to the numerator.
        smooth_denominator: pixels added to the denominator; ``None`` means the same.

    Raises:
        TypeError: if one is not a number.
        ValueError: if one is negative or not finite.
    """
    checks.check_number("smooth", smooth)
    if smooth_denominator is not None:
        checks.check_number("smooth_denominator", smooth_denominator)


@takes_sums
def dice_index(
    sums: RegionSums, *, smooth: ArrayLike = 0.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Dice index (F1, Sørensen–Dice coefficient) of each region: the article's.

    D = (2I + s) / (P + T + s), with I = Σpy, P = Σp, T = Σy.

    Args:
        sums: of probabilities (soft Dice) or of a hard mask (the metric).
        smooth: s, in pixels, added above and below. 0 for a measurement.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]. 1 at 0/0 (nothing there, nothing claimed) and
        where no pixel was counted.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or an option is not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> mask, predicted = jnp.array([True, True, False]), jnp.array([True, False, False])
        >>> print(dj.dice_index(dj.region_sums(predicted, mask)).round(4))
        0.6667

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797 (with squares); Dice,
        Measures of the amount of ecologic association between species (1945).
    """
    check_smooth(smooth, smooth_denominator)
    return _dice_index(sums, smooth, smooth_denominator)


@jax.jit
def _dice_index(
    sums: RegionSums, smooth: ArrayLike, smooth_denominator: ArrayLike | None
) -> jax.Array:
    overlap, size = 2 * sums.intersection, sums.prediction + sums.target
    return _smoothed(overlap, size, sums.count, smooth, smooth_denominator)


@takes_sums
def squared_dice_index(
    sums: RegionSums, *, smooth: ArrayLike = 0.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Dice index with squared norms below: V-Net's own.

    D₂ = (2I + s) / (Σp² + Σy² + s).

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 1 at 0/0.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or an option is not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> print(dj.squared_dice_index(dj.region_sums(jnp.array([0.5, 0.5]), jnp.array([1, 0]))))
        0.6666667

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    check_smooth(smooth, smooth_denominator)
    return _squared_dice_index(sums, smooth, smooth_denominator)


@jax.jit
def _squared_dice_index(
    sums: RegionSums, smooth: ArrayLike, smooth_denominator: ArrayLike | None
) -> jax.Array:
    overlap, size = 2 * sums.intersection, sums.prediction_squared + sums.target_squared
    return _smoothed(overlap, size, sums.count, smooth, smooth_denominator)


@takes_sums
def jaccard_index(
    sums: RegionSums, *, smooth: ArrayLike = 0.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Jaccard index (intersection over union, IoU) of each region.

    J = (I + s) / (P + T − I + s) = D / (2 − D) without smoothing.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 1 at 0/0.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or an option is not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> print(dj.jaccard_index(dj.region_sums(jnp.array([1.0, 1.0]), jnp.array([1, 0]))))
        0.5

    References:
        Rahman & Wang, Optimizing intersection-over-union in deep neural networks for image
        segmentation (2016).
    """
    check_smooth(smooth, smooth_denominator)
    return _jaccard_index(sums, smooth, smooth_denominator)


@jax.jit
def _jaccard_index(
    sums: RegionSums, smooth: ArrayLike, smooth_denominator: ArrayLike | None
) -> jax.Array:
    union = sums.prediction + sums.target - sums.intersection
    return _smoothed(sums.intersection, union, sums.count, smooth, smooth_denominator)


@takes_sums
def tversky_index(
    sums: RegionSums,
    *,
    alpha: ArrayLike,
    beta: ArrayLike,
    smooth: ArrayLike = 0.0,
    smooth_denominator: ArrayLike | None = None,
) -> jax.Array:
    r"""Tversky index: Dice with separate prices for false positives and false negatives.

    (I + s) / (I + α·FP + β·FN + s), with FP = P − I and FN = T − I. α = β = ½ is Dice (with s/2),
    α = β = 1 Jaccard.

    Args:
        sums: of the region's pixels.
        alpha: α ≥ 0, on false positives.
        beta: β ≥ 0, on false negatives.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 1 at 0/0.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or an option is missing or not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 1.0, 0.0]), jnp.array([1, 0, 1]))
        >>> print(dj.tversky_index(sums, alpha=0.3, beta=0.7))
        0.5

    References:
        Salehi et al., Tversky loss (2017), https://arxiv.org/abs/1706.05721, equation 3.
    """
    check_smooth(smooth, smooth_denominator)
    checks.check_number("alpha", alpha)
    checks.check_number("beta", beta)
    return _tversky_index(sums, alpha, beta, smooth, smooth_denominator)


@jax.jit
def _tversky_index(
    sums: RegionSums,
    alpha: ArrayLike,
    beta: ArrayLike,
    smooth: ArrayLike,
    smooth_denominator: ArrayLike | None,
) -> jax.Array:
    alpha, beta = jnp.asarray(alpha, sums.dtype), jnp.asarray(beta, sums.dtype)
    false_positives = sums.prediction - sums.intersection
    false_negatives = sums.target - sums.intersection
    size = sums.intersection + alpha * false_positives + beta * false_negatives
    return _smoothed(sums.intersection, size, sums.count, smooth, smooth_denominator)


@takes_sums
def generalized_dice_index(
    sums: RegionSums, *, smooth: ArrayLike = 0.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Generalised Dice index: one Dice over all classes, the rarer the heavier.

    (Σ_c 2w_c I_c + s) / (Σ_c w_c (P_c + T_c) + s), with w_c = 1/T_c² scaled so that the largest
    finite weight is 1 (so that s counts pixels of the rarest class). An absent class takes that
    largest weight: with an infinite one, nothing else would be learnt. All absent: w = 1.

    Args:
        sums: with the classes on the last axis.
        smooth: s, in pixels of the rarest class, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums`` without its last axis, in [0, 1]; 1 at 0/0.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or an option is not a number.
        ValueError: if an option is negative or not finite, or ``sums`` has no class axis.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.softmax_region_sums(jnp.zeros((4, 2)), jnp.array([0, 0, 0, 1]))
        >>> print(dj.generalized_dice_index(sums))
        0.375

    References:
        Sudre et al., Generalised Dice overlap (2017), https://arxiv.org/abs/1707.03237, section 2.
    """
    check_smooth(smooth, smooth_denominator)
    if not sums.shape:
        raise ValueError(
            "sums must have a class axis last for generalized Dice, got sums of shape (); "
            "write softmax_region_sums(logits, labels), or region_sums with the classes kept"
        )
    return _generalized_dice_index(sums, smooth, smooth_denominator)


@jax.jit
def _generalized_dice_index(
    sums: RegionSums, smooth: ArrayLike, smooth_denominator: ArrayLike | None
) -> jax.Array:
    present = sums.target > 0
    one = jnp.ones_like(sums.target)
    target = jnp.where(present, sums.target, one)
    largest = jnp.max(target, -1, keepdims=True)
    rarest = jnp.min(jnp.where(present, target, largest), -1, keepdims=True)
    # (rarest / T)², not 1/T² rescaled: the latter underflows at T = 1e19 and overflows at 1e-19.
    weights = jnp.where(present, jnp.square(rarest / target), one)
    overlap = jnp.sum(weights * 2 * sums.intersection, -1)
    size = jnp.sum(weights * (sums.prediction + sums.target), -1)
    return _smoothed(overlap, size, jnp.sum(sums.count, -1), smooth, smooth_denominator)
