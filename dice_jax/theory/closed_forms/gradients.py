"""Closed forms of gradients: their values, their ratios, and the factor of an outer function."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax.losses.indices import dice_index, squared_dice_index, takes_sums, tversky_index
from dice_jax.sums.region import RegionSums
from dice_jax.theory.arrays import at_least_0, floating, ratio_or_zero, unit

__all__ = [
    "cross_entropy_thresholds",
    "dice_gradient_values",
    "empty_mask_dice",
    "gradient_ratio",
    "late_phase_factors",
    "log_cosh_factor",
    "power_factor",
    "squared_dice_gradient_ratio",
    "squared_dice_gradient_values",
    "tversky_gradient_values",
]


@takes_sums
def dice_gradient_values(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    r"""The two values that the Dice gradient takes in probability space (C1, C4).

    g₊ = −(2 − D)/(S + s') and g₋ = D/(S + s'), D = (2I + s)/(S + s'); −2U/S² and 2I/S² at s = 0.

    Args:
        sums: of the region's probabilities and hard targets.
        smooth: s, in pixels, as in `dice_loss`.
        smooth_denominator: s', in pixels, if it differs from s.

    Returns:
        g₊ and g₋, each of the shape of ``sums``; 0 at 0/0.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or an option is not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 0.75, 0.25]), jnp.array([1, 0, 0]))
        >>> foreground, background = dj.analysis.dice_gradient_values(sums)
        >>> print(foreground, background)
        -0.3125 0.1875

    References:
        C1 and C4 of the theory page; Eelbode et al. (2020).
    """
    index = dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)
    below = jnp.asarray(smooth if smooth_denominator is None else smooth_denominator, sums.dtype)
    size = sums.prediction + sums.target + below
    return ratio_or_zero(index - 2, size), ratio_or_zero(index, size)


@takes_sums
def gradient_ratio(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""The ratio of the Dice gradients at a foreground and at a background pixel (C1, C4).

    \|g₊\|/\|g₋\| = 2/D − 1, with D the smoothed Dice index of the sums. With the same smoothing in
    numerator and denominator it is at least 1, and exactly 1 at p = y.

    Args:
        sums: of the region's probabilities and targets.
        smooth: s, in pixels, as in `dice_loss`.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``; infinite at D = 0, where background pixels have no
        gradient. Negative only if ``smooth`` exceeds 2(U + ``smooth_denominator``), U = P + T − I:
        then foreground pixels are pushed down.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or an option is not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 0.75, 0.25]), jnp.array([1, 0, 0]))
        >>> print(dj.analysis.gradient_ratio(sums, smooth=0.0))
        2.0

    References:
        Eelbode et al. (2020), https://arxiv.org/abs/2010.13499, on Dice as a weighted Hamming
        distance.
    """
    index = dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)
    return _ratio_of_index(index)


@jax.jit
def _ratio_of_index(index: jax.Array) -> jax.Array:
    nothing = index == 0
    value = 2 / jnp.where(nothing, jnp.ones_like(index), index) - 1
    return jnp.where(nothing, jnp.full_like(index, jnp.inf), value)


@takes_sums
def squared_dice_gradient_values(
    sums: RegionSums, *, smooth: ArrayLike = 1.0
) -> tuple[jax.Array, jax.Array, jax.Array]:
    r"""The gradient of squared Dice, a linear function of p in each class (C10).

    ∂L/∂pᵢ = a·yᵢ + b·pᵢ with a = −2/(Q + s), b = 2D₂/(Q + s), Q = Σp² + Σy²: −2(Q − 2pᵢI)/Q² on
    the foreground and 4pⱼI/Q² on the background at s = 0.

    Args:
        sums: of the region's probabilities and targets.
        smooth: s, in pixels, as in `squared_dice_loss`.

    Returns:
        a, b and the index D₂, each of the shape of ``sums``.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or ``smooth`` is not a number.
        ValueError: if ``smooth`` is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([1.0, 0.5]), jnp.array([1.0, 0.0])
        >>> a, b, _ = dj.analysis.squared_dice_gradient_values(dj.region_sums(p, y), smooth=0.0)
        >>> print((a * y + b * p).round(4))
        [-0.0988  0.3951]

    References:
        C10 of the theory page; Milletari et al. (2016), https://arxiv.org/abs/1606.04797.
    """
    index = squared_dice_index(sums, smooth=smooth)
    size = sums.prediction_squared + sums.target_squared + jnp.asarray(smooth, sums.dtype)
    return ratio_or_zero(jnp.full_like(size, -2), size), ratio_or_zero(2 * index, size), index


def squared_dice_gradient_ratio(
    index: ArrayLike, foreground: ArrayLike, background: ArrayLike
) -> jax.Array:
    r"""\|g₊\|/\|g₋\| of a foreground and a background pixel under squared Dice (C10).

    (1/D₂ − pᵢ)/pⱼ: at least 1 iff pᵢ + pⱼ ≤ 1/D₂.

    Args:
        index: D₂ in (0, 1], the squared Dice index without smoothing.
        foreground: pᵢ in [0, 1], the probability of a foreground pixel.
        background: pⱼ in (0, 1], the probability of a background pixel.

    Returns:
        The ratio, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.squared_dice_gradient_ratio(0.8, 0.75, 0.5))    # two sure pixels
        1.0

    References:
        C10 of the theory page; Milletari et al. (2016), https://arxiv.org/abs/1606.04797.
    """
    index, foreground, background = (
        unit(name, x)
        for name, x in (
            ("index", index),
            ("foreground", foreground),
            ("background", background),
        )
    )
    return (1 / index - foreground) / background


