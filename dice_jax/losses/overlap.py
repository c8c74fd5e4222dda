"""Overlap index -> loss: outer functions of an index, and the cross-entropies of the same sums."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import clamped_log, log_cosh, power, product
from dice_jax.losses.indices import (
    Fraction,
    dice_index,
    generalized_dice_index,
    jaccard_index,
    smoothed_error,
    squared_dice_index,
    takes_sums,
    tversky_index,
)
from dice_jax.sums.region import RegionSums

__all__ = [
    "binary_cross_entropy_loss",
    "cross_entropy_loss",
    "dice_loss",
    "exponential_logarithmic_dice_loss",
    "focal_tversky_loss",
    "generalized_dice_loss",
    "jaccard_loss",
    "log_cosh_dice_loss",
    "log_dice_loss",
    "squared_dice_loss",
    "tversky_loss",
]


@takes_sums
def dice_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Soft Dice loss of `RegionSums`, per region and class: the article's.

    1 − (2I + s) / (P + T + s), with I = Σpy, P = Σp, T = Σy. The article's s = 1 has a price: it is
    counted in pixels, and for a small object (s(1−2π) ≥ 2πT, with π the foreground fraction) it
    turns the best constant prediction from 1 to 0. Studies use s = 1e-5.

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
        >>> import jax, jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([0.5, 0.25, 0.25]), jnp.array([1, 0, 0])
        >>> loss = lambda p: dj.dice_loss(dj.region_sums(p, y), smooth=0.0)
        >>> print(loss(p))
        0.5
        >>> print(jax.grad(loss)(p))  # two values: foreground down, background up
        [-0.75  0.25  0.25]

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    return 1 - dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


@takes_sums
def squared_dice_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Dice loss with squared norms below, of `RegionSums`, per region and class: V-Net's.

    1 − (2I + s) / (Σp² + Σy² + s). Unlike `dice_loss`, its gradient vanishes at p = y.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 0.0]), jnp.array([1, 0]))
        >>> print(dj.squared_dice_loss(sums))
        0.0

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    return 1 - squared_dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


@takes_sums
def jaccard_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Soft Jaccard (IoU) loss of `RegionSums`, per region and class.

    1 − (I + s) / (P + T − I + s). Within one region its gradient is parallel to that of Dice with
    twice the smoothing: "Jaccard or Dice" is a step size.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 1.0]), jnp.array([1, 0]))
        >>> print(dj.jaccard_loss(sums, smooth=0.0))
        0.5

    References:
        Rahman & Wang, Optimizing intersection-over-union in deep neural networks for image
        segmentation (2016).
    """
    return 1 - jaccard_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


@takes_sums
def tversky_loss(
    sums: RegionSums,
    *,
    alpha: ArrayLike,
    beta: ArrayLike,
    smooth: ArrayLike = 1.0,
    smooth_denominator: ArrayLike | None = None,
) -> jax.Array:
    r"""Tversky loss of `RegionSums`, per region and class: prices for both mistakes.

    1 − (I + s) / (I + α·FP + β·FN + s).

    Args:
        sums: of the region's pixels.
        alpha: α ≥ 0, on false positives.
        beta: β ≥ 0, on false negatives.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 1.0, 0.0]), jnp.array([1, 0, 1]))
        >>> print(dj.tversky_loss(sums, alpha=0.3, beta=0.7, smooth=0.0))
        0.5

    References:
        Salehi et al., Tversky loss (2017), https://arxiv.org/abs/1706.05721, equation 3.
    """
    index = tversky_index(
        sums, alpha=alpha, beta=beta, smooth=smooth, smooth_denominator=smooth_denominator
    )
    return 1 - index


