"""Losses that weigh the cross-entropy of single pixels: focal, hardest pixels, unified focal."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.ranks import over_regions, rank, up_to
from dice_jax._core.safe_math import power, product, ratio
from dice_jax.losses.indices import smoothed_index, tversky_fraction
from dice_jax.losses.of_arrays import ArraySums, Request, loss_of, sums_of, sums_or_arrays
from dice_jax.sums.additive import option
from dice_jax.sums.operands import (
    class_indicators,
    class_operands,
    class_targets,
    inside,
    integer_or_soft_labels,
    weighted_sums,
)
from dice_jax.sums.region import softmax_region_sums

__all__ = [
    "UnifiedFocalSums",
    "softmax_focal_loss",
    "top_k_cross_entropy_loss",
    "unified_focal_loss",
    "unified_focal_sums",
]


def softmax_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    gamma: ArrayLike,
    alpha: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Focal loss, of logits of classes, per pixel.

    −α_y·(1 − p_y)^γ·log p_y, with p_y the probability of the pixel's class; of soft labels
    Σ_c −y_c·α_c·(1 − p_c)^γ·log p_c. γ = 0 is cross-entropy. (For sigmoid logits, Optax has
    ``sigmoid_focal_loss``.)

    Args:
        logits: [..., C], floating, classes last.
        labels: integer [...] in 0 … C−1, or floating [..., C] (soft or one-hot).
        gamma: γ ≥ 0; the paper's is 2.
        alpha: the weight of each class, [C], or one number; ``None`` for 1.
        where: boolean or floating weight, broadcastable to [...]; 0 makes a pixel's loss and
            gradient 0, whatever it holds: ``where=labels != 255``.

    Returns:
        An array [...], in nats, one number per pixel: reduce it as you would a cross-entropy. A
        label out of range outside the mask makes its pixel NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes do not fit, or an option is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.75, 0.25]]))
        >>> print(dj.softmax_focal_loss(logits, jnp.array([0, 0]), gamma=2.0).round(4))
        [0.1733 0.018 ]

    References:
        Lin et al., Focal loss for dense object detection (2017), https://arxiv.org/abs/1708.02002,
        equation 5.
    """
    checks.check_number("gamma", gamma)
    z, labels, where, _ = class_operands(
        "logits", logits, labels, None, where, validate_labels=integer_or_soft_labels
    )
    if alpha is not None:
        alpha = checks.as_array("alpha", alpha)
        checks.check_number("alpha", alpha)
        if alpha.shape not in ((), z.shape[-1:]):
            raise ValueError(
                f"alpha must be a number or have one entry per class, shape {z.shape[-1:]}, "
                f"got {checks.describe(alpha)}"
            )
    return _softmax_focal_loss(z, labels, where, gamma, alpha)


@jax.jit
def _softmax_focal_loss(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    gamma: ArrayLike,
    alpha: jax.Array | None,
) -> jax.Array:
    dtype = checks.accumulation_dtype(logits, labels, where)
    y = class_targets(inside(labels, where), logits.shape[-1], dtype)
    loss = _focal(_minus_log_p(inside(logits, where), y), jnp.asarray(gamma, dtype))
    weight = y if alpha is None else y * alpha.astype(dtype)
    loss = jnp.sum(product(weight, loss), -1)
    return loss if where is None else loss * checks.weight_or_nan(where.astype(dtype))


def _minus_log_p(logits: jax.Array, y: jax.Array, axis: int = -1) -> jax.Array:
    """−log p_c of every pixel and class, where y is not 0; 0 elsewhere.

    A class that a pixel does not have may have the logit −∞ (a float16 network overflows into it):
    then −log p_c is infinite, and so are derivatives of what is made of it.
    """
    log_p = jax.nn.log_softmax(logits.astype(y.dtype), axis)
    return jnp.where(y == 0, jnp.zeros_like(log_p), -log_p)


def _focal(minus_log_p: jax.Array, gamma: jax.Array) -> jax.Array:
    # At p = 0 the factor is 1, but its derivative times the infinite −log p would be NaN.
    certain = jnp.isinf(minus_log_p)
    finite = jnp.where(certain, jnp.zeros_like(minus_log_p), minus_log_p)
    # 1 − p as −expm1(log p): exact where p rounds to 1.
    wrong = -jnp.expm1(-finite)
    return jnp.where(certain, minus_log_p, power(wrong, gamma) * finite)


