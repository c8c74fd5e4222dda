"""The exact optimum of a loss, when the probability of foreground is known at every pixel."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax.sums.expected_dice import best_mask, check_nodes
from dice_jax.theory.arrays import at_least_0, unit

__all__ = [
    "Oracle",
    "break_even_odds",
    "cross_entropy_oracle",
    "dice_calibration_error",
    "dice_oracle",
    "empty_image_oracle",
    "per_image_dice_oracle",
    "self_adjusting_peak",
    "squared_dice_oracle",
]


class Oracle(NamedTuple):
    """The optimal prediction under a loss, and the Dice index that it reaches.

    Args:
        prediction: the optimal probabilities, of the posterior's shape.
        dice: the expected Dice index 2Σpμ/(Σp + Σμ) of this prediction, pooled over the pixels.
        optimum: the largest value of the loss's own index (for cross-entropy: the lowest loss,
            which is the mean entropy).

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> best = dj.analysis.dice_oracle(jnp.array([1.0, 0.5]))
        >>> print(best.prediction, best.dice == best.optimum)
        [1. 1.] True
    """

    prediction: jax.Array
    dice: jax.Array
    optimum: jax.Array


def _pooled_dice(p: jax.Array, mu: jax.Array) -> jax.Array:
    size = jnp.sum(p) + jnp.sum(mu)
    one = jnp.ones_like(size)
    return jnp.where(size == 0, one, 2 * jnp.sum(p * mu) / jnp.where(size == 0, one, size))


def cross_entropy_oracle(posterior: ArrayLike) -> Oracle:
    """The optimum of binary cross-entropy under label noise (C15): p = μ, unbiased.

    Args:
        posterior: [...], μ = P(y = 1) in [0, 1] of each pixel.

    Returns:
        An `Oracle`; ``optimum`` is the mean entropy in nats, the lowest loss there is.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> print(dj.analysis.cross_entropy_oracle(jnp.array([0.5, 1.0])).prediction)
        [0.5 1. ]

    References:
        C15 of the theory page; Nordström et al. (2022).
    """
    return _cross_entropy_oracle(unit("posterior", posterior))


@jax.jit
def _cross_entropy_oracle(mu: jax.Array) -> Oracle:
    entropy = -(jax.scipy.special.xlogy(mu, mu) + jax.scipy.special.xlog1py(1 - mu, -mu))
    return Oracle(mu, _pooled_dice(mu, mu), jnp.mean(entropy))


def dice_oracle(posterior: ArrayLike) -> Oracle:
    """The optimum of the Dice loss under label noise or with soft labels (C14, C15).

    1[μ > D*/2], where D* is the best pooled Dice: the maximum over k of 2Σ_{i≤k}μ_i/(k + Σμ), with
    μ in descending order. The prediction is hard, and its volume may differ from Σμ (volume bias).

    Args:
        posterior: [...], μ = P(y = 1) in [0, 1] of each pixel, or a soft label.

    Returns:
        An `Oracle`; ``optimum`` is D* = ``dice``. An all-zero posterior gives the empty prediction
        and Dice 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> best = dj.analysis.dice_oracle(jnp.array([0.9, 0.4, 0.1]))
        >>> print(best.prediction, f"{best.dice:.4f}")
        [1. 1. 0.] 0.7647

    References:
        Lipton et al., Thresholding classifiers to maximize F1 score (2014),
        https://arxiv.org/abs/1402.1892; Nordström et al. (2022).
    """
    return _dice_oracle(unit("posterior", posterior))


@jax.jit
def _dice_oracle(mu: jax.Array) -> Oracle:
    ordered = jnp.sort(mu.reshape(-1))[::-1]
    sizes = jnp.arange(1, ordered.size + 1).astype(mu.dtype)
    best = jnp.max(2 * jnp.cumsum(ordered) / (sizes + jnp.sum(ordered)), initial=0)
    prediction = (mu > best / 2).astype(mu.dtype)
    dice = _pooled_dice(prediction, mu)
    return Oracle(prediction, dice, dice)


def dice_calibration_error(
    fraction: ArrayLike, dice: ArrayLike, *, volume_ratio: ArrayLike = 1.0
) -> jax.Array:
    r"""The expected calibration error of the optimum of Dice, which is a hard mask (C26).

    π(1 + V/T)(1 − D*). Cross-entropy's optimum has none. A weight on cross-entropy of the order of
    1/(2π) is what it takes beside Dice (C25).

    Args:
        fraction: π in [0, 1], the foreground fraction.
        dice: D* in [0, 1], the pooled Dice that the optimum reaches: ``dice_oracle(…).dice``.
        volume_ratio: V/T in [0, 1/π], the volume of the optimum over that of the foreground.

    Returns:
        The error, in [0, 1] where the three belong to one optimum; of the arguments' broadcast
        shape.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> mu = jnp.array([0.75, 0.75, 0.25, 0.25])
        >>> best = dj.analysis.dice_oracle(mu)    # the first two pixels
        >>> print(dj.analysis.dice_calibration_error(0.5, best.dice))
        0.25

    References:
        C26 of the theory page.
    """
    excess = 1 + at_least_0("volume_ratio", volume_ratio)
    return unit("fraction", fraction) * excess * (1 - unit("dice", dice))


def squared_dice_oracle(posterior: ArrayLike) -> Oracle:
    """The optimum of the squared Dice loss under label noise (C15): soft, and at least μ.

    p = min(1, cμ) with c = 1/D₂*, D₂* = max 2Σpμ/(Σp² + Σμ); √(Σμ/Σμ²) where nothing is clipped.
    (With *fixed* soft targets the optimum is p = y instead, C14: Σy² is not Σμ.)

    Args:
        posterior: [...], μ = P(y = 1) in [0, 1] of each pixel, not all 0.

    Returns:
        An `Oracle`; ``optimum`` is D₂*.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> best = dj.analysis.squared_dice_oracle(jnp.array([0.5, 0.5]))
        >>> print(best.prediction.round(4), f"{best.optimum:.4f}")
        [0.7071 0.7071] 0.7071

    References:
        Nordström et al., On image segmentation with noisy labels (2022).
    """
    return _squared_dice_oracle(unit("posterior", posterior))


@jax.jit
def _squared_dice_oracle(mu: jax.Array) -> Oracle:
    ordered = jnp.sort(mu.reshape(-1))[::-1]
    total = jnp.sum(ordered)
    zero = jnp.zeros((1,), mu.dtype)
    # If the k largest are clipped at 1, c = 1/D₂ solves Bc² + 2Ac − (k + Σμ) = 0, with A = Σμ over
    # the clipped pixels and B = Σμ² over the others.
    clipped = jnp.concatenate([zero, jnp.cumsum(ordered)])
    graded = jnp.concatenate([jnp.cumsum(jnp.square(ordered)[::-1])[::-1], zero])
    k = jnp.arange(ordered.size + 1).astype(mu.dtype)
    root = clipped + jnp.sqrt(jnp.square(clipped) + graded * (k + total))
    scales = (k + total) / jnp.where(root == 0, jnp.ones_like(root), root)

    def index_at(scale: jax.Array) -> jax.Array:
        p = jnp.minimum(1, scale * ordered)
        bottom = jnp.sum(p * p) + total
        one = jnp.ones_like(bottom)
        return jnp.where(bottom == 0, one, 2 * jnp.sum(p * ordered)) / jnp.where(
            bottom == 0, one, bottom
        )

    indices = jax.lax.map(index_at, scales)
    best = jnp.max(indices)
    # The scale is 1/D₂*, not the scale at the best k: around its maximum the index hardly changes,
    # so neighbouring k tie up to rounding, while the maximum itself is accurate.
    prediction = jnp.minimum(1, mu / best)
    return Oracle(prediction, _pooled_dice(prediction, mu), best)


def empty_image_oracle(presence: ArrayLike, volume: ArrayLike, *, smooth: ArrayLike) -> Oracle:
    """The best prediction on a region that may be absent, one image at a time (C16).

    With growing q the expected Dice first falls, then rises, so the optimum is at an end: q = 1 iff
    μ > ½. Training that starts where the odds are below `break_even_odds` goes to q = 0 even then:
    q = 0 is a local minimum.

    Args:
        presence: μ in [0, 1], the probability that the region is present, [...].
        volume: V ≥ 0, its pixels.
        smooth: s ≥ 0, in pixels, as in `dice_loss`.

    Returns:
        An `Oracle`; ``prediction`` is q, ``dice`` and ``optimum`` the expected smoothed Dice.

    Example:
        >>> import dice_jax as dj
        >>> best = dj.analysis.empty_image_oracle(0.75, 3.0, smooth=1.0)
        >>> print(best.prediction, best.dice)
        1.0 0.8125

    References:
        C16 of the theory page; Tilborghs et al. (2022).
    """
    mu, v, s = (
        unit("presence", presence),
        at_least_0("volume", volume),
        at_least_0("smooth", smooth),
    )
    wrong = s / (v + s)
    filled, empty = mu + (1 - mu) * wrong, mu * wrong + (1 - mu)
    best = jnp.maximum(filled, empty)
    return Oracle((filled > empty).astype(best.dtype), best, best)


def break_even_odds(volume: ArrayLike, prediction: ArrayLike, smooth: ArrayLike) -> jax.Array:
    r"""Odds of presence above which the expected Dice step on a region goes up (C16).

    μ/(1−μ) = s(qV + V + s)²/[(2V + s)(qV + s)²], one image at a time. A region of V pixels is
    present with probability μ and absent otherwise; the model predicts q on it and 0 elsewhere.

    Args:
        volume: V ≥ 0, in pixels.
        prediction: q in [0, 1].
        smooth: s > 0, in pixels.

    Returns:
        The odds, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(f"{dj.analysis.break_even_odds(100.0, 0.01, 1.0):.3f}")
        12.940

    References:
        C16 of the theory page; Tilborghs et al., The Dice loss in the context of missing or empty
        labels (2022).
    """
    v, s = at_least_0("volume", volume), at_least_0("smooth", smooth)
    q = unit("prediction", prediction)
    return s * (q * v + v + s) ** 2 / ((2 * v + s) * (q * v + s) ** 2)


def self_adjusting_peak(alpha: ArrayLike) -> jax.Array:
    r"""The probability beyond which self-adjusting Dice pushes a foreground pixel down (C20).

    The maximum of (1−p)^α p: p = 1/(1 + α).

    Args:
        alpha: α ≥ 0.

    Returns:
        p, of the shape of ``alpha``.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.self_adjusting_peak(1.0))
        0.5

    References:
        C20 of the theory page; Li et al., Dice loss for data-imbalanced NLP tasks (2020).
    """
    return 1 / (1 + at_least_0("alpha", alpha))


def per_image_dice_oracle(posterior: ArrayLike, *, nodes: int = 64) -> Oracle:
    r"""The hard mask with the best expected Dice of one image, with independent labels (C30).

    The k most probable pixels, for the best k. The expected Dice of the k most probable pixels is
    2∫₀¹ xᵏ ∏ᵢ(1 − μᵢ + μᵢx) Σ_{j≤k} μⱼ/(1 − μⱼ + μⱼx) dx, by quadrature in t = −log x. That of the
    empty mask is ∏ᵢ(1 − μᵢ). N pixels and Q nodes take O(N log N + N·Q) steps, and the memory of N.
    `dice_jax.metrics.dice_optimal_mask` does the same for a batch of images.

    Args:
        posterior: [...], μ = P(y = 1) in [0, 1] of each pixel of one image.
        nodes: Q, at least 4. With 64, the quadrature's relative error is 1e-14 for 10 pixels and
            2e-10 for 2¹⁸, whatever the probabilities are. Twice as many nodes show it.

    Returns:
        An `Oracle`; ``optimum`` is the expected Dice of the image, ``dice`` the pooled one.

    Raises:
        TypeError: if ``nodes`` is no integer.
        ValueError: if ``nodes`` is below 4.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> best = dj.analysis.per_image_dice_oracle(jnp.array([0.9, 0.4, 0.1]))
        >>> print(best.prediction, f"{best.optimum:.4f}")
        [1. 0. 0.] 0.7560

    References:
        C30 of the theory page; Dai & Li, RankDice (2023), https://arxiv.org/abs/2206.13086.
    """
    return _per_image_dice_oracle(unit("posterior", posterior), nodes=check_nodes(nodes))


@partial(jax.jit, static_argnames="nodes")
def _per_image_dice_oracle(mu: jax.Array, *, nodes: int) -> Oracle:
    prediction, expected = best_mask(mu.reshape(-1), nodes=nodes)
    prediction = prediction.reshape(mu.shape)
    return Oracle(prediction, _pooled_dice(prediction, mu), expected)
