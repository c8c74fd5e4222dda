"""Dice-like losses of sums that `RegionSums` does not hold: powers of errors and probabilities."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import power
from dice_jax.losses.of_arrays import (
    ArraySums,
    binary_request,
    loss_of,
    share,
    sums_of,
    sums_or_arrays,
)
from dice_jax.sums.additive import option

__all__ = [
    "DicePlusPlusSums",
    "NoiseRobustDiceSums",
    "SelfAdjustingDiceSums",
    "SensitivitySpecificitySums",
    "dice_plus_plus_loss",
    "dice_plus_plus_sums",
    "noise_robust_dice_loss",
    "noise_robust_dice_sums",
    "self_adjusting_dice_loss",
    "self_adjusting_dice_sums",
    "sensitivity_specificity_loss",
    "sensitivity_specificity_sums",
]


# Noise-robust Dice.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NoiseRobustDiceSums(ArraySums):
    r"""Sums for `noise_robust_dice_loss`, made by `noise_robust_dice_sums`.

    Args:
        error: Σ \|p − y\|^γ.
        size: Σp² + Σy².
        count: Σ 1, the number of pixels.
        gamma: γ. Sums of different γ cannot be added.
    """

    error: jax.Array
    size: jax.Array
    count: jax.Array
    gamma: Any = dataclasses.field(metadata=option(open_at_least=True))

    @staticmethod
    def terms(p: jax.Array, y: jax.Array, gamma: jax.Array) -> dict[str, jax.Array]:
        """Compute the terms of the sums, pixel by pixel."""
        return {"error": power(jnp.abs(p - y), gamma), "size": p * p + y * y}


def noise_robust_dice_sums(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    gamma: ArrayLike = 1.5,
) -> NoiseRobustDiceSums:
    r"""Sums of the noise-robust Dice loss, to merge, stream or accumulate.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        gamma: γ > 0, a known number.

    Returns:
        `NoiseRobustDiceSums` of the shape of ``jnp.sum(probabilities, axis)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> parts = [dj.noise_robust_dice_sums(jnp.array([0.75]), jnp.array([y])) for y in (1, 0)]
        >>> print(dj.noise_robust_dice_loss(sum(parts)).round(4))
        0.2478

    References:
        Wang et al. (2020), https://doi.org/10.1109/TMI.2020.3000314, equation 4.
    """
    request = binary_request(NoiseRobustDiceSums, probabilities, targets, axis, where, gamma=gamma)
    return sums_of(NoiseRobustDiceSums, request)


@sums_or_arrays(NoiseRobustDiceSums, noise_robust_dice_sums)
def noise_robust_dice_loss(
    probabilities: ArrayLike | NoiseRobustDiceSums,
    targets: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    gamma: ArrayLike = 1.5,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Noise-robust Dice loss, of probabilities or of `noise_robust_dice_sums`, per region.

    Σ\|p − y\|^γ / (Σp² + Σy² + s): between a mean absolute error (γ = 1) and `squared_dice_loss`
    (γ = 2). The smaller γ, the less a wrongly labelled pixel weighs.

    Args:
        probabilities: [...], floating in [0, 1]; or the sums, without ``targets`` and ``gamma``.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        gamma: γ > 0, 1 to 2 in the paper, which recommends 1.5.
        smooth: s, in pixels; the paper's ε is 1e-5.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([0.75, 0.25, 0.0]), jnp.array([1, 0, 0])
        >>> print(f"{dj.noise_robust_dice_loss(p, y, smooth=0.0):.4f}")
        0.1538

    References:
        Wang et al., A noise-robust framework for automatic segmentation of COVID-19 pneumonia
        lesions (2020), https://doi.org/10.1109/TMI.2020.3000314, equation 4.
    """
    request = binary_request(NoiseRobustDiceSums, probabilities, targets, axis, where, gamma=gamma)
    return loss_of(_error_share, request, smooth=smooth)


def _error_share(
    s: NoiseRobustDiceSums | DicePlusPlusSums | SelfAdjustingDiceSums, smooth: jax.Array
) -> jax.Array:
    # For Dice, 1 − (2I + s)/(2I + E + s) is E/(2I + E + s), without the cancellation.
    return share(s.error, s.size, smooth)


# Dice++.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DicePlusPlusSums(ArraySums):
    r"""Sums for `dice_plus_plus_loss`, made by `dice_plus_plus_sums`.

    Args:
        error: Σ(p(1 − y))^γ + Σ((1 − p)y)^γ.
        size: 2Σpy + ``error``.
        count: Σ 1, the number of pixels.
        gamma: γ. Sums of different γ cannot be added.
    """

    error: jax.Array
    size: jax.Array
    count: jax.Array
    gamma: Any = dataclasses.field(metadata=option(open_at_least=True))

    @staticmethod
    def terms(p: jax.Array, y: jax.Array, gamma: jax.Array) -> dict[str, jax.Array]:
        """Compute the terms of the sums, pixel by pixel."""
        error = power(p * (1 - y), gamma) + power((1 - p) * y, gamma)
        return {"error": error, "size": 2 * p * y + error}


