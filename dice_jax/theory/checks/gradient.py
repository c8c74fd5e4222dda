"""Checks of the gradient of Dice itself: values, signs, smoothing, direction, curvature."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from dice_jax.sums.region import region_sums, sigmoid_region_sums
from dice_jax.theory.checks.common import (
    ADVERSARY_PIXELS,
    NO_SMOOTHING,
    angle,
    decoded,
    logit,
    region_numbers,
    spread,
    two_values,
)
from dice_jax.theory.closed_forms import gradients, hessians
from dice_jax.theory.problems import CheckLog, Problems

__all__ = [
    "article_chain",
    "coupled_pixels",
    "curvature",
    "gradient_values",
    "one_direction",
    "perfect_prediction",
    "smoothing",
]

Array = np.ndarray[Any, Any]


def gradient_values(problems: Problems, log: CheckLog) -> None:
    """C1: the gradient takes two values, with known signs and a known ratio."""
    p, y = problems.draw()
    i, s, u, _ = region_numbers(p, y)
    gradient = problems.gradient("dice_loss", p, y, **NO_SMOOTHING)
    log.near(
        "gradient is −2U/S² or 2I/S²",
        gradient,
        np.where(y == 1, -2 * u / s**2, 2 * i / s**2),
    )
    log.holds("signs", np.where(y == 1, gradient, -gradient) / np.abs(gradient).max())
    foreground, background = two_values(gradient, y)
    ratio = np.abs(foreground / background)
    dice, jaccard = (
        1 - problems.value(name, p, y, **NO_SMOOTHING)[:, None]
        for name in ("dice_loss", "jaccard_loss")
    )
    log.near("ratio is U/I", ratio, u / i)
    log.near("ratio is 1/J", ratio, 1 / jaccard)
    log.near("ratio is 2/D − 1", ratio, 2 / dice - 1)
    log.near(
        "gradient_ratio",
        problems.closed(gradients.gradient_ratio, p, y, **NO_SMOOTHING)[:, None],
        u / i,
    )
    values = problems.closed(gradients.dice_gradient_values, p, y, **NO_SMOOTHING)
    log.near("dice_gradient_values", np.stack(values, 1), np.hstack([foreground, background]))
    log.holds("ratio is at least 1", 1 - ratio)
    perfect = two_values(problems.gradient("dice_loss", y, y, **NO_SMOOTHING), y)
    log.near("ratio is 1 at p = y", np.abs(perfect[0] / perfect[1]), 1.0)
    target = y.sum(1, keepdims=True)
    log.holds("g₋ ≤ 1/(2T)", 2 * target * background - 1)
    log.near("g₋ = 1/(2T) at p = y", perfect[1], 1 / (2 * target))
    log.holds("|g₊| ≤ 2/T", target / 2 * np.abs(foreground) - 1)
    empty = problems.gradient("dice_loss", np.zeros_like(y), y, **NO_SMOOTHING)
    log.near("g₊ = −2/T at P = 0", empty[:, :1], -2 / target)
    missed = np.where(y == 1, 0.0, p)
    none = problems.gradient("dice_loss", missed, y, **NO_SMOOTHING)
    log.holds("no background gradient at I = 0", np.abs(np.where(y == 0, none, 0)))
    log.holds("at I = 0 the foreground still has a gradient", np.where(y == 1, 1e-6 + none, 0))
    log.fails_at(
        "At I = 0 a false positive costs nothing: background pixels are not pushed down.",
        prediction=[0.0, 0.9, 0.9],
        target=[1, 0, 0],
        gradient=problems.gradient(
            "dice_loss", np.array([[0, 0.9, 0.9]]), np.array([[1, 0, 0]]), **NO_SMOOTHING
        )[0],
    )


def article_chain(problems: Problems, log: CheckLog) -> None:
    """C2: the article's inequalities may fail, but its conclusion holds."""
    p, y = problems.draw()
    sure = np.where(y == 1, 1.0, p)
    timid = np.where(y == 1, 0.9 * p, p * 1e-3 * y.mean(1, keepdims=True))
    for what, prediction in (("random", p), ("sure", sure), ("timid", timid), ("perfect", y)):
        i, s, _, t = region_numbers(prediction, y)
        log.holds(f"Σy + Σŷ − Σyŷ ≥ Σyŷ, {what}", (i - (s - i)) / s)
        value, gradient = problems.value_and_gradient("dice_loss", prediction, y, **NO_SMOOTHING)
        log.near(f"L = (S − 2I)/S, {what}", value[:, None], (s - 2 * i) / s, scale=1.0)
        foreground, background = two_values(gradient, y)
        log.holds(f"signs, {what}", np.maximum(foreground, -background))
        ratio = -foreground / background
        log.holds(f"|g₊| ≥ |g₋|, {what}", 1 - ratio)
        log.near(f"|g₊|/|g₋| = (S − I)/I, {what}", ratio, (s - i) / i)
        if what == "sure":
            log.near("the first < is an equality", i, t)
        if what == "timid":
            log.holds("the second < fails", (s - t) - t)
        if what == "perfect":
            log.near("equality at p = y", s - i, i)
    label = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    prediction = np.where(label == 1, 0.7, 0.1)
    i, s, _, t = region_numbers(prediction.reshape(1, -1), label.reshape(1, -1))
    log.fails_at(
        "An under-segmenting prediction: Σŷ < Σy, and yet |g₊| > |g₋|.",
        target=label,
        prediction=prediction,
        intersection=i.item(),
        target_sum=t.item(),
        prediction_sum=(s - t).item(),
        gradient_ratio=((s - i) / i).item(),
    )


