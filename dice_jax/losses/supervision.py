"""Deep supervision: one loss over a pyramid of outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike

from dice_jax._core import checks

__all__ = ["deep_supervision"]


def deep_supervision(
    loss_fn: Callable[..., jax.Array], weights: Sequence[ArrayLike]
) -> Callable[..., jax.Array]:
    r"""Make a loss of pyramids out of a loss of one output: Σ_k w_k·loss_fn(level k).

    Args:
        loss_fn: takes one level's arrays, ``loss_fn(outputs[k], targets[k], …)``; gives an array of
            one shape at every level (a scalar, most often).
        weights: w, one number at least 0 per level. A level of weight 0 is not computed. They are
            used as they are: nnU-Net's are 1, ½, ¼ … over their sum, the last one 0.

    Returns:
        A function of one or more pyramids (sequences of arrays, one per level, of any sizes) that
        gives the weighted sum. It raises a ValueError if a pyramid has another number of levels.

    Raises:
        TypeError: if a weight is not a number.
        ValueError: if there are no weights, all are 0, or one is negative or not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> def loss(logits, targets):
        ...     return dj.dice_loss(dj.sigmoid_region_sums(logits, targets), smooth=0.0)
        >>> supervised = dj.deep_supervision(loss, weights=[0.75, 0.25])
        >>> outputs = [jnp.zeros((4, 4)), jnp.zeros((2, 2))]
        >>> targets = [jnp.ones((4, 4)), jnp.ones((2, 2))]
        >>> print(f"{supervised(outputs, targets):.4f}")
        0.3333

    References:
        Lee et al., Deeply-supervised nets (2015), https://arxiv.org/abs/1409.5185.
    """
    weights = list(weights)
    if not weights:
        raise ValueError("weights must have one entry per level, got none")
    for weight in weights:
        checks.check_number("weights", weight)
    if all(map(_is_zero, weights)):
        raise ValueError(f"weights must have one above 0, got {weights}: nothing would be learnt")

    def supervised(*pyramids: Sequence[Any]) -> jax.Array:
        for number, pyramid in enumerate(pyramids):
            if len(pyramid) != len(weights):
                raise ValueError(
                    f"pyramid {number} must have one level per weight, {len(weights)}, "
                    f"got {len(pyramid)} levels"
                )
        levels = zip(weights, zip(*pyramids, strict=True), strict=True)
        # A weight that is known to be 0 skips its level: 0 · NaN is NaN.
        losses = [(w, loss_fn(*arrays)) for w, arrays in levels if not _is_zero(w)]
        total: Any = 0.0
        for weight, loss in losses:
            total = total + jnp.asarray(weight, loss.dtype) * loss
        return jnp.asarray(total)

    return supervised


def _is_zero(weight: ArrayLike) -> bool:
    return not isinstance(weight, Tracer) and bool(weight == 0)
