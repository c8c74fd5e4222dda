"""Metrics of ranked scores: what every threshold makes of them."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions, rank, up_to
from dice_jax._core.safe_math import ratio
from dice_jax.metrics.scores import Scores
from dice_jax.sums.expected_dice import best_mask, check_nodes
from dice_jax.sums.operands import binary_operands, floating, hard_targets, inside

__all__ = ["average_precision", "best_threshold", "dice_optimal_mask", "roc_auc"]


def average_precision(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Average precision: the area under the steps of the precision-recall curve.

    Σ_n (R_n − R_{n−1})·P_n over the thresholds, as scikit-learn's.

    Args:
        probabilities: [...], floating: probabilities, or any score that is larger where foreground
            is likelier, such as logits.
        targets: the same shape: boolean, or integer or floating 0/1 (hard).
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The scores; 0 where nothing is there. NaN where a probability inside the mask is NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> p, y = jnp.array([0.9, 0.6, 0.3, 0.1]), jnp.array([1, 0, 1, 0])
        >>> print(f"{float(metrics.average_precision(p, y)):.4f}")    # (1 + 2/3) / 2
        0.8333

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _average_precision(p, y, where, axes=axes)


def roc_auc(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Area under the ROC curve: how often a foreground pixel scores above a background one.

    Over all pairs of a foreground and a background pixel, the share in which the foreground pixel
    has the larger probability; a tie counts one half. It is that of scikit-learn.

    Args:
        probabilities: [...], floating: probabilities, or any score that is larger where foreground
            is likelier, such as logits.
        targets: the same shape: boolean, or integer or floating 0/1 (hard).
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The scores. Where foreground or background is missing, ½, and the region is absent. NaN
        where a probability inside the mask is NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> p, y = jnp.array([0.9, 0.6, 0.3, 0.1]), jnp.array([1, 0, 1, 0])
        >>> print(float(metrics.roc_auc(p, y)))    # 3 of 4 pairs
        0.75

    References:
        Maier-Hein et al., Metrics Reloaded (2024), https://arxiv.org/abs/2206.01653.
    """
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _roc_auc(p, y, where, axes=axes)