def top_k_cross_entropy_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    fraction: ArrayLike = 0.1,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Mean cross-entropy of the hardest pixels, of logits of classes, per region.

    The hardest ``fraction`` of the pixels' weight counts, exactly: the pixel at the edge counts in
    part, and pixels that tie there share what is left. (nnU-Net rounds down to whole pixels.) The
    cross-entropy of a pixel with soft labels is Σ_c −y_c·log p_c.

    Args:
        logits: [..., C], floating, classes last.
        labels: integer [...] in 0 … C−1, or floating [..., C] (soft or one-hot).
        fraction: which part of the pixels counts, in (0, 1]; nnU-Net's is 0.1.
        axis: the axes of the pixel shape [...] that one region runs over (negative ones too);
            ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds: ``where=labels != 255``.

    Returns:
        An array of the shape of ``jnp.sum(logits[..., 0], axis)``, in nats; 0 where no pixel was
        counted. A label out of range outside the mask makes its region NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, or ``fraction`` is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.75, 0.25], [0.75, 0.25], [0.25, 0.75]]))
        >>> loss = dj.top_k_cross_entropy_loss(logits, jnp.array([0, 0, 0, 0]), fraction=0.5)
        >>> print(f"{loss:.4f}")    # the mean of log 4 and log 2
        1.0397

    References:
        Wu et al., Bridging category-level and instance-level semantic image segmentation (2016),
        https://arxiv.org/abs/1605.06885, section 3.1.
    """
    checks.check_number("fraction", fraction, open_at_least=True, most=1.0)
    z, labels, where, axes = class_operands(
        "logits", logits, labels, axis, where, validate_labels=integer_or_soft_labels
    )
    return _top_k_cross_entropy_loss(z, labels, where, fraction, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _top_k_cross_entropy_loss(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    fraction: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(logits, labels, where)
    y = class_targets(inside(labels, where), logits.shape[-1], dtype)
    cross_entropy = jnp.sum(y * _minus_log_p(inside(logits, where), y), -1)
    fraction = jnp.asarray(fraction, dtype)

    def hardest(cross_entropy: jax.Array, weights: jax.Array | None) -> jax.Array:
        ranks = rank(cross_entropy, jnp.zeros(cross_entropy.shape, jnp.bool_), weights)
        weight = up_to(ranks.ranked_weight)
        kept = fraction * weight[-1]
        before, after = weight[ranks.begin], weight[ranks.end]
        zero = jnp.zeros_like(cross_entropy)
        share = jnp.clip(ratio(kept - before, after - before, zero), 0, 1)
        chosen = jax.lax.stop_gradient(share * ranks.weight)
        return ratio(jnp.sum(chosen * cross_entropy), kept, jnp.zeros_like(kept))

    return over_regions(hardest, (cross_entropy, where), axes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UnifiedFocalSums(ArraySums):
    r"""Sums for `unified_focal_loss`, made by `unified_focal_sums`.

    All fields are [..., C]. What the classes share is the same for each.

    Args:
        intersection: Σp·y of each class.
        prediction: Σp of each class.
        target: Σy of each class.
        focal: Σ of the weighted cross-entropies; the classes share it.
        count: Σ 1, the number of pixels; the classes share it.
        delta: δ. Sums of different δ cannot be added.
        gamma: γ. Sums of different γ cannot be added.
    """

    intersection: jax.Array
    prediction: jax.Array
    target: jax.Array
    focal: jax.Array
    count: jax.Array
    delta: Any = dataclasses.field(metadata=option(most=1.0))
    gamma: Any = dataclasses.field(metadata=option(most=1.0))

    @classmethod
    def fields(
        cls,
        predictions: jax.Array,
        targets: jax.Array,
        where: jax.Array | None,
        axes: tuple[int, ...],
        *options: Any,
    ) -> dict[str, jax.Array]:
        """Sum each class's overlap, and the weighted cross-entropies, over pooled pixels."""
        dtype = checks.accumulation_dtype(predictions, where)
        delta, gamma = (jnp.asarray(option, dtype) for option in options)
        classes = predictions.shape[-1]
        sums = softmax_region_sums(predictions, targets, axis=axes, where=where)

        def terms(
            x: jax.Array, labels: jax.Array, delta: jax.Array, gamma: jax.Array, *, axis: int
        ) -> dict[str, jax.Array]:
            y = class_indicators(labels, classes, dtype, axis=axis)
            # Of the pixel's class; 0 of the others.
            losses = y * _minus_log_p(x, y, axis)
            background = jax.lax.index_in_dim(losses, 0, axis, keepdims=False)
            rare = jnp.sum(jax.lax.slice_in_dim(losses, 1, classes, axis=axis), axis)
            return {"focal": product(delta, rare) + product(1 - delta, _focal(background, gamma))}

        arrays, shared = (predictions, targets), (delta, gamma)
        pixels = weighted_sums(
            terms, arrays, where, axes, ndim=targets.ndim, dtype=dtype, shared=shared
        )
        return {
            "intersection": sums.intersection,
            "prediction": sums.prediction,
            "target": sums.target,
            "focal": jnp.broadcast_to(pixels["focal"][..., None], sums.shape),
            "count": jnp.broadcast_to(pixels["count"][..., None], sums.shape),
        }


