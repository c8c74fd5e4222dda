"""How a gradient is shared between foreground and background: mass, share, per-pixel ratio."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._pass.api import sum_over_pixels

__all__ = ["GradientBalance", "gradient_balance"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientBalance:
    r"""How a gradient is shared between foreground and background; one entry per pooled region.

    Args:
        foreground_mass: M₊ = Σ y·\|g\|.
        background_mass: M₋ = Σ (1 − y)·\|g\|.
        foreground_share: M₊ / (M₊ + M₋); 0 where there is no gradient at all.
        ratio: (M₊/T) / (M₋/(N − T)), the mean \|g\| of a foreground pixel over a background
            one; 0 where there is no foreground, infinite where only the foreground has a gradient.
        foreground_count: T = Σ y. 0 says that there is no foreground.
        background_count: N − T = Σ (1 − y).

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> gradient, targets = jnp.array([-3.0, 1.0, 2.0]), jnp.array([1, 0, 0])
        >>> balance = dj.analysis.gradient_balance(gradient, targets)
        >>> print(balance.foreground_mass, balance.background_mass, balance.foreground_share)
        3.0 3.0 0.5
    """

    foreground_mass: jax.Array
    background_mass: jax.Array
    foreground_share: jax.Array
    ratio: jax.Array
    foreground_count: jax.Array
    background_count: jax.Array


def gradient_balance(
    gradient: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> GradientBalance:
    r"""Foreground and background gradient mass, their share and their per-pixel ratio.

    M₊ = Σ y·\|g\|, M₋ = Σ (1 − y)·\|g\|. The article compares single pixels (``ratio``); what a
    network feels is the mass: a thousand weak background pixels outweigh one strong one.

    Args:
        gradient: [...], floating, as `pixel_gradient` gives it, in probability or logit space.
        targets: the same shape: boolean, integer 0/1 or floating in [0, 1] (a soft pixel counts
            for both sides in proportion).
        axis: the axes that one balance runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        A `GradientBalance`, each field of the shape of ``jnp.sum(gradient, axis)``. Without any
        foreground, ``foreground_count``, mass, share and ratio are 0.

    Raises:
        TypeError: if ``gradient`` is not floating or ``targets`` is no array of numbers.
        ValueError: if the shapes differ, an axis does not exist, or ``where`` does not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([1.0, 0.75, 0.25]), jnp.array([1, 0, 0])
        >>> gradient = dj.analysis.pixel_gradient(dj.dice_loss, p, y)
        >>> balance = dj.analysis.gradient_balance(gradient, y)
        >>> print(f"share {balance.foreground_share:.3f}, ratio {balance.ratio:.3f}")
        share 0.455, ratio 1.667

    References:
        Kervadec & de Bruijne, On the dice loss gradient and the ways to mimic it (2023),
        https://arxiv.org/abs/2304.04319.
    """
    gradient = checks.as_array("gradient", gradient)
    targets = checks.as_array("targets", targets)
    if not checks.is_float(gradient):
        raise TypeError(f"gradient must be floating, got {checks.describe(gradient)}")
    if targets.shape != gradient.shape:
        raise ValueError(
            f"targets must have the shape of gradient {gradient.shape}, "
            f"got {checks.describe(targets)}"
        )
    axes = checks.normalize_axis("axis", axis, gradient.ndim, what="gradient")
    return _gradient_balance(
        gradient, targets, checks.check_where(where, gradient.shape), axes=axes
    )


@partial(jax.jit, static_argnames=("axes",))
def _gradient_balance(
    gradient: jax.Array, targets: jax.Array, where: jax.Array | None, *, axes: tuple[int, ...]
) -> GradientBalance:
    dtype = checks.accumulation_dtype(gradient, targets)

    def terms(
        g: jax.Array, y: jax.Array, w: jax.Array | None = None, *, axis: int
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        size, y = jnp.abs(g.astype(dtype)), y.astype(dtype)
        fields = (y * size, (1 - y) * size, y, 1 - y)
        if w is None:
            return fields
        # Selected, not multiplied: 0 · NaN is NaN.
        inside, weight = w.astype(jnp.bool_), w.astype(dtype)
        cut = [jnp.where(inside, weight * f, jnp.zeros_like(f)) for f in fields]
        return cut[0], cut[1], cut[2], cut[3]

    operands = (gradient, targets) if where is None else (gradient, targets, where)
    foreground, background, positives, negatives = sum_over_pixels(
        terms, operands, axes, gradient.ndim
    )
    zero, one = jnp.zeros_like(foreground), jnp.ones_like(foreground)
    total = foreground + background
    share = jnp.where(total == 0, zero, foreground / jnp.where(total == 0, one, total))
    # Means first: (M₊/T)/(M₋/(N−T)) may hold where the product M₊·(N−T) overflows.
    mean_foreground = foreground / jnp.where(positives == 0, one, positives)
    mean_background = background / jnp.where(negatives == 0, one, negatives)
    still = mean_background == 0
    quotient = mean_foreground / jnp.where(still, one, mean_background)
    infinite = jnp.where(mean_foreground > 0, jnp.full_like(zero, jnp.inf), zero)
    return GradientBalance(
        foreground_mass=foreground,
        background_mass=background,
        foreground_share=share,
        ratio=jnp.where(still, infinite, quotient),
        foreground_count=positives,
        background_count=negatives,
    )
