"""Checks of other losses: squared and generalised Dice, Tversky, outer functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from dice_jax.sums.region import softmax_region_sums
from dice_jax.theory import optima
from dice_jax.theory.checks.common import (
    ADVERSARY_PIXELS,
    NO_SMOOTHING,
    decoded,
    region_numbers,
    two_values,
)
from dice_jax.theory.closed_forms import gradients
from dice_jax.theory.problems import CheckLog, Problems

__all__ = [
    "absent_class",
    "identities",
    "outer_functions",
    "self_adjusting_dice",
    "squared_dice",
    "tversky",
]

Array = np.ndarray[Any, Any]


def identities(problems: Problems, log: CheckLog) -> None:
    """C9: Dice and squared Dice as relative errors; DSC++ with γ = 2."""
    p, y = problems.draw()
    soft = problems.rng.random(y.shape)
    dice = problems.value("dice_loss", p, y, **NO_SMOOTHING)
    log.near("1 − D = Σ|p−y|/S", dice, np.abs(p - y).sum(1) / (p + y).sum(1))
    for what, target in (("hard", y), ("soft", soft)):
        squared = problems.value("squared_dice_loss", p, target, **NO_SMOOTHING)
        size = (p**2 + target**2).sum(1)
        log.near(f"1 − D₂ = Σ(p−y)²/Q, {what}", squared, ((p - target) ** 2).sum(1) / size)
    value, gradient = problems.value_and_gradient(
        "dice_plus_plus_loss", p, y, sums=None, gamma=2.0, smooth=0.0
    )
    other, other_gradient = problems.value_and_gradient("squared_dice_loss", p, y, **NO_SMOOTHING)
    log.near("DSC++ with γ = 2 is squared Dice", value, other)
    scale = np.abs(other_gradient).max(1, keepdims=True)
    log.near(
        "DSC++ with γ = 2 has the gradient of squared Dice", gradient, other_gradient, scale=scale
    )
    semimetric = problems.value("dice_semimetric_loss", p, y, **NO_SMOOTHING)
    log.near("the Dice semimetric is Dice on hard labels", semimetric, dice)
    of_soft = problems.value("dice_loss", p, soft, **NO_SMOOTHING)
    bound = np.abs(p - soft).sum(1) / (p + soft).sum(1)
    log.holds("soft labels: 1 − D ≥ Σ|p−y|/S", bound - of_soft)
    log.fails_at(
        "With soft labels 1 − D is not Σ|p−y|/S: at p = y it is not 0.",
        prediction=[0.5, 0.5],
        target=[0.5, 0.5],
        loss=problems.value(
            "dice_loss", np.full((1, 2), 0.5), np.full((1, 2), 0.5), **NO_SMOOTHING
        )[0],
    )


def squared_dice(problems: Problems, log: CheckLog) -> None:
    """C10: the gradient of squared Dice, and when a foreground pixel pulls harder."""
    p, y = problems.draw()

    def closed(p: Array, y: Array) -> tuple[Array, Array]:
        i, q = (p * y).sum(1, keepdims=True), (p**2 + y**2).sum(1, keepdims=True)
        return np.where(y == 1, -2 * (q - 2 * p * i) / q**2, 4 * p * i / q**2), 2 * i / q

    gradient = problems.gradient("squared_dice_loss", p, y, **NO_SMOOTHING)
    expected, dice = closed(p, y)
    scale = np.abs(expected).max(1, keepdims=True)
    log.near("gradient", gradient, expected, scale=scale)
    a, b, index = problems.closed(gradients.squared_dice_gradient_values, p, y, **NO_SMOOTHING)
    line = a[:, None] * y + b[:, None] * p
    log.near("squared_dice_gradient_values", line, expected, scale=scale)
    log.near("the index of squared_dice_gradient_values", index, dice[:, 0])
    log.holds("signs", np.where(y == 1, gradient, -gradient) / scale)
    first, second = two_values(gradient, y)
    log.near(
        "ratio is (1/D₂ − pᵢ)/pⱼ",
        np.abs(first / second),
        (1 / dice - p[:, :1]) / p[:, 1:2],
        scale=(1 / dice) / p[:, 1:2],
    )
    log.near(
        "squared_dice_gradient_ratio",
        gradients.squared_dice_gradient_ratio(dice, p[:, :1], p[:, 1:2]),
        (1 / dice - p[:, :1]) / p[:, 1:2],
    )

    def violations(p: Array, y: Array) -> Array:
        """How deep inside one side of pᵢ + pⱼ = 1/D₂ a pair behaves as on the other."""
        gradient = np.abs(problems.gradient("squared_dice_loss", p, y, **NO_SMOOTHING))
        expected, dice = closed(p, y)
        off = np.abs(gradient - np.abs(expected)).max(1) / np.abs(expected).max(1)
        pair = (y[:, :, None] == 1) & (y[:, None, :] == 0)
        margin = 1 / dice[:, :, None] - (p[:, :, None] + p[:, None, :])
        larger = gradient[:, :, None] >= gradient[:, None, :]
        wrong = np.where(pair & (larger != (margin >= 0)), np.abs(margin), 0)
        # At equal error (pⱼ = 1 − pᵢ) the article's inequality must hold.
        equal = pair & (p[:, :, None] + p[:, None, :] <= 1)
        broken = np.where(equal & ~larger, np.abs(margin), 0)
        sure = pair & (dice[:, :, None] <= 0.5) & ~larger
        early = np.where(sure, np.abs(margin), 0)
        return np.maximum(off, np.stack([wrong, broken, early]).max((0, 2, 3)))

    log.holds("≥ 1 iff pᵢ + pⱼ ≤ 1/D₂", violations(p, y))
    worst = problems.worst_case(lambda cube: violations(*decoded(cube)), 2 * ADVERSARY_PIXELS)
    log.holds("adversary: ≥ 1 iff pᵢ + pⱼ ≤ 1/D₂", violations(*decoded(worst)))
    p1, y1 = np.array([[0.95, 0.9, 0.95, 0.9, 0.05, 0.0]]), np.array([[1.0, 1, 1, 0, 0, 0]])
    gradient = problems.gradient("squared_dice_loss", p1, y1, **NO_SMOOTHING)[0]
    foreground, background = np.abs(gradient[0]), np.abs(gradient[3])
    log.holds("the article's inequality fails for such a pair", foreground - background)
    log.fails_at(
        "V-Net's own loss: |g₊| < |g₋| for a confident foreground pixel and a confident false "
        "positive.",
        prediction=p1[0],
        target=y1[0],
        squared_dice=closed(p1, y1)[1].item(),
        foreground_gradient=foreground,
        background_gradient=background,
    )


def _sudre_loss(sums: Any, *, smooth: Any, epsilon: Any) -> Any:
    """Generalised Dice as first written down, with w = 1/(T + ε)² and nothing capped."""
    weight = 1 / (sums.target + epsilon) ** 2
    overlap = (2 * weight * sums.intersection).sum(-1)
    return 1 - (overlap + smooth) / ((weight * (sums.prediction + sums.target)).sum(-1) + smooth)


def absent_class(problems: Problems, log: CheckLog) -> None:
    """C17: generalised Dice when a class is absent."""
    n, pixels = min(problems.trials, 32), 40
    z = problems.rng.normal(size=(n, pixels, 3))
    labels = (problems.rng.random((n, pixels)) < 0.3).astype(int)
    labels[:, 0], labels[:, 1] = 1, 0
    e = np.exp(z - z.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    onehot = np.eye(3)[labels]
    target = onehot.sum(1)
    rarest = np.where(target > 0, target, np.inf).min(-1, keepdims=True)
    weight = np.where(target > 0, (rarest / np.where(target > 0, target, 1)) ** 2, 1)
    above = (2 * weight * (p * onehot).sum(1)).sum(-1)
    below = (weight * (p.sum(1) + target)).sum(-1)
    capped = "generalized_dice_loss"
    for s in (0.0, 1.0):
        value = problems.value(capped, z, labels, sums=softmax_region_sums, smooth=s)
        log.near(f"capped weights, s = {s:g}", value, 1 - (above + s) / (below + s))
    # Large objects: 1/T² turns the sums into small numbers that no longer count pixels.
    heavy = np.full((n, pixels), 100.0)

    def size(loss: Any, where: Any = None, z: Array = z, **options: float) -> Array:
        gradient = problems.gradient(
            loss, z, labels, sums=softmax_region_sums, where=where, **options
        )
        return np.linalg.norm(gradient.reshape(n, -1), axis=1)

    healthy = size(capped, smooth=0.0)
    naive = size(_sudre_loss, smooth=0.0, epsilon=1e-6)
    log.holds("uncapped: the gradient vanishes", naive / healthy - 1e-6)
    log.holds("capped: the gradient does not vanish", 1e-4 - healthy)
    never = z.copy()
    never[..., 2] -= 60
    unless = size(_sudre_loss, z=never, smooth=0.0, epsilon=1e-6)
    log.holds("uncapped: it does not vanish if the class has almost no probability", 1e-4 - unless)
    swamped, free = (size(_sudre_loss, heavy, never, smooth=s, epsilon=1e-6) for s in (1.0, 0.0))
    log.holds("uncapped: s = 1 dominates the weighted sums", swamped / free - 0.1)
    kept, alone = (size(capped, heavy, smooth=s) for s in (1.0, 0.0))
    log.holds("capped and scaled: s = 1 does not dominate", 0.5 - kept / alone)
    log.fails_at(
        "Uncapped weights w = 1/(T + 1e-6)²: the gradient vanishes when one class is absent.",
        class_pixels=target[0],
        gradient_norm_uncapped=naive[0],
        gradient_norm_capped=healthy[0],
    )


def tversky(problems: Problems, log: CheckLog) -> None:
    """C18: the two values of the Tversky gradient and their ratio."""
    p, y = problems.draw()
    alpha, beta = 10 ** problems.rng.uniform(-1.5, 1, (2, len(p)))
    i, s, _, t = region_numbers(p, y)
    a, b = alpha[:, None], beta[:, None]
    false_positives, size = s - t - i, i + a * (s - t - i) + b * (t - i)
    gradient = problems.gradient("tversky_loss", p, y, alpha=alpha, beta=beta, **NO_SMOOTHING)
    expected = np.where(y == 1, -(a * false_positives + b * t) / size**2, a * i / size**2)
    log.near("the two values", gradient, expected)
    foreground, background = two_values(gradient, y)
    ratio = np.abs(foreground / background)
    log.near("ratio is (αFP + βT)/(αI)", ratio, (a * false_positives + b * t) / (a * i))
    log.holds("the ratio is at least β/α", (b / a - ratio) / ratio)
    values = problems.closed(
        gradients.tversky_gradient_values, p, y, alpha=alpha, beta=beta, **NO_SMOOTHING
    )
    log.near("tversky_gradient_values", np.stack(values, 1), np.hstack([foreground, background]))
    options: dict[str, Any] = {"alpha": 0.7, "beta": 0.3, "smooth": 0.0}
    p1, y1 = np.array([[0.9, 0.1, 0.1]]), np.array([[1.0, 0.0, 0.0]])
    gradient = np.abs(problems.gradient("tversky_loss", p1, y1, **options)[0])
    log.holds("α > β allows a ratio below 1", gradient[0] - gradient[1])
    log.fails_at(
        "α > β: the gradient of a background pixel is larger than that of a foreground pixel.",
        prediction=p1[0],
        target=y1[0],
        alpha=0.7,
        beta=0.3,
        ratio=gradient[0] / gradient[1],
    )


def outer_functions(problems: Problems, log: CheckLog) -> None:
    """C19: what a power, log-cosh and log do to the gradient."""
    p, y = problems.draw()
    # From poor to nearly perfect predictions, so that some problems have L near 0.
    pull = 10 ** problems.rng.uniform(-5, 0, (len(p), 1))
    p = y + pull * (p - y)
    i, s, u, _ = region_numbers(p, y)
    loss, dice = np.abs(p - y).sum(1, keepdims=True) / s, 2 * i / s
    plain = np.where(y == 1, -2 * u / s**2, 2 * i / s**2)
    focal = problems.gradient(
        "focal_tversky_loss", p, y, alpha=0.5, beta=0.5, gamma=0.75, **NO_SMOOTHING
    )
    log.near("power 0.75: 0.75·L^−0.25", focal, 0.75 * loss**-0.25 * plain)
    log_cosh = problems.gradient("log_cosh_dice_loss", p, y, **NO_SMOOTHING)
    log.near("log-cosh: tanh L", log_cosh, np.tanh(loss) * plain)
    log_dice = problems.gradient("log_dice_loss", p, y, **NO_SMOOTHING)
    log.near("log: 1/D", log_dice, plain / dice)
    log.near("power_factor", gradients.power_factor(loss, 0.75), 0.75 * loss**-0.25)
    log.near("log_cosh_factor", gradients.log_cosh_factor(loss), np.tanh(loss))
    order = np.argsort(loss[:, 0])
    gain = (focal / plain)[order, 0]
    log.holds("the smaller L, the more the power amplifies", np.diff(gain) / gain[0])
    log.holds("log-cosh never amplifies", np.abs(log_cosh / plain) - 1)


def self_adjusting_dice(problems: Problems, log: CheckLog) -> None:
    """C20: the best probability of a foreground pixel under self-adjusting Dice."""
    p, y = problems.draw()
    for alpha in (0.5, 1.0, 3.0):
        peak = 1 / (1 + alpha)
        log.near("self_adjusting_peak", optima.self_adjusting_peak(alpha), peak)
        options: dict[str, Any] = {"alpha": alpha, "smooth": 1.0}

        def pixel(
            q: float, what: str, options: Any = options, name: str = "self_adjusting_dice_loss"
        ) -> Array:
            x = p.copy()
            x[:, 0] = q
            value, gradient = problems.value_and_gradient(name, x, y, sums=None, **options)
            return value if what == "value" else gradient[:, 0]

        log.near(f"flat at 1/(1+α), α = {alpha:g}", pixel(peak, "gradient"), np.zeros(len(p)))
        log.holds(f"pushed up below the peak, α = {alpha:g}", pixel(peak - 0.05, "gradient"))
        log.holds(
            f"pushed down above the peak, α = {alpha:g}", 1e-9 - pixel(peak + 0.05, "gradient")
        )
        best = pixel(peak, "value")
        for q in (0.01, peak / 2, (1 + peak) / 2, 0.99):
            log.holds(f"lowest loss at the peak, α = {alpha:g}", best - pixel(q, "value"))
        at_peak, at_truth = pixel(peak, "value")[0], pixel(0.999, "value")[0]
        log.fails_at(
            "A correct, confident foreground pixel costs more than an uncertain one.",
            alpha=alpha,
            loss_at_peak=at_peak,
            loss_at_p_0_999=at_truth,
        )