def unified_focal_sums(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    delta: ArrayLike = 0.6,
    gamma: ArrayLike = 0.5,
) -> UnifiedFocalSums:
    r"""Sums of the unified focal loss, to merge, stream or accumulate.

    Args:
        logits: [..., C], floating, classes last, the background first.
        labels: integer [...] in 0 … C−1.
        axis: the axes of the pixel shape [...] that one region runs over; ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        delta: δ in [0, 1], a known number.
        gamma: γ in [0, 1], a known number.

    Returns:
        `UnifiedFocalSums` with fields [..., C].

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> logits, labels = jnp.array([[9.0, 0.0], [0.0, 9.0]]), jnp.array([0, 1])
        >>> parts = [dj.unified_focal_sums(logits[k : k + 1], labels[k : k + 1]) for k in (0, 1)]
        >>> print(dj.unified_focal_loss(sum(parts)) < 0.01)
        True

    References:
        Yeung et al. (2022), https://arxiv.org/abs/2102.04525, equations 17 to 20.
    """
    request = _unified_focal_request(logits, labels, axis, where, delta, gamma)
    return sums_of(UnifiedFocalSums, request)


@sums_or_arrays(UnifiedFocalSums, unified_focal_sums)
def unified_focal_loss(
    logits: ArrayLike | UnifiedFocalSums,
    labels: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    weight: ArrayLike = 0.5,
    delta: ArrayLike = 0.6,
    gamma: ArrayLike = 0.5,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Asymmetric unified focal loss, of logits or of `unified_focal_sums`, per region.

    λ·F + (1 − λ)·T, from softmax logits with class 0 the background: focal on the background, a
    power of Tversky elsewhere. F is the mean over the pixels of −δ·log p_y on the foreground
    classes and −(1 − δ)·(1 − p_0)^γ·log p_0 on the background. T is the mean over the classes of
    1 − TI_0 and (1 − TI_c)^(1−γ), TI the Tversky index with 1 − δ on false positives and δ on false
    negatives.

    For one channel z give the two classes ``jnp.stack([jnp.zeros_like(z), z], -1)``, whose softmax
    is the sigmoid of z. The symmetric form needs no function of its own: ``softmax_focal_loss``
    with alpha [1 − δ, δ] and ``focal_tversky_loss``.

    Args:
        logits: [..., C], floating, classes last, the background first; or `unified_focal_sums`,
            without ``labels``, ``delta`` and ``gamma``.
        labels: integer [...] in 0 … C−1.
        axis: the axes of the pixel shape [...] that one region runs over (negative ones too);
            ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel:
            ``where=labels != 255``.
        weight: λ in [0, 1].
        delta: δ in [0, 1].
        gamma: γ in [0, 1].
        smooth: s, in pixels, of the Tversky indices.

    Returns:
        An array of the shape of ``jnp.sum(labels, axis)``; 0 where no pixel was counted. A label
        out of range outside the mask makes its region NaN.

    Raises:
        ValueError: if shapes or an axis do not fit, or an option is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> logits, labels = jnp.array([[9.0, 0.0], [0.0, 9.0]]), jnp.array([0, 1])
        >>> print(dj.unified_focal_loss(logits, labels) < 0.01)
        True

    References:
        Yeung et al., Unified focal loss (2022), https://arxiv.org/abs/2102.04525, equations 17 to
        20.
    """
    checks.check_number("weight", weight, most=1.0)
    if isinstance(logits, UnifiedFocalSums):
        delta, gamma = logits.delta, logits.gamma
    request = _unified_focal_request(logits, labels, axis, where, delta, gamma)
    options = {"weight": weight, "delta": delta, "gamma": gamma, "smooth": smooth}
    return loss_of(_unified_focal, request, **options)


def _unified_focal(
    s: UnifiedFocalSums, weight: jax.Array, delta: jax.Array, gamma: jax.Array, smooth: jax.Array
) -> jax.Array:
    tversky = 1 - smoothed_index(tversky_fraction, s, smooth, alpha=1 - delta, beta=delta)
    powers = power(tversky[..., 1:], 1 - gamma)
    overlap = (tversky[..., 0] + jnp.sum(powers, -1)) / s.shape[-1]
    count = s.count[..., 0]
    focal = ratio(s.focal[..., 0], count, jnp.zeros_like(count))
    return product(weight, focal) + product(1 - weight, overlap)


def _unified_focal_request(
    logits: Any,
    labels: Any,
    axis: checks.Axis,
    where: ArrayLike | None,
    delta: ArrayLike,
    gamma: ArrayLike,
) -> Request | UnifiedFocalSums:
    if isinstance(logits, UnifiedFocalSums):
        return logits
    operands = class_operands("logits", logits, labels, axis, where)
    if operands.predictions.shape[-1] < 2:
        raise ValueError(
            f"logits must have the background and at least one more class, got "
            f"{checks.describe(operands.predictions)}; for one channel z write "
            "jnp.stack([jnp.zeros_like(z), z], -1)"
        )
    return Request(UnifiedFocalSums, operands, {"delta": delta, "gamma": gamma})
