"""What theory says of a loss: the shares of its gradient, and the best constant prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

import dice_jax as dj
from experiments.config import StudyConfig

__all__ = [
    "HARD",
    "PARALLEL_TO_DICE",
    "Optimum",
    "Region",
    "best_constant",
    "class_ratio",
    "foreground_share",
    "posterior_volume_bias",
    "region_of",
    "resting_share",
    "share_at_constant",
]

# Losses whose gradient in p is parallel to Dice's (C3): the ratio 2/D − 1 is theirs too.
PARALLEL_TO_DICE = ("dice", "jaccard", "log_dice", "log_cosh_dice")
# Ratios of linear functions of p, and powers of them: the best p of a pixel is 0 or 1, and a model
# that sees pixels reaches it at infinite logits only (C15).
HARD = (*PARALLEL_TO_DICE, "tversky", "focal_tversky", "generalized_dice")
# α on false positives and β on false negatives of the Tversky losses, and γ of the focal ones.
_ALPHA, _BETA, _GAMMA = 0.3, 0.7, 0.75
_FOCAL_ALPHA, _FOCAL_GAMMA = 0.25, 2
_TVERSKY = ("tversky", "focal_tversky")
# A logit. An optimum farther out counts as infinite: float32 losses are flat there.
_FARTHEST = 16.0


class Region(NamedTuple):
    """What theory needs to know of the pooled pixels that a loss sees.

    Args:
        fraction: π, strictly between 0 and 1.
        foreground: p̄₊, the mean p over the foreground.
        background: p̄₋, the mean p over the background.
        pixels: N, how many are pooled.
    """

    fraction: float
    foreground: float
    background: float
    pixels: int


def pooled_pixels(config: StudyConfig) -> int:
    """Count the pixels that one sum of a loss runs over."""
    pixels = math.prod(config.image_shape)
    return pixels * config.batch_size if config.pooling == "batch" else pixels


def region_of(config: StudyConfig, entry: Mapping[str, Any]) -> Region | None:
    """Read a logged step; ``None`` where the batch lacks a class, or p is not finite."""
    fraction, foreground, background = (
        entry[name]
        for name in (
            "foreground_fraction",
            "mean_probability_foreground",
            "mean_probability_background",
        )
    )
    if fraction is None or foreground is None or background is None or not 0 < fraction < 1:
        return None
    return Region(fraction, foreground, background, pooled_pixels(config))


def class_ratio(loss: str, region: Region, smooth: float) -> float | None:
    """Compute |g₊|/|g₋| in probability space, where each class has one gradient (C1, C4, C18).

    ``None`` for a loss without a closed form. ``smooth`` is s, in pixels.
    """
    present = region.pixels * region.fraction
    hit = region.foreground * present
    false_positive = region.background * (region.pixels - present)
    if loss in PARALLEL_TO_DICE:
        union = false_positive + present
        above, below = 2 * union + smooth, 2 * hit + smooth
    elif loss in _TVERSKY:
        above = _ALPHA * false_positive + _BETA * (present + smooth)
        below = _ALPHA * (hit + smooth)
    else:
        return None
    return above / below if below else None


def _share(mass_ratio: float) -> float:
    return mass_ratio / (1 + mass_ratio)


def foreground_share(loss: str, region: Region, smooth: float) -> tuple[str, float] | None:
    """Compute the foreground's share of a loss's gradient on one pooled region (C5).

    Returns:
        The space in which the closed form holds for every prediction ("probability" or "logit"),
        and the share there; ``None`` for a loss without one.
    """
    odds = region.fraction / (1 - region.fraction)
    ratio = class_ratio(loss, region, smooth)
    if ratio is not None:
        return "probability", _share(odds * ratio)
    # dBCE/dz = p − y: the masses are sums of 1 − p and of p.
    weight = {"bce": odds, "balanced_bce": 1.0}.get(loss)
    if weight is None or not region.background:
        return None
    return "logit", _share(weight * (1 - region.foreground) / region.background)


def share_at_constant(loss: str, fraction: float, prediction: float) -> float | None:
    """Compute the foreground's share when all pixels have one p, for s = 0 (C5).

    Both spaces agree there.

    ``None`` for a loss without a closed form.
    """
    if loss == "squared_dice":
        return _share(float(dj.analysis.squared_dice_mass_ratio(fraction, prediction)))
    found = foreground_share(loss, Region(fraction, prediction, prediction, 1), 0.0)
    return None if found is None else found[1]


class Optimum(NamedTuple):
    """The best constant prediction under a loss (C6).

    Args:
        prediction: q; 0 or 1 where no finite bias attains it.
        finite: whether one does.
        closed: whether it is theory's closed form, or the minimum of the loss by search.
    """

    prediction: float
    finite: bool
    closed: bool


def best_constant(loss: str, fraction: float, count: int, smooth: float) -> Optimum | None:
    """Find the best constant prediction under a loss (C6).

    Args:
        loss: its name.
        fraction: π of the pooled pixels.
        count: how many there are.
        smooth: s, in pixels.

    Returns:
        Theory's `Optimum` where it has one, else the minimum of the loss by search; ``None`` where
        every constant is equally good.
    """
    target = fraction * count
    if loss == "bce":
        return Optimum(fraction, finite=True, closed=True)
    if loss == "balanced_bce":
        return Optimum(0.5, finite=True, closed=True)
    if loss == "squared_dice":
        q = dj.analysis.squared_dice_best_constant(fraction, target, smooth=smooth)
        return Optimum(float(q), finite=True, closed=True)
    if loss in PARALLEL_TO_DICE or loss in _TVERSKY:
        if loss in PARALLEL_TO_DICE:
            q = dj.analysis.dice_best_constant(fraction, target, smooth=smooth)
        else:
            q = dj.analysis.tversky_best_constant(
                fraction, target, alpha=_ALPHA, beta=_BETA, smooth=smooth
            )
        flat = float(q) == 0.5
        return None if flat else Optimum(float(q), finite=False, closed=True)
    return _searched(loss, fraction, smooth / count)


# The losses of a constant prediction q at a fraction π; s per pixel.
_CONSTANT_LOSSES: dict[str, Callable[[float, float, float], float]] = {
    "bce": lambda q, f, _: -f * math.log(q) - (1 - f) * math.log1p(-q),
    "balanced_bce": lambda q, f, _: -(math.log(q) + math.log1p(-q)) / 2,
    "focal": lambda q, f, _: (
        -f * _FOCAL_ALPHA * (1 - q) ** _FOCAL_GAMMA * math.log(q)
        - (1 - f) * (1 - _FOCAL_ALPHA) * q**_FOCAL_GAMMA * math.log1p(-q)
    ),
    "dice": lambda q, f, s: 1 - (2 * f * q + s) / (q + f + s),
    "squared_dice": lambda q, f, s: 1 - (2 * f * q + s) / (q * q + f + s),
    "jaccard": lambda q, f, s: 1 - (f * q + s / 2) / (q + f - f * q + s / 2),
    "tversky": lambda q, f, s: (
        1 - (f * q + s) / (f * q + _ALPHA * (1 - f) * q + _BETA * f * (1 - q) + s)
    ),
    "focal_tversky": lambda q, f, s: _CONSTANT_LOSSES["tversky"](q, f, s) ** _GAMMA,
    "generalized_dice": lambda q, f, s: _generalised_dice(q, f, s),
    "log_dice": lambda q, f, s: -math.log(1 - _CONSTANT_LOSSES["dice"](q, f, s)),
    "log_cosh_dice": lambda q, f, s: math.log(math.cosh(_CONSTANT_LOSSES["dice"](q, f, s))),
}


def _generalised_dice(q: float, f: float, s: float) -> float:
    """Weigh two classes by 1/T², the largest weight 1. Without s it does not depend on q."""
    rarest = min(f, 1 - f)
    present, absent = (rarest / f) ** 2, (rarest / (1 - f)) ** 2
    hit = present * f * q + absent * (1 - f) * (1 - q)
    return 1 - (2 * hit + s) / (present * (q + f) + absent * (2 - q - f) + s)


def _searched(loss: str, fraction: float, smooth: float) -> Optimum | None:
    parts = [_CONSTANT_LOSSES[name] for name in loss.split("+")]

    def value(logit: float) -> float:
        q = 1 / (1 + math.exp(-logit))
        return math.fsum(part(q, fraction, smooth) for part in parts)

    # Start from the best of a grid: a sum of losses may have several local minima.
    grid = np.linspace(-_FARTHEST, _FARTHEST, 129)
    values = [value(z) for z in grid]
    # Too flat for any training to notice.
    if np.ptp(values) < 1e-6:
        return None
    best = int(np.argmin(values))
    if best in (0, len(grid) - 1):
        return Optimum(float(best > 0), finite=False, closed=False)
    found = optimize.minimize_scalar(
        value, bounds=(grid[best - 1], grid[best + 1]), method="bounded", options={"xatol": 1e-8}
    )
    return Optimum(1 / (1 + math.exp(-float(found.x))), finite=True, closed=False)


def resting_share(loss: str, optimum: Optimum, region: Region, smooth: float) -> float | None:
    """Compute the foreground's share in logit space where a bias-only model comes to rest (C7).

    It is ½ at a finite optimum. At an optimum at infinity it is the limit of the share; ``None``
    where that has no closed form.
    """
    if optimum.finite:
        return 0.5
    q = optimum.prediction
    ratio = class_ratio(loss, region._replace(foreground=q, background=q), smooth)
    odds = region.fraction / (1 - region.fraction)
    return None if ratio is None else _share(odds * ratio)


def posterior_volume_bias(loss: str, posterior: np.ndarray) -> tuple[str, float] | None:
    """Compute the volume bias at a loss's optimum, for labels drawn independently from μ (C15).

    Args:
        loss: its name.
        posterior: μ of every pixel.

    Returns:
        The metric that shows it (``volume_bias``, of p ≥ ½, for hard optima, ``soft_volume_bias``
        for graded ones) and its value; ``None`` where theory has none.
    """
    if loss == "bce":
        return "soft_volume_bias", 0.0
    mu = np.asarray(posterior, np.float64)
    if loss in PARALLEL_TO_DICE:
        metric, best = "volume_bias", np.asarray(dj.analysis.dice_oracle(posterior).prediction)
    elif loss == "squared_dice":
        metric, best = "soft_volume_bias", _squared_dice_optimum(mu)
    else:
        return None
    return metric, float(best.sum(dtype=np.float64) / mu.sum() - 1)


def _squared_dice_optimum(mu: np.ndarray) -> np.ndarray:
    """Find p = min(1, cμ) with c = 1/D₂*, by Dinkelbach's iteration.

    `dice_jax.analysis.squared_dice_oracle` tries every number of clipped pixels, which is too slow
    for the pixels of a whole test set.
    """
    index = 1.0
    for _ in range(100):
        p = np.minimum(1, mu / index)
        last, index = index, 2 * (p * mu).sum() / ((p * p).sum() + mu.sum())
        if abs(index - last) < 1e-12:
            break
    return np.minimum(1, mu / index)
