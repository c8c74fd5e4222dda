"""RegionSums, and how to make them from pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.hints import explains_keywords
from dice_jax._core.safe_math import clamped_log, product
from dice_jax._pass.gpu_sums import in_gpu_sums
from dice_jax.sums.additive import AdditiveSums
from dice_jax.sums.operands import (
    Operands,
    binary_operands,
    class_masks,
    class_operands,
    integer_or_soft_labels,
    lifted,
    weighted_sums,
)

__all__ = ["RegionSums", "region_sums", "sigmoid_region_sums", "softmax_region_sums"]

# The terms of a pixel, by the names of their sums: a term is computed only if its sum is read.
LazyTerm = Callable[[], jax.Array]
Terms = dict[str, LazyTerm]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RegionSums(AdditiveSums):
    r"""The sums over a region's pixels that every overlap index is a function of.

    With p the predicted probability, y the target and w the weight (``where``) of a pixel, each
    field is Σ w·(…) over the pixels pooled into one region. All fields have one shape: one number
    per region (and class). Sums add: a batch, a microbatch, a tile, a shard and an object are all
    a ``RegionSums``, merged by ``+``, `sum` or `jax.lax.psum`. (With `psum` in `jax.shard_map`,
    leave ``check_vma`` on, or take the gradient outside: ``docs/scale.md`` says why.)

    Args:
        intersection: Σ p·y.
        prediction: Σ p.
        target: Σ y.
        prediction_squared: Σ p².
        target_squared: Σ y².
        absolute_difference: Σ \|p − y\|.
        foreground_cross_entropy: Σ −y·log p, in nats.
        background_cross_entropy: Σ −(1 − y)·log(1 − p), in nats.
        count: Σ 1, the number of pixels.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> whole = dj.region_sums(jnp.array([0.5, 0.25, 1.0]), jnp.array([1, 0, 1]))
        >>> print(whole.intersection, whole.prediction, whole.target, whole.count)
        1.5 1.75 2.0 3.0
        >>> left = dj.region_sums(jnp.array([0.5, 0.25]), jnp.array([1, 0]))
        >>> right = dj.region_sums(jnp.array([1.0]), jnp.array([1]))
        >>> print((left + right).intersection)
        1.5
    """

    intersection: jax.Array
    prediction: jax.Array
    target: jax.Array
    prediction_squared: jax.Array
    target_squared: jax.Array
    absolute_difference: jax.Array
    foreground_cross_entropy: jax.Array
    background_cross_entropy: jax.Array
    count: jax.Array


@explains_keywords
def region_sums(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> RegionSums:
    r"""Sums of probabilities (or of a hard mask) and targets over pooled pixels.

    Σ w·p·y, Σ w·p, Σ w·y, … as `RegionSums` lists them. Logarithms of probabilities are clamped at
    −100 (with a zero gradient there); where you have logits, `sigmoid_region_sums` is exact.

    Args:
        probabilities: [...], floating in [0, 1], or boolean (a hard mask: then the index of these
            sums is a metric).
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1] (soft).
        axis: the axes that one sum runs over; ``None`` pools everything, as in the article, where
            N counts every pixel of the batch.
        where: boolean or floating weight, broadcastable to [...]. A pixel of weight 0 adds nothing
            to any value or gradient, whatever it holds (NaN, infinity, label 255).

    Returns:
        `RegionSums` of the shape of ``jnp.sum(probabilities, axis)``, in float32 (float64 for
        float64 inputs). A region is NaN if a pixel outside the mask has an integer target other
        than 0 and 1, or a probability or soft target that is not in [0, 1] (by more than rounding
        and the overshoot of a resize can explain). This check makes a small sum no linear function
        for `jax.linear_transpose`; its derivative, from `jax.linearize`, is one.

    Raises:
        TypeError: if ``probabilities`` is neither floating nor boolean, or an argument's type is
            not one of those above.
        ValueError: if the shapes differ, an axis does not exist, ``where`` does not broadcast, or a
            value on the host is not in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p = jnp.array([[0.9, 0.2], [0.4, 0.0]])
        >>> y = jnp.array([[1, 0], [1, 0]])
        >>> print(dj.region_sums(p, y, axis=1).intersection)
        [0.9 0.4]

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    operands = binary_operands(
        "probabilities",
        probabilities,
        targets,
        axis,
        where,
        validate=_probabilities_or_mask,
        unit=("probabilities", "targets"),
    )
    return _region_sums(operands, terms=probability_terms, classes=None)


