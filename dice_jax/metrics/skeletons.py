"""Metrics of tubes, from skeletons that the caller makes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.metrics.image_pairs import check_masks
from dice_jax.metrics.scores import Scores
from dice_jax.sums.operands import inside

__all__ = ["centreline_dice"]


def centreline_dice(
    prediction: ArrayLike,
    target: ArrayLike,
    prediction_skeleton: ArrayLike,
    target_skeleton: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Hard clDice: how much of each mask's skeleton lies inside the other mask.

    2·a·b/(a + b) with topology precision a, the part of the prediction's skeleton inside the
    target, and topology sensitivity b, the part of the target's skeleton inside the prediction.
    Any thinning can make the skeletons; papers report ``skimage.morphology.skeletonize(mask)``.
    `cldice_loss` is the loss for soft masks.

    Args:
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        prediction_skeleton: the same shape: the skeleton of ``prediction``.
        target_skeleton: the same shape: the skeleton of ``target``.
        axis: the axes that one region runs over; the others count images. ``None`` for all.
        where: boolean or floating, broadcastable to [...]; pixels of weight 0 are left out; a
            weight other than 0 is 1.

    Returns:
        The scores, in [0, 1]. 1 where neither skeleton has a pixel; 0 where one has none.

    Raises:
        TypeError: if a mask is floating.
        ValueError: if shapes, an axis or ``where`` do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> tube = jnp.zeros((3, 8), bool).at[1].set(True)
        >>> broken = tube.at[1, 3:5].set(False)
        >>> print(f"{float(metrics.centreline_dice(broken, tube, broken, tube)):.4f}")
        0.8571

    References:
        Shit et al., clDice (2021), https://arxiv.org/abs/2003.07311, section 2.
    """
    masks = {
        "prediction": prediction,
        "target": target,
        "prediction_skeleton": prediction_skeleton,
        "target_skeleton": target_skeleton,
    }
    arrays, kept, axes = check_masks(masks, axis, where)
    return _centreline_dice([array.astype(np.bool_) for array in arrays], kept, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _centreline_dice(
    masks: list[jax.Array], where: jax.Array | None, *, axes: tuple[int, ...]
) -> Scores:
    prediction, target, *skeletons = (inside(mask, where) for mask in masks)
    dtype = checks.accumulation_dtype(where)

    def share(skeleton: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The skeleton's pixels, and the part of them inside the mask (0 without any)."""
        pixels = jnp.sum(skeleton.astype(dtype), axes)
        found = jnp.sum((skeleton & mask).astype(dtype), axes)
        return pixels, ratio(found, pixels, jnp.zeros_like(found))

    one, precision = share(skeletons[0], target)
    other, sensitivity = share(skeletons[1], prediction)
    empty = ((one == 0) & (other == 0)).astype(dtype)
    value = ratio(2 * precision * sensitivity, precision + sensitivity, empty)
    return Scores(value, jnp.any(target, axes))
