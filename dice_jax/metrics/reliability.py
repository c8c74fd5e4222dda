"""Calibration: whether probabilities are the frequencies that they claim to be."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions, up_to
from dice_jax._core.safe_math import ratio
from dice_jax.metrics.scores import Scores
from dice_jax.sums.operands import (
    Operands,
    binary_operands,
    class_operands,
    inside,
    soft_probabilities,
    soft_targets,
    weighted_sums,
)

__all__ = [
    "Calibration",
    "adaptive_calibration_error",
    "brier_score",
    "calibration",
    "expected_calibration_error",
    "maximum_calibration_error",
    "top_label",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Calibration:
    """Predicted probabilities and how often they were right, in bins of probability.

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

    @property
    def maximum_calibration_error(self) -> jax.Array:
        r"""max_b \|hits − confidence\| / count; 0 where no pixel was counted."""
        gaps = jnp.abs(self.hits - self.confidence)
        return jnp.max(ratio(gaps, self.count, jnp.zeros_like(gaps)), -1)


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
        probabilities: [...], floating in [0, 1], of the foreground. For several classes: of each
            class against ``labels[..., None] == jnp.arange(C)`` (a label that does not exist counts
            as none of them, without a warning), or of the top class (`top_label`).
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        bins: how many bins; bin b holds b/bins <= p < (b + 1)/bins, the last one 1 too.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The sums, each of the shape of ``jnp.sum(probabilities, axis)`` and [bins] last.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, ``bins`` is not positive, or a value on the
            host is not in [0, 1] (a traced one gives NaN).

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
    bins = checks.check_count("bins", bins, least=1)
    p, y, where, axes = _unit_operands(probabilities, targets, axis, where)
    return _calibration(p, y, where, axes=axes, bins=bins)


