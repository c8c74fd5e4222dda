"""Checks of what is pooled into one region: the background class, the images, the batch."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from dice_jax.sums.region import region_sums, softmax_region_sums
from dice_jax.theory.checks.common import NO_SMOOTHING, region_numbers, two_groups
from dice_jax.theory.closed_forms import masses, pooling
from dice_jax.theory.problems import CheckLog, Problems

__all__ = ["background_class", "batch_size", "pooled_images"]

Array = np.ndarray[Any, Any]


def background_class(problems: Problems, log: CheckLog) -> None:
    """C24: the mean of both classes' Dice, at a constant prediction and at p = y."""
    loss, count = problems.losses["dice_loss"], 1e6

    def both(sums: Any, **options: Any) -> Any:
        return loss(sums, **options).mean(-1)

    def foreground_only(sums: Any, **options: Any) -> Any:
        return loss(sums, **options)[..., 1]

    def mass(of: Any, fraction: Array, q: Any) -> Array:
        """Σ|g| at the logits over foreground and background [B, 2], at a constant prediction q."""
        labels, weights = two_groups(fraction * count, np.full(fraction.shape, count))
        q = np.broadcast_to(q, fraction.shape)
        logits = np.stack([np.log1p(-q), np.log(q)], -1)[:, None].repeat(2, 1)
        gradient = problems.gradient(
            of, logits, labels.astype(int), sums=softmax_region_sums, where=weights, **NO_SMOOTHING
        )
        return np.abs(gradient).sum(-1)

    def ratio(of: Any, fraction: Array, q: Any) -> Array:
        found = mass(of, fraction, q)
        return found[:, 0] / found[:, 1]

    fraction = 10 ** problems.rng.uniform(-4, -0.5, problems.trials)
    q = problems.rng.uniform(0.02, 0.98, problems.trials)
    i, s = fraction * q, fraction + q
    i_b, s_b = (1 - fraction) * (1 - q), 2 - fraction - q
    up = fraction * (2 * (s - i) / s**2 + 2 * i_b / s_b**2)
    down = (1 - fraction) * (2 * i / s**2 + 2 * (s_b - i_b) / s_b**2)
    log.near("M₊/M₋ of the mean over both classes", ratio(both, fraction, q), up / down)
    log.near("two_class_dice_mass_ratio", masses.two_class_dice_mass_ratio(fraction, q), up / down)
    log.near(
        "M₊/M₋ of the foreground class alone is 1 + ω/q",
        ratio(foreground_only, fraction, q),
        1 + fraction / (1 - fraction) / q,
    )
    rare, half = np.array([1e-3]), 0.5
    with_it, without = ratio(both, rare, half)[0], ratio(foreground_only, rare, half)[0]
    shares = [x / (1 + x) for x in (without, with_it)]
    log.holds("π = .001, q = ½: share .5005 without it", np.abs(shares[0] - 0.5005) - 5e-5)
    log.holds("π = .001, q = ½: share .0049 with it", np.abs(shares[1] - 0.0049) - 5e-5)
    tiny = np.array([1e-10])
    extra = (mass(both, tiny, q[0]) - 0.5 * mass(foreground_only, tiny, q[0]))[0]
    slope = 2 * q[0] * (1 - q[0])
    log.near(
        "the background class adds 2/(2 − q)² on the background as π → 0",
        2 * extra[1] / slope,
        2 / (2 - q[0]) ** 2,
    )
    # At p = y, in probability space: the background class has the gradient of the other, times ω.
    labels, weights = two_groups(fraction * count, np.full(fraction.shape, count))
    classes = np.stack([1 - labels, labels], -1)
    one, other = (
        np.abs(
            problems.gradient(
                lambda sums, k=k, **options: loss(sums, **options)[..., k],
                classes,
                classes,
                sums=region_sums_of_classes,
                where=weights,
                **NO_SMOOTHING,
            )
        )[..., k]
        for k in (1, 0)
    )
    log.near("at p = y it adds the fraction ω", other / one, (fraction / (1 - fraction))[:, None])
    log.fails_at(
        "'Dice balances the classes': with the background class in the mean, the foreground's "
        "share of the gradient at π = .001 and q = ½ is of the order of cross-entropy's, .001.",
        fraction=rare[0],
        prediction=half,
        share_of_the_foreground_class=shares[0],
        share_of_the_mean_over_both=shares[1],
    )


def region_sums_of_classes(p: Any, y: Any, *, axis: int, where: Any) -> Any:
    """Sums of [B, N, C] with a weight of each pixel [B, N]."""
    return region_sums(p, y, axis=axis, where=where[..., None])


