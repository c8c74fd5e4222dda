"""The gradient of a loss at every pixel: by autodiff for any loss, in closed form for Dice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.losses.indices import check_smooth, dice_index
from dice_jax.sums.region import RegionSums, region_sums

__all__ = ["dice_pixel_gradient", "pixel_gradient"]


def pixel_gradient(
    loss: Callable[[Any], jax.Array],
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    sums: Callable[[jax.Array, jax.Array], Any] = region_sums,
) -> jax.Array:
    r"""Gradient of a loss at every pixel: the article's ∂L/∂ŷᵢ.

    ∂/∂xᵢ Σ loss(sums(x, y)), summed over the regions if there are several.

    Args:
        loss: takes what ``sums`` gives and returns one number per region, e.g. `dice_loss`.
        predictions: [...], floating: probabilities or logits, whichever ``sums`` takes.
        targets: [...], what ``sums`` takes beside them.
        sums: `region_sums` for the gradient in probability space; `sigmoid_region_sums` or
            `softmax_region_sums`, with logits, for the gradient in logit space; a
            ``functools.partial`` of these for ``axis`` and ``where``. JAX compiles once per
            function object: make a lambda or a partial once, not in every call.

    Returns:
        The gradient, of the shape and type of ``predictions``.

    Raises:
        TypeError: if ``predictions`` is not floating, or ``loss`` or ``sums`` is no function.
        ValueError: whatever ``sums`` and ``loss`` raise on arguments that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([1.0, 0.75, 0.25]), jnp.array([1, 0, 0])
        >>> print(dj.analysis.pixel_gradient(dj.dice_loss, p, y))    # two values
        [-0.3125  0.1875  0.1875]

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    _check_function("loss", loss)
    _check_function("sums", sums)
    predictions = checks.as_array("predictions", predictions)
    if not checks.is_float(predictions):
        raise TypeError(
            "predictions must be floating (a gradient is taken with respect to them), got "
            f"{checks.describe(predictions)}"
        )
    return _pixel_gradient(predictions, checks.as_array("targets", targets), loss=loss, sums=sums)


def _check_function(name: str, function: Any) -> None:
    if not callable(function):
        raise TypeError(f"{name} must be a function, got {checks.describe(function)}")


@partial(jax.jit, static_argnames=("loss", "sums"))
def _pixel_gradient(
    predictions: jax.Array, targets: jax.Array, *, loss: Any, sums: Any
) -> jax.Array:
    return jax.grad(lambda x: loss(sums(x, targets)).sum())(predictions)


def dice_pixel_gradient(
    sums: RegionSums,
    targets: ArrayLike,
    *,
    smooth: ArrayLike = 1.0,
    smooth_denominator: ArrayLike | None = None,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Gradient of the Dice loss at every pixel in closed form, without automatic differentiation.

    ∂L/∂pᵢ = −(2yᵢ − D) / (S + s'), with D = (2I + s) / (S + s') and S = P + T. Without smoothing it
    is −2(S − I)/S² on the foreground and +2I/S² on the background: two values for the whole image.

    Args:
        sums: of the region's probabilities and targets.
        targets: [...], boolean, integer 0/1 or floating in [0, 1].
        smooth: s, in pixels, as in `dice_loss`.
        smooth_denominator: s', in pixels, if it differs from s.
        axis: the axes of the targets that the sums were pooled over; ``None``: all.
        where: [...], the mask or weight that the sums were made with; it multiplies the gradient.

    Returns:
        The gradient with respect to the probabilities, of the targets' shape, in the sums' type.
        0 at 0/0 and where no pixel was counted.

    Raises:
        TypeError: if ``sums`` is not `RegionSums`, or another argument has an impossible type.
        ValueError: if the shape of ``sums`` is not what pooling the targets over ``axis`` gives,
            ``where`` does not broadcast, or an option is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([1.0, 0.75, 0.25]), jnp.array([1, 0, 0])
        >>> print(dj.analysis.dice_pixel_gradient(dj.region_sums(p, y), y))
        [-0.3125  0.1875  0.1875]

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3 (there with
        squares in the denominator).
    """
    if not isinstance(sums, RegionSums):
        raise TypeError(
            "sums must be RegionSums; write dice_pixel_gradient(region_sums(probabilities, "
            f"targets), targets), got {checks.describe(sums)}"
        )
    check_smooth(smooth, smooth_denominator)
    targets = checks.as_array("targets", targets)
    axes = checks.normalize_axis("axis", axis, targets.ndim, what="targets")
    pooled = tuple(n for a, n in enumerate(targets.shape) if a not in axes)
    if sums.shape != pooled:
        raise ValueError(
            f"sums must have the shape {pooled} of targets {targets.shape} pooled over axis "
            f"{axis}, got sums of shape {sums.shape}; pass the axis= that the sums were made with"
        )
    where = checks.check_where(where, targets.shape)
    return _dice_pixel_gradient(sums, targets, where, smooth, smooth_denominator, axes=axes)


@partial(jax.jit, static_argnames=("axes",))
def _dice_pixel_gradient(
    sums: RegionSums,
    targets: jax.Array,
    where: jax.Array | None,
    smooth: ArrayLike,
    smooth_denominator: ArrayLike | None,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    below = smooth if smooth_denominator is None else smooth_denominator
    dtype = sums.dtype
    size = sums.prediction + sums.target + jnp.asarray(below, dtype)
    index = dice_index(sums, smooth=smooth, smooth_denominator=smooth_denominator)
    index, size, count = (jnp.expand_dims(x, axes) for x in (index, size, sums.count))
    numerator = index - 2 * targets.astype(dtype)
    gradient = ratio(numerator, jnp.broadcast_to(size, numerator.shape), jnp.zeros_like(numerator))
    # A region without pixels has the constant loss 0, with any smoothing.
    gradient = jnp.where(count == 0, jnp.zeros_like(gradient), gradient)
    if where is None:
        return gradient
    inside = jnp.where(where.astype(jnp.bool_), gradient, jnp.zeros_like(gradient))
    return inside if where.dtype == jnp.bool_ else inside * where.astype(dtype)
