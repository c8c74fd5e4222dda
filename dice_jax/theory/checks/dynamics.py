"""Checks of what training feels: gradient mass, saturation, the late phase, object size."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from dice_jax.sums.balance import gradient_balance
from dice_jax.sums.region import region_sums, sigmoid_region_sums
from dice_jax.theory import best_constants
from dice_jax.theory.checks.common import (
    ADVERSARY_PIXELS,
    NO_SMOOTHING,
    decoded,
    logit,
    region_numbers,
    two_groups,
    two_values,
)
from dice_jax.theory.closed_forms import escape, gradients, masses
from dice_jax.theory.problems import CheckLog, Problems

__all__ = [
    "adam",
    "gradient_mass",
    "late_phase",
    "object_size",
    "saturation",
    "share_at_rest",
    "with_cross_entropy",
]

Array = np.ndarray[Any, Any]


def _mass_ratio(gradient: Array, y: Array) -> Array:
    balance = gradient_balance(jnp.asarray(gradient), y, axis=1)
    return np.asarray(balance.foreground_mass / balance.background_mass)


def gradient_mass(problems: Problems, log: CheckLog) -> None:
    """C5: how the gradient is shared between foreground and background."""
    p, y = problems.draw()
    target = y.sum(1)
    odds = target / (y.shape[1] - target)
    foreground, background = (p * y).sum(1) / target, (p * (1 - y)).sum(1) / (1 - y).sum(1)
    dice = problems.gradient("dice_loss", p, y, **NO_SMOOTHING)
    log.near("M₊/M₋ = (ω + p̄₋)/p̄₊", _mass_ratio(dice, y), (odds + background) / foreground)
    log.near(
        "dice_mass_ratio",
        masses.dice_mass_ratio(target / y.shape[1], foreground, background),
        (odds + background) / foreground,
    )

    def class_masses(
        name: str, fraction: Any, q: Any, sums: Any = region_sums, **options: Any
    ) -> Array:
        """Σ|g| over foreground and background [B, 2] of πN and (1 − π)N pixels, N = 10⁶."""
        fraction, q = np.broadcast_arrays(np.atleast_1d(fraction), q)
        labels, weights = two_groups(fraction * 1e6, np.full(fraction.shape, 1e6))
        x = np.repeat((q if sums is region_sums else logit(q))[:, None], 2, 1)
        return np.abs(problems.gradient(name, x, labels, sums=sums, where=weights, **options))

    fraction = 10 ** problems.rng.uniform(-4, -0.5, problems.trials)
    q = problems.rng.uniform(0.02, 0.98, problems.trials)
    omega = fraction / (1 - fraction)
    for sums in (region_sums, sigmoid_region_sums):
        mass = class_masses("dice_loss", fraction, q, sums, **NO_SMOOTHING)
        log.near(f"1 + ω/q, {sums.__name__}", mass[:, 0] / mass[:, 1], 1 + omega / q)
    mass = class_masses("binary_cross_entropy_loss", fraction, q, sigmoid_region_sums)
    log.near("BCE: ω(1 − q)/q", mass[:, 0] / mass[:, 1], omega * (1 - q) / q)
    log.near(
        "cross_entropy_mass_ratio",
        masses.cross_entropy_mass_ratio(fraction, q),
        omega * (1 - q) / q,
    )
    mass = class_masses("squared_dice_loss", fraction, q, **NO_SMOOTHING)
    expected = (q**2 + fraction - 2 * fraction * q**2) / (2 * q**2 * (1 - fraction))
    log.near("squared Dice at a constant", mass[:, 0] / mass[:, 1], expected)
    log.near("squared_dice_mass_ratio", masses.squared_dice_mass_ratio(fraction, q), expected)

    # The limits, at π = 1e-9.
    rare = 1e-9

    def share(name: str, q: float, sums: Any = region_sums, **options: Any) -> float:
        mass = class_masses(name, rare, q, sums, **options)[0]
        return mass[0] / mass.sum()

    # At π = 1e-9 the distance to the limit is a few times π.
    near_limit: dict[str, Any] = {"tolerance": 4e-9}
    log.near("share → ½ at q ≫ π", share("dice_loss", 0.5, **NO_SMOOTHING), 0.5, **near_limit)
    log.near(
        "squared Dice: share → ⅓",
        share("squared_dice_loss", 0.5, **NO_SMOOTHING),
        1 / 3,
        **near_limit,
    )
    prior: dict[str, Any] = {"q": rare, "sums": sigmoid_region_sums}
    log.near("BCE at q = π: ½", share("binary_cross_entropy_loss", **prior), 0.5)
    log.near("Dice at q = π → ⅔", share("dice_loss", **prior, **NO_SMOOTHING), 2 / 3)
    dice = class_masses("dice_loss", rare, 0.5, sigmoid_region_sums, **NO_SMOOTHING)[0]
    bce = class_masses("binary_cross_entropy_loss", rare, 0.5, sigmoid_region_sums)[0]
    log.near(
        "at q = ½ the foreground pulls twice as hard as with BCE",
        dice[0] / bce[0],
        2.0,
        **near_limit,
    )
    log.holds("at q = ½ the background pulls less than 1e-8 times as hard", dice[1] / bce[1] - 1e-8)
    log.fails_at(
        "'Dice up-weights the foreground': at q = ½ and π = 1e-9 the foreground's gradient only "
        "doubles. What changes is the background's, which falls.",
        foreground_mass_over_bce=dice[0] / bce[0],
        background_mass_over_bce=dice[1] / bce[1],
    )


def share_at_rest(problems: Problems, log: CheckLog) -> None:
    """C7: at a finite optimum the foreground's share of the gradient is ½."""
    n = min(problems.trials, 32)
    y = (problems.rng.random((n, 48)) < 0.25).astype(float)
    y[:, 0], y[:, 1] = 1, 0
    base = problems.rng.normal(size=y.shape) + 4 * y
    losses: tuple[tuple[str, dict[str, Any]], ...] = (
        ("binary_cross_entropy_loss", {}),
        ("dice_loss", {"smooth": 0.0}),
        ("squared_dice_loss", {"smooth": 0.0}),
        ("tversky_loss", {"smooth": 0.0, "alpha": 0.3, "beta": 0.7}),
    )
    offsets = np.linspace(-12, 8, 41)
    for name, options in losses:

        def push(bias: Array, name: str = name, options: Any = options) -> tuple[Array, Array]:
            return problems.value_and_gradient(
                name, base + bias[:, None], y, sums=sigmoid_region_sums, **options
            )

        values = np.stack([push(np.full(n, b))[0] for b in offsets])
        best = values.argmin(0)
        # The statement is about finite stationary points: these problems have one.
        log.holds(f"{name}: a finite optimum", (best == 0) | (best == len(offsets) - 1))
        best = np.clip(best, 1, len(offsets) - 2)
        low, high = offsets[best - 1], offsets[best + 1]
        for _ in range(50):
            middle = (low + high) / 2
            up = push(middle)[1].sum(1) < 0
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        gradient = push((low + high) / 2)[1]
        balance = gradient_balance(jnp.asarray(gradient), y, axis=1)
        log.near(f"{name}: share ½", balance.foreground_share, 0.5)
    fraction = np.array([0.01, 0.1, 0.3])
    labels, weights = two_groups(fraction * 1e4, np.full(3, 1e4))
    gradient = problems.gradient(
        "dice_loss",
        np.full((3, 2), 25.0),
        labels,
        sums=sigmoid_region_sums,
        where=weights,
        **NO_SMOOTHING,
    )
    mass, omega = np.abs(gradient), fraction / (1 - fraction)
    share = mass[:, 0] / mass.sum(1)
    log.near("bias-only Dice: (1 + ω)/(2 + ω)", share, (1 + omega) / (2 + omega))
    log.fails_at(
        "With a bias alone, Dice has its optimum at infinity: its share is not ½.",
        fraction=fraction,
        share=share,
    )


