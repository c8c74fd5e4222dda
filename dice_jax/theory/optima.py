"""The exact optimum of a loss, when the probability of foreground is known at every pixel."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax.theory.arrays import floating

__all__ = [
    "Oracle",
    "balanced_cross_entropy_best_constant",
    "break_even_odds",
    "cross_entropy_best_constant",
    "cross_entropy_oracle",
    "dice_best_constant",
    "dice_oracle",
    "empty_image_oracle",
    "self_adjusting_peak",
    "squared_dice_best_constant",
    "squared_dice_oracle",
    "tversky_best_constant",
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


def cross_entropy_best_constant(fraction: ArrayLike) -> jax.Array:
    """The best constant prediction under mean binary cross-entropy (C6): q = π.

    Args:
        fraction: π, the foreground fraction.

    Returns:
        q, of the shape of ``fraction``.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.cross_entropy_best_constant(0.25))
        0.25

    References:
        C6 of the theory page.
    """
    return floating("fraction", fraction)


def balanced_cross_entropy_best_constant(fraction: ArrayLike) -> jax.Array:
    """The best constant prediction under class-balanced binary cross-entropy (C6): q = ½.

    Args:
        fraction: π, the foreground fraction, in (0, 1).

    Returns:
        ½, in the shape of ``fraction``.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.balanced_cross_entropy_best_constant(0.25))
        0.5

    References:
        C6 of the theory page.
    """
    return jnp.full_like(floating("fraction", fraction), 0.5)


def tversky_best_constant(
    fraction: ArrayLike,
    target: ArrayLike,
    *,
    alpha: ArrayLike,
    beta: ArrayLike,
    smooth: ArrayLike = 1.0,
) -> jax.Array:
    """The best constant prediction under the Tversky loss (C6): 0 or 1.

    1 if βπT > s(α(1−π) − βπ), 0 if <, and ½ at equality, where every q has the same loss. No finite
    bias reaches 0 or 1; training only approaches it.

    Args:
        fraction: π, the foreground fraction of the pooled pixels.
        target: T, the number of foreground pixels pooled.
        alpha: α, on false positives.
        beta: β, on false negatives.
        smooth: s, in pixels, as in `tversky_loss`.

    Returns:
        0, ½ or 1, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.tversky_best_constant(0.01, 40.0, alpha=0.3, beta=0.7, smooth=1.0))
        0.0
        >>> print(dj.analysis.tversky_best_constant(0.01, 40.0, alpha=0.3, beta=0.7, smooth=1e-5))
        1.0

    References:
        C6 of the theory page.
    """
    f, t, a, b, s = (
        floating(name, x)
        for name, x in (
            ("fraction", fraction),
            ("target", target),
            ("alpha", alpha),
            ("beta", beta),
            ("smooth", smooth),
        )
    )
    return (1 + jnp.sign(b * f * t - s * (a * (1 - f) - b * f))) / 2


def dice_best_constant(
    fraction: ArrayLike, target: ArrayLike, *, smooth: ArrayLike = 1.0
) -> jax.Array:
    """The best constant prediction under the Dice loss (C6): 0 or 1.

    1 if s(1−2π) < 2πT, 0 if >, and ½ at equality, where every q has the same loss. With the
    article's s = 1 it is 0 for a small object.

    Args:
        fraction: π, the foreground fraction of the pooled pixels.
        target: T, the number of foreground pixels pooled.
        smooth: s, in pixels, as in `dice_loss`. Jaccard with s/2 has the same optimum.

    Returns:
        0, ½ or 1, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.dice_best_constant(0.01, 40.0))    # the article's smooth = 1
        0.0
        >>> print(dj.analysis.dice_best_constant(0.01, 40.0, smooth=1e-5))
        1.0

    References:
        C6 of the theory page; Lipton et al. (2014), https://arxiv.org/abs/1402.1892.
    """
    # Dice with s is Tversky with α = β = ½ and s/2.
    half = floating("smooth", smooth) / 2
    return tversky_best_constant(fraction, target, alpha=0.5, beta=0.5, smooth=half)


def squared_dice_best_constant(
    fraction: ArrayLike, target: ArrayLike, *, smooth: ArrayLike = 1.0
) -> jax.Array:
    """The best constant prediction under the squared Dice loss (C6): √π at s = 0.

    The positive solution of πNq² + sq − (πT + πs) = 0.

    Args:
        fraction: π, the foreground fraction of the pooled pixels.
        target: T > 0, the number of foreground pixels pooled.
        smooth: s, in pixels, as in `squared_dice_loss`.

    Returns:
        q, of the arguments' broadcast shape.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.squared_dice_best_constant(0.25, 100.0, smooth=0.0))
        0.5

    References:
        C6 of the theory page.
    """
    f, t, s = (
        floating(name, x)
        for name, x in (
            ("fraction", fraction),
            ("target", target),
            ("smooth", smooth),
        )
    )
    # The other form of the root subtracts two nearly equal numbers.
    free = f * (t + s)
    return 2 * free / (s + jnp.sqrt(s * s + 4 * t * free))


def cross_entropy_oracle(posterior: ArrayLike) -> Oracle:
    """The optimum of binary cross-entropy under label noise (C15): p = μ, unbiased.

    Args:
        posterior: [...], μ = P(y = 1) of each pixel.

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
    return _cross_entropy_oracle(floating("posterior", posterior))


