"""RegionSums -> overlap index in [0, 1]: a few lines of arithmetic on vectors of length C."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.sums.additive import AdditiveSums
from dice_jax.sums.region import RegionSums

__all__ = [
    "Formula",
    "Fraction",
    "check_smooth",
    "dice_index",
    "generalized_dice_index",
    "jaccard_index",
    "smoothed_error",
    "smoothed_index",
    "squared_dice_index",
    "takes_sums",
    "tversky_fraction",
    "tversky_index",
]

takes_sums = checks.takes(
    RegionSums,
    "{name}(region_sums(probabilities, targets)), {name}(sigmoid_region_sums(logits, targets)) or "
    "{name}(softmax_region_sums(logits, labels))",
)


# What a formula gives: what stands above and below the fraction bar.
Fraction = tuple[jax.Array, jax.Array]
Formula = Callable[..., Fraction]


def check_smooth(
    smooth: ArrayLike, smooth_denominator: ArrayLike | None, **options: ArrayLike
) -> None:
    """Check the two smoothing options, and others that are at least 0.

    Args:
        smooth: pixels added to the numerator.
        smooth_denominator: pixels added to the denominator; ``None`` means the same.
        **options: numbers, by name.

    Raises:
        TypeError: if one is not a number.
        ValueError: if one is negative or not finite.
    """
    checks.check_number("smooth", smooth)
    if smooth_denominator is not None:
        checks.check_number("smooth_denominator", smooth_denominator)
    for name, value in options.items():
        checks.check_number(name, value)


def smoothed_index(
    formula: Formula,
    sums: AdditiveSums,
    smooth: ArrayLike,
    smooth_denominator: ArrayLike | None = None,
    **options: ArrayLike,
) -> jax.Array:
    """Compute an index (n + s) / (d + s') in [0, 1] from a formula for n and d.

    Args:
        formula: maps the sums, and options as keywords, to n and d. It is compiled once per shape,
            so it must be a function of a module, not a closure.
        sums: what the formula reads.
        smooth: s, in pixels.
        smooth_denominator: s', in pixels; ``None`` means s.
        **options: numbers that the formula needs; each at least 0.

    Returns:
        The index: 1 at 0/0 and where no pixel was counted.

    Raises:
        TypeError: if an option is not a number.
        ValueError: if an option is negative or not finite.
    """
    check_smooth(smooth, smooth_denominator, **options)
    return _smoothed_index(formula, sums, smooth, smooth_denominator, options)


@partial(jax.jit, static_argnums=0)
def _smoothed_index(
    formula: Formula,
    sums: AdditiveSums,
    smooth: ArrayLike,
    smooth_denominator: ArrayLike | None,
    options: dict[str, ArrayLike],
) -> jax.Array:
    numerator, denominator, nothing = _fraction(formula, sums, options)
    one = jnp.ones_like(numerator)
    below = smooth if smooth_denominator is None else smooth_denominator
    # Where everything is masked, the smoothing alone must not make an index (0 / 1e-7 = 0, say).
    numerator = jnp.where(nothing, one, numerator + jnp.asarray(smooth, one.dtype))
    denominator = jnp.where(nothing, one, denominator + jnp.asarray(below, one.dtype))
    return ratio(numerator, denominator, one)


def smoothed_error(
    formula: Formula,
    sums: AdditiveSums,
    smooth: ArrayLike,
    smooth_denominator: ArrayLike | None = None,
    **options: ArrayLike,
) -> jax.Array:
    """Compute a loss 1 − (d − e + s) / (d + s') from a formula for the error e and the size d.

    It is computed as (e + s' − s) / (d + s'): one minus an index near 1 would lose digits.

    Args:
        formula: maps the sums, and options as keywords, to e and d; a function of a module.
        sums: what the formula reads.
        smooth: s, in pixels.
        smooth_denominator: s', in pixels; ``None`` means s.
        **options: numbers that the formula needs; each at least 0.

    Returns:
        The loss: 0 at 0/0 and where no pixel was counted.

    Raises:
        TypeError: if an option is not a number.
        ValueError: if an option is negative or not finite.
    """
    check_smooth(smooth, smooth_denominator, **options)
    return _smoothed_error(formula, sums, smooth, smooth_denominator, options)


@partial(jax.jit, static_argnums=0)
def _smoothed_error(
    formula: Formula,
    sums: AdditiveSums,
    smooth: ArrayLike,
    smooth_denominator: ArrayLike | None,
    options: dict[str, ArrayLike],
) -> jax.Array:
    error, size, nothing = _fraction(formula, sums, options)
    zero = jnp.zeros_like(size)
    above = jnp.asarray(smooth, zero.dtype)
    below = above if smooth_denominator is None else jnp.asarray(smooth_denominator, zero.dtype)
    # Where everything is masked, the smoothing alone must not make a loss.
    error = jnp.where(nothing, zero, error + (below - above))
    return ratio(error, jnp.where(nothing, zero, size + below), zero)


def _fraction(
    formula: Formula, sums: AdditiveSums, options: dict[str, ArrayLike]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Give both parts of the fraction, and where nothing was counted."""
    options = {name: jnp.asarray(value, sums.dtype) for name, value in options.items()}
    above, below = formula(sums, **options)
    # A formula may pool the class axis away.
    count = sums.count if sums.count.ndim == above.ndim else jnp.sum(sums.count, -1)
    return above, below, count == 0


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
        An array of the shape of ``sums``, in [0, 1]. 1 at 0/0 (no foreground, none predicted) and
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
    return smoothed_index(_dice, sums, smooth, smooth_denominator)


def _dice(s: RegionSums) -> Fraction:
    return 2 * s.intersection, s.prediction + s.target


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

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> print(dj.squared_dice_index(dj.region_sums(jnp.array([0.5, 0.5]), jnp.array([1, 0]))))
        0.6666667

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    return smoothed_index(_squared_dice, sums, smooth, smooth_denominator)


def _squared_dice(s: RegionSums) -> Fraction:
    return 2 * s.intersection, s.prediction_squared + s.target_squared


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

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> print(dj.jaccard_index(dj.region_sums(jnp.array([1.0, 1.0]), jnp.array([1, 0]))))
        0.5

    References:
        Rahman & Wang, Optimizing intersection-over-union in deep neural networks for image
        segmentation (2016).
    """
    return smoothed_index(_jaccard, sums, smooth, smooth_denominator)


def _jaccard(s: RegionSums) -> Fraction:
    return s.intersection, s.prediction + s.target - s.intersection


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

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 1.0, 0.0]), jnp.array([1, 0, 1]))
        >>> print(dj.tversky_index(sums, alpha=0.3, beta=0.7))
        0.5

    References:
        Salehi et al., Tversky loss (2017), https://arxiv.org/abs/1706.05721, equation 3.
    """
    return smoothed_index(
        tversky_fraction, sums, smooth, smooth_denominator, alpha=alpha, beta=beta
    )


class Overlap(Protocol):
    """Sums that know the intersection and both sizes of a region."""

    @property
    def intersection(self) -> jax.Array: ...
    @property
    def prediction(self) -> jax.Array: ...
    @property
    def target(self) -> jax.Array: ...


def tversky_fraction(s: Overlap, alpha: jax.Array, beta: jax.Array) -> Fraction:
    """Give I and I + α·FP + β·FN, the fraction of the Tversky index.

    Args:
        s: the sums.
        alpha: α, on false positives.
        beta: β, on false negatives.

    Returns:
        What stands above and below the bar.
    """
    false_positives = s.prediction - s.intersection
    false_negatives = s.target - s.intersection
    return s.intersection, s.intersection + alpha * false_positives + beta * false_negatives


@takes_sums
def generalized_dice_index(
    sums: RegionSums, *, smooth: ArrayLike = 0.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Generalised Dice index: one Dice over all classes, in which rare ones weigh more.

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
    if not sums.shape:
        raise ValueError(
            "sums must have a class axis last for generalized Dice, got sums of shape (); "
            "write softmax_region_sums(logits, labels), or region_sums with the classes kept"
        )
    return smoothed_index(_generalized_dice, sums, smooth, smooth_denominator)


def _generalized_dice(s: RegionSums) -> Fraction:
    present = s.target > 0
    one = jnp.ones_like(s.target)
    target = jnp.where(present, s.target, one)
    largest = jnp.max(target, -1, keepdims=True)
    rarest = jnp.min(jnp.where(present, target, largest), -1, keepdims=True)
    # (rarest / T)², not 1/T² rescaled: the latter underflows at T = 1e19 and overflows at 1e-19.
    weights = jnp.where(present, jnp.square(rarest / target), one)
    overlap = jnp.sum(weights * 2 * s.intersection, -1)
    return overlap, jnp.sum(weights * (s.prediction + s.target), -1)