def saturation(problems: Problems, log: CheckLog) -> None:
    """C11: how long Dice and cross-entropy take to leave saturation."""
    p, y = problems.draw()
    z = logit(p)
    at_p = problems.gradient("dice_loss", p, y, **NO_SMOOTHING)
    at_z = problems.gradient("dice_loss", z, y, sums=sigmoid_region_sums, **NO_SMOOTHING)
    log.near("g_z = g·p(1 − p)", at_z, at_p * p * (1 - p), scale=np.abs(at_z))
    stuck = z.copy()
    stuck[:, 0] = -20
    dice = problems.gradient("dice_loss", stuck, y, sums=sigmoid_region_sums, **NO_SMOOTHING)
    bce = problems.gradient("binary_cross_entropy_loss", stuck, y, sums=sigmoid_region_sums)
    log.near("BCE pulls a false negative with −1/N", bce[:, 0], -1 / y.shape[1], tolerance=5e-9)
    log.holds(
        "Dice pulls a false negative with less than 1e-6/N", np.abs(dice[:, 0]) * y.shape[1] - 1e-6
    )

    def escape_time(
        name: str, start: Array, target: Array, count: Array, **options: float
    ) -> Array:
        """Time for free logits to reach p = ½ on the foreground, by the midpoint rule."""
        labels, weights = two_groups(target, count)

        def speed(z: Array) -> Array:
            gradient = problems.gradient(
                name, z, labels, sums=sigmoid_region_sums, where=weights, **options
            )
            return -gradient / weights

        z, time = np.repeat(start[:, None], 2, 1), np.zeros(len(start))
        for _ in range(4000):
            going = z[:, 0] < 0
            if not going.any():
                break
            v = speed(z)
            # Steps of at most 0.04 in a logit, and onto z = 0 exactly.
            step = np.minimum(0.04, np.maximum(-z[:, 0], 0)) / np.abs(v).max(1)
            v = speed(z + step[:, None] / 2 * v)
            step = np.where(going, np.minimum(step, -z[:, 0] / np.maximum(v[:, 0], 1e-300)), 0)
            z, time = z + step[:, None] * v, time + step
            z[:, 0] = np.where(z[:, 0] > -1e-9, 0, z[:, 0])
        return np.where(z[:, 0] == 0, time, np.inf)

    start, fraction = np.array([-8.0, -12.0, -16.0, -20.0]), np.array([0.3, 0.1, 0.03, 0.01])
    count = np.full(4, 1e4)
    target = fraction * count
    background = (count - target) / (1 + np.exp(-start))
    found = escape_time("dice_loss", start, target, count, **NO_SMOOTHING)
    expected = (target + background) / 2 * np.exp(-start)
    # The statement is asymptotic: its error falls like |z₀|e^−|z₀|; the rest is the integrator's.
    allowed = 4e-4 + (4 * np.abs(start) + 1 / fraction) * np.exp(start)
    log.holds("Dice: ((T + B)/2)e^|z₀|", np.abs(found / expected - 1) / allowed - 1)
    log.near("Dice at |z₀| = 20", found[-1], expected[-1], tolerance=1e-3)
    log.near(
        "dice_escape_time",
        escape.dice_escape_time(start, target, background),
        expected,
    )
    found = escape_time("binary_cross_entropy_loss", start, target, count)
    expected = count * (np.abs(start) + 1 - np.exp(start))
    log.near("BCE: N(|z₀| + 1 − e^z₀)", found, expected, tolerance=2e-5)
    log.near("cross_entropy_escape_time", escape.cross_entropy_escape_time(start, count), expected)
    crossing = np.asarray(escape.escape_crossing(fraction))
    log.near("e^|z₀|/|z₀| = 2/π at the crossing", np.exp(crossing) / crossing, 2 / fraction)
    log.holds("about 7.3 at π = 0.01", np.abs(crossing[-1] - 7.3) - 0.05)
    rare, many = np.array([0.01, 0.01]), np.full(2, 1e4)
    around = -crossing[-1] + np.array([2.0, -2.0])
    dice = escape_time("dice_loss", around, rare * many, many, **NO_SMOOTHING)
    bce = escape_time("binary_cross_entropy_loss", around, rare * many, many)
    log.holds("Dice is faster before the crossing", dice[0] / bce[0] - 1)
    log.holds("Dice is slower beyond the crossing", 1 - dice[1] / bce[1])
    log.fails_at(
        "Saturated beyond the crossing, Dice takes longer than BCE to find the foreground.",
        start=around[1],
        fraction=0.01,
        dice_time=dice[1],
        cross_entropy_time=bce[1],
    )


