"""The Matthews correlation of a soft confusion matrix as a loss: the background counts too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import power, ratio
from dice_jax.losses.indices import takes_sums
from dice_jax.sums.region import RegionSums

__all__ = ["matthews_loss"]


@takes_sums
def matthews_loss(sums: RegionSums, *, smooth: ArrayLike = 0.0) -> jax.Array:
    r"""One minus the Matthews correlation (φ) of `RegionSums`, per region and class.

    1 − (TP·TN − FP·FN) / √((TP + FP)(TP + FN)(TN + FP)(TN + FN)), with the soft confusion matrix
    TP = I, FP = P − I, FN = T − I, TN = N − P − T + I. Unlike Dice it also rewards true negatives.

    Args:
        sums: of the region's pixels.
        smooth: s, in pixels, added to TP and to TN. 0, the default, gives the coefficient itself:
            a region without foreground, or without background, then has loss 1 and a zero gradient
            until the prediction agrees with it. With s > 0 such a region has a gradient.

    Returns:
        An array of the shape of ``sums``, in [0, 2]. At 0/0 (one class only, in the targets or in
        the prediction) it is 0 where prediction and targets agree and 1 where they do not; 0 where
        no pixel was counted.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or ``smooth`` is not a number.
        ValueError: if ``smooth`` is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.region_sums(jnp.array([1.0, 0.0, 1.0, 0.0]), jnp.array([1, 0, 0, 0]))
        >>> print(f"{dj.matthews_loss(sums):.4f}")
        0.4226

    References:
        Abhishek & Hamarneh, Matthews correlation coefficient loss for deep convolutional networks
        (2021), https://arxiv.org/abs/2010.13454, equation 8.
    """
    checks.check_number("smooth", smooth)
    return _matthews_loss(sums, smooth)


@jax.jit
def _matthews_loss(sums: RegionSums, smooth: ArrayLike) -> jax.Array:
    dtype = sums.dtype
    smooth = jnp.asarray(smooth, dtype)
    zero, one = jnp.zeros_like(sums.count), jnp.ones_like(sums.count)
    # In fractions of the region: the product of four sums overflows float32 at 2^32 pixels.
    size = jnp.where(sums.count == 0, one, sums.count + 2 * smooth)
    # TN + FP and the like as N − T: 1 − T/N would lose the digits of a rare background.
    prediction, no_prediction = sums.prediction + smooth, sums.count - sums.prediction + smooth
    target, no_target = sums.target + smooth, sums.count - sums.target + smooth
    true_positives, false_positives = (
        sums.intersection + smooth,
        sums.prediction - sums.intersection,
    )
    false_negatives = sums.target - sums.intersection
    true_negatives = no_prediction - false_negatives
    covariance = (true_positives / size) * (true_negatives / size) - (false_positives / size) * (
        false_negatives / size
    )
    half = jnp.asarray(0.5, dtype)
    # One root a pair: their product underflows for a rare class at saturated logits.
    spread = power((prediction / size) * (no_prediction / size), half) * power(
        (target / size) * (no_target / size), half
    )
    agrees = jnp.where(sums.prediction == sums.target, one, zero)
    return jnp.where(sums.count == 0, zero, 1 - ratio(covariance, spread, agrees))