@takes_sums
def tversky_gradient_values(
    sums: RegionSums, *, alpha: ArrayLike, beta: ArrayLike, smooth: ArrayLike = 1.0
) -> tuple[jax.Array, jax.Array]:
    r"""The two values that the Tversky gradient takes in probability space (C18).

    With V = I + αFP + βFN + s and index t: g₊ = −(1 − (1 − β)t)/V, g₋ = αt/V. At s = 0 their ratio
    is (αFP + βT)/(αI) ≥ β/α.

    Args:
        sums: of the region's probabilities and hard targets.
        alpha: α ≥ 0, on false positives.
        beta: β ≥ 0, on false negatives.
        smooth: s, in pixels, as in `tversky_loss`.

    Returns:
        g₊ and g₋, each of the shape of ``sums``; 0 at 0/0.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or an option is missing or not a number.
        ValueError: if an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([0.5, 0.5]), jnp.array([1, 0]))
        >>> print(*dj.analysis.tversky_gradient_values(sums, alpha=0.5, beta=0.5, smooth=0.0))
        -0.75 0.25

    References:
        C18 of the theory page; Salehi et al. (2017), https://arxiv.org/abs/1706.05721.
    """
    index = tversky_index(sums, alpha=alpha, beta=beta, smooth=smooth)
    alpha, beta, smooth = (jnp.asarray(x, sums.dtype) for x in (alpha, beta, smooth))
    false_positives = sums.prediction - sums.intersection
    false_negatives = sums.target - sums.intersection
    size = sums.intersection + alpha * false_positives + beta * false_negatives + smooth
    return ratio_or_zero((1 - beta) * index - 1, size), ratio_or_zero(alpha * index, size)


@takes_sums
def late_phase_factors(sums: RegionSums) -> tuple[jax.Array, jax.Array]:
    r"""The gradient of Dice at the logits over p_t times that of mean BCE (C12).

    \|g_z Dice\|/\|g_z BCE\| is p_t·2UN/S² on the foreground and p_t·2IN/S² on the background, where
    p_t is the probability of the true class. 2UN/S² over 2IN/S² is 2/D − 1; as D → 1 both tend to
    1/(2π).

    Args:
        sums: of the region's probabilities and hard targets.

    Returns:
        2UN/S² and 2IN/S², each of the shape of ``sums``.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([1, 0, 0, 0]))
        >>> print(*dj.analysis.late_phase_factors(sums))    # perfect: 1 / (2 * 0.25) both
        2.0 2.0

    References:
        C12 of the theory page; Eelbode et al. (2020).
    """
    foreground, background = dice_gradient_values(sums, smooth=0.0)
    return -foreground * sums.count, background * sums.count


@takes_sums
def cross_entropy_thresholds(
    sums: RegionSums, *, weight: ArrayLike = 1.0
) -> tuple[jax.Array, jax.Array]:
    r"""Probabilities below which cross-entropy pulls harder than Dice in Dice + λ·mean BCE (C25).

    λS²/(2UN) on the foreground and λS²/(2IN) on the background, for p_t, the probability of the
    true class. As D → 1 both tend to 2πλ. So count λ in units of 1/(2π): with that weight,
    cross-entropy pulls harder at every pixel at the end of a training; with 1, only at pixels with
    p_t < 2π.

    Args:
        sums: of the region's probabilities and hard targets.
        weight: λ ≥ 0, on mean binary cross-entropy.

    Returns:
        The bounds on p_t on the foreground and on the background, each of the shape of ``sums``; a
        bound may be above 1, and is infinite on the background where I = 0.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.
        ValueError: if ``weight`` is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([1, 0, 0, 0]))
        >>> print(*dj.analysis.cross_entropy_thresholds(sums, weight=0.5))    # 2 · 0.25 · 0.5
        0.25 0.25

    References:
        C25 of the theory page.
    """
    weight = at_least_0("weight", weight)
    foreground, background = late_phase_factors(sums)
    return weight / foreground, weight / background


def power_factor(loss: ArrayLike, gamma: ArrayLike) -> jax.Array:
    r"""The factor between the gradients of L^γ and of L (C19): γ·L^(γ−1).

    Args:
        loss: L ≥ 0.
        gamma: γ ≥ 0.

    Returns:
        The factor, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.power_factor(0.25, 0.5))
        1.0

    References:
        C19 of the theory page; Abraham & Khan (2018), https://arxiv.org/abs/1810.07842.
    """
    loss, gamma = at_least_0("loss", loss), at_least_0("gamma", gamma)
    return gamma * loss ** (gamma - 1)


def log_cosh_factor(loss: ArrayLike) -> jax.Array:
    r"""The factor between the gradients of log cosh L and of L (C19): tanh L.

    Args:
        loss: L.

    Returns:
        The factor, of the shape of ``loss``.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.log_cosh_factor(0.5):.4f}")
        0.4621

    References:
        C19 of the theory page; Jadon (2020), https://arxiv.org/abs/2006.14822.
    """
    return jnp.tanh(floating("loss", loss))


def empty_mask_dice(prediction: ArrayLike, smooth: ArrayLike) -> tuple[jax.Array, jax.Array]:
    r"""The Dice loss of an empty mask and its gradient at every pixel (C16).

    L = P/(P + s) and g = s/(P + s)².

    Args:
        prediction: P = Σp ≥ 0.
        smooth: s ≥ 0, in pixels; not 0 where P is.

    Returns:
        L and g, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(*dj.analysis.empty_mask_dice(1.0, 1.0))
        0.5 0.25

    References:
        C16 of the theory page; Tilborghs et al. (2022).
    """
    p, s = at_least_0("prediction", prediction), at_least_0("smooth", smooth)
    return p / (p + s), s / (p + s) / (p + s)
