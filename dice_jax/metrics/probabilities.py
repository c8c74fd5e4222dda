"""Metrics of probabilities: calibration, and what a threshold makes of them."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions, rank, up_to
from dice_jax._core.safe_math import ratio
from dice_jax.metrics.scores import Scores
from dice_jax.sums.operands import (
    binary_operands,
    class_indicators,
    hard_targets,
    inside,
    soft_targets,
    weighted_sums,
)

__all__ = [
    "Calibration",
    "average_precision",
    "best_threshold",
    "brier_score",
    "calibration",
    "expected_calibration_error",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Calibration:
    """How sure the predictions were and how often they were right, bin by bin of probability.

    Sums, so that batches merge by ``+``.

    Args:
        count: [bins], Σw of the pixels in each bin.
        confidence: [bins], Σw·p.
        hits: [bins], Σw·y.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> sure = metrics.calibration(jnp.array([1.0, 1.0]), jnp.array([1, 0]), bins=2)
        >>> print((sure + sure).expected_calibration_error)
        0.5
    """

    count: jax.Array
    confidence: jax.Array
    hits: jax.Array

    def __add__(self, other: Calibration | int) -> Calibration:
        """Merge two (0 is neutral, so that `sum` works)."""
        if isinstance(other, Calibration):
            return jax.tree.map(jnp.add, self, other)
        if isinstance(other, int) and other == 0:
            return self
        return NotImplemented

    __radd__ = __add__

    @property
    def expected_calibration_error(self) -> jax.Array:
        r"""Σ_b \|hits − confidence\| / Σ_b count; 0 where no pixel was counted."""
        gaps = jnp.sum(jnp.abs(self.hits - self.confidence), -1)
        return ratio(gaps, jnp.sum(self.count, -1), jnp.zeros_like(gaps))


def calibration(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    bins: int = 15,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Calibration:
    """What a reliability diagram shows: confidence and hits in bins of equal width.

    Args:
        probabilities: [...], floating in [0, 1], of the foreground. (For the calibration of the top
            class of a softmax: its probability, and whether it is the label.)
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        bins: how many bins; bin b holds b/bins <= p < (b + 1)/bins, the last one 1 too.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The sums, each of the shape of ``jnp.sum(probabilities, axis)`` and [bins] last.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or ``bins`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> sums = metrics.calibration(jnp.array([0.25, 0.25, 0.75]), jnp.array([0, 1, 1]), bins=2)
        >>> print(sums.count, sums.confidence, sums.hits)
        [2. 1.] [0.5  0.75] [1. 1.]

    References:
        Guo et al., On calibration of modern neural networks (2017),
        https://arxiv.org/abs/1706.04599, section 2.
    """
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
        raise TypeError(f"bins must be an int, got {bins!r}")
    if bins < 1:
        raise ValueError(f"bins must be >= 1, got {bins}")
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _calibration(p, y, where, axes=axes, bins=int(bins))


def expected_calibration_error(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    bins: int = 15,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Expected calibration error: how far the probabilities are from the frequencies.

    Σ_b n_b/N·\|frequency_b − mean probability_b\| over bins of equal width. To accumulate it over
    batches, add up `calibration` instead.

    Args:
        probabilities: [...], floating in [0, 1], of the foreground.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        bins: how many bins.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``; 0 where no pixel was counted.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or ``bins`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> p, y = jnp.array([0.25, 0.25, 0.75, 0.75]), jnp.array([0, 0, 1, 1])
        >>> print(metrics.expected_calibration_error(p, y))
        0.25

    References:
        Guo et al., On calibration of modern neural networks (2017),
        https://arxiv.org/abs/1706.04599, equation 3.
    """
    sums = calibration(probabilities, targets, bins=bins, axis=axis, where=where)
    return sums.expected_calibration_error


def brier_score(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Brier score: the mean of (p − y)².

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``; 0 where no pixel was counted.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> print(metrics.brier_score(jnp.array([0.5, 1.0]), jnp.array([1, 1])))
        0.125

    References:
        Brier, Verification of forecasts expressed in terms of probability (1950).
    """
    p, y, where, axes = binary_operands("probabilities", probabilities, targets, axis, where)
    return _brier_score(p, y, where, axes=axes)


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
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, or integer or floating 0/1 (hard).
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The scores; 0 where nothing is there.

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


def best_threshold(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Threshold at which the pooled Dice of the thresholded probabilities is largest.

    Every probability that occurs is tried. Tune it on validation data, never on the test's.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, or integer or floating 0/1 (hard).
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The threshold t, of the shape of ``jnp.sum(probabilities, axis)``: predict
        ``probabilities >= t``. Infinite where nothing is there: claim nothing.

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


@partial(jax.jit, static_argnames=("axes", "bins"))
def _calibration(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
    bins: int,
) -> Calibration:
    dtype = checks.accumulation_dtype(probabilities, targets, where)

    def terms(p: jax.Array, y: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        p, y = p.astype(dtype), soft_targets(y, dtype)
        index = jnp.clip(jnp.floor(p * bins), 0, bins - 1).astype(jnp.int32)
        member = class_indicators(index, bins, dtype, axis=axis)
        values = {"in bin": jnp.ones_like(p), "confidence": p, "hits": y}
        return {name: jnp.expand_dims(x, axis) * member for name, x in values.items()}

    arrays, ndim = (probabilities, targets), probabilities.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype)
    return Calibration(sums["in bin"], sums["confidence"], sums["hits"])


@partial(jax.jit, static_argnames="axes")
def _brier_score(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, targets, where)

    def terms(p: jax.Array, y: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        return {"error": jnp.square(p.astype(dtype) - soft_targets(y, dtype))}

    arrays, ndim = (probabilities, targets), probabilities.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype)
    return ratio(sums["error"], sums["count"], jnp.zeros_like(sums["count"]))


def _curve(
    p: jax.Array, y: jax.Array, weights: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """For the threshold at every pixel's p: hits and claims there; the pixels' weights; total."""
    ranks = rank(p, y == 1, weights)
    hit = up_to(jnp.where(ranks.ranked_tag, ranks.ranked_weight, jnp.zeros_like(p)))
    claimed = up_to(ranks.ranked_weight)
    # NaN where a target is neither 0 nor 1: loud, not wrong.
    total = hit[-1] + 0 * jnp.sum(y)
    return hit[ranks.end_of_value], claimed[ranks.end_of_value], ranks.weight, total


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
def _best_threshold(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    def best(p: jax.Array, y: jax.Array, weights: jax.Array | None) -> jax.Array:
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


def _ranked_operands(
    probabilities: jax.Array, targets: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    p = inside(probabilities, where).astype(dtype)
    return p, hard_targets(inside(targets, where), dtype)
