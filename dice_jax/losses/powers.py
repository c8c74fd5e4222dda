"""Dice-like losses of sums that `RegionSums` does not hold: powers of errors and probabilities."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import power, ratio
from dice_jax.sums.operands import binary_operands, soft_targets, weighted_sums

__all__ = [
    "dice_plus_plus_loss",
    "noise_robust_dice_loss",
    "self_adjusting_dice_loss",
    "sensitivity_specificity_loss",
]


def noise_robust_dice_loss(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    gamma: ArrayLike = 1.5,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Noise-robust Dice loss: between squared Dice (γ = 2) and a mean absolute error (γ = 1).

    Σ\|p − y\|^γ / (Σp² + Σy² + s). With γ = 2 it is `squared_dice_loss`; the smaller γ, the less a
    wrongly labelled pixel weighs.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.
        gamma: γ > 0, 1 to 2 in the paper, which recommends 1.5.
        smooth: s, in pixels; the paper's ε is 1e-5.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``; 0 at 0/0.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or an option is out of its range.

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
    checks.check_number("gamma", gamma, open_at_least=True)
    checks.check_number("smooth", smooth)
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _noise_robust_dice_loss(p, y, where, gamma, smooth, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _noise_robust_dice_loss(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    gamma: ArrayLike,
    smooth: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    gamma = jnp.asarray(gamma, dtype)

    def terms(p: jax.Array, y: jax.Array, gamma: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        p, y = p.astype(dtype), soft_targets(y, dtype)
        return {"error": power(jnp.abs(p - y), gamma), "size": p * p + y * y}

    arrays, ndim = (probabilities, targets), probabilities.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=(gamma,))
    return _smoothed(sums["error"], sums["size"], smooth)


def dice_plus_plus_loss(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    gamma: ArrayLike = 2.0,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Dice++ loss: Dice that forgives uncertain errors, for calibrated probabilities.

    1 − (2I + s) / (2I + Σ(p(1 − y))^γ + Σ((1 − p)y)^γ + s). With γ = 1 it is `dice_loss` and, for
    hard targets, with γ = 2 `squared_dice_loss`.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.
        gamma: γ > 0.
        smooth: s, in pixels, added above and below.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in [0, 1]; 0 at 0/0.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or an option is out of its range.

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
    checks.check_number("gamma", gamma, open_at_least=True)
    checks.check_number("smooth", smooth)
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _dice_plus_plus_loss(p, y, where, gamma, smooth, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _dice_plus_plus_loss(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    gamma: ArrayLike,
    smooth: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    gamma = jnp.asarray(gamma, dtype)

    def terms(p: jax.Array, y: jax.Array, gamma: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        p, y = p.astype(dtype), soft_targets(y, dtype)
        error = power(p * (1 - y), gamma) + power((1 - p) * y, gamma)
        return {"error": error, "size": 2 * p * y + error}

    arrays, ndim = (probabilities, targets), probabilities.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=(gamma,))
    # 1 − (2I + s)/(2I + E + s) is E/(2I + E + s), without the cancellation.
    return _smoothed(sums["error"], sums["size"], smooth)


def sensitivity_specificity_loss(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    sensitivity: ArrayLike = 0.05,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Sensitivity-specificity loss: the squared error of either class, weighed apart.

    r·Σy(y − p)² / (Σy + s) + (1 − r)·Σ(1 − y)(y − p)² / (Σ(1 − y) + s).

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.
        sensitivity: r in [0, 1], the weight of the foreground's error; the paper's is 0.05.
        smooth: s, in pixels, added to both denominators.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in [0, 1]; a class that is not
        there adds 0.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or an option is out of its range.

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
    checks.check_number("smooth", smooth)
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _sensitivity_specificity_loss(p, y, where, sensitivity, smooth, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _sensitivity_specificity_loss(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    sensitivity: ArrayLike,
    smooth: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    share = jnp.asarray(sensitivity, dtype)

    def terms(p: jax.Array, y: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        p, y = p.astype(dtype), soft_targets(y, dtype)
        error = jnp.square(p - y)
        return {"missed": y * error, "claimed": (1 - y) * error, "target": y, "rest": 1 - y}

    ndim = probabilities.ndim
    sums = weighted_sums(terms, (probabilities, targets), where, axes, ndim=ndim, dtype=dtype)
    missed = _smoothed(sums["missed"], sums["target"], smooth)
    claimed = _smoothed(sums["claimed"], sums["rest"], smooth)
    return share * missed + (1 - share) * claimed


def self_adjusting_dice_loss(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    alpha: ArrayLike = 1.0,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Self-adjusting Dice loss: Dice with p replaced by (1 − p)^α·p.

    1 − (2Σ(1 − p)^α·p·y + s) / (Σ(1 − p)^α·p + Σy + s). Easy pixels weigh less, and more than meets
    the eye: a foreground pixel is at its best at p = 1/(1 + α) and is pushed *down* beyond it, so
    the loss is not 0 at the truth.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything, and ``()``, one number
            per pixel, is the paper's form (its s is 1).
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.
        alpha: α ≥ 0; 0 is `dice_loss`.
        smooth: s, in pixels, added above and below.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in [0, 1]; 0 at 0/0.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or an option is out of its range.

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
    checks.check_number("alpha", alpha)
    checks.check_number("smooth", smooth)
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _self_adjusting_dice_loss(p, y, where, alpha, smooth, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _self_adjusting_dice_loss(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    alpha: ArrayLike,
    smooth: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    alpha = jnp.asarray(alpha, dtype)

    def terms(p: jax.Array, y: jax.Array, alpha: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        p, y = p.astype(dtype), soft_targets(y, dtype)
        # `power` is 0 at base 0; for α = 0 the factor is 1 there too.
        p = jnp.where(alpha == 0, jnp.ones_like(p), power(1 - p, alpha)) * p
        # p + y − 2py, term by term: the difference of the sums would cancel.
        return {"error": p * (1 - y) + (1 - p) * y, "size": p + y}

    arrays, ndim = (probabilities, targets), probabilities.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=(alpha,))
    return _smoothed(sums["error"], sums["size"], smooth)


def _smoothed(error: jax.Array, size: jax.Array, smooth: ArrayLike) -> jax.Array:
    """The quotient error / (size + s), 0 at 0/0 (and where no pixel was counted: no error)."""
    return ratio(error, size + jnp.asarray(smooth, size.dtype), jnp.zeros_like(size))