@takes_sums
def generalized_dice_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Generalised Dice loss of `RegionSums`, per region: rare classes weigh more.

    1 − (Σ_c 2w_c I_c + s) / (Σ_c w_c (P_c + T_c) + s), w_c = 1/T_c² scaled so that the largest
    finite weight is 1; an absent class takes that largest weight.

    Args:
        sums: with the classes on the last axis.
        smooth: s, in pixels of the rarest class, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums`` without its last axis, in [0, 1]; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.softmax_region_sums(jnp.zeros((4, 2)), jnp.array([0, 0, 0, 1]))
        >>> print(dj.generalized_dice_loss(sums, smooth=0.0))
        0.625

    References:
        Sudre et al., Generalised Dice overlap (2017), https://arxiv.org/abs/1707.03237, section 2.
    """
    return 1 - generalized_dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)


@takes_sums
def focal_tversky_loss(
    sums: RegionSums,
    *,
    alpha: ArrayLike,
    beta: ArrayLike,
    gamma: ArrayLike,
    smooth: ArrayLike = 1.0,
    smooth_denominator: ArrayLike | None = None,
) -> jax.Array:
    r"""Focal Tversky loss of `RegionSums`, per region and class: a power of Tversky's.

    (1 − Tversky)^γ. The paper writes the exponent 1/γ: its γ = 4/3 is ``gamma=0.75`` here. Below 1
    the slope at a perfect prediction would be infinite; there, it is 0.

    Args:
        sums: of the region's pixels.
        alpha: α ≥ 0, on false positives.
        beta: β ≥ 0, on false negatives.
        gamma: γ > 0, the exponent.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 1]; 0 at 0/0.

    Raises:
        ValueError: if ``gamma`` is not positive, or another option is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 1.0, 0.0]), jnp.array([1, 0, 1]))
        >>> print(dj.focal_tversky_loss(sums, alpha=0.3, beta=0.7, gamma=2.0, smooth=0.0))
        0.25

    References:
        Abraham & Khan (2018), https://arxiv.org/abs/1810.07842, equation 4.
    """
    checks.check_number("gamma", gamma, open_at_least=True)
    loss = tversky_loss(
        sums, alpha=alpha, beta=beta, smooth=smooth, smooth_denominator=smooth_denominator
    )
    return _power(loss, gamma)


@jax.jit
def _power(loss: jax.Array, gamma: ArrayLike) -> jax.Array:
    return power(loss, jnp.asarray(gamma, loss.dtype))


@takes_sums
def log_dice_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Negative logarithm of the Dice index, of `RegionSums`, per region and class.

    −log D, with D = (2I + s) / (P + T + s). The logarithm is clamped at −100 (with a zero gradient
    there): without smoothing, D can be 0.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 100]; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 1.0, 1.0]), jnp.array([1, 0, 0]))
        >>> print(dj.log_dice_loss(sums, smooth=0.0).round(4))
        0.6931

    References:
        Wong et al. (2018), https://arxiv.org/abs/1809.00076, equation 2 (with γ = 1).
    """
    return _minus_log(dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator))


@jax.jit
def _minus_log(index: jax.Array) -> jax.Array:
    return -clamped_log(index)


@takes_sums
def exponential_logarithmic_dice_loss(
    sums: RegionSums,
    *,
    gamma: ArrayLike,
    smooth: ArrayLike = 1.0,
    smooth_denominator: ArrayLike | None = None,
) -> jax.Array:
    r"""Power of the negative logarithm of Dice, of `RegionSums`, per region and class.

    (−log D)^γ, with D = (2I + s) / (P + T + s). Below 1 (the paper's γ is 0.3), the slope at a
    perfect prediction would be infinite; there, it is 0.

    Args:
        sums: of the region's pixels.
        gamma: γ > 0, the exponent.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, 100^γ]; 0 at 0/0.

    Raises:
        ValueError: if ``gamma`` is not positive, or another option is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 1.0, 1.0]), jnp.array([1, 0, 0]))
        >>> print(f"{dj.exponential_logarithmic_dice_loss(sums, gamma=2.0, smooth=0.0):.4f}")
        0.4805

    References:
        Wong et al. (2018), https://arxiv.org/abs/1809.00076, equation 2.
    """
    checks.check_number("gamma", gamma, open_at_least=True)
    loss = log_dice_loss(sums, smooth=smooth, smooth_denominator=smooth_denominator)
    return _power(loss, gamma)