def expected_calibration_error(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    bins: int = 15,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    r"""Expected calibration error: how far the probabilities are from the frequencies.

    Σ_b n_b/N·\|frequency_b − mean probability_b\| over bins of equal width. To accumulate it over
    batches, add up `calibration` instead.

    Args:
        probabilities: [...], floating in [0, 1], of the foreground.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        bins: how many bins, as in `calibration`.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The scores, of the shape of ``jnp.sum(probabilities, axis)``. Where no pixel was counted, 0,
        and the region is absent.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, ``bins`` is not positive, or a value on the
            host is not in [0, 1] (a traced one gives NaN).

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> p, y = jnp.array([0.25, 0.25, 0.75, 0.75]), jnp.array([0, 0, 1, 1])
        >>> print(float(metrics.expected_calibration_error(p, y)))
        0.25

    References:
        Guo et al., On calibration of modern neural networks (2017),
        https://arxiv.org/abs/1706.04599, equation 3.
    """
    sums = calibration(probabilities, targets, bins=bins, axis=axis, where=where)
    return Scores(sums.expected_calibration_error, jnp.sum(sums.count, -1) > 0)


def maximum_calibration_error(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    bins: int = 15,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    r"""Maximum calibration error: how far the probabilities are from the frequencies at worst.

    max_b \|frequency_b − mean probability_b\| over bins of equal width. To accumulate it over
    batches, add up `calibration` instead.

    Args:
        probabilities: [...], floating in [0, 1], of the foreground.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        bins: how many bins, as in `calibration`.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The scores, of the shape of ``jnp.sum(probabilities, axis)``. Where no pixel was counted, 0,
        and the region is absent.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, ``bins`` is not positive, or a value on the
            host is not in [0, 1] (a traced one gives NaN).

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> p, y = jnp.array([0.25, 0.25, 0.875]), jnp.array([0, 0, 1])
        >>> print(float(metrics.maximum_calibration_error(p, y)))
        0.25

    References:
        Guo et al., On calibration of modern neural networks (2017),
        https://arxiv.org/abs/1706.04599, equation 5.
    """
    sums = calibration(probabilities, targets, bins=bins, axis=axis, where=where)
    return Scores(sums.maximum_calibration_error, jnp.sum(sums.count, -1) > 0)


def adaptive_calibration_error(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    bins: int = 15,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    r"""Adaptive calibration error: over bins that hold equally many pixels.

    The mean over bins of \|frequency − mean probability\|, the pixels sorted by their probability
    and cut into bins of equal weight. A pixel at a cut counts in both bins, by its shares. Pixels
    of one probability share their mean target, so that their order does not matter.

    Args:
        probabilities: [...], floating in [0, 1], of the foreground.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        bins: how many bins.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The scores, of the shape of ``jnp.sum(probabilities, axis)``. Where no pixel was counted, 0,
        and the region is absent.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, ``bins`` is not positive, or a value on the
            host is not in [0, 1] (a traced one gives NaN).

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> p, y = jnp.array([0.25, 0.0, 0.75, 0.5]), jnp.array([0, 0, 1, 1])
        >>> print(float(metrics.adaptive_calibration_error(p, y, bins=2)))    # 0.125 and 0.375
        0.25

    References:
        Nixon et al., Measuring calibration in deep learning (2019),
        https://arxiv.org/abs/1904.01685, equation 3, for one class.
    """
    bins = checks.check_count("bins", bins, least=1)
    p, y, where, axes = _unit_operands(probabilities, targets, axis, where)
    return _adaptive_calibration_error(p, y, where, axes=axes, bins=bins)


def top_label(probabilities: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Reduce several classes to the most probable one, and say whether it is the label.

    What the calibration metrics take for a softmax:
    ``expected_calibration_error(*top_label(probabilities, labels))``.

    Args:
        probabilities: [..., C], floating, classes last.
        labels: integer [...] in 0 … C−1.

    Returns:
        The largest probability [...], and 1 or 0 [...] in the same type: whether that class is the
        label. NaN where the label is out of range: mask such pixels with ``where``.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> p = jnp.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
        >>> print(metrics.top_label(p, jnp.array([0, 1, 1])))
        (Array([0.75, 0.5 , 1.  ], dtype=float32), Array([1., 0., 1.], dtype=float32))

    References:
        Guo et al., On calibration of modern neural networks (2017),
        https://arxiv.org/abs/1706.04599, section 2.
    """
    p, y, _, _ = class_operands(
        "probabilities", probabilities, labels, None, None, unit=("probabilities",)
    )
    p = checks.unit_or_nan(p)
    hit = (jnp.argmax(p, -1) == y).astype(p.dtype)
    valid = (y >= 0) & (y < p.shape[-1])
    return jnp.max(p, -1), jnp.where(valid, hit, jnp.full_like(hit, jnp.nan))


def brier_score(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> Scores:
    """Brier score: the mean of (p − y)².

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 leaves a pixel out.

    Returns:
        The scores, of the shape of ``jnp.sum(probabilities, axis)``. Where no pixel was counted, 0,
        and the region is absent.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or a value on the host is not in [0, 1] (a
            traced one gives NaN).

    Example:
        >>> import jax.numpy as jnp
        >>> from dice_jax import metrics
        >>> print(float(metrics.brier_score(jnp.array([0.5, 1.0]), jnp.array([1, 1]))))
        0.125

    References:
        Brier, Verification of forecasts expressed in terms of probability (1950).
    """
    p, y, where, axes = _unit_operands(probabilities, targets, axis, where)
    return _brier_score(p, y, where, axes=axes)


def _unit_operands(
    probabilities: ArrayLike, targets: ArrayLike, axis: checks.Axis, where: ArrayLike | None
) -> Operands:
    unit = ("probabilities", "targets")
    return binary_operands("probabilities", probabilities, targets, axis, where, unit=unit)


def _unit_terms(p: jax.Array, y: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """Probabilities and targets as numbers; NaN where one is far from [0, 1]."""
    return soft_probabilities(p, dtype), soft_targets(y, dtype)


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

    # In this type b/bins is what a probability of b/bins is; ⌊p·bins⌋ can round to the next bin.
    edges = (np.arange(bins + 1) / bins).astype(dtype)
    edges[0], edges[-1] = -np.inf, np.inf

    def terms(p: jax.Array, y: jax.Array, edges: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        p, y = (jnp.expand_dims(x, axis) for x in _unit_terms(p, y, dtype))
        ones = (1,) * (p.ndim - 1)
        edges = edges.reshape(*ones, -1) if axis else edges.reshape(-1, *ones)
        low, high = (jax.lax.slice_in_dim(edges, k, k + bins, axis=axis) for k in (0, 1))
        inside_bin = (p >= low) & (p < high)
        # A NaN is in no bin: it makes all of them NaN.
        member = jnp.where(jnp.isnan(p), p, inside_bin.astype(dtype))
        return {"in bin": member, "confidence": p * member, "hits": y * member}

    arrays, ndim = (probabilities, targets), probabilities.ndim
    shared = (jnp.asarray(edges),)
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=shared)
    return Calibration(sums["in bin"], sums["confidence"], sums["hits"])


@partial(jax.jit, static_argnames=("axes", "bins"))
def _adaptive_calibration_error(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
    bins: int,
) -> Scores:
    dtype = checks.accumulation_dtype(probabilities, targets, where)
    p, y = _unit_terms(inside(probabilities, where), inside(targets, where), dtype)
    weights = jnp.ones((), dtype) if where is None else checks.weight_or_nan(where.astype(dtype))
    weights = jnp.broadcast_to(weights, p.shape)

    def error(p: jax.Array, gap: jax.Array, weight: jax.Array) -> jax.Array:
        p, gap, weight = jax.lax.sort((p, gap * weight, weight), num_keys=1)
        # Over the weight, Σ(y − p) is a line between the ends of the groups of equal p.
        ends = jnp.append(p[1:] != p[:-1], True)[: p.size]
        place = jnp.where(ends, jnp.arange(1, p.size + 1, dtype=jnp.int32), 0)
        place = jnp.append(jnp.int32(0), jax.lax.cummax(place))
        mass, gaps = up_to(weight)[place], up_to(gap)[place]
        cuts = jnp.interp(jnp.arange(bins + 1, dtype=dtype) * (mass[-1] / bins), mass, gaps)
        total = jnp.sum(jnp.abs(jnp.diff(cuts))) + 0 * jnp.sum(gap)
        return ratio(total, mass[-1], jnp.zeros_like(total))

    value = over_regions(error, (p, y - p, weights), axes)
    return Scores(value, jnp.sum(weights, axes) > 0)


@partial(jax.jit, static_argnames="axes")
def _brier_score(
    probabilities: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> Scores:
    dtype = checks.accumulation_dtype(probabilities, targets, where)

    def terms(p: jax.Array, y: jax.Array, *, axis: int) -> dict[str, jax.Array]:
        p, y = _unit_terms(p, y, dtype)
        return {"error": jnp.square(p - y)}

    arrays, ndim = (probabilities, targets), probabilities.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype)
    value = ratio(sums["error"], sums["count"], jnp.zeros_like(sums["count"]))
    return Scores(value, sums["count"] > 0)