def best_threshold(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Threshold at which the pooled Dice of the thresholded probabilities is largest.

    Every probability that occurs is tried. Tune it on validation data, never on test data.

    Args:
        probabilities: [...], floating: probabilities, or any score that is larger where foreground
            is likelier, such as logits.
        targets: the same shape: boolean, or integer or floating 0/1 (hard).
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The threshold t, of the shape of ``jnp.sum(probabilities, axis)``: predict
        ``probabilities >= t``. Infinite where nothing is there: predict no foreground. NaN where a
        probability inside the mask is NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> print(metrics.best_threshold(jnp.array([0.5, 0.25, 0.125]), jnp.array([1, 1, 0])))
        0.25

    References:
        Lipton et al., Optimal thresholding of classifiers to maximize F1 measure (2014),
        https://arxiv.org/abs/1402.1892.
    """
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _best_threshold(p, y, where, axes=axes)


def dice_optimal_mask(
    probabilities: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    nodes: int = 64,
) -> jax.Array:
    """Mask with the largest expected Dice of each image, for calibrated probabilities (RankDice).

    The k most probable pixels of an image, for the k with the largest expected Dice if labels are
    independent and 1 with these probabilities. Each image has its own k, and so its own threshold;
    `best_threshold` is one for all. The expected Dice of every k is computed as in
    `dice_jax.analysis.per_image_dice_oracle`, which also says what it is.

    Args:
        probabilities: [...], floating in [0, 1], of the foreground.
        axis: the axes that one image runs over; ``None``: there is one image.
        where: boolean or floating, broadcastable to [...]; pixels of weight 0 are left out, and are
            0 in the result; a weight other than 0 is 1.
        nodes: the number of quadrature nodes, at least 4; see `per_image_dice_oracle`.

    Returns:
        0 and 1 in the type of ``probabilities``, [...]. NaN throughout an image that has a NaN.

    Raises:
        TypeError: if ``probabilities`` is not floating, or ``nodes`` no integer.
        ValueError: if an axis or ``where`` does not fit, ``nodes`` is below 4, or a value on the
            host is not in [0, 1] (a traced one gives NaN).

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> sure, vague = jnp.array([0.99, 0.98, 0.4, 0.3]), jnp.array([0.3, 0.3, 0.3, 0.2])
        >>> print(metrics.dice_optimal_mask(jnp.stack([sure, vague]), axis=1))
        [[1. 1. 0. 0.]
         [1. 1. 1. 1.]]

    References:
        Dai & Li, RankDice (2023), https://arxiv.org/abs/2206.13086; C30 of the theory page.
    """
    p = floating("probabilities", probabilities)
    axes = checks.normalize_axis("axis", axis, p.ndim, what="probabilities")
    kept = checks.check_where(where, p.shape)
    checks.check_unit("probabilities", probabilities, where=where, hint="jax.nn.sigmoid(logits)")
    return _dice_optimal_mask(p, kept, axes=axes, nodes=check_nodes(nodes))


def _curve(
    p: jax.Array, y: jax.Array, weights: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """For the threshold at every pixel's p: hits and claims there; the pixels' weights; total."""
    ranks = rank(p, y == 1, weights)
    hit = up_to(jnp.where(ranks.ranked_tag, ranks.ranked_weight, jnp.zeros_like(p)))
    claimed = up_to(ranks.ranked_weight)
    total = hit[-1] + _nan_if_any(p, y, ranks.weight)
    return hit[ranks.end_of_value], claimed[ranks.end_of_value], ranks.weight, total


def _nan_if_any(p: jax.Array, y: jax.Array, weight: jax.Array) -> jax.Array:
    """NaN if a score is NaN, a target neither 0 nor 1 or a weight none (NaN by now), else 0."""
    unknown = jnp.any(jnp.isnan(p) | jnp.isnan(y) | jnp.isnan(weight))
    return jnp.where(unknown, jnp.full((), jnp.nan, p.dtype), jnp.zeros((), p.dtype))


@partial(jax.jit, static_argnames="axes")
def _average_precision(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> Scores:
    def area(p: jax.Array, y: jax.Array, weights: jax.Array | None) -> jax.Array:
        hits, claimed, weight, total = _curve(p, y, weights)
        zero = jnp.zeros_like(hits)
        steps = jnp.where(y == 1, weight * ratio(hits, claimed, zero), zero)
        return ratio(jnp.sum(steps), total, jnp.zeros_like(total))

    p, y = _ranked_operands(probabilities, targets, where)
    present = jnp.any((y == 1) if where is None else (y == 1) & where.astype(jnp.bool_), axes)
    return Scores(over_regions(area, (p, y, where), axes), present)


@partial(jax.jit, static_argnames="axes")
def _roc_auc(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> Scores:
    def area(p: jax.Array, y: jax.Array, weights: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        ranks = rank(p, y == 1, weights)
        hits = jnp.where(ranks.ranked_tag, ranks.ranked_weight, jnp.zeros_like(p))
        misses = up_to(ranks.ranked_weight - hits)
        foreground, background = jnp.sum(hits), misses[-1]
        # Foreground comes first among equals, so that its group begins where its value does.
        below = background - (misses[ranks.begin] + misses[ranks.end_of_value]) / 2
        above = jnp.sum(jnp.where(y == 1, ranks.weight * below, jnp.zeros_like(p)))
        half = jnp.full((), 0.5, p.dtype)
        value = ratio(ratio(above, background, half * foreground), foreground, half)
        return value + _nan_if_any(p, y, ranks.weight), (foreground > 0) & (background > 0)

    p, y = _ranked_operands(probabilities, targets, where)
    return Scores(*over_regions(area, (p, y, where), axes))


@partial(jax.jit, static_argnames="axes")
def _best_threshold(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    def best(p: jax.Array, y: jax.Array, weights: jax.Array | None) -> jax.Array:
        if p.size == 0:
            return jnp.full((), jnp.inf, p.dtype)
        hits, claimed, weight, total = _curve(p, y, weights)
        dice = ratio(2 * hits, claimed + total, jnp.zeros_like(hits))
        dice = jnp.where(weight > 0, dice, -jnp.ones_like(dice))
        # The fewest claims among the best, and all pixels of that value.
        chosen = dice == jnp.max(dice)
        fewest = jnp.min(jnp.where(chosen, claimed, jnp.full_like(claimed, jnp.inf)))
        chosen = chosen & (claimed == fewest)
        threshold = jnp.min(jnp.where(chosen, p, jnp.full_like(p, jnp.inf)))
        return jnp.where(total == 0, jnp.full_like(threshold, jnp.inf), threshold + 0 * total)

    p, y = _ranked_operands(probabilities, targets, where)
    return over_regions(best, (p, y, where), axes)


@partial(jax.jit, static_argnames=("axes", "nodes"))
def _dice_optimal_mask(
    probabilities: jax.Array, where: jax.Array | None, *, axes: tuple[int, ...], nodes: int
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities)

    def best(p: jax.Array) -> jax.Array:
        # A pixel of probability 0 comes last and lowers the Dice of every mask that has it.
        return best_mask(jnp.clip(p, 0, 1), nodes=nodes)[0] + 0 * jnp.sum(p)

    p = checks.unit_or_nan(inside(probabilities.astype(dtype), where))
    masks = over_regions(best, (p,), axes)
    left = tuple(a for a in range(p.ndim) if a not in axes)
    sizes = tuple(p.shape[a] for a in (*left, *axes))
    last = tuple(range(len(left), p.ndim))
    return jnp.moveaxis(masks.reshape(sizes), last, axes).astype(probabilities.dtype)


def _ranked_operands(
    probabilities: jax.Array, targets: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    p = inside(probabilities, where).astype(dtype)
    return p, hard_targets(inside(targets, where), dtype)
