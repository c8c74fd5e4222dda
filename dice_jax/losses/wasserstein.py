"""Dice that knows which mistakes are worse: the generalised Wasserstein Dice loss."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.losses.of_arrays import ArraySums, Request, loss_of, share, sums_of, sums_or_arrays
from dice_jax.sums.additive import option
from dice_jax.sums.operands import (
    Operands,
    class_indicators,
    class_operands,
    soft_probabilities,
    weighted_sums,
)

__all__ = [
    "WassersteinDiceSums",
    "balanced_wasserstein_dice_loss",
    "generalized_wasserstein_dice_loss",
    "generalized_wasserstein_dice_sums",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WassersteinDiceSums(ArraySums):
    r"""Sums for `generalized_wasserstein_dice_loss`, made by `generalized_wasserstein_dice_sums`.

    Args:
        error: ΣW_i.
        size: 2Σ a_i·(1 − W_i) + ΣW_i.
        count: Σ 1, the number of pixels.
        distances: M, as given. Sums of different distances cannot be added.
    """

    error: jax.Array
    size: jax.Array
    count: jax.Array
    distances: Any = dataclasses.field(metadata=option())

    @classmethod
    def fields(
        cls,
        predictions: jax.Array,
        targets: jax.Array,
        where: jax.Array | None,
        axes: tuple[int, ...],
        *options: Any,
    ) -> dict[str, jax.Array]:
        """Sum the Wasserstein distances over pooled pixels."""
        dtype = checks.accumulation_dtype(predictions, where)
        distances = _over_largest(options[0], dtype)

        def terms(
            p: jax.Array, labels: jax.Array, distances: jax.Array, *, axis: int
        ) -> dict[str, jax.Array]:
            y, error = _errors(p, labels, distances, axis)
            background = jnp.take(y, 0, axis)
            return {"error": error, "size": 2 * (1 - background) * (1 - error) + error}

        arrays, ndim = (predictions, targets), targets.ndim
        return weighted_sums(
            terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=(distances,)
        )


def _over_largest(distances: ArrayLike, dtype: Any) -> jax.Array:
    distances = jnp.asarray(distances, dtype)
    largest = jnp.max(distances)
    return ratio(distances, jnp.broadcast_to(largest, distances.shape), distances)


def _errors(
    p: jax.Array, labels: jax.Array, distances: jax.Array, axis: int
) -> tuple[jax.Array, jax.Array]:
    """The labels as indicators, and W: each pixel's Wasserstein distance from its label."""
    dtype = distances.dtype
    y = class_indicators(labels, distances.shape[0], dtype, axis=axis)
    # Not in the accelerators' fast, short formats.
    precision = jax.lax.Precision.HIGHEST
    from_label = jnp.tensordot(y, distances, ((axis,), (0,)), precision=precision)
    p = soft_probabilities(p, dtype)
    return y, jnp.sum(jnp.moveaxis(from_label, -1, axis) * p, axis)