@jax.jit
def _cross_entropy_oracle(mu: jax.Array) -> Oracle:
    entropy = -(jax.scipy.special.xlogy(mu, mu) + jax.scipy.special.xlog1py(1 - mu, -mu))
    return Oracle(mu, _pooled_dice(mu, mu), jnp.mean(entropy))


def dice_oracle(posterior: ArrayLike) -> Oracle:
    """The optimum of the Dice loss under label noise or with soft labels (C14, C15).

    1[μ > D*/2], where D* is the best pooled Dice: the maximum over k of 2Σ_{i≤k}μ_i/(k + Σμ), with
    μ in descending order. The prediction is hard, and its volume may differ from Σμ (volume bias).

    Args:
        posterior: [...], μ = P(y = 1) of each pixel, or a soft label.

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
    return _dice_oracle(floating("posterior", posterior))


@jax.jit
def _dice_oracle(mu: jax.Array) -> Oracle:
    ordered = jnp.sort(mu.reshape(-1))[::-1]
    sizes = jnp.arange(1, ordered.size + 1).astype(mu.dtype)
    best = jnp.max(2 * jnp.cumsum(ordered) / (sizes + jnp.sum(ordered)), initial=0)
    prediction = (mu > best / 2).astype(mu.dtype)
    dice = _pooled_dice(prediction, mu)
    return Oracle(prediction, dice, dice)


def squared_dice_oracle(posterior: ArrayLike) -> Oracle:
    """The optimum of the squared Dice loss under label noise (C15): soft, and at least μ.

    p = min(1, cμ) with c = 1/D₂*, D₂* = max 2Σpμ/(Σp² + Σμ); √(Σμ/Σμ²) where nothing is clipped.
    (With *fixed* soft targets the optimum is p = y instead, C14: Σy² is not Σμ.)

    Args:
        posterior: [...], μ = P(y = 1) of each pixel, not all 0.

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
    return _squared_dice_oracle(floating("posterior", posterior))


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
        presence: μ, the probability that the region is present, [...].
        volume: V, its pixels.
        smooth: s, in pixels, as in `dice_loss`.

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
        floating(name, x)
        for name, x in (
            ("presence", presence),
            ("volume", volume),
            ("smooth", smooth),
        )
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
        volume: V, in pixels.
        prediction: q.
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
    v, q, s = (
        floating(name, x)
        for name, x in (
            ("volume", volume),
            ("prediction", prediction),
            ("smooth", smooth),
        )
    )
    return s * (q * v + v + s) ** 2 / ((2 * v + s) * (q * v + s) ** 2)


def self_adjusting_peak(alpha: ArrayLike) -> jax.Array:
    r"""The probability beyond which self-adjusting Dice pushes a foreground pixel down (C20).

    The maximum of (1−p)^α p: p = 1/(1 + α).

    Args:
        alpha: α > 0.

    Returns:
        p, of the shape of ``alpha``.

    Example:
        >>> import dice_jax as dj
        >>> print(dj.analysis.self_adjusting_peak(1.0))
        0.5

    References:
        C20 of the theory page; Li et al., Dice loss for data-imbalanced NLP tasks (2020).
    """
    return 1 / (1 + floating("alpha", alpha))
