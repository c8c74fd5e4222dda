"""Checks of optima: constant predictions, soft and noisy labels, empty masks."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax.sums.region import region_sums
from dice_jax.theory import optima
from dice_jax.theory.checks.common import NO_SMOOTHING, region_numbers, two_groups
from dice_jax.theory.closed_forms import gradients
from dice_jax.theory.problems import CheckLog, Problems

__all__ = ["best_constant", "empty_mask", "label_noise", "soft_labels"]

Array = np.ndarray[Any, Any]


def _two_class_sums(p: Any, y: Any, *, axis: int, where: Any) -> Any:
    both = jnp.stack([1 - p, p], -1), jnp.stack([1 - y, y], -1)
    return region_sums(*both, axis=axis, where=where[..., None])


def best_constant(problems: Problems, log: CheckLog) -> None:
    """C6: the best constant prediction of each loss."""
    rng, n = problems.rng, problems.trials
    count = np.full(n, 1e4)
    fraction = 10 ** rng.uniform(-3.5, -0.1, n)
    target = fraction * count
    labels, weights = two_groups(target, count)
    grid = np.linspace(0.005, 0.995, 25)

    def slope(
        name: str, q: Any, where: Array = weights, sums: Any = region_sums, **o: Any
    ) -> Array:
        """dL/dq of a constant prediction, relative to the pull of either class."""
        x = np.repeat(np.broadcast_to(q, len(where))[:, None], 2, 1)
        gradient = problems.gradient(name, x, labels[: len(where)], where=where, sums=sums, **o)
        return gradient.sum(1) / np.abs(gradient).sum(1)

    def lowest(name: str, q: Array, where: Array = weights, **o: Any) -> Array:
        """By how much some other constant has a lower loss."""
        at = problems.value(name, np.repeat(q[:, None], 2, 1), labels, where=where, **o)
        others = [problems.value(name, np.full((n, 2), g), labels, where=where, **o) for g in grid]
        return at - np.min(others, 0)

    bce = "binary_cross_entropy_loss"
    best = np.asarray(optima.cross_entropy_best_constant(fraction))
    log.holds("BCE: flat at π", np.abs(slope(bce, best)))
    log.holds("BCE: lowest at π", lowest(bce, best))
    balanced = weights / np.stack([target, count - target], 1)
    half = np.asarray(optima.balanced_cross_entropy_best_constant(fraction))
    log.holds("class-balanced BCE: flat at ½", np.abs(slope(bce, half, balanced)))
    log.holds("class-balanced BCE: lowest at ½", lowest(bce, half, balanced))
    for name in ("dice_loss", "jaccard_loss"):
        for q in (0.01, 0.5, 0.99):
            log.holds(f"{name}: falls towards 1, q = {q}", slope(name, q, **NO_SMOOTHING))
    alpha, beta = 10 ** rng.uniform(-2, 1, (2, n))
    tversky = partial(slope, "tversky_loss", 0.4, smooth=0.0)
    log.holds("Tversky: falls towards 1 for β > 0", tversky(alpha=alpha, beta=beta))
    log.holds("Tversky: flat at β = 0", np.abs(tversky(alpha=alpha, beta=np.zeros(n))))
    squared, none = "squared_dice_loss", NO_SMOOTHING
    log.holds("squared Dice: flat at √π", np.abs(slope(squared, np.sqrt(fraction), **none)))
    log.holds("squared Dice: lowest at √π", lowest(squared, np.sqrt(fraction), **none))
    s = 10 ** rng.uniform(-2, 4, n)
    solution = np.asarray(optima.squared_dice_best_constant(fraction, target, smooth=s))
    log.near(
        "squared Dice: solves πNq² + sq = πT + πs",
        target * solution**2 + s * solution,
        fraction * (target + s),
    )
    log.holds("squared Dice, smoothed: flat there", np.abs(slope(squared, solution, smooth=s)))
    for q in (0.1, 0.9):
        flat = slope("generalized_dice_loss", q, sums=_two_class_sums, **none)
        log.holds("two-class generalised Dice: flat", np.abs(flat))

    def margins(
        fraction: Array, target: Array, s: Array, alpha: Array, beta: Array
    ) -> tuple[tuple[str, Array, dict[str, Array]], ...]:
        """Each loss, its relative distance above the claimed threshold, and its options."""
        gain, cost = 2 * fraction * target, s * (1 - 2 * fraction)
        g2, c2 = beta * fraction * target, s * (alpha * (1 - fraction) - beta * fraction)
        return (
            ("dice_loss", (gain - cost) / (gain + np.abs(cost)), {"smooth": s}),
            ("jaccard_loss", (gain - cost) / (gain + np.abs(cost)), {"smooth": s / 2}),
            (
                "tversky_loss",
                (g2 - c2) / (g2 + np.abs(c2)),
                {"smooth": s, "alpha": alpha, "beta": beta},
            ),
        )

    def disagreement(cube: Array) -> Array:
        """How far from the claimed threshold the loss still moves to the wrong end."""
        fraction = 10 ** (-4 * cube[:, 0])
        fraction = np.clip(fraction, 1e-4, 0.95)
        target = 10 ** (4 * cube[:, 1])
        s, alpha, beta = 10 ** (8 * cube[:, 2] - 4), 3 * cube[:, 3], 3 * cube[:, 4] + 1e-3
        # Half of the candidates lie near the threshold of Dice, where an error would show.
        near = np.arange(len(cube)) % 2 == 0
        threshold = 2 * fraction * target / np.maximum(1 - 2 * fraction, 1e-3)
        s = np.where(near, threshold * (1 + (cube[:, 2] - 0.5)), s)
        _, where = two_groups(target, target / fraction)
        q = 0.05 + 0.9 * cube[:, 5]
        worst = np.zeros(len(cube))
        for name, margin, options in margins(fraction, target, s, alpha, beta):
            push = slope(name, q, where, **options)
            wrong = np.sign(push) == np.sign(margin)
            worst = np.maximum(worst, np.where(wrong, np.abs(margin), 0))
        return worst

    labels = np.tile([1.0, 0.0], (max(n, 32), 1))
    cube = rng.random((n, 6))
    log.holds("with smoothing: to 1 or to 0 as claimed", disagreement(cube))
    worst = problems.worst_case(disagreement, 6)
    log.holds("adversary: to 1 or to 0 as claimed", disagreement(worst))
    _, small = two_groups(np.array([40.0]), np.array([4e3]))
    log.near(
        "dice_best_constant and tversky_best_constant",
        [
            optima.dice_best_constant(0.01, 40.0, smooth=1.0),
            optima.dice_best_constant(0.01, 40.0, smooth=1e-5),
            optima.tversky_best_constant(0.01, 40.0, alpha=0.3, beta=0.7, smooth=1.0),
        ],
        [0.0, 1.0, 0.0],
    )
    turned, straight = (slope("dice_loss", 0.5, small, smooth=s) for s in (1.0, 1e-5))
    log.holds("s = 1 pushes 40 of 4,000 pixels down", -turned)
    log.holds("s = 1e-5 pushes 40 of 4,000 pixels up", straight)
    log.fails_at(
        "With the article's smooth = 1 the best constant prediction for 40 of 4,000 pixels is 0.",
        fraction=0.01,
        target=40.0,
        push_at_smooth_1=turned[0],
        push_at_smooth_1e_5=straight[0],
    )


def soft_labels(problems: Problems, log: CheckLog) -> None:
    """C14: the optimum of each loss with soft labels."""
    n, pixels = problems.trials, 40
    p, y = problems.rng.random((2, n, pixels)) * 0.98 + 0.01
    gradient = problems.gradient("dice_loss", p, y, **NO_SMOOTHING)
    i, s, _, _ = region_numbers(p, y)
    wrong = np.sign(gradient) != np.sign(i / s - y)
    log.holds("the sign changes at y = D/2", np.where(wrong, np.abs(i / s - y), 0))
    best = np.asarray(jax.vmap(optima.dice_oracle)(jnp.asarray(y)).prediction)
    value, gradient = problems.value_and_gradient("dice_loss", best, y, **NO_SMOOTHING)
    log.near("the Dice of dice_oracle", 1 - value, [_best_dice(row) for row in y])
    log.holds("a hard threshold is optimal", np.where(best == 1, gradient, -gradient))
    for _ in range(4):
        other = problems.rng.random(y.shape) ** problems.rng.uniform(0.1, 4, (n, 1))
        log.holds(
            "no random prediction beats the hard threshold",
            value - problems.value("dice_loss", other, y, **NO_SMOOTHING),
        )
    for name in ("squared_dice_loss", "dice_semimetric_loss"):
        at, other = (problems.value(name, x, y, **NO_SMOOTHING) for x in (y, p))
        log.near(f"{name}: 0 at p = y", at, np.zeros(n))
        log.holds(f"{name}: lowest there", 1e-6 - other)
        nudged = np.clip(y + 1e-4 * problems.rng.normal(size=y.shape), 0, 1)
        near = problems.value(name, nudged, y, **NO_SMOOTHING)
        log.holds(f"{name}: a minimum", 1e-12 - near, tolerance=0)
    flat = problems.gradient("squared_dice_loss", y, y, **NO_SMOOTHING)
    log.near("squared Dice: zero gradient at p = y", flat, np.zeros_like(y))
    at_truth = problems.gradient("dice_loss", y[:1, :5], y[:1, :5], **NO_SMOOTHING)
    log.fails_at(
        "At the soft labels themselves the Dice gradient is not 0: it pushes them to 0 and 1.",
        target=y[0, :5],
        gradient=at_truth[0],
    )


def _best_dice(mu: Array) -> float:
    """Max over hard masks of 2Σ_{mask}μ/(|mask| + Σμ): the k likeliest pixels for some k."""
    ordered = np.sort(mu)[::-1]
    return float(np.max(2 * np.cumsum(ordered) / (np.arange(1, mu.size + 1) + mu.sum())))


def label_noise(problems: Problems, log: CheckLog) -> None:
    """C15: the optimum of each loss with noisy labels."""
    n, pixels = problems.trials, 30
    a, b = problems.rng.uniform(0.2, 2, (2, n, 1))
    mu = problems.rng.beta(a, b, (n, pixels))
    mu = np.clip(mu, 1e-3, 1 - 1e-3)
    # Exact expected sums: each pixel counts as y = 1 with weight μ and as y = 0 with weight 1 − μ.
    y = np.concatenate([np.ones_like(mu), np.zeros_like(mu)], 1)
    weight = np.concatenate([mu, 1 - mu], 1)

    def expected(name: str, p: Array, **options: Any) -> tuple[Array, Array, Array]:
        """Loss [n], gradient [n, pixels], and the size of its two parts before they cancel."""
        value, gradient = problems.value_and_gradient(
            name, np.tile(p, 2), y, where=weight, **options
        )
        up, down = gradient[:, :pixels], gradient[:, pixels:]
        return value, up + down, np.abs(up) + np.abs(down)

    def optimal(name: str, p: Array, **options: Any) -> Array:
        """How far p is from a minimum in the unit cube, and by how much another p is better."""
        value, gradient, size = expected(name, p, **options)
        inside = (p > 0) & (p < 1)
        slope = np.where(inside, np.abs(gradient), np.where(p == 1, gradient, -gradient))
        others = [problems.rng.random(mu.shape) ** e for e in (0.3, 1.0, 3.0)]
        others.append(np.clip(p + 0.01 * problems.rng.normal(size=p.shape), 0, 1))
        best = np.min([expected(name, other, **options)[0] for other in others], 0)
        return np.maximum((slope / size).max(1), value - best)

    hard = np.asarray(jax.vmap(optima.dice_oracle)(jnp.asarray(mu)).prediction)
    star = np.array([_best_dice(row) for row in mu])
    log.near("Dice: 1[μ > D*/2]", hard, (mu > star[:, None] / 2).astype(float))
    log.near(
        "Dice: the index reached is D*", 1 - expected("dice_loss", hard, **NO_SMOOTHING)[0], star
    )
    log.holds("Dice: optimal", optimal("dice_loss", hard, **NO_SMOOTHING))
    graded = np.asarray(jax.vmap(optima.squared_dice_oracle)(jnp.asarray(mu)).prediction)
    index = 1 - expected("squared_dice_loss", graded, **NO_SMOOTHING)[0]
    log.near("squared Dice: min(1, μ/D₂*)", graded, np.minimum(1, mu / index[:, None]))
    log.holds("squared Dice: inflated", (mu - graded).max(1))
    log.holds("squared Dice: optimal", optimal("squared_dice_loss", graded, **NO_SMOOTHING))
    flat = mu[0] * 0.05 + 0.4
    unclipped = np.asarray(optima.squared_dice_oracle(jnp.asarray(flat)).prediction)
    scale = np.sqrt(flat.sum() / (flat**2).sum())
    log.near("squared Dice: √(Σμ/Σμ²) unclipped", unclipped, scale * flat)
    log.holds("BCE: p = μ is optimal", optimal("binary_cross_entropy_loss", mu))

    # Noise correlated within the image: a certain core, and a block that is drawn as a whole.
    core, block, chance = 30.0, 30.0, 0.45

    def per_image(q: float) -> float:
        p = np.array([[1.0, q], [1.0, q]])
        loss = problems.value(
            "dice_loss",
            p,
            np.array([[1.0, 1.0], [1.0, 0.0]]),
            where=np.array([[core, block]] * 2),
            **NO_SMOOTHING,
        )
        return chance * loss[0] + (1 - chance) * loss[1]

    rule = optima.dice_oracle(jnp.asarray([1.0] * 30 + [chance] * 30))
    log.near("1[μ > D*/2] fills the block", rule.prediction[-1], 1.0)
    log.holds("the per-image optimum leaves it empty", per_image(0.0) - per_image(1.0))
    log.fails_at(
        "Noise correlated within the image: a block is drawn as a whole with probability 0.45. "
        "1[μ > D*/2] fills it, but per image the loss is lower if it stays empty.",
        core=core,
        block=block,
        chance=chance,
        threshold=float(rule.dice) / 2,
        loss_filled=per_image(1.0),
        loss_empty=per_image(0.0),
    )


def empty_mask(problems: Problems, log: CheckLog) -> None:
    """C16: the loss and its gradient on an empty mask."""
    p, _ = problems.draw()
    empty = np.zeros_like(p)
    s = 10 ** problems.rng.uniform(-4, 2, len(p))
    total = p.sum(1)
    value, gradient = problems.value_and_gradient("dice_loss", p, empty, **NO_SMOOTHING)
    log.near("no smoothing: L = 1", value, 1.0)
    log.near("no smoothing: zero gradient", gradient, np.zeros_like(p))
    at_zero = problems.value_and_gradient("dice_loss", empty, empty, **NO_SMOOTHING)
    log.near("0/0: loss 0", at_zero[0], np.zeros(len(p)))
    log.near("0/0: a finite gradient", at_zero[1], np.zeros_like(p))
    value, gradient = problems.value_and_gradient("dice_loss", p, empty, smooth=s)
    log.near("L = P/(P + s)", value, total / (total + s))
    size = (total + s)[:, None] ** 2
    log.near("g = s/(P + s)²", gradient, s[:, None] / size + 0 * p)
    closed = gradients.empty_mask_dice(total, s)
    log.near("empty_mask_dice", np.stack(closed), [total / (total + s), s / (total + s) ** 2])
    below = problems.value_and_gradient("dice_loss", p, empty, smooth=0.0, smooth_denominator=s)
    log.near("smoothing in the denominator only: L = 1", below[0], 1.0)
    log.near("smoothing in the denominator only: zero gradient", below[1], np.zeros_like(p))

    n = problems.trials
    volume, q, s = 10 ** problems.rng.uniform((0, -4, -2), (3, 0, 1.5), (n, 3)).T
    odds = s * (q * volume + volume + s) ** 2 / ((2 * volume + s) * (q * volume + s) ** 2)
    log.near("break_even_odds", optima.break_even_odds(volume, q, s), odds)

    def step(odds: Array) -> Array:
        """The expected gradient at q, relative to its two parts."""
        slopes = [
            problems.gradient(
                "dice_loss", q[:, None], np.full((n, 1), y), where=volume[:, None], smooth=s
            )[:, 0]
            for y in (1.0, 0.0)
        ]
        mu = odds / (1 + odds)
        parts = mu * slopes[0], (1 - mu) * slopes[1]
        return (parts[0] + parts[1]) / (np.abs(parts[0]) + np.abs(parts[1]))

    log.holds("at the break-even the expected gradient is 0", np.abs(step(odds)))
    log.holds("above the break-even it pushes up", step(odds * 1.01))
    log.holds("below the break-even it pushes down", -step(odds / 1.01))
    log.near(
        "empty_image_oracle: all iff μ > ½",
        [optima.empty_image_oracle(mu, 50.0, smooth=1.0).prediction for mu in (0.49, 0.51)],
        [0.0, 1.0],
    )
    # Pooled with an image that has foreground, an empty image needs no smoothing.
    rows, labels = np.full((1, 4), 0.5), np.array([[1.0, 1, 0, 0]])
    pooled = problems.gradient("dice_loss", rows, labels, **NO_SMOOTHING)[0, 2:]
    i, size, _, _ = region_numbers(rows, labels)
    log.near("pooled: 2I/S² on the empty image", pooled, (2 * i / size**2)[0])
    alone = problems.value_and_gradient("dice_loss", rows[:, 2:], labels[:, 2:], smooth=1e-5)
    log.fails_at(
        "'Smoothing only prevents 0/0': on an empty image it alone decides what a false positive "
        "costs. At s = 1e-5 the loss is near 1 and the gradient near 0.",
        prediction=rows[0, 2:],
        smooth=1e-5,
        loss=alone[0][0],
        gradient=alone[1][0],
        pooled_gradient=pooled,
    )