@explains_keywords
def sigmoid_region_sums(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> RegionSums:
    r"""Sums of sigmoid probabilities and targets over pooled pixels, from logits.

    p = 1/(1 + e^−z); cross-entropies are computed from logits (log1p(e^−\|z\|) + max(z, 0)), so
    that they and their gradients stay exact where p rounds to 0 or 1.

    Args:
        logits: [...], floating: binary or multi-label segmentation.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1] (soft).
        axis: the axes that one sum runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.

    Returns:
        `RegionSums` of the shape of ``jnp.sum(logits, axis)``, in float32 (float64 for float64
        logits). A region is NaN if a pixel outside the mask has an integer target other than 0 and
        1, or a soft one that is not in [0, 1].

    Raises:
        TypeError: if ``logits`` is not floating, or an argument's type is not one of those above.
        ValueError: if the shapes differ, an axis does not exist, ``where`` does not broadcast, or a
            soft target on the host is not in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.sigmoid_region_sums(jnp.zeros((2, 3)), jnp.ones((2, 3)), axis=-1)
        >>> print(sums.prediction)
        [1.5 1.5]

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    operands = binary_operands("logits", logits, targets, axis, where)
    return _region_sums(operands, terms=sigmoid_terms, classes=None)


@explains_keywords
def softmax_region_sums(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> RegionSums:
    r"""Sums of softmax probabilities and labels over pooled pixels, per class, from logits.

    p_c = e^{z_c} / Σ_k e^{z_k}. Integer labels are compared, never expanded into a one-hot array;
    −log p_c is log Σ_k e^{z_k} − z_c, never the logarithm of a rounded probability.

    Args:
        logits: [..., C], floating, classes last.
        labels: integer [...] in 0 … C−1, or floating [..., C] (soft or one-hot).
        axis: the axes of the pixel shape [...] that one sum runs over (negative ones too: −1 is the
            last pixel axis); ``None`` pools them all. The class axis is never summed.
        where: boolean or floating weight, broadcastable to [...] (no class axis); 0 removes a pixel
            from every value and gradient, whatever it holds: ``where=labels != 255``.

    Returns:
        `RegionSums` with fields [..., C], in float32 (float64 for float64 logits). A region with a
        label outside 0 … C−1 and outside the mask is NaN, all the way to the loss.

    Raises:
        TypeError: if ``logits`` is not floating, or ``labels`` has a type that does not fit its
            shape (an integer one-hot array, floating class indices, booleans).
        ValueError: if the shapes do not fit, an axis does not exist, ``where`` does not broadcast,
            or a soft label on the host is not in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> logits = jnp.array([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
        >>> sums = dj.softmax_region_sums(logits, jnp.array([0, 2]))
        >>> print(sums.target)
        [1. 0. 1.]
        >>> print(dj.dice_loss(sums)[..., 1:].mean().round(4))    # without the background
        0.0986

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    operands = class_operands(
        "logits", logits, labels, axis, where, validate_labels=integer_or_soft_labels
    )
    return _region_sums(operands, terms=softmax_terms, classes=operands.predictions.shape[-1])


def _probabilities_or_mask(name: str, x: ArrayLike) -> jax.Array:
    x = checks.as_array(name, x)
    if not (checks.is_float(x) or x.dtype == jnp.bool_):
        raise TypeError(
            f"{name} must be floating in [0, 1] or a boolean mask, got {checks.describe(x)}; "
            "for predicted labels write labels == class_index"
        )
    return x


def _region_sums(operands: Operands, *, terms: Any, classes: int | None) -> RegionSums:
    *arrays, axes = operands
    return _sums(*arrays, terms=terms, axes=axes, classes=classes)


@partial(jax.jit, static_argnames=("terms", "axes", "classes"))
def _sums(
    predictions: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    terms: Any,
    axes: tuple[int, ...],
    classes: int | None,
) -> RegionSums:
    dtype = checks.accumulation_dtype(predictions, targets, where)

    def fields_of(x: jax.Array, y: jax.Array, *, axis: int) -> Terms:
        return terms(x.astype(dtype), y, axis)

    ndim = predictions.ndim - (classes is not None)
    checked = with_checked_targets(fields_of, dtype, classes)
    return sums_of_terms(checked, (predictions, targets), where, axes, ndim=ndim, dtype=dtype)


# What a head of a network shares with these functions.


def with_checked_targets(terms: Callable[..., Terms], dtype: Any, classes: int | None) -> Any:
    """Make sums notice a target that cannot be one.

    Its prediction becomes NaN. In sums on a GPU, a term "invalid" counts it instead.

    Args:
        terms: maps predictions and targets, and whatever follows, to the terms of the sums.
        dtype: the type of the terms.
        classes: C where integer targets are class indices, ``None`` where they are 0 or 1.

    Returns:
        Terms with the same arguments.
    """

    def checked(x: jax.Array, y: jax.Array, *others: jax.Array, axis: int) -> Terms:
        if checks.is_integer(y) and y.dtype.itemsize < 4:
            y = y.astype(jnp.int32)
        fields = terms(x, y, *others, axis=axis)
        valid = _is_target(y, classes, axis)
        if valid is None:
            return fields
        if in_gpu_sums():
            return {**fields, "invalid": lambda: (~valid).astype(dtype)}
        # On a TPU, a sum of its own would read the targets once more.
        poison = jnp.where(valid, jnp.zeros((), dtype), jnp.full((), jnp.nan, dtype))
        prediction = fields["prediction"]

        def poisoned() -> jax.Array:
            p = prediction()
            return p + lifted(poison, p.ndim, axis=axis)

        return {
            **fields,
            "prediction": poisoned,
            "invalid": lambda: jnp.zeros(valid.shape, dtype),
        }

    return checked


def sums_of_terms(
    terms: Callable[..., Terms],
    arrays: tuple[jax.Array, ...],
    where: jax.Array | None,
    axes: tuple[int, ...],
    *,
    ndim: int,
    dtype: Any,
    shared: tuple[jax.Array, ...] = (),
    products: tuple[int, ...] = (),
) -> RegionSums:
    """Make `RegionSums` in one pass; the arguments are those of `weighted_sums`.

    Returns:
        The sums. All fields of a region are NaN if its prediction is, or if one of its targets
        cannot be a target.
    """
    fields = weighted_sums(
        terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=shared, products=products
    )
    prediction = fields["prediction"]
    count = lifted(fields["count"], prediction.ndim, axis=-1)
    fields["count"] = jnp.broadcast_to(count, prediction.shape)
    # 0, or NaN: then no field may look sound.
    poison = 0 * prediction
    if "invalid" in fields:
        invalid = lifted(fields.pop("invalid"), prediction.ndim, axis=-1) > 0
        poison = jnp.where(invalid, jnp.full((), jnp.nan, dtype), poison)
    return RegionSums(**{k: v + poison for k, v in fields.items()})


def _is_target(y: jax.Array, classes: int | None, axis: int) -> jax.Array | None:
    """Whether each pixel's target is one; ``None`` if its type has no others."""
    if y.dtype == jnp.bool_:
        return None
    if checks.is_integer(y):
        return (y >= 0) & (y < (classes or 2))
    fits = checks.in_unit(y)
    return fits if classes is None else jnp.all(fits, axis)


def _overlap_fields(p: jax.Array, y: jax.Array) -> Terms:
    """The terms of Σpy, Σp, Σy, Σp², Σy², Σ|p−y| for hard (boolean) or soft targets."""
    if y.dtype == jnp.bool_:
        # For y in {0, 1}, |p − y| is linear in p: its derivative is right at p = y too.
        return {
            "intersection": lambda: jnp.where(y, p, jnp.zeros_like(p)),
            "prediction": lambda: p,
            "target": lambda: y.astype(p.dtype),
            "prediction_squared": lambda: p * p,
            "target_squared": lambda: y.astype(p.dtype),
            "absolute_difference": lambda: jnp.where(y, 1 - p, p),
        }
    soft = y.astype(p.dtype)
    return {
        "intersection": lambda: p * soft,
        "prediction": lambda: p,
        "target": lambda: soft,
        "prediction_squared": lambda: p * p,
        "target_squared": lambda: soft * soft,
        "absolute_difference": lambda: jnp.abs(p - soft),
    }


def _cross_entropy_fields(y: jax.Array, minus_log_p: LazyTerm, minus_log_q: LazyTerm) -> Terms:
    """The terms of Σ −y log p and Σ −(1−y) log q, with q = 1 − p."""

    def foreground() -> jax.Array:
        log = minus_log_p()
        if y.dtype == jnp.bool_:
            return jnp.where(y, log, jnp.zeros_like(log))
        # A class that is not the target may have probability 0, and an infinite logarithm.
        return product(y.astype(log.dtype), log)

    def background() -> jax.Array:
        log = minus_log_q()
        if y.dtype == jnp.bool_:
            return jnp.where(y, jnp.zeros_like(log), log)
        return product(1 - y.astype(log.dtype), log)

    return {"foreground_cross_entropy": foreground, "background_cross_entropy": background}


def _hard_or_soft(y: jax.Array) -> jax.Array:
    return y == 1 if checks.is_integer(y) else y


def probability_terms(p: jax.Array, y: jax.Array, axis: int) -> Terms:
    y = _hard_or_soft(y)
    logs = _cross_entropy_fields(y, lambda: -clamped_log(p), lambda: -clamped_log(1 - p))
    # Nor must what cannot be a probability: logits, say.
    return _overlap_fields(p, y) | logs | {"prediction": lambda: checks.unit_or_nan(p)}


@jax.custom_jvp
def _sigmoid(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Probability p = σ(x), 1 − p, −log p and −log(1 − p), from one exponential."""
    if in_gpu_sums():
        # Terms that share nothing: XLA:GPU would store the exponential.
        return jax.nn.sigmoid(x), jax.nn.sigmoid(-x), jax.nn.softplus(-x), jax.nn.softplus(x)
    e = jnp.exp(-jnp.abs(x))
    larger, log = 1 / (1 + e), jnp.log1p(e)
    smaller = e * larger
    positive = x >= 0
    p = jnp.where(positive, larger, smaller)
    q = jnp.where(positive, smaller, larger)
    # A select, not a maximum with 0: NaN must come out as NaN.
    return p, q, jnp.where(positive, log, log - x), jnp.where(positive, log + x, log)


@_sigmoid.defjvp
def _sigmoid_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[Any, Any]:
    (x,), (x_dot,) = primals, tangents
    p, q, minus_log_p, minus_log_q = _sigmoid(x)
    # q, not 1 − p: beyond x = 17 the latter is 0 in float32 and the gradient would die early.
    slope = p * q * x_dot
    return (p, q, minus_log_p, minus_log_q), (slope, -slope, -q * x_dot, p * x_dot)


def sigmoid_terms(x: jax.Array, y: jax.Array, axis: int) -> Terms:
    y = _hard_or_soft(y)
    p, _, minus_log_p, minus_log_q = _sigmoid(x)
    logs = _cross_entropy_fields(y, lambda: minus_log_p, lambda: minus_log_q)
    return _overlap_fields(p, y) | logs


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _softmax(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Probabilities and −log p, from one exponential per logit."""
    if in_gpu_sums(x.shape[axis]):
        return _softmax_for_gpu_sums(x, axis)
    largest = jnp.max(x, axis, keepdims=True)
    e = jnp.exp(x - largest)
    z = jnp.sum(e, axis, keepdims=True)
    return e / z, (jnp.log(z) + largest) - x


@_softmax.defjvp
def _softmax_jvp(
    axis: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[Any, Any]:
    (x,), (x_dot,) = primals, tangents
    p, minus_log_p = _softmax(x, axis)
    mean = jnp.sum(p * x_dot, axis, keepdims=True)
    return (p, minus_log_p), (p * (x_dot - mean), mean - x_dot)


def _softmax_for_gpu_sums(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """The same from two exponentials per logit, with one stored number per pixel.

    p = exp(x − lse) carries the rounding of lse: a relative error of up to 6e-8 times the size of
    the largest logit. Derivatives do not take this way.
    """
    classes = jnp.split(x, x.shape[axis], axis)
    largest = reduce(jnp.maximum, classes)
    lse = largest + jnp.log(reduce(jnp.add, [jnp.exp(c - largest) for c in classes]))
    # Behind the barrier, the sums read the logits and this number: XLA stores nothing else.
    lse = jax.lax.optimization_barrier(lse)
    minus_log_p = [lse - c for c in classes]
    p = [jnp.exp(-log) for log in minus_log_p]
    return jnp.concatenate(p, axis), jnp.concatenate(minus_log_p, axis)


def _minus_log_rest(x: jax.Array, p: jax.Array, axis: int) -> jax.Array:
    """−log(1 − p_c) of a softmax, exact also where p_c rounds to 1."""
    classes = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim)
    # The first of the largest, as argmax has it; plain reductions, which XLA fuses.
    largest = jnp.max(x, axis, keepdims=True)
    found = jnp.where(x == largest, classes, jnp.int32(x.shape[axis]))
    top = classes == jnp.min(found, axis, keepdims=True)
    # For the largest class, 1 − p is the share of the others: a log-sum-exp over those alone.
    lowest = jnp.full_like(x, jnp.finfo(x.dtype).min / 4)
    log_all = jax.nn.logsumexp(x, axis, keepdims=True)
    log_others = jax.nn.logsumexp(jnp.where(top, lowest, x), axis, keepdims=True)
    rest = jnp.where(top, jnp.zeros_like(p), p)
    return jnp.where(top, log_all - log_others, -jnp.log1p(-rest))


def softmax_terms(x: jax.Array, labels: jax.Array, axis: int) -> Terms:
    y = labels
    if checks.is_integer(labels):
        y = class_masks(labels, x.shape[axis], axis=axis)
    p, minus_log_p = _softmax(x, axis)
    logs = _cross_entropy_fields(y, lambda: minus_log_p, lambda: _minus_log_rest(x, p, axis))
    return _overlap_fields(p, y) | logs