def dice_plus_plus_sums(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    gamma: ArrayLike = 2.0,
) -> DicePlusPlusSums:
    r"""Sums of the Dice++ loss, to merge, stream or accumulate.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        gamma: γ > 0, a known number.

    Returns:
        `DicePlusPlusSums` of the shape of ``jnp.sum(probabilities, axis)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> parts = [dj.dice_plus_plus_sums(jnp.array([0.5]), jnp.array([y])) for y in (1, 0)]
        >>> print(dj.dice_plus_plus_loss(sum(parts), smooth=0.0).round(4))
        0.3333

    References:
        Yeung et al. (2021), https://arxiv.org/abs/2111.00528, equation 13.
    """
    request = binary_request(DicePlusPlusSums, probabilities, targets, axis, where, gamma=gamma)
    return sums_of(DicePlusPlusSums, request)


@sums_or_arrays(DicePlusPlusSums, dice_plus_plus_sums)
def dice_plus_plus_loss(
    probabilities: ArrayLike | DicePlusPlusSums,
    targets: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    gamma: ArrayLike = 2.0,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Dice++ loss, of probabilities or of `dice_plus_plus_sums`, per region.

    1 − (2I + s) / (2I + Σ(p(1 − y))^γ + Σ((1 − p)y)^γ + s). It forgives uncertain errors, for
    calibrated probabilities. With γ = 1 it is `dice_loss` and, for hard targets, with γ = 2
    `squared_dice_loss`.

    Args:
        probabilities: [...], floating in [0, 1]; or the sums, without ``targets`` and ``gamma``.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        gamma: γ > 0.
        smooth: s, in pixels, added above and below.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in [0, 1]; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([0.5, 0.5]), jnp.array([1, 0])
        >>> print(f"{dj.dice_plus_plus_loss(p, y, smooth=0.0):.4f}")
        0.3333

    References:
        Yeung et al., Calibrating the Dice loss to handle neural network overconfidence for
        biomedical image segmentation (2021), https://arxiv.org/abs/2111.00528, equation 13.
    """
    request = binary_request(DicePlusPlusSums, probabilities, targets, axis, where, gamma=gamma)
    return loss_of(_error_share, request, smooth=smooth)


# Sensitivity and specificity.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SensitivitySpecificitySums(ArraySums):
    r"""Sums for `sensitivity_specificity_loss`, made by `sensitivity_specificity_sums`.

    Args:
        missed: Σ y(y − p)².
        claimed: Σ (1 − y)(y − p)².
        target: Σ y.
        rest: Σ (1 − y).
        count: Σ 1, the number of pixels.
    """

    missed: jax.Array
    claimed: jax.Array
    target: jax.Array
    rest: jax.Array
    count: jax.Array

    @staticmethod
    def terms(p: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        """Compute the terms of the sums, pixel by pixel."""
        error = jnp.square(p - y)
        return {"missed": y * error, "claimed": (1 - y) * error, "target": y, "rest": 1 - y}


def sensitivity_specificity_sums(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> SensitivitySpecificitySums:
    r"""Sums of the sensitivity-specificity loss, to merge, stream or accumulate.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.

    Returns:
        `SensitivitySpecificitySums` of the shape of ``jnp.sum(probabilities, axis)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.sensitivity_specificity_sums(jnp.array([0.5, 0.5, 0.0]), jnp.array([1, 0, 0]))
        >>> print(sums.missed, sums.target, sums.claimed, sums.rest)
        0.25 1.0 0.25 2.0

    References:
        Brosch et al. (2015), https://doi.org/10.1007/978-3-319-24574-4_1, equation 5.
    """
    request = binary_request(SensitivitySpecificitySums, probabilities, targets, axis, where)
    return sums_of(SensitivitySpecificitySums, request)


@sums_or_arrays(SensitivitySpecificitySums, sensitivity_specificity_sums)
def sensitivity_specificity_loss(
    probabilities: ArrayLike | SensitivitySpecificitySums,
    targets: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    sensitivity: ArrayLike = 0.05,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Sensitivity-specificity loss, of probabilities or of their sums, per region.

    r·Σy(y − p)² / (Σy + s) + (1 − r)·Σ(1 − y)(y − p)² / (Σ(1 − y) + s): the mean squared error of
    the foreground and that of the background, each with its own weight.

    Args:
        probabilities: [...], floating in [0, 1]; or `sensitivity_specificity_sums`, without
            ``targets``.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        sensitivity: r in [0, 1], a number: the weight of the foreground; the paper's is 0.05.
        smooth: s, in pixels, added to both denominators.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in [0, 1]; a class that is not
        there adds 0.

    Raises:
        ValueError: if ``sensitivity`` is not in [0, 1], or ``smooth`` is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([0.5, 0.5, 0.0]), jnp.array([1, 0, 0])
        >>> print(dj.sensitivity_specificity_loss(p, y, sensitivity=0.5, smooth=0.0))
        0.1875

    References:
        Brosch et al., Deep convolutional encoder networks for multiple sclerosis lesion
        segmentation (2015), https://doi.org/10.1007/978-3-319-24574-4_1, equation 5.
    """
    checks.check_number("sensitivity", sensitivity, most=1.0)
    request = binary_request(SensitivitySpecificitySums, probabilities, targets, axis, where)
    return loss_of(_sensitivity_specificity, request, sensitivity=sensitivity, smooth=smooth)


def _sensitivity_specificity(
    s: SensitivitySpecificitySums, sensitivity: jax.Array, smooth: jax.Array
) -> jax.Array:
    missed, claimed = share(s.missed, s.target, smooth), share(s.claimed, s.rest, smooth)
    return sensitivity * missed + (1 - sensitivity) * claimed


# Self-adjusting Dice.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SelfAdjustingDiceSums(ArraySums):
    r"""Sums for `self_adjusting_dice_loss`, made by `self_adjusting_dice_sums`.

    Args:
        error: Σ q(1 − y) + Σ(1 − q)y, with q = (1 − p)^α·p.
        size: Σq + Σy.
        count: Σ 1, the number of pixels.
        alpha: α. Sums of different α cannot be added.
    """

    error: jax.Array
    size: jax.Array
    count: jax.Array
    alpha: Any = dataclasses.field(metadata=option())

    @staticmethod
    def terms(p: jax.Array, y: jax.Array, alpha: jax.Array) -> dict[str, jax.Array]:
        """Compute the terms of the sums, pixel by pixel."""
        # `power` is 0 at base 0; for α = 0 the factor is 1 there too.
        p = jnp.where(alpha == 0, jnp.ones_like(p), power(1 - p, alpha)) * p
        # p + y − 2py, term by term: the difference of the sums would cancel.
        return {"error": p * (1 - y) + (1 - p) * y, "size": p + y}


def self_adjusting_dice_sums(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    alpha: ArrayLike = 1.0,
) -> SelfAdjustingDiceSums:
    r"""Sums of the self-adjusting Dice loss, to merge, stream or accumulate.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        alpha: α ≥ 0, a known number.

    Returns:
        `SelfAdjustingDiceSums` of the shape of ``jnp.sum(probabilities, axis)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.self_adjusting_dice_sums(jnp.array([0.5, 1.0]), jnp.array([1, 1]))
        >>> print(sums.error, sums.size)
        1.75 2.25

    References:
        Li et al. (2020), https://arxiv.org/abs/1911.02855, equation 9.
    """
    request = binary_request(
        SelfAdjustingDiceSums, probabilities, targets, axis, where, alpha=alpha
    )
    return sums_of(SelfAdjustingDiceSums, request)


@sums_or_arrays(SelfAdjustingDiceSums, self_adjusting_dice_sums)
def self_adjusting_dice_loss(
    probabilities: ArrayLike | SelfAdjustingDiceSums,
    targets: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    alpha: ArrayLike = 1.0,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Self-adjusting Dice loss, of probabilities or of `self_adjusting_dice_sums`, per region.

    1 − (2Σ(1 − p)^α·p·y + s) / (Σ(1 − p)^α·p + Σy + s): Dice with p replaced by (1 − p)^α·p. Easy
    pixels weigh less. A foreground pixel is at its best at p = 1/(1 + α) and is pushed *down*
    beyond it, so the loss is not 0 at the truth.

    Args:
        probabilities: [...], floating in [0, 1]; or the sums, without ``targets`` and ``alpha``.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything, and ``()``, one number
            per pixel, is the paper's form (its s is 1).
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        alpha: α ≥ 0; 0 is `dice_loss`.
        smooth: s, in pixels, added above and below.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in [0, 1]; 0 at 0/0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([0.5, 1.0]), jnp.array([1, 1])
        >>> print(dj.self_adjusting_dice_loss(p, y, axis=(), smooth=0.0))
        [0.6 1. ]

    References:
        Li et al., Dice loss for data-imbalanced NLP tasks (2020),
        https://arxiv.org/abs/1911.02855, equation 9.
    """
    request = binary_request(
        SelfAdjustingDiceSums, probabilities, targets, axis, where, alpha=alpha
    )
    return loss_of(_error_share, request, smooth=smooth)