def late_phase(problems: Problems, log: CheckLog) -> None:
    """C12: the gradient of Dice relative to cross-entropy's."""

    def factors(p: Array, y: Array) -> Array:
        """|g_z Dice|/|g_z BCE| over p_t, which the statement gives in closed form."""
        z = logit(p)
        dice = problems.gradient("dice_loss", z, y, sums=sigmoid_region_sums, **NO_SMOOTHING)
        bce = problems.gradient("binary_cross_entropy_loss", z, y, sums=sigmoid_region_sums)
        return np.abs(dice / bce) / np.where(y == 1, p, 1 - p)

    def expected(p: Array, y: Array) -> Array:
        i, s, u, _ = region_numbers(p, y)
        count = p.shape[1]
        return np.where(y == 1, 2 * u * count / s**2, 2 * i * count / s**2)

    p, y = problems.draw()
    found = factors(p, y)
    log.near("p_t·2UN/S² and p_t·2IN/S²", found, expected(p, y))
    values = problems.closed(gradients.late_phase_factors, p, y)
    log.near("late_phase_factors", np.where(y == 1, *(v[:, None] for v in values)), expected(p, y))
    dice = 1 - problems.value("dice_loss", p, y, **NO_SMOOTHING)[:, None]
    foreground, background = two_values(found, y)
    log.near("the relative weight is 2/D − 1", foreground / background, 2 / dice - 1)
    late = np.where(y == 1, 1 - 1e-9, 1e-9)
    log.near(
        "→ 1/(2π) as D → 1",
        factors(late, y),
        1 / (2 * y.mean(1, keepdims=True)) + 0 * y,
        tolerance=1e-7,
    )
    # p = ½ on two foreground and two background pixels: I = 1, S = 4.
    weights = factors(np.full((1, 4), 0.5), np.array([[1.0, 1, 0, 0]]))
    log.near("a relative weight of 3 at D = ½", weights[:, 0] / weights[:, 3], 3.0)

    def score(cube: Array) -> Array:
        p, y = decoded(cube)
        p = np.clip(p, 1e-6, 1 - 1e-6)
        claimed = expected(p, y)
        return (np.abs(factors(p, y) - claimed) / claimed).max(1)

    worst = problems.worst_case(score, 2 * ADVERSARY_PIXELS)
    log.holds("adversary: p_t·2UN/S² and p_t·2IN/S²", score(worst))
    p1, y1 = np.array([[0.1, 0.9, 0.1, 0.05]]), np.array([[1.0, 1, 0, 0]])
    pull = factors(p1, y1) * np.where(y1 == 1, p1, 1 - p1)
    log.holds("relative to BCE, hard pixels weigh less", pull[0, 0] - pull[0, 1])
    log.fails_at(
        "'Dice mines hard pixels': beside BCE it weights the missed foreground pixel (p = 0.1) "
        "less than the found one (p = 0.9).",
        prediction=p1[0],
        target=y1[0],
        pull_over_bce=pull[0],
    )


