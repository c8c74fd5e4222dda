"""Metrics of hard sums, beside the overlap indices: precision, recall, volume."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.losses.indices import takes_sums
from dice_jax.metrics.scores import Scores, of_regions
from dice_jax.sums.region import RegionSums

__all__ = [
    "absolute_volume_difference",
    "f_beta",
    "precision",
    "recall",
    "specificity",
    "volume_bias",
]


def _share(part: jax.Array, rest: jax.Array, otherwise: jax.Array) -> jax.Array:
    """The quotient part / (part + rest), ``otherwise`` at 0/0."""
    return ratio(part, part + rest, otherwise)


def _agrees(sums: RegionSums) -> jax.Array:
    """1 where there is no foreground and none was predicted, 0 elsewhere."""
    nothing = (sums.target == 0) & (sums.prediction == 0)
    return nothing.astype(sums.dtype)


@takes_sums
def precision(sums: RegionSums) -> Scores:
    """Precision of each region: the part of the predicted foreground that is right, TP/(TP + FP).

    Args:
        sums: of a hard mask (`region_sums` of booleans).

    Returns:
        The scores. Where no foreground was predicted: 1 if there is none, 0 otherwise.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, True, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 0, 0, 1]))
        >>> print(f"{float(dj.metrics.precision(sums)):.4f}")
        0.3333

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    false_positives = sums.prediction - sums.intersection
    return of_regions(_share(sums.intersection, false_positives, _agrees(sums)), sums)


@takes_sums
def recall(sums: RegionSums) -> Scores:
    """Recall (sensitivity) of each region: the part of the foreground that was found, TP/(TP + FN).

    Args:
        sums: of a hard mask (`region_sums` of booleans).

    Returns:
        The scores. Where there is no foreground: 1 if none was predicted, 0 otherwise.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, True, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 0, 0, 1]))
        >>> print(float(dj.metrics.recall(sums)))
        0.5

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    false_negatives = sums.target - sums.intersection
    return of_regions(_share(sums.intersection, false_negatives, _agrees(sums)), sums)


@takes_sums
def specificity(sums: RegionSums) -> Scores:
    """Specificity of each region: the part of the background that was left alone, TN/(TN + FP).

    Args:
        sums: of a hard mask (`region_sums` of booleans).

    Returns:
        The scores; 1 where there is no background. Here, a region is present if it has background.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, False, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 0, 0, 0]))
        >>> print(f"{float(dj.metrics.specificity(sums)):.4f}")
        0.6667

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    background = sums.count - sums.target
    false_positives = sums.prediction - sums.intersection
    true_negatives = background - false_positives
    one = jnp.ones_like(sums.count)
    return Scores(_share(true_negatives, false_positives, one), background > 0)


@takes_sums
def f_beta(sums: RegionSums, *, beta: ArrayLike) -> Scores:
    """F-beta of each region: (1 + β²)·TP / ((1 + β²)·TP + β²·FN + FP).

    Args:
        sums: of a hard mask (`region_sums` of booleans).
        beta: β > 0: how many times as much recall counts as precision. 1 is Dice.

    Returns:
        The scores; 1 where there is no foreground and none was predicted.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or ``beta`` is missing or not a number.
        ValueError: if ``beta`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, True, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 0, 0, 1]))
        >>> print(f"{float(dj.metrics.f_beta(sums, beta=2.0)):.4f}")
        0.4545

    References:
        van Rijsbergen, Information retrieval (1979), chapter 7.
    """
    checks.check_number("beta", beta, open_at_least=True)
    squared = jnp.square(jnp.asarray(beta, sums.dtype))
    false_positives = sums.prediction - sums.intersection
    false_negatives = sums.target - sums.intersection
    both = (1 + squared) * sums.intersection
    wrong = squared * false_negatives + false_positives
    return of_regions(_share(both, wrong, jnp.ones_like(both)), sums)


@takes_sums
def volume_bias(sums: RegionSums) -> Scores:
    """Relative volume bias of each region, (P − T)/T: positive where too much was predicted.

    Args:
        sums: of a hard mask, or of probabilities (the soft volume).

    Returns:
        The scores. Where there is no foreground: 0 if none was predicted, infinite otherwise.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, True, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 0, 0, 1]))
        >>> print(float(dj.metrics.volume_bias(sums)))
        0.5

    References:
        Bertels et al., The relationship between Dice loss and volume bias (2021),
        https://arxiv.org/abs/1911.02278.
    """
    zero = jnp.zeros_like(sums.count)
    beyond = jnp.where(sums.prediction > 0, jnp.full_like(zero, jnp.inf), zero)
    return of_regions(ratio(sums.prediction - sums.target, sums.target, beyond), sums)


@takes_sums
def absolute_volume_difference(sums: RegionSums, *, pixel_volume: ArrayLike = 1.0) -> Scores:
    r"""Absolute volume difference of each region, \|P − T\| in units of volume.

    Args:
        sums: of a hard mask, or of probabilities (the soft volume).
        pixel_volume: the volume (or area) of a pixel, one positive number: the product of its
            sizes.

    Returns:
        The scores; 0 where there is no foreground and none was predicted.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or ``pixel_volume`` is not a number.
        ValueError: if ``pixel_volume`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> predicted = jnp.array([True, True, True, False])
        >>> sums = dj.region_sums(predicted, jnp.array([1, 0, 0, 1]))
        >>> print(float(dj.metrics.absolute_volume_difference(sums, pixel_volume=0.5)))
        0.5

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    checks.check_number("pixel_volume", pixel_volume, open_at_least=True)
    volume = jnp.asarray(pixel_volume, sums.dtype)
    return of_regions(jnp.abs(sums.prediction - sums.target) * volume, sums)