@takes_sums
def log_cosh_dice_loss(
    sums: RegionSums, *, smooth: ArrayLike = 1.0, smooth_denominator: ArrayLike | None = None
) -> jax.Array:
    r"""Log-cosh of the Dice loss, of `RegionSums`, per region and class.

    log cosh L, with L = 1 − (2I + s) / (P + T + s): damps the gradient by tanh L.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added above and below.
        smooth_denominator: if given, the s of the denominator, in pixels.

    Returns:
        An array of the shape of ``sums``, in [0, log cosh 1]; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 1.0, 1.0]), jnp.array([1, 0, 0]))
        >>> print(dj.log_cosh_dice_loss(sums, smooth=0.0).round(4))
        0.1201

    References:
        Jadon (2020), https://arxiv.org/abs/2006.14822, section III-L.
    """
    return _log_cosh(dice_loss(sums, smooth=smooth, smooth_denominator=smooth_denominator))


_log_cosh = jax.jit(log_cosh)


@takes_sums
def cross_entropy_loss(sums: RegionSums, *, weights: ArrayLike | None = None) -> jax.Array:
    r"""Categorical cross-entropy of the `RegionSums` of a softmax, per region.

    Σ_c F_c / N with F_c = Σ −y_c·log p_c over the pixels; with class weights it is
    Σ_c w_c F_c / Σ_c w_c T_c. Of integer labels, both are PyTorch's means over the (unmasked)
    pixels, and the first is Optax's.

    With weights *and* soft labels PyTorch divides by other numbers. Its ``label_smoothing`` divides
    by the weights of the hard labels: give the sums of the smoothed labels the targets of the hard
    ones, ``dataclasses.replace(smoothed, target=hard.target)``. For probabilities it divides by N:
    weight the sums by
    ``dataclasses.replace(sums, foreground_cross_entropy=w * sums.foreground_cross_entropy)``, and
    leave ``weights`` out.

    Args:
        sums: with the classes on the last axis, from `softmax_region_sums`.
        weights: [C], the weight of each class, at least 0.

    Returns:
        An array of the shape of ``sums`` without its last axis, in nats per pixel; 0 where no pixel
        was counted.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or ``weights`` are no numbers.
        ValueError: if ``sums`` has no class axis, or ``weights`` is not of shape [C].

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.softmax_region_sums(jnp.zeros((5, 4)), jnp.array([0, 1, 2, 3, 3]))
        >>> print(dj.cross_entropy_loss(sums).round(4))    # log 4
        1.3863

    References:
        Good, Rational decisions (1952), the logarithmic score.
    """
    if not sums.shape:
        raise ValueError(
            "sums must have a class axis last for cross_entropy_loss, got sums of shape (); for "
            "binary sums write binary_cross_entropy_loss(sums)"
        )
    if weights is None:
        return smoothed_error(_cross_entropy, sums, smooth=0.0)
    weights = checks.as_array("weights", weights)
    if weights.shape != sums.shape[-1:]:
        raise ValueError(
            f"weights must have one entry per class, shape {sums.shape[-1:]}, "
            f"got {checks.describe(weights)}"
        )
    return smoothed_error(_weighted_cross_entropy, sums, smooth=0.0, weights=weights)


def _cross_entropy(s: RegionSums) -> Fraction:
    # The classes share their pixels: any one's count will do.
    return jnp.sum(s.foreground_cross_entropy, -1), s.count[..., 0]


def _weighted_cross_entropy(s: RegionSums, weights: jax.Array) -> Fraction:
    return jnp.sum(product(weights, s.foreground_cross_entropy), -1), jnp.sum(
        weights * s.target, -1
    )


@takes_sums
def binary_cross_entropy_loss(sums: RegionSums) -> jax.Array:
    r"""Binary cross-entropy of `RegionSums`, per region.

    (F + B) / N with F = Σ −y·log p and B = Σ −(1 − y)·log(1 − p): the mean over the pixels.

    Args:
        sums: of the region's pixels; from logits (`sigmoid_region_sums`) they are exact.

    Returns:
        An array of the shape of ``sums``, in nats per pixel; 0 where no pixel was counted.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.sigmoid_region_sums(jnp.zeros(5), jnp.array([0, 1, 0, 1, 1]))
        >>> print(dj.binary_cross_entropy_loss(sums).round(4))    # log 2
        0.6931

    References:
        Good, Rational decisions (1952), the logarithmic score.
    """
    return smoothed_error(_binary_cross_entropy, sums, smooth=0.0)


def _binary_cross_entropy(s: RegionSums) -> Fraction:
    return s.foreground_cross_entropy + s.background_cross_entropy, s.count