def object_size(problems: Problems, log: CheckLog) -> None:
    """C21: the foreground's gradient mass depends on the object's size."""
    count = 1e9
    target = np.array([10.0, 100.0, 1e3, 1e4, 1e8])
    labels, weights = two_groups(target, np.full(5, count))

    def mass(foreground: Any, background: Any) -> Array:
        x = np.broadcast_to([foreground, background], (5, 2))
        gradient = problems.gradient("dice_loss", x, labels, where=weights, **NO_SMOOTHING)
        return np.abs(gradient[:, 0])

    for q in (0.1, 0.5, 0.9):
        s, i = count * q + target, q * target
        log.near(f"M₊ = 2TU/S² at q = {q}", mass(q, q), 2 * target * (s - i) / s**2)
    closed = masses.dice_foreground_mass(
        region_sums(np.full((5, 2), 0.5), labels, axis=1, where=weights)
    )
    log.near("dice_foreground_mass", closed, mass(0.5, 0.5))
    constant = mass(0.5, 0.5)
    log.near("≈ 2T/(Nq) for q ≫ T/N", constant[:3], 4 * target[:3] / count, tolerance=1e-5)
    log.holds(
        "a small object has less than a fifth of the next one's mass",
        constant[:-1] / constant[1:] - 0.2,
    )
    log.near("½ at every size as D → 1", mass(1 - 1e-14, 1e-14), 0.5)
    log.near("2 at every size as q → 0", mass(1e-14, 1e-14), 2.0, tolerance=4e-6)
    log.fails_at(
        "At q = ½ the foreground of an object of 10 pixels pulls far less than one of 10⁸.",
        pixels=target,
        foreground_mass=constant,
    )