# Losses that are functions of D alone, with the options that make them so.
_OF_DICE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("jaccard_loss", {}),
    ("log_dice_loss", {}),
    ("log_cosh_dice_loss", {}),
    ("focal_tversky_loss", {"alpha": 0.5, "beta": 0.5, "gamma": 0.75}),
)


def one_direction(problems: Problems, log: CheckLog) -> None:
    """C3: Dice takes two values, and every function of D points the same way."""
    p, y = problems.draw()
    z = logit(p)
    dice = problems.gradient("dice_loss", p, y, **NO_SMOOTHING)
    dice_z = problems.gradient("dice_loss", z, y, sums=sigmoid_region_sums, **NO_SMOOTHING)
    log.holds("two values in probability space", spread(dice, y))
    log.holds("not two values at the logits", 1e-3 - spread(dice_z, y).max())
    for name, options in _OF_DICE:
        options = {**NO_SMOOTHING, **options}
        other = problems.gradient(name, p, y, **options)
        log.holds(f"two values, {name}", spread(other, y))
        log.holds(f"cosine 1 in probability space, {name}", angle(dice, other))
        other = problems.gradient(name, z, y, sums=sigmoid_region_sums, **options)
        log.holds(f"cosine 1 at the logits, {name}", angle(dice_z, other))
    at_parameters = partial(problems.parameter_gradient, y=y[0], seed=7)
    reference = at_parameters("dice_loss", **NO_SMOOTHING)[None]
    for name, options in _OF_DICE[:1] + _OF_DICE[-1:]:
        other = at_parameters(name, **{**NO_SMOOTHING, **options})[None]
        log.holds(f"cosine 1 at a network's parameters, {name}", angle(reference, other))
    squared = at_parameters("squared_dice_loss", **NO_SMOOTHING)[None]
    log.holds("not for squared Dice at a network's parameters", 1e-3 - angle(reference, squared))

    smooth = problems.rng.uniform(0.5, 20, len(p))
    smoothed = problems.gradient("dice_loss", p, y, smooth=smooth)
    half = problems.gradient("jaccard_loss", p, y, smooth=smooth / 2)
    same = problems.gradient("jaccard_loss", p, y, smooth=smooth)
    log.holds("Dice(s) is parallel to Jaccard(s/2)", angle(smoothed, half))
    log.holds("Dice(s) is not parallel to Jaccard(s)", 1e-3 - angle(smoothed, same).max())

    # Neither holds for other losses, nor for a mean over regions.
    squared = problems.gradient("squared_dice_loss", p, y, **NO_SMOOTHING)
    log.holds("squared Dice: not two values", 1e-3 - spread(squared, y).max())
    log.holds("squared Dice: another direction", 1e-3 - angle(dice, squared).max())
    lovasz = problems.gradient("lovasz_hinge_loss", z, y, sums=None)
    log.holds("Lovász: not two values", 1e-3 - spread(lovasz, y).max())
    log.holds("Lovász: another direction", 1e-3 - angle(dice_z, lovasz).max())
    distances = np.asarray(problems.losses["signed_distance"](jnp.asarray(y[:1] == 1)), float)
    distances = np.broadcast_to(distances, y.shape)
    boundary = problems.gradient("boundary_loss", p, distances, sums=None)
    log.holds("boundary: not two values", 1e-3 - spread(boundary[:1], y[:1]).max())
    log.holds("boundary: another direction", 1e-3 - angle(dice[:1], boundary[:1]).max())
    # Each image's own loss, averaged: rows 2k and 2k + 1 are the two images of one batch.
    pairs = len(p) // 2 * 2
    batch = (pairs // 2, -1)
    p2, y2 = p[:pairs, :24], y[:pairs, :24].copy()
    y2[:, 0], y2[:, 1] = 1, 0
    mean = problems.gradient("dice_loss", p2, y2, **NO_SMOOTHING).reshape(batch)
    pooled = problems.gradient("dice_loss", p2.reshape(batch), y2.reshape(batch), **NO_SMOOTHING)
    log.holds("a mean over regions: not two values", 1e-3 - spread(mean, y2.reshape(batch)))
    log.holds("a mean over regions: another direction", 1e-3 - angle(pooled, mean).max())
    soft = np.clip(y * 0.7 + 0.2 * problems.rng.random(y.shape), 0, 1)
    i, s, _, _ = region_numbers(p, soft)
    log.near(
        "soft labels: (D − 2y)/S",
        problems.gradient("dice_loss", p, soft, **NO_SMOOTHING),
        (2 * i / s - 2 * soft) / s,
        scale=2 / s,
    )

    def decode(cube: Array) -> tuple[Array, Array, Array]:
        return (*decoded(cube[:, :-1]), 30 * cube[:, -1])

    def score(cube: Array) -> Array:
        p, y, s = decode(cube)
        dice = problems.gradient("dice_loss", p, y, smooth=s)
        jaccard = problems.gradient("jaccard_loss", p, y, smooth=s / 2)
        return np.maximum(spread(dice, y), angle(dice, jaccard))

    worst = problems.worst_case(score, 2 * ADVERSARY_PIXELS + 1)
    log.holds("adversary: two values, Dice(s) ∥ Jaccard(s/2)", score(worst))
    log.fails_at(
        "Squared Dice is no function of D: another direction, and more than two values.",
        prediction=p[0, :6],
        target=y[0, :6],
        cosine=1 - angle(dice[:1, :6], squared[:1, :6])[0] ** 2 / 2,
    )


def smoothing(problems: Problems, log: CheckLog) -> None:
    """C4: smoothing changes the ratio of the two values."""
    p, y = problems.draw()
    a, b = 10 ** problems.rng.uniform(-3, 2, (2, len(p), 1))
    i, s, u, _ = region_numbers(p, y)

    def ratio(above: Array, below: Array, p: Array = p, y: Array = y) -> Array:
        gradient = problems.gradient(
            "dice_loss",
            p,
            y,
            smooth=above.ravel(),
            smooth_denominator=below.ravel(),
        )
        foreground, background = two_values(gradient, y)
        return -foreground / background

    zero = np.zeros_like(a)
    plain = ratio(zero, zero)
    both, below = ratio(a, a), ratio(zero, a)
    log.near("ratio is 2(S + b)/(2I + a) − 1", ratio(a, b), 2 * (s + b) / (2 * i + a) - 1)
    options = {"smooth": a.ravel(), "smooth_denominator": b.ravel()}
    dice = 1 - problems.value("dice_loss", p, y, **options)[:, None]
    log.near("ratio is 2/D − 1", ratio(a, b), 2 / dice - 1, scale=2 / np.abs(dice))
    values = problems.closed(gradients.dice_gradient_values, p, y, **options)
    log.near(
        "dice_gradient_values", -values[0] / values[1], (2 / dice - 1)[:, 0], scale=2 / dice[:, 0]
    )
    log.near("smoothing in both places: (2U + s)/(2I + s)", both, (2 * u + a) / (2 * i + a))
    log.holds("smoothing in both places: towards 1", np.maximum(both - plain, 1 - both) / plain)
    log.holds("smoothing in the denominator only: away from 1", (plain - below) / plain)
    # s counts pixels: an image k times as large, or a sum instead of a mean, is s/k.
    double, twice = np.tile(p[:, :24], 2), np.tile(y[:, :24], 2)
    log.near(
        "s counts pixels: twice the image needs 2s",
        ratio(2 * a, 2 * a, double, twice),
        ratio(a, a, p[:, :24], y[:, :24]),
    )
    mean = np.full_like(p, 1 / p.shape[1])
    reduced = problems.gradient("dice_loss", p, y, where=mean, smooth=1.0, smooth_denominator=1.0)
    foreground, background = two_values(reduced, y)
    count = p.shape[1]
    log.near(
        "of mean-reduced sums, s = 1 is s = N",
        -foreground / background,
        (2 * u + count) / (2 * i + count),
    )
    flipped = ratio(2 * (u + b) * 1.01, b)
    log.holds("a > 2(U + b) reverses the foreground's sign", flipped)
    kept = ratio(2 * (u + b) * 0.99, b)
    log.holds("a < 2(U + b) keeps the foreground's sign", -kept)
    below_one = ratio(2 * (u - i) + b + 1, b)
    log.holds("a > b allows a ratio below 1", below_one - 1 + 1e-6)

    def score(cube: Array) -> Array:
        p, y = decoded(cube[:, :-1])
        s = (50 * cube[:, -1:]) ** 2
        i, _, u, _ = region_numbers(p, y)
        expected = (2 * u + s) / (2 * i + s)
        found = ratio(s, s, p, y)
        outside = np.maximum(1 - found, found - u / i)
        return np.maximum(np.abs(found - expected), outside).ravel() / expected.ravel()

    worst = problems.worst_case(score, 2 * ADVERSARY_PIXELS + 1)
    log.holds("adversary: (2U + s)/(2I + s), between 1 and U/I", score(worst))
    k = int(np.argmax(u))
    log.fails_at(
        "Smoothing in the numerator beyond 2(U + b) pushes the foreground down.",
        smooth=2.02 * u[k].item(),
        smooth_denominator=0.0,
        union=u[k].item(),
        signed_ratio=ratio(2.02 * u, zero)[k].item(),
    )


def perfect_prediction(problems: Problems, log: CheckLog) -> None:
    """C8: the gradient at p = y."""
    _, y = problems.draw()
    s = 10 ** problems.rng.uniform(-2, 2, len(y))
    target = y.sum(1, keepdims=True)
    sign = np.where(y == 1, -1, 1)
    plain = problems.gradient("dice_loss", y, y, **NO_SMOOTHING)
    log.near("Dice: ∓1/(2T)", plain, sign / (2 * target))
    smoothed = problems.gradient("dice_loss", y, y, smooth=s)
    log.near("with smoothing: ∓1/(2T + s)", smoothed, sign / (2 * target + s[:, None]))
    squared = problems.gradient("squared_dice_loss", y, y, **NO_SMOOTHING)
    log.near("squared Dice: gradient 0", squared, np.zeros_like(y))
    z = 40 * (2 * y - 1)
    for name in ("dice_loss", "squared_dice_loss"):
        at_logits = problems.gradient(name, z, y, sums=sigmoid_region_sums, **NO_SMOOTHING)
        log.near(f"{name}: 0 at the logits", at_logits, np.zeros_like(y), tolerance=1e-12)
    inside = np.abs(y - 1e-3)
    for name in ("dice_loss", "squared_dice_loss"):
        at, near = (problems.value(name, x, y, **NO_SMOOTHING) for x in (y, inside))
        log.near(f"{name}: 0 at p = y", at, np.zeros(len(y)))
        log.holds(f"{name}: a minimum", 1e-9 - near)


def curvature(problems: Problems, log: CheckLog) -> None:
    """C13: the Hessian in p has rank 2 and is indefinite."""
    n = 10
    p, y = (x[:, :n] for x in problems.draw())
    for s in (0.0, 3.0):
        found = problems.hessian("dice_loss", p, y, smooth=s)
        i, size = (p * y).sum(1)[:, None, None], (p + y).sum(1)[:, None, None] + s
        claimed = 2 / size**2 * (y[:, :, None] + y[:, None, :])
        claimed = claimed - 2 * (2 * i + s) / size**3
        scale = np.abs(claimed).max((1, 2), keepdims=True)
        log.near(f"the Hessian at s = {s:g}", found, claimed, scale=scale)
        eigenvalues = np.linalg.eigvalsh(found) / scale[:, 0]
        log.holds(f"rank 2 at s = {s:g}", np.abs(eigenvalues[:, 1:-1]))
        indefinite = np.maximum(eigenvalues[:, 0], -eigenvalues[:, -1]) + 1e-7
        log.holds(f"indefinite at s = {s:g}", indefinite)
        closed = hessians.dice_hessian(
            region_sums(jnp.asarray(p[0]), jnp.asarray(y[0])), y[0], smooth=s
        )
        log.near(f"dice_hessian at s = {s:g}", closed, claimed[0], scale=scale[0])
    p, y = problems.draw()
    other = problems.rng.random(p.shape)
    value, gradient = problems.value_and_gradient("dice_loss", p, y, **NO_SMOOTHING)
    gain = problems.value("dice_loss", other, y, **NO_SMOOTHING) - value
    step = (gradient * (other - p)).sum(1)
    # Linear-fractional along every line: the difference is the slope times S(p)/S(p′), so its sign
    # is the slope's, and a point that no direction leads down from is a global minimum.
    log.near(
        "linear-fractional: L(p′) − L(p) = ∇L·(p′ − p)·S/S′",
        gain,
        step * (p + y).sum(1) / (other + y).sum(1),
        scale=1.0,
    )
    y1 = np.array([[1.0, 0.0]])
    ends = np.array([[0.0, 0.0], [0.0, 1.0]]) + np.array([[0.5, 0.0]])
    low, high = (problems.value("dice_loss", e[None], y1, **NO_SMOOTHING)[0] for e in ends)
    middle = problems.value("dice_loss", ends.mean(0)[None], y1, **NO_SMOOTHING)[0]
    log.holds("not convex", (low + high) / 2 - middle + 1e-6)
    log.fails_at(
        "Not convex: the midpoint of two predictions costs more than they do on average.",
        target=y1[0],
        predictions=ends,
        losses=[low, high],
        midpoint_loss=middle,
    )


def coupled_pixels(problems: Problems, log: CheckLog) -> None:
    """C22: the gradient at a pixel depends on every other pixel."""
    n = 10
    p, y = (x[:, :n] for x in problems.draw())
    p = 0.05 + 0.9 * p
    dice = problems.hessian("dice_loss", p, y, smooth=0.0)
    i, s = (p * y).sum(1)[:, None, None], (p + y).sum(1)[:, None, None]
    claimed = (2 * (y[:, :, None] + y[:, None, :]) - 4 * i / s) / s**2
    scale = np.abs(claimed).max((1, 2), keepdims=True)
    log.near("∂²L/∂pᵢ∂pⱼ", dice, claimed, scale=scale)
    log.holds("no entry of the Hessian is 0", 1e-9 - np.abs(dice) / scale, tolerance=0)
    off_diagonal = ~np.eye(n, dtype=bool)
    bce = problems.hessian("binary_cross_entropy_loss", p, y)
    log.holds("BCE: only the diagonal", np.abs(bce[:, off_diagonal]), tolerance=0)
    log.holds("BCE: the diagonal is positive", -np.abs(bce[:, ~off_diagonal]) + 1e-9)
    missed = np.where(y == 1, 0.0, p)
    none = problems.hessian("dice_loss", missed, y, smooth=0.0)
    both = (y[:, :, None] == 0) & (y[:, None, :] == 0)
    log.holds("0 for background pairs at I = 0", np.abs(none[both]))
    perfect = problems.hessian("dice_loss", y, y, smooth=0.0)
    mixed = y[:, :, None] != y[:, None, :]
    log.holds("0 for mixed pairs at p = y", np.abs(perfect[mixed]))
    log.fails_at(
        "At p = y a foreground pixel does not feel a background one, nor at I = 0 a background "
        "pixel another.",
        target=y[0],
        mixed_entry_at_perfect=np.abs(perfect[mixed]).max(),
        background_entry_without_overlap=np.abs(none[both]).max(),
    )