def generalized_wasserstein_dice_sums(
    probabilities: ArrayLike,
    labels: ArrayLike,
    distances: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> WassersteinDiceSums:
    r"""Sums of the generalised Wasserstein Dice loss, to merge, stream or accumulate.

    Args:
        probabilities: [..., C], floating in [0, 1], classes last, the background first.
        labels: integer [...] in 0 … C−1.
        distances: [C, C], at least 0, with zeros on the diagonal; its values must be known.
        axis: the axes of the pixel shape [...] that one region runs over; ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.

    Returns:
        `WassersteinDiceSums` of the shape of ``jnp.sum(labels, axis)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> near = jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.5], [1.0, 0.5, 0.0]])
        >>> p, y = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), jnp.array([0, 1])
        >>> print(dj.generalized_wasserstein_dice_sums(p, y, near).error)
        0.5

    References:
        Fidon et al. (2017), https://arxiv.org/abs/1707.00478, section 3.
    """
    request = _request(probabilities, labels, distances, axis, where)
    return sums_of(WassersteinDiceSums, request)


@sums_or_arrays(WassersteinDiceSums, generalized_wasserstein_dice_sums)
def generalized_wasserstein_dice_loss(
    probabilities: ArrayLike | WassersteinDiceSums,
    labels: ArrayLike | None = None,
    distances: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Generalised Wasserstein Dice loss, of probabilities or of their sums, per region.

    1 − (2Σ_i a_i·(1 − W_i) + s) / (2Σ_i a_i·(1 − W_i) + ΣW_i + s), with W_i = Σ_c M[y_i, c]·p_ic
    the Wasserstein distance of pixel i's probabilities from its label, a_i = 1 on the foreground
    and 0 on the background (class 0), and M the distances over their largest. So mistakes between
    classes that are close cost less.

    Args:
        probabilities: [..., C], floating in [0, 1], classes last, the background first; or
            `generalized_wasserstein_dice_sums`, without ``labels`` and ``distances``.
        labels: integer [...] in 0 … C−1.
        distances: [C, C], at least 0, with zeros on the diagonal: how bad it is to take one class
            for another. Only their ratios matter.
        axis: the axes of the pixel shape [...] that one region runs over (negative ones too);
            ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel:
            ``where=labels != 255``.
        smooth: s, in pixels, added above and below.

    Returns:
        An array of the shape of ``jnp.sum(labels, axis)``; 0 at 0/0. In [0, 1] where each pixel's
        probabilities sum to 1. A label out of range outside the mask makes its region NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, ``distances`` is not a [C, C] matrix or, where
            its values are known, one is negative or not finite or its diagonal is not 0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> near = jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.5], [1.0, 0.5, 0.0]])
        >>> p = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> for y in (1, 2):    # class 1 taken for its neighbour 2, and right
        ...     print(dj.generalized_wasserstein_dice_loss(p, jnp.array([0, y]), near, smooth=0.0))
        0.33333334
        0.0

    References:
        Fidon et al., Generalised Wasserstein Dice score (2017), https://arxiv.org/abs/1707.00478,
        section 3 (with the weights of their published code).
    """
    request = _request(probabilities, labels, distances, axis, where)
    return loss_of(_error_share, request, smooth=smooth)


def _error_share(s: WassersteinDiceSums, smooth: jax.Array) -> jax.Array:
    return share(s.error, s.size, smooth)


def _request(
    probabilities: Any, labels: Any, distances: Any, axis: checks.Axis, where: ArrayLike | None
) -> Request | WassersteinDiceSums:
    if isinstance(probabilities, WassersteinDiceSums):
        return probabilities
    operands, matrix = _checked(probabilities, labels, distances, axis, where)
    return Request(WassersteinDiceSums, operands, {"distances": matrix})


def balanced_wasserstein_dice_loss(
    probabilities: ArrayLike,
    labels: ArrayLike,
    distances: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    r"""Wasserstein Dice loss in which small classes weigh more, of probabilities, per region.

    1 − (2Σ_i a_i·(1 − W_i) + s) / (Σ_i a_i·(2 − W_i) + s), with W_i as in
    `generalized_wasserstein_dice_loss` and a_i = 1/(n + 1), n the number of the region's pixels
    that have pixel i's label. The background counts as every other class does. It is MONAI's
    ``weighting_mode="GDL"``.

    Args:
        probabilities: [..., C], floating in [0, 1], classes last.
        labels: integer [...] in 0 … C−1.
        distances: [C, C], at least 0, with zeros on the diagonal: how bad it is to take one class
            for another. Only their ratios matter.
        axis: the axes of the pixel shape [...] that one region runs over (negative ones too);
            ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel:
            ``where=labels != 255``.
        smooth: s, added above and below.

    Returns:
        An array of the shape of ``jnp.sum(labels, axis)``; 0 at 0/0. In [0, 1] where each pixel's
        probabilities sum to 1. A label out of range outside the mask makes its region NaN.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if shapes or an axis do not fit, ``distances`` is not a [C, C] matrix or, where
            its values are known, one is negative or not finite or its diagonal is not 0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> far = 1 - jnp.eye(2)
        >>> p, y = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]), jnp.array([0, 0, 1])
        >>> loss = dj.balanced_wasserstein_dice_loss(p, y, far, smooth=0.0)
        >>> print(f"{loss:.4f}")    # 0.25 / (2 · 2/3 + 1.5 · 1/2)
        0.1200

    References:
        Fidon et al., Generalised Wasserstein Dice score (2017), https://arxiv.org/abs/1707.00478,
        with the weights of Sudre et al. (2017), https://arxiv.org/abs/1707.03237.
    """
    operands, matrix = _checked(probabilities, labels, distances, axis, where)
    checks.check_number("smooth", smooth)
    checks.check_number("distances", matrix)
    *arrays, axes = operands
    return _balanced(*arrays, matrix, smooth, axes=axes)


@partial(jax.jit, static_argnames="axes")
def _balanced(
    probabilities: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    distances: ArrayLike,
    smooth: ArrayLike,
    *,
    axes: tuple[int, ...],
) -> jax.Array:
    dtype = checks.accumulation_dtype(probabilities, where)
    shared = (_over_largest(distances, dtype),)

    def terms(
        p: jax.Array, labels: jax.Array, distances: jax.Array, *, axis: int
    ) -> dict[str, jax.Array]:
        y, error = _errors(p, labels, distances, axis)
        return {"size": y, "error": y * jnp.expand_dims(error, axis)}

    arrays, ndim = (probabilities, labels), labels.ndim
    sums = weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=shared)
    weights = 1 / (sums["size"] + 1)
    error = jnp.sum(weights * sums["error"], -1)
    size = jnp.sum(weights * (2 * sums["size"] - sums["error"]), -1)
    return share(error, size, jnp.asarray(smooth, dtype))


def _checked(
    probabilities: Any, labels: Any, distances: Any, axis: checks.Axis, where: ArrayLike | None
) -> tuple[Operands, Any]:
    operands = class_operands(
        "probabilities", probabilities, labels, axis, where, unit=("probabilities",)
    )
    matrix = checks.as_array("distances", distances)
    classes = operands.predictions.shape[-1]
    if matrix.shape != (classes, classes):
        raise ValueError(
            f"distances must be a square matrix, shape {(classes, classes)} for {classes} classes, "
            f"got {checks.describe(matrix)}"
        )
    # As given: under jit, JAX's own copy of a known matrix is traced.
    known = not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(distances))
    if known:
        matrix = np.asarray(distances)
        if np.any(np.diagonal(matrix) != 0):
            raise ValueError("distances must have zeros on the diagonal: a class is itself")
    return operands, matrix