def adam(problems: Problems, log: CheckLog) -> None:
    """C23: under Adam a factor on the loss does nothing, and ε alone decides about stalling."""

    def train(loss: Any, z: Array, y: Array, epsilon: Any, steps: int) -> tuple[Array, Array]:
        """Logits [B, N] after some steps, and the step at which the first pixel reaches p = ½."""
        rate, m, v = 0.033, np.zeros_like(z), np.zeros_like(z)
        reached = np.full(len(z), steps + 1)
        for step in range(1, steps + 1):
            g = problems.gradient(loss, z, y, sums=sigmoid_region_sums, **NO_SMOOTHING)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            size = np.sqrt(v / (1 - 0.999**step)) + epsilon
            z = z - rate * m / (1 - 0.9**step) / np.where(size == 0, 1, size)
            reached = np.where((z[:, 0] >= 0) & (reached > steps), step, reached)
            if (reached <= steps).all():
                break
        return z, reached

    dice = problems.losses["dice_loss"]

    def scaled(sums: Any, **options: Any) -> Any:
        return 1e6 * dice(sums, **options)

    p, y = (x[:8, :12] for x in problems.draw())
    plain, times = (train(loss, logit(p), y, 0.0, 100)[0] for loss in ("dice_loss", scaled))
    log.near("ε = 0: a factor of 10⁶ changes no step", times, plain, scale=1.0)
    # One foreground logit; the background is certain. The gradient is about 2e^z₀.
    start, epsilon = np.array([15.0, 22.0, 22.0]), np.array([[1e-8], [1e-8], [1e-16]])
    z, labels = np.stack([-start, np.full(3, -60.0)], 1), np.tile([1.0, 0.0], (3, 1))
    gradient = problems.gradient("dice_loss", z, labels, sums=sigmoid_region_sums, **NO_SMOOTHING)
    log.near("the gradient is −2e^z₀", gradient[:, 0], -2 * np.exp(-start), tolerance=4e-6)
    reached = train("dice_loss", z, labels, epsilon, 1500)[1]
    allowed = start / 0.033
    fast = reached[[0, 2]] / allowed[[0, 2]] - 1
    log.holds("from above log(ε/2) it escapes within |z₀|/rate steps", fast)
    log.holds("from below log(ε/2) it needs more", 1 - reached[1] / allowed[1])
    log.fails_at(
        "'Adam rescales every gradient': from z₀ = −22 the gradient is below ε = 1e-8, and a false "
        "negative takes far longer than with ε = 1e-16.",
        start=-start,
        epsilon=epsilon[:, 0],
        steps=reached,
        start_over_rate=allowed,
    )


