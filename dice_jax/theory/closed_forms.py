"""Closed forms of gradients, masses, curvature and escape times: what the statements assert."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.losses.indices import (
    check_smooth,
    dice_index,
    squared_dice_index,
    takes_sums,
    tversky_index,
)
from dice_jax.sums.region import RegionSums

__all__ = [
    "break_even_odds",
    "cross_entropy_escape_time",
    "cross_entropy_mass_ratio",
    "dice_curvatures",
    "dice_escape_time",
    "dice_foreground_mass",
    "dice_gradient_values",
    "dice_hessian",
    "dice_mass_ratio",
    "empty_mask_dice",
    "escape_crossing",
    "gradient_ratio",
    "late_phase_factors",
    "log_cosh_factor",
    "power_factor",
    "self_adjusting_peak",
    "squared_dice_gradient_ratio",
    "squared_dice_gradient_values",
    "squared_dice_mass_ratio",
    "tversky_gradient_values",
]


def _floating(name: str, x: ArrayLike) -> jax.Array:
    x = checks.as_array(name, x)
    return x if checks.is_float(x) else x.astype(jnp.result_type(float))


def _odds(fraction: ArrayLike) -> jax.Array:
    fraction = _floating("fraction", fraction)
    return fraction / (1 - fraction)


def _over(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    shape = jnp.broadcast_shapes(numerator.shape, denominator.shape)
    numerator, denominator = (jnp.broadcast_to(x, shape) for x in (numerator, denominator))
    return ratio(numerator, denominator, jnp.zeros_like(numerator))


@takes_sums
def dice_gradient_values(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    r"""The two values that the Dice gradient takes in probability space (C1, C4).

    g₊ = −(2 − D)/(S + s') and g₋ = D/(S + s'), D = (2I + s)/(S + s'); −2U/S² and 2I/S² at s = 0.

    Args:
        sums: of the region's probabilities and hard targets.
        smooth: s, in pixels, as in `dice_loss`.
        smooth_denominator: s', if it differs.

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
    return _over(index - 2, size), _over(index, size)


@takes_sums
def squared_dice_gradient_values(
    sums: RegionSums, *, smooth: ArrayLike = 1.0
) -> tuple[jax.Array, jax.Array, jax.Array]:
    r"""The gradient of squared Dice as a line in p, one for each class (C10).

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
    return _over(jnp.full_like(size, -2), size), _over(2 * index, size), index


def squared_dice_gradient_ratio(
    index: ArrayLike, foreground: ArrayLike, background: ArrayLike
) -> jax.Array:
    r"""\|g₊\|/\|g₋\| of a foreground and a background pixel under squared Dice (C10).

    (1/D₂ − pᵢ)/pⱼ: at least 1 iff pᵢ + pⱼ ≤ 1/D₂.

    Args:
        index: D₂, the squared Dice index without smoothing.
        foreground: pᵢ, the probability of a foreground pixel.
        background: pⱼ > 0, the probability of a background pixel.

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
        _floating(name, x)
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
    return _over((1 - beta) * index - 1, size), _over(alpha * index, size)


def dice_mass_ratio(
    fraction: ArrayLike, foreground_mean: ArrayLike, background_mean: ArrayLike
) -> jax.Array:
    r"""Foreground over background gradient mass of Dice in probability space (C5).

    M₊/M₋ = (ω + p̄₋)/p̄₊ with ω = π/(1 − π); 1 + ω/q at a constant prediction q.

    Args:
        fraction: π, the foreground fraction.
        foreground_mean: p̄₊ > 0, the mean prediction over the foreground.
        background_mean: p̄₋, the mean prediction over the background.

    Returns:
        The ratio, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.dice_mass_ratio(0.5, 0.5, 0.5))
        3.0

    References:
        C5 of the theory page; Kervadec & de Bruijne (2023).
    """
    foreground_mean = _floating("foreground_mean", foreground_mean)
    return (_odds(fraction) + _floating("background_mean", background_mean)) / foreground_mean


def squared_dice_mass_ratio(fraction: ArrayLike, prediction: ArrayLike) -> jax.Array:
    r"""Foreground over background gradient mass of squared Dice at a constant prediction (C5).

    M₊/M₋ = (q² + π − 2πq²)/(2q²(1 − π)), which tends to ½ (a share of ⅓) as π → 0.

    Args:
        fraction: π, the foreground fraction.
        prediction: q > 0.

    Returns:
        The ratio, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.squared_dice_mass_ratio(0.0, 0.5))
        0.5

    References:
        C5 of the theory page.
    """
    f, q = _floating("fraction", fraction), _floating("prediction", prediction)
    return (q * q + f - 2 * f * q * q) / (2 * q * q * (1 - f))


def cross_entropy_mass_ratio(fraction: ArrayLike, prediction: ArrayLike) -> jax.Array:
    r"""Foreground over background gradient mass of mean BCE in logit space (C5).

    M₊/M₋ = ω(1 − q)/q at a constant prediction q; 1 at q = π.

    Args:
        fraction: π, the foreground fraction.
        prediction: q > 0.

    Returns:
        The ratio, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.cross_entropy_mass_ratio(0.25, 0.25))
        1.0

    References:
        C5 of the theory page.
    """
    q = _floating("prediction", prediction)
    return _odds(fraction) * (1 - q) / q


@takes_sums
def late_phase_factors(sums: RegionSums) -> tuple[jax.Array, jax.Array]:
    r"""What Dice multiplies the logit gradient of mean BCE by, over p_t (C12).

    \|g_z Dice\|/\|g_z BCE\| is p_t·2UN/S² on the foreground and p_t·2IN/S² on the background, where
    p_t is the true class's probability. Their quotient is 2/D − 1; as D → 1 both go to 1/(2π).

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
def dice_foreground_mass(sums: RegionSums) -> jax.Array:
    r"""Foreground gradient mass of Dice in probability space (C21).

    M₊ = 2TU/S²: ½ at D = 1 and 2 as the prediction goes to 0, whatever the object's size.

    Args:
        sums: of the region's probabilities and hard targets.

    Returns:
        An array of the shape of ``sums``.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> mask = jnp.array([1, 1, 0])
        >>> print(dj.analysis.dice_foreground_mass(dj.region_sums(mask == 1, mask)))
        0.5

    References:
        C21 of the theory page.
    """
    return -dice_gradient_values(sums, smooth=0.0)[0] * sums.target


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
    # Divided twice: the square of a tiny size would underflow.
    return _over(_over(2 * (y[:, None] + y[None, :]) - 2 * index, size), size)


def dice_curvatures(sums: RegionSums, *, smooth: ArrayLike = 1.0) -> tuple[jax.Array, jax.Array]:
    r"""The two curvatures of the Dice loss that are not 0 (C13).

    The eigenvalues of `dice_hessian`, which has rank 2, without forming it: those of a 2×2 matrix
    over the foreground's and the background's directions. One is negative, one positive.

    Args:
        sums: of the region's probabilities and hard targets.
        smooth: s, in pixels, as in `dice_loss`: it flattens both.

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
    both, mixed, none = (_over(_over(factor - 2 * index, size), size) for factor in (4.0, 2.0, 0.0))
    a, b, c = both * sums.target, mixed * jnp.sqrt(sums.target * rest), none * rest
    middle, spread = (a + c) / 2, jnp.hypot((a - c) / 2, b)
    return middle - spread, middle + spread


def dice_escape_time(start: ArrayLike, target: ArrayLike, background: ArrayLike) -> jax.Array:
    r"""Time that Dice takes to lift free foreground logits from z₀ to 0, as z₀ → −∞ (C11).

    ((T + B)/2)·e^{−z₀}, under gradient descent with unit step.

    Args:
        start: z₀ < 0.
        target: T, the number of foreground pixels.
        background: B, the background's mass Σp meanwhile.

    Returns:
        The time, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.dice_escape_time(-10.0, 100.0, 0.0):.3g}")
        1.1e+06

    References:
        C11 of the theory page.
    """
    size = _floating("target", target) + _floating("background", background)
    return size / 2 * jnp.exp(-_floating("start", start))


def cross_entropy_escape_time(start: ArrayLike, count: ArrayLike) -> jax.Array:
    r"""Time that mean BCE takes to lift a free foreground logit from z₀ to 0 (C11).

    N(\|z₀\| + 1 − e^{z₀}) exactly, so N\|z₀\| as z₀ → −∞, under gradient descent with unit step.

    Args:
        start: z₀ < 0.
        count: N, the number of pixels.

    Returns:
        The time, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.cross_entropy_escape_time(-10.0, 1e4):.3g}")
        1.1e+05

    References:
        C11 of the theory page.
    """
    start = _floating("start", start)
    return _floating("count", count) * (1 - start - jnp.exp(start))


def escape_crossing(fraction: ArrayLike) -> jax.Array:
    r"""The depth \|z₀\| beyond which Dice escapes saturation slower than BCE (C11).

    The larger solution of e^x/x = 2/π.

    Args:
        fraction: π < 2/e, the foreground fraction.

    Returns:
        \|z₀\|, of the shape of ``fraction``.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.escape_crossing(0.01):.2f}")
        7.28

    References:
        C11 of the theory page.
    """
    level = jnp.log(2 / _floating("fraction", fraction))
    x = level + 2
    # Newton's method on x − log x = log(2/π), convex: from the right it only falls towards it.
    for _ in range(12):
        x = x - (x - jnp.log(x) - level) / (1 - 1 / x)
    return x


def empty_mask_dice(prediction: ArrayLike, smooth: ArrayLike) -> tuple[jax.Array, jax.Array]:
    r"""The Dice loss of an empty mask and its gradient at every pixel (C16).

    L = P/(P + s) and g = s/(P + s)².

    Args:
        prediction: P = Σp > 0.
        smooth: s, in pixels.

    Returns:
        L and g, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(*dj.analysis.empty_mask_dice(1.0, 1.0))
        0.5 0.25

    References:
        C16 of the theory page; Tilborghs et al. (2022).
    """
    p, s = _floating("prediction", prediction), _floating("smooth", smooth)
    return p / (p + s), s / (p + s) / (p + s)


def break_even_odds(volume: ArrayLike, prediction: ArrayLike, smooth: ArrayLike) -> jax.Array:
    r"""Odds of presence above which the expected Dice step on a region goes up (C16).

    μ/(1−μ) = s(qV + V + s)²/[(2V + s)(qV + s)²], for a region of V pixels that is there with
    probability μ and empty otherwise, predicted q there and 0 elsewhere, one image at a time.

    Args:
        volume: V, in pixels.
        prediction: q.
        smooth: s > 0, in pixels.

    Returns:
        The odds, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.break_even_odds(100.0, 0.01, 1.0):.3f}")
        12.940

    References:
        C16 of the theory page; Tilborghs et al., The Dice loss in the context of missing or empty
        labels (2022).
    """
    v, q, s = (
        _floating(name, x)
        for name, x in (
            ("volume", volume),
            ("prediction", prediction),
            ("smooth", smooth),
        )
    )
    return s * (q * v + v + s) ** 2 / ((2 * v + s) * (q * v + s) ** 2)


def power_factor(loss: ArrayLike, gamma: ArrayLike) -> jax.Array:
    r"""What L^γ multiplies the gradient of L by (C19): γ·L^(γ−1).

    Args:
        loss: L > 0.
        gamma: γ > 0.

    Returns:
        The factor, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.power_factor(0.25, 0.5))
        1.0

    References:
        C19 of the theory page; Abraham & Khan (2018), https://arxiv.org/abs/1810.07842.
    """
    loss, gamma = _floating("loss", loss), _floating("gamma", gamma)
    return gamma * loss ** (gamma - 1)


def log_cosh_factor(loss: ArrayLike) -> jax.Array:
    r"""What log cosh L multiplies the gradient of L by (C19): tanh L.

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
    return jnp.tanh(_floating("loss", loss))


def self_adjusting_peak(alpha: ArrayLike) -> jax.Array:
    r"""The probability beyond which self-adjusting Dice pushes a positive pixel down (C20).

    The maximum of (1−p)^α p: p = 1/(1 + α).

    Args:
        alpha: α > 0.

    Returns:
        p, of the shape of ``alpha``.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.self_adjusting_peak(1.0))
        0.5

    References:
        C20 of the theory page; Li et al., Dice loss for data-imbalanced NLP tasks (2020).
    """
    return 1 / (1 + _floating("alpha", alpha))


@takes_sums
def gradient_ratio(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""How much harder Dice pulls on a foreground pixel than on a background one.

    \|g₊\|/\|g₋\| = 2/D − 1, with D the smoothed Dice index of the sums: never below 1 for equal
    smoothing above and below, and 1 exactly at p = y.

    Args:
        sums: of the region's probabilities and targets.
        smooth: s, in pixels, as in `dice_loss`.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``; infinite at D = 0, where false positives cost nothing.
        Below 0 only where ``smooth`` exceeds 2(U + ``smooth_denominator``), U = P + T − I: there
        the foreground is pushed down.

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
