"""clDice: a loss that asks whether tubes stay connected."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.images.skeleton import check_iterations, soft_skeleton
from dice_jax.losses.of_arrays import ArraySums, Request, loss_of, sums_of, sums_or_arrays
from dice_jax.sums.additive import option
from dice_jax.sums.operands import (
    binary_operands,
    inside,
    soft_probabilities,
    soft_targets,
    weighted_sums,
)

__all__ = ["ClDiceSums", "cldice_loss", "cldice_sums"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClDiceSums(ArraySums):
    r"""Sums for `cldice_loss`, made by `cldice_sums`.

    Args:
        predicted_skeleton: ΣS_p.
        target_skeleton: ΣS_y.
        predicted_skeleton_inside: ΣS_p·y.
        target_skeleton_inside: ΣS_y·p.
        count: Σ 1, the number of pixels.
        iterations: of the skeletons. Sums of different iterations cannot be added.
    """

    predicted_skeleton: jax.Array
    target_skeleton: jax.Array
    predicted_skeleton_inside: jax.Array
    target_skeleton_inside: jax.Array
    count: jax.Array
    iterations: int = dataclasses.field(metadata=option())

    @classmethod
    def fields(
        cls,
        predictions: jax.Array,
        targets: jax.Array,
        where: jax.Array | None,
        axes: tuple[int, ...],
        *options: Any,
        iterations: int = 0,
    ) -> dict[str, jax.Array]:
        """Sum the skeletons over pooled pixels."""
        dtype = checks.accumulation_dtype(predictions, targets, where)
        p = soft_probabilities(inside(predictions, where), dtype)
        y = soft_targets(inside(targets, where), dtype)
        skeleton = partial(soft_skeleton, axis=axes, iterations=iterations, where=where)

        def terms(
            p: jax.Array, y: jax.Array, s_p: jax.Array, s_y: jax.Array, *, axis: int
        ) -> dict[str, jax.Array]:
            return {
                "predicted_skeleton": s_p,
                "target_skeleton": s_y,
                "predicted_skeleton_inside": s_p * y,
                "target_skeleton_inside": s_y * p,
            }

        arrays = (p, y, skeleton(p), skeleton(y))
        return weighted_sums(terms, arrays, where, axes, ndim=p.ndim, dtype=dtype)


def cldice_sums(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    axis: checks.Axis = None,
    iterations: int,
    where: ArrayLike | None = None,
) -> ClDiceSums:
    r"""Sums of the clDice loss, to merge or accumulate over whole images.

    Skeletons are made within one call. So a piece must hold whole images: the sums of tiles of an
    image are not those of the image.

    Args:
        probabilities: [...], floating in [0, 1].
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that span space and that one region runs over; ``None`` for all.
        iterations: erosions of `soft_skeleton`: at least the radius of the thickest tube.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel.

    Returns:
        `ClDiceSums` of the shape of ``jnp.sum(probabilities, axis)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> tube = jnp.zeros((3, 8)).at[1].set(1.0)
        >>> sums = dj.cldice_sums(tube.at[1, 3:5].set(0.0), tube, iterations=1)
        >>> print(sums.predicted_skeleton, sums.target_skeleton_inside)
        6.0 6.0

    References:
        Shit et al., clDice (2021), https://arxiv.org/abs/2003.07311, equation 2 and algorithm 2.
    """
    return sums_of(ClDiceSums, _request(probabilities, targets, axis, where, iterations))


@sums_or_arrays(ClDiceSums, cldice_sums)
def cldice_loss(
    probabilities: ArrayLike | ClDiceSums,
    targets: ArrayLike | None = None,
    *,
    axis: checks.Axis = None,
    iterations: int | None = None,
    smooth: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Centreline Dice loss, of probabilities or of `cldice_sums`, per region.

    1 − 2·a·b/(a + b), with topology precision a = (ΣS_p·y + s)/(ΣS_p + s) and topology sensitivity
    b = (ΣS_y·p + s)/(ΣS_y + s), S_p and S_y the soft skeletons of prediction and target: how much
    of each skeleton lies outside the other's mask. Gradient flows through S_p as well as p. The
    paper adds it to soft Dice.

    Each class is a region of its own. To pool classes into one, as MONAI does, add their sums:
    ``cldice_loss(sum(sums[..., c] for c in range(1, C)))`` with the `cldice_sums` of [..., C].

    Args:
        probabilities: [...], floating in [0, 1]; or `cldice_sums`, without ``targets`` and
            ``iterations``.
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        axis: the axes that span space and that one region runs over; ``None`` for all.
        iterations: erosions of `soft_skeleton`: at least the radius of the thickest tube. Needed
            with arrays.
        smooth: s, in pixels of skeleton, added above and below in both terms.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel, also from the
            skeletons.

    Returns:
        An array of the shape of ``jnp.sum(probabilities, axis)``, in [0, 1]; 0 where neither has a
        skeleton and where no pixel was counted.

    Raises:
        TypeError: if ``iterations`` is missing, or a type does not fit.
        ValueError: if ``smooth`` or ``iterations`` is negative, or shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> tube = jnp.zeros((3, 8)).at[1].set(1.0)
        >>> broken = tube.at[1, 3:5].set(0.0)
        >>> print(f"{dj.cldice_loss(broken, tube, iterations=1, smooth=0.0):.4f}")
        0.1429

    References:
        Shit et al., clDice (2021), https://arxiv.org/abs/2003.07311, equation 2 and algorithm 2.
    """
    return loss_of(
        _cldice, _request(probabilities, targets, axis, where, iterations), smooth=smooth
    )


def _cldice(s: ClDiceSums, smooth: jax.Array) -> jax.Array:
    one, zero = jnp.ones_like(s.count), jnp.zeros_like(s.count)
    precision = ratio(s.predicted_skeleton_inside + smooth, s.predicted_skeleton + smooth, one)
    sensitivity = ratio(s.target_skeleton_inside + smooth, s.target_skeleton + smooth, one)
    # Both 0: nothing of either skeleton is where it should be.
    index = ratio(2 * precision * sensitivity, precision + sensitivity, zero)
    return jnp.where(s.count == 0, zero, 1 - index)


def _request(
    probabilities: Any, targets: Any, axis: checks.Axis, where: ArrayLike | None, iterations: Any
) -> Request | ClDiceSums:
    if isinstance(probabilities, ClDiceSums):
        return probabilities
    unit = ("probabilities", "targets")
    operands = binary_operands("probabilities", probabilities, targets, axis, where, unit=unit)
    # A shape of the program, so it cannot be traced.
    return Request(ClDiceSums, operands, {}, (("iterations", check_iterations(iterations)),))
