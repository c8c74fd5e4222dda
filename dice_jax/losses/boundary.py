"""Losses that weigh pixels by their distance from the boundary: boundary and Hausdorff."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import power, ratio
from dice_jax.images.distance import Spacing, signed_distance
from dice_jax.losses.of_arrays import (
    ArraySums,
    Request,
    loss_of,
    sums_of,
    sums_or_arrays,
)
from dice_jax.sums.additive import option
from dice_jax.sums.operands import (
    binary_operands,
    floating,
    inside,
    soft_probabilities,
    soft_targets,
    weighted_sums,
)

__all__ = [
    "BoundarySums",
    "HausdorffDistanceSums",
    "boundary_loss",
    "boundary_sums",
    "hausdorff_distance_loss",
    "hausdorff_distance_sums",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BoundarySums(ArraySums):
    r"""Sums for `boundary_loss`, made by `boundary_sums`.

    Args:
        product: Σ φ·p.
        count: Σ 1, the number of pixels.
    """

    product: jax.Array
    count: jax.Array

    @staticmethod
    def numbers(phi: jax.Array, dtype: Any) -> jax.Array:
        """Take distances as they are."""
        return phi.astype(dtype)

    @staticmethod
    def terms(p: jax.Array, phi: jax.Array) -> dict[str, jax.Array]:
        """Compute the terms of the sums, pixel by pixel."""
        return {"product": p * phi}


def boundary_sums(
    probabilities: ArrayLike,
    signed_distances: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> BoundarySums:
    r"""Sums of the boundary loss, to merge, stream or accumulate.

    Compute the distances of a whole image before it is cut into pieces.

    Args:
        probabilities: [...], floating in [0, 1].
        signed_distances: φ [...], floating, negative inside: from `signed_distance` of the targets.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.

    Returns:
        `BoundarySums` of the shape of ``jnp.sum(probabilities, axis)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, phi = jnp.array([1.0, 0.0, 0.5, 1.0]), dj.signed_distance(jnp.array([0, 0, 1, 1]))
        >>> parts = [dj.boundary_sums(p[k : k + 2], phi[k : k + 2]) for k in (0, 2)]
        >>> print(dj.boundary_loss(sum(parts)))
        -0.125

    References:
        Kervadec et al. (2019), https://arxiv.org/abs/1812.07032, equation 5.
    """
    return sums_of(BoundarySums, _boundary_request(probabilities, signed_distances, axis, where))


@sums_or_arrays(BoundarySums, boundary_sums)
def boundary_loss(
    probabilities: ArrayLike | BoundarySums,
    signed_distances: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Boundary loss, of probabilities and distances or of `boundary_sums`, per region.

    The mean of φ·p, with φ the signed distance to the target's boundary. Its gradient at a pixel is
    φ over the number of pixels, whatever the prediction. It is negative at the truth, and an empty
    target has φ = 0: combine it with a Dice loss.

    Args:
        probabilities: [...], floating in [0, 1]; or `boundary_sums`, without ``signed_distances``.
        signed_distances: φ [...], floating, negative inside: from `signed_distance` of the targets,
            which can be computed once, when the data are made.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in units of the distances; 0
        where no pixel was counted.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> y = jnp.array([0, 0, 1, 1])
        >>> phi = dj.signed_distance(y)
        >>> print(dj.boundary_loss(jnp.array([1.0, 0.0, 0.5, 1.0]), phi))
        -0.125

    References:
        Kervadec et al., Boundary loss for highly unbalanced segmentation (2019),
        https://arxiv.org/abs/1812.07032, equation 5.
    """
    request = _boundary_request(probabilities, signed_distances, axis, where)
    return loss_of(_mean_product, request)


def _mean_product(s: BoundarySums) -> jax.Array:
    return ratio(s.product, s.count, jnp.zeros_like(s.count))