def pooled_images(problems: Problems, log: CheckLog) -> None:
    """C28: Dice pooled over a batch against the mean of the images' own Dice."""
    batches, images, pixels = 8, 4, 16
    p, y = (x[: batches * images] for x in _images(problems, batches * images, pixels))
    shape = (batches, images)
    each, gradient = problems.value_and_gradient("dice_loss", p, y, **NO_SMOOTHING)
    dice = (1 - each).reshape(shape)
    s = region_numbers(p, y)[1].reshape(shape)
    value, pooled = problems.value_and_gradient(
        "dice_loss", p.reshape(batches, -1), y.reshape(batches, -1), **NO_SMOOTHING
    )
    found = 1 - value
    log.near("D_pool = ΣSᵢDᵢ/ΣSᵢ", found, (s * dice).sum(1) / s.sum(1))
    covariance = (s * dice).mean(1) - s.mean(1) * dice.mean(1)
    difference = found - dice.mean(1)
    log.near("D_pool − mean D = Cov(S, D)/E[S]", difference, covariance / s.mean(1), scale=1.0)
    # The first pixel of every image is foreground.
    first = (
        np.abs(pooled.reshape(*shape, pixels)[..., 0]),
        np.abs(gradient.reshape(*shape, pixels)[..., 0]) / images,
    )
    claimed = (2 - found[:, None]) / (2 - dice) * images * s / s.sum(1, keepdims=True)
    log.near("the foreground's gradient, pooled over per image", first[0] / first[1], claimed)
    k = int(np.argmax(np.abs(difference)))
    log.fails_at(
        "'Dice per batch is the mean of Dice per image': they differ unless S and D are "
        "uncorrelated.",
        size=s[k],
        dice=dice[k],
        mean_dice=dice[k].mean(),
        pooled_dice=found[k],
    )


def _images(problems: Problems, count: int, pixels: int) -> tuple[Array, Array]:
    """Images whose first pixel is foreground and second is not, however many trials there are."""
    rng = problems.rng
    share = 10 ** rng.uniform(-1.3, -0.1, (count, 1))
    y = (rng.random((count, pixels)) < share).astype(float)
    y[:, 0], y[:, 1] = 1, 0
    return rng.random((count, pixels)) * 0.98 + 0.01, y


def batch_size(problems: Problems, log: CheckLog) -> None:
    """C29: the expectation of pooled Dice over random batches depends on the batch size."""
    kinds, pixels = 3, 6
    p, y = _images(problems, kinds, pixels)
    p = p * problems.rng.uniform(0.1, 1, (kinds, 1))

    def expected(name: str, batch: int, **options: Any) -> float:
        """Exactly, over all batches of ``batch`` images drawn with equal probability."""
        counts = np.array(
            [c for c in itertools.product(range(batch + 1), repeat=kinds) if sum(c) == batch]
        )
        log_chance = [
            math.lgamma(batch + 1) - sum(math.lgamma(n + 1) for n in c) - batch * math.log(kinds)
            for c in counts
        ]
        weight = np.repeat(counts, pixels, 1)
        rows = (np.broadcast_to(x.reshape(1, -1), weight.shape) for x in (p, y))
        return float(np.exp(log_chance) @ problems.value(name, *rows, where=weight, **options))

    i, s = (x[:, 0] for x in region_numbers(p, y)[:2])
    dice = 2 * i.sum() / s.sum()
    parts = dice * s.var(), 2 * np.mean((i - i.mean()) * (s - s.mean()))
    first = (parts[0] - parts[1]) / s.mean() ** 2
    scale = (parts[0] + np.abs(parts[1])) / s.mean() ** 2
    batches = np.array([16, 32])
    bias = np.array([1 - expected("dice_loss", int(b), **NO_SMOOTHING) - dice for b in batches])
    # B·bias is the first order + O(1/B): extrapolated from two batch sizes to B → ∞.
    limit = 2 * batches[1] * bias[1] - batches[0] * bias[0]
    log.holds("B·bias tends to the first order", np.abs(limit - first) / scale - 0.01)
    log.near(
        "batch_size_bias",
        pooling.batch_size_bias(region_sums(jnp.asarray(p), jnp.asarray(y), axis=1), batch=4),
        first / 4,
    )
    bce = [expected("binary_cross_entropy_loss", b) for b in (1, 4, 8)]
    log.near("BCE has no bias", bce[1:], bce[0])
    log.fails_at(
        "'The batch size changes the noise only': the expected Dice of a batch depends on it.",
        batch_sizes=batches,
        expected_dice_minus_dice=bias,
        first_order=first / batches,
    )
