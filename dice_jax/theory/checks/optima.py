"""Checks of optima: constant predictions, soft and noisy labels, empty masks."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax.sums.region import region_sums
from dice_jax.theory import best_constants, optima
from dice_jax.theory.checks.common import NO_SMOOTHING, region_numbers, two_groups
from dice_jax.theory.closed_forms import gradients, pooling
from dice_jax.theory.problems import CheckLog, Problems

__all__ = [
    "best_constant",
    "calibration",
    "empty_mask",
    "label_noise",
    "per_image_optimum",
    "soft_labels",
    "volume",
]

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
    best = np.asarray(best_constants.cross_entropy_best_constant(fraction))
    log.holds("BCE: flat at π", np.abs(slope(bce, best)))
    log.holds("BCE: lowest at π", lowest(bce, best))
    balanced = weights / np.stack([target, count - target], 1)
    half = np.asarray(best_constants.balanced_cross_entropy_best_constant(fraction))
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
    solution = np.asarray(best_constants.squared_dice_best_constant(fraction, target, smooth=s))
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
            best_constants.dice_best_constant(0.01, 40.0, smooth=1.0),
            best_constants.dice_best_constant(0.01, 40.0, smooth=1e-5),
            best_constants.tversky_best_constant(0.01, 40.0, alpha=0.3, beta=0.7, smooth=1.0),
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


def calibration(problems: Problems, log: CheckLog) -> None:
    """C26: the distance of a hard prediction from the posterior is fixed by its Dice."""
    mu = problems.rng.beta(0.4, 0.8, (problems.trials, 30))

    def dice(p: Array) -> Array:
        """Pooled Dice with expected labels: Dice is linear in them up to T, which is Σμ."""
        return 1 - problems.value("dice_loss", p, mu, **NO_SMOOTHING)

    def claimed(p: Array) -> Array:
        return (1 - dice(p)) * (p + mu).sum(1) / mu.shape[1]

    hard = np.round(problems.rng.random(mu.shape))
    log.near("any hard p", np.abs(hard - mu).mean(1), claimed(hard))
    best = np.asarray(jax.vmap(optima.dice_oracle)(jnp.asarray(mu)).prediction)
    # Expected calibration error: a hard prediction has two bins, p = 0 and p = 1.
    error = sum(
        np.abs(np.where(best == level, mu - level, 0).sum(1)) / mu.shape[1] for level in (0, 1)
    )
    fraction, inflation = mu.mean(1), 1 + best.sum(1) / mu.sum(1)
    log.near("ECE of the Dice optimum", error, fraction * inflation * (1 - dice(best)))
    found = optima.dice_calibration_error(fraction, dice(best), volume_ratio=inflation - 1)
    log.near("dice_calibration_error", found, error)
    soft = problems.rng.random(mu.shape)
    log.holds("soft p: at most that", np.abs(soft - mu).mean(1) - claimed(soft))
    half = np.full((1, 2), 0.5)
    value = problems.value("dice_loss", half, half, **NO_SMOOTHING)[0]
    log.fails_at(
        "A soft prediction can be calibrated at any Dice: p = μ = ½ has D = ½ and no error.",
        prediction=half[0],
        posterior=half[0],
        dice=1 - value,
        mean_distance=0.0,
        claimed_of_hard_predictions=value,
    )


def volume(problems: Problems, log: CheckLog) -> None:
    """C27: J ≤ P/T ≤ 1/J, and the optimum of Dice can attain both ends."""
    p, y = problems.draw()
    ratio = p.sum(1) / y.sum(1)
    jaccard = 1 - problems.value("jaccard_loss", p, y, **NO_SMOOTHING)
    log.holds("P/T ≥ J", (jaccard - ratio) / ratio)
    log.holds("P/T ≤ 1/J", (ratio - 1 / jaccard) / ratio)
    dice = 1 - problems.value("dice_loss", p, y, **NO_SMOOTHING)
    log.near("volume_bounds", pooling.volume_bounds(dice), [jaccard, 1 / jaccard])
    for chance, end in ((0.3, -1), (0.6, 1)):
        mu = np.array([[1.0] * 10 + [chance] * 10])
        best = np.asarray(optima.dice_oracle(jnp.asarray(mu)).prediction)
        index = 1 - problems.value("jaccard_loss", best, mu, **NO_SMOOTHING)
        log.near(
            f"attained by the Dice optimum at μ = {chance}", best.sum() / mu.sum(), index**-end
        )


def per_image_optimum(problems: Problems, log: CheckLog) -> None:
    """C30: the mask with the best expected Dice of one image, against all masks."""
    n = 6
    masks = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    pairs = [x.reshape(-1, n) for x in np.broadcast_arrays(masks[:, None], masks[None])]
    dice = 1 - problems.value("dice_loss", *pairs, **NO_SMOOTHING).reshape(len(masks), -1)

    def expected_dice(mu: Array) -> Array:
        """The expected Dice of every mask [B, 64]."""
        return np.prod(np.where(masks == 1, mu[:, None], 1 - mu[:, None]), -1) @ dice.T

    def of(mask: Array, expected: Array) -> Array:
        return expected[(masks == mask[:, None]).all(-1)]

    mu = problems.rng.beta(0.5, 0.7, (12 * problems.trials, n))
    expected = expected_dice(mu)
    found = jax.vmap(optima.per_image_dice_oracle)(jnp.asarray(mu))
    log.near("per_image_dice_oracle: its expected Dice", found.optimum, expected.max(1))
    prediction = np.asarray(found.prediction)
    log.near("its mask has that expected Dice", of(prediction, expected), expected.max(1))
    taken = np.where(prediction == 1, mu, np.inf).min(1)
    left = np.where(prediction == 0, mu, -np.inf).max(1)
    log.holds("it is a set of the most probable pixels", left - taken)
    log.holds("no pixel with μ > ½ is left out", left - 0.5)
    threshold = np.array([_best_dice(row) for row in mu])[:, None] / 2
    rule = of(mu > threshold, expected)
    regret = expected.max(1) - rule
    k = int(np.argmax(np.where(prediction.any(1), regret, 0)))
    log.holds("it is not always 1[μ > D*/2]", 1e-3 - regret[k])
    two = np.array([[0.99, 0.99, 0.99, 0.3, 0.3, 0.3], [0.2] * 6])
    values = expected_dice(two)
    common = max(of(two > t, values).mean() for t in (0.0, 0.25, 0.5, 1.0))
    log.holds("two images may need different thresholds", common - values.max(1).mean() + 0.01)
    log.fails_at(
        "1[μ > D*/2] is the optimum of pooled Dice (C15), not of one image's expected Dice.",
        posterior=mu[k],
        threshold=threshold[k, 0],
        expected_dice_of_the_threshold=rule[k],
        best_mask=prediction[k],
        expected_dice_of_the_best_mask=expected[k].max(),
    )
