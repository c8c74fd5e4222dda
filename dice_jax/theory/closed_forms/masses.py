"""Closed forms of gradient mass: Σ|g| over the foreground and over the background."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from dice_jax.losses.indices import takes_sums
from dice_jax.sums.region import RegionSums
from dice_jax.theory.arrays import unit
from dice_jax.theory.closed_forms.gradients import dice_gradient_values

__all__ = [
    "cross_entropy_mass_ratio",
    "dice_foreground_mass",
    "dice_mass_ratio",
    "squared_dice_mass_ratio",
    "two_class_dice_mass_ratio",
]


def _odds(fraction: ArrayLike) -> jax.Array:
    fraction = unit("fraction", fraction)
    return fraction / (1 - fraction)


def dice_mass_ratio(
    fraction: ArrayLike, foreground_mean: ArrayLike, background_mean: ArrayLike
) -> jax.Array:
    r"""Foreground over background gradient mass of Dice in probability space (C5).

    M₊/M₋ = (ω + p̄₋)/p̄₊ with ω = π/(1 − π); 1 + ω/q at a constant prediction q.

    Args:
        fraction: π, the foreground fraction, in [0, 1].
        foreground_mean: p̄₊ in (0, 1], the mean prediction over the foreground.
        background_mean: p̄₋ in [0, 1], the mean prediction over the background.

    Returns:
        The ratio, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.dice_mass_ratio(0.5, 0.5, 0.5))
        3.0

    References:
        C5 of the theory page; Kervadec & de Bruijne (2023).
    """
    foreground_mean = unit("foreground_mean", foreground_mean)
    return (_odds(fraction) + unit("background_mean", background_mean)) / foreground_mean


def squared_dice_mass_ratio(fraction: ArrayLike, prediction: ArrayLike) -> jax.Array:
    r"""Foreground over background gradient mass of squared Dice at a constant prediction (C5).

    M₊/M₋ = (q² + π − 2πq²)/(2q²(1 − π)), which tends to ½ (a share of ⅓) as π → 0.

    Args:
        fraction: π, the foreground fraction, in [0, 1].
        prediction: q in (0, 1].

    Returns:
        The ratio, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.squared_dice_mass_ratio(0.0, 0.5))
        0.5

    References:
        C5 of the theory page.
    """
    f, q = unit("fraction", fraction), unit("prediction", prediction)
    return (q * q + f - 2 * f * q * q) / (2 * q * q * (1 - f))


def cross_entropy_mass_ratio(fraction: ArrayLike, prediction: ArrayLike) -> jax.Array:
    r"""Foreground over background gradient mass of mean BCE in logit space (C5).

    M₊/M₋ = ω(1 − q)/q at a constant prediction q; 1 at q = π.

    Args:
        fraction: π, the foreground fraction, in [0, 1].
        prediction: q in (0, 1].

    Returns:
        The ratio, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.cross_entropy_mass_ratio(0.25, 0.25))
        1.0

    References:
        C5 of the theory page.
    """
    q = unit("prediction", prediction)
    return _odds(fraction) * (1 - q) / q


@takes_sums
def dice_foreground_mass(sums: RegionSums) -> jax.Array:
    r"""Foreground gradient mass of Dice in probability space (C21).

    M₊ = 2TU/S². For every object size it is ½ at D = 1 and tends to 2 as the prediction goes to 0.

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


def two_class_dice_mass_ratio(fraction: ArrayLike, prediction: ArrayLike) -> jax.Array:
    r"""Foreground over background gradient mass of the mean Dice of both classes (C24).

    At a constant prediction q, with S = π + q, I = πq for the foreground and S' = 2 − π − q,
    I' = (1 − π)(1 − q) for the background:
    M₊/M₋ = π[(S − I)/S² + I'/S'²] / ((1 − π)[I/S² + (S' − I')/S'²]), which is O(π) as π → 0.

    Args:
        fraction: π, the foreground fraction, in [0, 1].
        prediction: q in (0, 1).

    Returns:
        The ratio, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> ratio = dj.analysis.two_class_dice_mass_ratio(0.001, 0.5)
        >>> print(f"share {ratio / (1 + ratio):.4f}")
        share 0.0049

    References:
        C24 of the theory page.
    """
    f, q = unit("fraction", fraction), unit("prediction", prediction)
    i, s = f * q, f + q
    i_b, s_b = (1 - f) * (1 - q), 2 - f - q
    up = f * ((s - i) / s**2 + i_b / s_b**2)
    return up / ((1 - f) * (i / s**2 + (s_b - i_b) / s_b**2))