def with_cross_entropy(problems: Problems, log: CheckLog) -> None:
    """C25: where the cross-entropy of Dice + λ·BCE pulls harder, and the best constant."""
    p, y = problems.draw()
    weight = 10 ** problems.rng.uniform(-2, 2, (len(p), 1))
    z, truth = logit(p), np.where(y == 1, p, 1 - p)
    i, s, u, _ = region_numbers(p, y)
    threshold = weight * s**2 / (2 * np.where(y == 1, u, i) * p.shape[1])
    dice = problems.gradient("dice_loss", z, y, sums=sigmoid_region_sums, **NO_SMOOTHING)
    bce = problems.gradient("binary_cross_entropy_loss", z, y, sums=sigmoid_region_sums)
    wrong = (weight * np.abs(bce) > np.abs(dice)) != (truth < threshold)
    log.holds(
        "λ·BCE pulls harder iff p_t < λS²/(2UN) or λS²/(2IN)", wrong * np.abs(truth - threshold)
    )
    log.near("the ratio of the two", weight * np.abs(bce / dice), threshold / truth)
    sums = region_sums(jnp.asarray(p), jnp.asarray(y), axis=1)
    found = gradients.cross_entropy_thresholds(sums, weight=weight[:, 0])
    log.near("cross_entropy_thresholds", np.where(y == 1, *np.asarray(found)[..., None]), threshold)
    i, s, u, _ = region_numbers(np.abs(y - 1e-10), y)
    bounds, limit = s**2 / (2 * np.stack([u, i]) * p.shape[1]), 2 * y.mean(1, keepdims=True)
    log.near("both bounds tend to 2πλ as D → 1", bounds, limit + 0 * bounds, tolerance=1e-8)
    fraction = 10 ** problems.rng.uniform(-4, -0.3, problems.trials)
    q = np.asarray(best_constants.dice_cross_entropy_best_constant(fraction, weight=weight[:, 0]))
    labels, weights = two_groups(fraction * 1e6, np.full(fraction.shape, 1e6))
    x = np.repeat(q[:, None], 2, 1)
    parts = (
        problems.gradient("dice_loss", x, labels, where=weights, **NO_SMOOTHING),
        weight * problems.gradient("binary_cross_entropy_loss", x, labels, where=weights),
    )
    slope = (parts[0] + parts[1]).sum(1) / np.abs(parts[1]).sum(1)
    log.holds("dice_cross_entropy_best_constant: flat there", np.abs(slope), tolerance=1e-9)
    rare = 1e-12
    c = np.asarray(best_constants.dice_cross_entropy_best_constant(rare, weight=weight)) / rare
    log.near("(c − 1)(c + 1)² = 2c/λ as π → 0", (c - 1) * (c + 1) ** 2 * weight / (2 * c), 1.0)
    log.holds(
        "c = 1.481 at λ = 1",
        np.abs(best_constants.dice_cross_entropy_best_constant(rare) / rare - 1.481) - 5e-4,
    )
    late, rare = np.array([[0.99, 0.01]]), np.array([[3.0, 997.0]])
    z, y = logit(late), np.array([[1.0, 0.0]])
    options: dict[str, Any] = {"sums": sigmoid_region_sums, "where": rare}
    dice = np.abs(problems.gradient("dice_loss", z, y, **options, **NO_SMOOTHING)[0])
    bce = np.abs(problems.gradient("binary_cross_entropy_loss", z, y, **options)[0])
    log.holds("at λ = 1 a foreground pixel feels Dice more", bce[0] - dice[0])
    log.fails_at(
        "'Dice + BCE weighs both equally': late in training, at π = 0.003 and λ = 1, the "
        "foreground's gradient comes from Dice.",
        prediction=late[0],
        pixels=rare[0],
        dice_gradient=dice / rare[0],
        cross_entropy_gradient=bce / rare[0],
    )
