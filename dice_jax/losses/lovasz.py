"""Lovász extensions of the Jaccard loss: a weight per pixel that comes from ranking the errors."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions, rank, up_to
from dice_jax._core.safe_math import ratio
from dice_jax.sums.operands import (
    binary_operands,
    class_indicators,
    class_operands,
    hard_targets,
    inside,
    soft_probabilities,
)

__all__ = ["lovasz_hinge_loss", "lovasz_softmax_loss"]


def lovasz_hinge_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Lovász hinge, of logits, per region: a convex surrogate of the Jaccard loss.

    Σ_i max(0, m_i)·g_i with hinge errors m = 1 − (2y − 1)·z and g the Jaccard loss's increments as
    the pixels join the set of mistakes, the largest error first. Pixels that tie share their g, so
    that the gradient does not depend on the order of the pixels.

    Args:
        logits: [...], floating.
        targets: the same shape: boolean, or integer or floating 0/1 (hard).
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.

    Returns:
        An array of the shape of ``jnp.sum(logits, axis)``, at least 0; 0 where every pixel is on
        its side by a margin of 1. A region without foreground has the largest background error. A
        target other than 0 and 1 outside the mask makes its region NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> logits, y = jnp.array([2.0, -0.5, 0.0, -3.0]), jnp.array([1, 1, 0, 0])
        >>> print(f"{dj.lovasz_hinge_loss(logits, y):.4f}")
        0.9167

    References:
        Berman et al., The Lovász-softmax loss (2018), https://arxiv.org/abs/1705.08790, section 3;
        Yu & Blaschko, The Lovász hinge (2015), https://arxiv.org/abs/1512.07797.
    """
    z, y, where, axes = binary_operands("logits", logits, targets, axis, where)
    return _lovasz_hinge_loss(z, y, where, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _lovasz_hinge_loss(
    logits: jax.Array, targets: jax.Array, where: jax.Array | None, *, axes: tuple[int, ...]
) -> jax.Array:
    dtype = checks.accumulation_dtype(logits, targets, where)
    y = hard_targets(inside(targets, where), dtype)
    errors = 1 - (2 * y - 1) * inside(logits, where).astype(dtype)
    errors = jnp.maximum(errors, jnp.zeros_like(errors))
    return over_regions(_extension, (errors, y == 1, where), axes)


def lovasz_softmax_loss(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Lovász-softmax, of probabilities of classes, per region and class.

    For each class Σ_i e_i·g_i with errors e = \|1[y = c] − p_c\| and g the Jaccard loss's
    increments as the pixels join the set of mistakes, the largest error first; pixels that tie
    share their g. At hard probabilities it is the Jaccard loss itself.

    Args:
        probabilities: [..., C], floating in [0, 1], classes last.
        labels: integer [...] in 0 … C−1.
        axis: the axes of the pixel shape [...] that one region runs over (negative ones too);
            ``None`` pools them all. The class axis is kept.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds: ``where=labels != 255``.

    Returns:
        An array [..., C], in [0, 1]. A class that is not there has its largest probability; the
        paper leaves such classes out of the mean: ``safe_mean(loss, where=sums.target > 0)`` with
        the region's sums. A label out of range outside the mask makes its region NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p = jnp.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
        >>> print(dj.lovasz_softmax_loss(p, jnp.array([0, 0, 1])))
        [0.375      0.29166666]

    References:
        Berman et al., The Lovász-softmax loss (2018), https://arxiv.org/abs/1705.08790, equation 9
        and algorithm 1.
    """
    p, y, where, axes = class_operands(
        "probabilities", probabilities, labels, axis, where, unit=("probabilities",)
    )
    return _lovasz_softmax_loss(p, y, where, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _lovasz_softmax_loss(
    probabilities: jax.Array, labels: jax.Array, where: jax.Array | None, *, axes: tuple[int, ...]
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, where)
    p = soft_probabilities(inside(probabilities, where), dtype)
    y = class_indicators(inside(labels, where), p.shape[-1], dtype)
    # Not |y − p|: its derivative at p = y would be 0.
    errors = y * (1 - p) + (1 - y) * p
    weight = where if where is None else where[..., None]
    return over_regions(_extension, (errors, y == 1, weight), axes)


def _extension(errors: jax.Array, foreground: jax.Array, weights: jax.Array | None) -> jax.Array:
    """The Lovász extension of the Jaccard loss at the errors ≥ 0 of one region, [N]."""
    # Linear where the order of the errors does not change: the increments are constants there.
    increments = jax.lax.stop_gradient(_jaccard_increments(errors, foreground, weights))
    return jnp.sum(errors * increments)


def _jaccard_increments(
    errors: jax.Array, foreground: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """What each pixel adds to the Jaccard loss when it joins the mistakes in its turn."""
    ranks = rank(errors, foreground, weights)
    ranked_hit = jnp.where(ranks.ranked_tag, ranks.ranked_weight, jnp.zeros_like(errors))
    hit, false = up_to(ranked_hit), up_to(ranks.ranked_weight - ranked_hit)
    total = hit[-1]
    union_before, union_after = total + false[ranks.begin], total + false[ranks.end]
    # The increments of 1 − (T − hit)/(T + false), in closed form: their difference would cancel.
    left = ratio(total - hit[ranks.begin], union_before, jnp.ones_like(errors))
    share = ratio(ranks.weight, union_after, jnp.zeros_like(errors))
    return jnp.where(foreground, share, share * left)