def _boundary_request(
    probabilities: Any, distances: Any, axis: checks.Axis, where: ArrayLike | None
) -> Request | BoundarySums:
    if isinstance(probabilities, BoundarySums):
        return probabilities
    operands = binary_operands(
        "probabilities",
        probabilities,
        floating("signed_distances", distances),
        axis,
        where,
        targets_name="signed_distances",
        unit=("probabilities",),
    )
    return Request(BoundarySums, operands, {})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HausdorffDistanceSums(ArraySums):
    r"""Sums for `hausdorff_distance_loss`, made by `hausdorff_distance_sums`.

    Args:
        error: Σ (p − y)²·(d_p^α + d_y^α).
        count: Σ 1, the number of pixels.
        spacing: the size of a pixel along each axis.
        alpha: α. Sums of different α or spacing cannot be added.
    """

    error: jax.Array
    count: jax.Array
    spacing: Any = dataclasses.field(metadata=option(open_at_least=True))
    alpha: Any = dataclasses.field(metadata=option(open_at_least=True))

    @classmethod
    def fields(
        cls,
        predictions: jax.Array,
        targets: jax.Array,
        where: jax.Array | None,
        axes: tuple[int, ...],
        *options: Any,
    ) -> dict[str, jax.Array]:
        """Sum the weighted errors over pooled pixels."""
        steps, alpha = options
        dtype = checks.accumulation_dtype(predictions, targets, where)
        half = jnp.asarray(0.5, dtype)

        def weight(mask: jax.Array) -> jax.Array:
            distance = jnp.abs(signed_distance(mask, axis=axes, spacing=steps, where=where)).astype(
                dtype
            )
            return power(distance, jnp.asarray(alpha, dtype))

        p = soft_probabilities(inside(predictions, where), dtype)
        y = soft_targets(inside(targets, where), dtype)
        weights = jax.lax.stop_gradient(weight(p > half) + weight(y > half))

        def terms(p: jax.Array, y: jax.Array, d: jax.Array, *, axis: int) -> dict[str, jax.Array]:
            return {"error": jnp.square(p - y) * d}

        return weighted_sums(terms, (p, y, weights), where, axes, ndim=p.ndim, dtype=dtype)


def hausdorff_distance_sums(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    spacing: Spacing | None = None,
    alpha: ArrayLike = 2.0,
) -> HausdorffDistanceSums:
    r"""Sums of the Hausdorff distance loss, to merge or accumulate over whole images.

    Distances are measured within one call. So a piece must hold whole images: the sums of tiles of
    an image are not those of the image.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1] (its boundary is at ½).
        axis: the axes that span space and that one region runs over; ``None`` for all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        alpha: α > 0, a known number.

    Returns:
        `HausdorffDistanceSums` of the shape of ``jnp.sum(probabilities, axis)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> sums = dj.hausdorff_distance_sums(jnp.array([1.0, 0, 0, 0.5]), jnp.array([1, 0, 0, 0]))
        >>> print(sums.error, dj.hausdorff_distance_loss(sums))
        4.5 1.125

    References:
        Karimi & Salcudean (2019), https://arxiv.org/abs/1904.10030, equation 8.
    """
    request = _hausdorff_request(probabilities, targets, axis, where, spacing, alpha)
    return sums_of(HausdorffDistanceSums, request)


@sums_or_arrays(HausdorffDistanceSums, hausdorff_distance_sums)
def hausdorff_distance_loss(
    probabilities: ArrayLike | HausdorffDistanceSums,
    targets: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
    spacing: Spacing | None = None,
    alpha: ArrayLike = 2.0,
) -> jax.Array:
    r"""Hausdorff distance loss, of probabilities or of `hausdorff_distance_sums`, per region.

    The mean of (p − y)²·(d_p^α + d_y^α), with d_y and d_p the distances to the boundaries of the
    target and of the prediction thresholded at ½. The distances are constants in the gradient.

    Args:
        probabilities: [...], floating in [0, 1]; or the sums, without ``targets``, ``spacing`` and
            ``alpha``.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1] (its boundary is at ½).
        axis: the axes that span space and that one region runs over; ``None`` for all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel, also from the
            distances.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        alpha: α > 0; the paper's is 2.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in units of distance^α; 0 where
        no pixel was counted. A mask of one class only has no boundary: its distances are 0.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([1.0, 0.0, 0.0, 0.5]), jnp.array([1, 0, 0, 0])
        >>> print(dj.hausdorff_distance_loss(p, y))    # one doubt, three pixels off: 0.25 · 18 / 4
        1.125

    References:
        Karimi & Salcudean, Reducing the Hausdorff distance in medical image segmentation with
        convolutional neural networks (2019), https://arxiv.org/abs/1904.10030, equation 8.
    """
    request = _hausdorff_request(probabilities, targets, axis, where, spacing, alpha)
    return loss_of(_mean_error, request)


def _mean_error(s: HausdorffDistanceSums) -> jax.Array:
    return ratio(s.error, s.count, jnp.zeros_like(s.count))


def _hausdorff_request(
    probabilities: Any,
    targets: Any,
    axis: checks.Axis,
    where: ArrayLike | None,
    spacing: Spacing | None,
    alpha: ArrayLike,
) -> Request | HausdorffDistanceSums:
    if isinstance(probabilities, HausdorffDistanceSums):
        return probabilities
    unit = ("probabilities", "targets")
    operands = binary_operands("probabilities", probabilities, targets, axis, where, unit=unit)
    steps = checks.check_spacing(spacing, axis, operands.predictions.ndim)
    return Request(HausdorffDistanceSums, operands, {"spacing": steps, "alpha": alpha})
