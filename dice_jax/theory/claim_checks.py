"""How each statement is tested: the library's own gradients against the formulas, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax.sums.balance import gradient_balance
from dice_jax.sums.region import region_sums, sigmoid_region_sums, softmax_region_sums
from dice_jax.theory import closed_forms
from dice_jax.theory import optima as oracles
from dice_jax.theory.closed_forms import gradient_ratio
from dice_jax.theory.problems import Lab, Record

__all__ = ["CHECKS"]

Array = np.ndarray[Any, Any]
_NO_SMOOTH: dict[str, Any] = {"smooth": 0.0}


def _sums(p: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """I, S, U and T of each problem [B, 1], by plain NumPy."""
    i, s = np.sum(p * y, 1, keepdims=True), np.sum(p + y, 1, keepdims=True)
    return i, s, s - i, np.sum(y, 1, keepdims=True)


def _two_values(gradient: Array, y: Array) -> tuple[Array, Array]:
    """The gradient of the first two pixels of each problem: one of the foreground, one not."""
    assert (y[:, 0] == 1).all()
    assert (y[:, 1] == 0).all()
    return gradient[:, :1], gradient[:, 1:2]


def _spread(gradient: Array, y: Array) -> Array:
    """How far the gradient is from two values, relative to the larger."""
    size = np.abs(gradient).max(1)
    ranges = []
    for label in (0, 1):
        inside = np.where(y == label, gradient, np.nan)
        ranges.append(np.nanmax(inside, 1) - np.nanmin(inside, 1))
    return np.maximum(*ranges) / np.where(size == 0, 1, size)


def _angle(a: Array, b: Array) -> Array:
    """Distance of the two directions: 0 iff their cosine is 1, and accurate there."""
    a, b = (x.reshape(x.shape[0], -1) for x in (a, b))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return np.linalg.norm(a - b, axis=1)


def _logit(p: Array) -> Array:
    return np.log(p) - np.log1p(-p)


def _mass_ratio(gradient: Array, y: Array) -> Array:
    balance = gradient_balance(jnp.asarray(gradient), y, axis=1)
    return np.asarray(balance.foreground_mass / balance.background_mass)


def _two_groups(target: Array, count: Array) -> tuple[Array, Array]:
    """Labels [B, 2] and weights [B, 2] that stand for T foreground and N − T background pixels."""
    target, count = np.broadcast_arrays(np.asarray(target, float), np.asarray(count, float))
    return np.tile([1.0, 0.0], (target.size, 1)), np.stack([target, count - target], 1)


def _c1(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    i, s, u, _ = _sums(p, y)
    gradient = lab.gradient("dice_loss", p, y, **_NO_SMOOTH)
    record.near(
        "gradient is −2U/S² or 2I/S²",
        gradient,
        np.where(y == 1, -2 * u / s**2, 2 * i / s**2),
    )
    record.holds("signs", np.where(y == 1, gradient, -gradient) / np.abs(gradient).max())
    foreground, background = _two_values(gradient, y)
    ratio = np.abs(foreground / background)
    dice, jaccard = (
        1 - lab.value(name, p, y, **_NO_SMOOTH)[:, None] for name in ("dice_loss", "jaccard_loss")
    )
    record.near("ratio is U/I", ratio, u / i)
    record.near("ratio is 1/J", ratio, 1 / jaccard)
    record.near("ratio is 2/D − 1", ratio, 2 / dice - 1)
    record.near("gradient_ratio", lab.closed(gradient_ratio, p, y, **_NO_SMOOTH)[:, None], u / i)
    values = lab.closed(closed_forms.dice_gradient_values, p, y, **_NO_SMOOTH)
    record.near("dice_gradient_values", np.stack(values, 1), np.hstack([foreground, background]))
    record.holds("ratio is at least 1", 1 - ratio)
    perfect = _two_values(lab.gradient("dice_loss", y, y, **_NO_SMOOTH), y)
    record.near("ratio is 1 at p = y", np.abs(perfect[0] / perfect[1]), 1.0)
    missed = np.where(y == 1, 0.0, p)
    none = lab.gradient("dice_loss", missed, y, **_NO_SMOOTH)
    record.holds("no background gradient at I = 0", np.abs(np.where(y == 0, none, 0)))
    record.holds("but still one on the foreground", np.where(y == 1, 1e-6 + none, 0))
    record.fails_at(
        "At I = 0 a false positive costs nothing: background pixels are not pushed down.",
        prediction=[0.0, 0.9, 0.9],
        target=[1, 0, 0],
        gradient=lab.gradient(
            "dice_loss", np.array([[0, 0.9, 0.9]]), np.array([[1, 0, 0]]), **_NO_SMOOTH
        )[0],
    )


def _c2(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    sure = np.where(y == 1, 1.0, p)
    timid = np.where(y == 1, p, p * 1e-3 * y.mean(1, keepdims=True))
    for what, prediction in (("random", p), ("sure", sure), ("timid", timid), ("perfect", y)):
        i, s, _, t = _sums(prediction, y)
        record.holds(f"Σy + Σŷ − Σyŷ ≥ Σyŷ, {what}", (i - (s - i)) / s)
        value, gradient = lab.value_and_gradient("dice_loss", prediction, y, **_NO_SMOOTH)
        record.near(f"L = (S − 2I)/S, {what}", value[:, None], (s - 2 * i) / s, scale=1.0)
        foreground, background = _two_values(gradient, y)
        record.holds(f"signs, {what}", np.maximum(foreground, -background))
        ratio = -foreground / background
        record.holds(f"|g₊| ≥ |g₋|, {what}", 1 - ratio)
        record.near(f"|g₊|/|g₋| = (S − I)/I, {what}", ratio, (s - i) / i)
        if what == "sure":
            record.near("the first < is an equality", i, t)
        if what == "timid":
            record.holds("the second < fails", (s - t) - t)
        if what == "perfect":
            record.near("equality at p = y", s - i, i)
    label = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    prediction = np.where(label == 1, 0.7, 0.1)
    i, s, _, t = _sums(prediction.reshape(1, -1), label.reshape(1, -1))
    record.fails_at(
        "An under-segmenting prediction: Σŷ < Σy, and yet |g₊| > |g₋|.",
        target=label,
        prediction=prediction,
        intersection=i.item(),
        target_sum=t.item(),
        prediction_sum=(s - t).item(),
        gradient_ratio=((s - i) / i).item(),
    )


# Functions of D alone at the given smoothing, with the options that make them so.
_OF_DICE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("jaccard_loss", {}),
    ("log_dice_loss", {}),
    ("log_cosh_dice_loss", {}),
    ("focal_tversky_loss", {"alpha": 0.5, "beta": 0.5, "gamma": 0.75}),
)


def _c3(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    z = _logit(p)
    dice = lab.gradient("dice_loss", p, y, **_NO_SMOOTH)
    dice_z = lab.gradient("dice_loss", z, y, sums=sigmoid_region_sums, **_NO_SMOOTH)
    record.holds("two values in probability space", _spread(dice, y))
    record.holds("not two values at the logits", 1e-3 - _spread(dice_z, y).max())
    for name, options in _OF_DICE:
        options = {**_NO_SMOOTH, **options}
        other = lab.gradient(name, p, y, **options)
        record.holds(f"two values, {name}", _spread(other, y))
        record.holds(f"cosine 1 in probability space, {name}", _angle(dice, other))
        other = lab.gradient(name, z, y, sums=sigmoid_region_sums, **options)
        record.holds(f"cosine 1 at the logits, {name}", _angle(dice_z, other))
    at_parameters = partial(lab.parameter_gradient, y=y[0], seed=7)
    reference = at_parameters("dice_loss", **_NO_SMOOTH)[None]
    for name, options in _OF_DICE[:1] + _OF_DICE[-1:]:
        other = at_parameters(name, **{**_NO_SMOOTH, **options})[None]
        record.holds(f"cosine 1 at a network's parameters, {name}", _angle(reference, other))
    squared = at_parameters("squared_dice_loss", **_NO_SMOOTH)[None]
    record.holds(
        "not for squared Dice at a network's parameters", 1e-3 - _angle(reference, squared)
    )

    smooth = lab.rng.uniform(0.5, 20, len(p))
    smoothed = lab.gradient("dice_loss", p, y, smooth=smooth)
    half = lab.gradient("jaccard_loss", p, y, smooth=smooth / 2)
    same = lab.gradient("jaccard_loss", p, y, smooth=smooth)
    record.holds("Dice(s) is parallel to Jaccard(s/2)", _angle(smoothed, half))
    record.holds("Dice(s) is not parallel to Jaccard(s)", 1e-3 - _angle(smoothed, same).max())

    # Both fail for other families and for a mean over regions.
    squared = lab.gradient("squared_dice_loss", p, y, **_NO_SMOOTH)
    record.holds("squared Dice: not two values", 1e-3 - _spread(squared, y).max())
    record.holds("squared Dice: another direction", 1e-3 - _angle(dice, squared).max())
    lovasz = lab.gradient("lovasz_hinge_loss", z, y, sums=None)
    record.holds("Lovász: not two values", 1e-3 - _spread(lovasz, y).max())
    record.holds("Lovász: another direction", 1e-3 - _angle(dice_z, lovasz).max())
    distances = np.asarray(lab.losses["signed_distance"](jnp.asarray(y[:1] == 1)), float)
    distances = np.broadcast_to(distances, y.shape)
    boundary = lab.gradient("boundary_loss", p, distances, sums=None)
    record.holds("boundary: not two values", 1e-3 - _spread(boundary[:1], y[:1]).max())
    record.holds("boundary: another direction", 1e-3 - _angle(dice[:1], boundary[:1]).max())
    # Each image's own loss, averaged: rows 2k and 2k + 1 are the two images of one batch.
    pairs = len(p) // 2 * 2
    batch = (pairs // 2, -1)
    p2, y2 = p[:pairs, :24], y[:pairs, :24].copy()
    y2[:, 0], y2[:, 1] = 1, 0
    mean = lab.gradient("dice_loss", p2, y2, **_NO_SMOOTH).reshape(batch)
    pooled = lab.gradient("dice_loss", p2.reshape(batch), y2.reshape(batch), **_NO_SMOOTH)
    record.holds("a mean over regions: not two values", 1e-3 - _spread(mean, y2.reshape(batch)))
    record.holds("a mean over regions: another direction", 1e-3 - _angle(pooled, mean).max())
    soft = np.clip(y * 0.7 + 0.2 * lab.rng.random(y.shape), 0, 1)
    i, s, _, _ = _sums(p, soft)
    record.near(
        "soft labels: (D − 2y)/S",
        lab.gradient("dice_loss", p, soft, **_NO_SMOOTH),
        (2 * i / s - 2 * soft) / s,
        scale=2 / s,
    )

    def decode(cube: Array) -> tuple[Array, Array, Array]:
        return (*_decoded(cube[:, :-1]), 30 * cube[:, -1])

    def score(cube: Array) -> Array:
        p, y, s = decode(cube)
        dice = lab.gradient("dice_loss", p, y, smooth=s)
        jaccard = lab.gradient("jaccard_loss", p, y, smooth=s / 2)
        return np.maximum(_spread(dice, y), _angle(dice, jaccard))

    worst = lab.worst_case(score, 2 * _ADVERSARY + 1)
    record.holds("adversary: two values, Dice(s) ∥ Jaccard(s/2)", score(worst))
    record.fails_at(
        "Squared Dice is no function of D: another direction, and more than two values.",
        prediction=p[0, :6],
        target=y[0, :6],
        cosine=1 - _angle(dice[:1, :6], squared[:1, :6])[0] ** 2 / 2,
    )


# Pixels of an adversary's problem: small enough to climb in, large enough to hide something.
_ADVERSARY = 10


def _decoded(cube: Array) -> tuple[Array, Array]:
    """Probabilities (with pile-ups at both ends) and hard labels from a point of the unit cube."""
    p = np.clip(cube[:, :_ADVERSARY] ** 4, 1e-6, 1)
    p = np.where(cube[:, :_ADVERSARY] > 0.9, 1 - (1 - p) ** 2, p)
    y = np.round(cube[:, _ADVERSARY : 2 * _ADVERSARY])
    y[:, 0], y[:, 1] = 1, 0
    return p, y


def _c4(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    a, b = 10 ** lab.rng.uniform(-3, 2, (2, len(p), 1))
    i, s, u, _ = _sums(p, y)

    def ratio(above: Array, below: Array, p: Array = p, y: Array = y) -> Array:
        gradient = lab.gradient(
            "dice_loss",
            p,
            y,
            smooth=above.ravel(),
            smooth_denominator=below.ravel(),
        )
        foreground, background = _two_values(gradient, y)
        return -foreground / background

    zero = np.zeros_like(a)
    plain = ratio(zero, zero)
    both, below = ratio(a, a), ratio(zero, a)
    record.near("ratio is 2(S + b)/(2I + a) − 1", ratio(a, b), 2 * (s + b) / (2 * i + a) - 1)
    options = {"smooth": a.ravel(), "smooth_denominator": b.ravel()}
    dice = 1 - lab.value("dice_loss", p, y, **options)[:, None]
    record.near("ratio is 2/D − 1", ratio(a, b), 2 / dice - 1, scale=2 / np.abs(dice))
    values = lab.closed(closed_forms.dice_gradient_values, p, y, **options)
    record.near(
        "dice_gradient_values", -values[0] / values[1], (2 / dice - 1)[:, 0], scale=2 / dice[:, 0]
    )
    record.near("both: (2U + s)/(2I + s)", both, (2 * u + a) / (2 * i + a))
    record.holds("both: towards 1", np.maximum(both - plain, 1 - both) / plain)
    record.holds("below only: away from 1", (plain - below) / plain)
    # s counts pixels: an image k times as large, or a sum instead of a mean, is s/k.
    double, twice = np.tile(p[:, :24], 2), np.tile(y[:, :24], 2)
    record.near(
        "s is in pixels",
        ratio(2 * a, 2 * a, double, twice),
        ratio(a, a, p[:, :24], y[:, :24]),
    )
    mean = np.full_like(p, 1 / p.shape[1])
    reduced = lab.gradient("dice_loss", p, y, where=mean, smooth=1.0, smooth_denominator=1.0)
    foreground, background = _two_values(reduced, y)
    count = p.shape[1]
    record.near(
        "of mean-reduced sums, s = 1 is s = N",
        -foreground / background,
        (2 * u + count) / (2 * i + count),
    )
    flipped = ratio(2 * (u + b) * 1.01, b)
    record.holds("a > 2(U + b) turns the foreground's sign", flipped)
    kept = ratio(2 * (u + b) * 0.99, b)
    record.holds("a < 2(U + b) does not", -kept)
    below_one = ratio(2 * (u - i) + b + 1, b)
    record.holds("a > b allows a ratio below 1", below_one - 1 + 1e-6)

    def score(cube: Array) -> Array:
        p, y = _decoded(cube[:, :-1])
        s = (50 * cube[:, -1:]) ** 2
        i, _, u, _ = _sums(p, y)
        expected = (2 * u + s) / (2 * i + s)
        found = ratio(s, s, p, y)
        outside = np.maximum(1 - found, found - u / i)
        return np.maximum(np.abs(found - expected), outside).ravel() / expected.ravel()

    worst = lab.worst_case(score, 2 * _ADVERSARY + 1)
    record.holds("adversary: (2U + s)/(2I + s), between 1 and U/I", score(worst))
    k = int(np.argmax(u))
    record.fails_at(
        "Smoothing in the numerator beyond 2(U + b) pushes the foreground down.",
        smooth=2.02 * u[k].item(),
        smooth_denominator=0.0,
        union=u[k].item(),
        signed_ratio=ratio(2.02 * u, zero)[k].item(),
    )


def _c5(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    target = y.sum(1)
    odds = target / (y.shape[1] - target)
    foreground, background = (p * y).sum(1) / target, (p * (1 - y)).sum(1) / (1 - y).sum(1)
    dice = lab.gradient("dice_loss", p, y, **_NO_SMOOTH)
    record.near("M₊/M₋ = (ω + p̄₋)/p̄₊", _mass_ratio(dice, y), (odds + background) / foreground)
    record.near(
        "dice_mass_ratio",
        closed_forms.dice_mass_ratio(target / y.shape[1], foreground, background),
        (odds + background) / foreground,
    )

    def masses(name: str, fraction: Any, q: Any, sums: Any = region_sums, **options: Any) -> Array:
        """Σ|g| over foreground and background [B, 2] of πN and (1 − π)N pixels, N = 10⁶."""
        fraction, q = np.broadcast_arrays(np.atleast_1d(fraction), q)
        labels, weights = _two_groups(fraction * 1e6, np.full(fraction.shape, 1e6))
        x = np.repeat((q if sums is region_sums else _logit(q))[:, None], 2, 1)
        return np.abs(lab.gradient(name, x, labels, sums=sums, where=weights, **options))

    fraction = 10 ** lab.rng.uniform(-4, -0.5, lab.trials)
    q = lab.rng.uniform(0.02, 0.98, lab.trials)
    omega = fraction / (1 - fraction)
    for sums in (region_sums, sigmoid_region_sums):
        mass = masses("dice_loss", fraction, q, sums, **_NO_SMOOTH)
        record.near(f"1 + ω/q, {sums.__name__}", mass[:, 0] / mass[:, 1], 1 + omega / q)
    mass = masses("binary_cross_entropy_loss", fraction, q, sigmoid_region_sums)
    record.near("BCE: ω(1 − q)/q", mass[:, 0] / mass[:, 1], omega * (1 - q) / q)
    record.near(
        "cross_entropy_mass_ratio",
        closed_forms.cross_entropy_mass_ratio(fraction, q),
        omega * (1 - q) / q,
    )
    mass = masses("squared_dice_loss", fraction, q, **_NO_SMOOTH)
    expected = (q**2 + fraction - 2 * fraction * q**2) / (2 * q**2 * (1 - fraction))
    record.near("squared Dice at a constant", mass[:, 0] / mass[:, 1], expected)
    record.near(
        "squared_dice_mass_ratio", closed_forms.squared_dice_mass_ratio(fraction, q), expected
    )

    # The limits, at π = 1e-9.
    rare = 1e-9

    def share(name: str, q: float, sums: Any = region_sums, **options: Any) -> float:
        mass = masses(name, rare, q, sums, **options)[0]
        return mass[0] / mass.sum()

    near_limit: dict[str, Any] = {"tolerance": 1e-7}
    record.near("share → ½ at q ≫ π", share("dice_loss", 0.5, **_NO_SMOOTH), 0.5, **near_limit)
    record.near(
        "squared Dice: share → ⅓",
        share("squared_dice_loss", 0.5, **_NO_SMOOTH),
        1 / 3,
        **near_limit,
    )
    prior: dict[str, Any] = {"q": rare, "sums": sigmoid_region_sums}
    record.near("BCE at q = π: ½", share("binary_cross_entropy_loss", **prior), 0.5, **near_limit)
    record.near("Dice at q = π → ⅔", share("dice_loss", **prior, **_NO_SMOOTH), 2 / 3, **near_limit)
    dice = masses("dice_loss", rare, 0.5, sigmoid_region_sums, **_NO_SMOOTH)[0]
    bce = masses("binary_cross_entropy_loss", rare, 0.5, sigmoid_region_sums)[0]
    record.near("at q = ½ the foreground pulls twice as hard", dice[0] / bce[0], 2.0, **near_limit)
    record.holds("and the background hardly at all", dice[1] / bce[1] - 1e-7)
    record.fails_at(
        "'Dice up-weights the foreground': at q = ½ and π = 1e-9 its pull only doubles; it is the "
        "background's that falls.",
        foreground_mass_over_bce=dice[0] / bce[0],
        background_mass_over_bce=dice[1] / bce[1],
    )


def _two_class_sums(p: Any, y: Any, *, axis: int, where: Any) -> Any:
    both = jnp.stack([1 - p, p], -1), jnp.stack([1 - y, y], -1)
    return region_sums(*both, axis=axis, where=where[..., None])


def _c6(lab: Lab, record: Record) -> None:
    rng, n = lab.rng, lab.trials
    count = np.full(n, 1e4)
    fraction = 10 ** rng.uniform(-3.5, -0.1, n)
    target = fraction * count
    labels, weights = _two_groups(target, count)
    grid = np.linspace(0.005, 0.995, 25)

    def slope(
        name: str, q: Any, where: Array = weights, sums: Any = region_sums, **o: Any
    ) -> Array:
        """dL/dq of a constant prediction, relative to the pull of either class."""
        x = np.repeat(np.broadcast_to(q, len(where))[:, None], 2, 1)
        gradient = lab.gradient(name, x, labels[: len(where)], where=where, sums=sums, **o)
        return gradient.sum(1) / np.abs(gradient).sum(1)

    def lowest(name: str, q: Array, where: Array = weights, **o: Any) -> Array:
        """By how much some other constant has a lower loss."""
        at = lab.value(name, np.repeat(q[:, None], 2, 1), labels, where=where, **o)
        others = [lab.value(name, np.full((n, 2), g), labels, where=where, **o) for g in grid]
        return at - np.min(others, 0)

    bce = "binary_cross_entropy_loss"
    best = np.asarray(oracles.cross_entropy_best_constant(fraction))
    record.holds("BCE: flat at π", np.abs(slope(bce, best)))
    record.holds("BCE: lowest at π", lowest(bce, best))
    balanced = weights / np.stack([target, count - target], 1)
    half = np.asarray(oracles.balanced_cross_entropy_best_constant(fraction))
    record.holds("class-balanced BCE: flat at ½", np.abs(slope(bce, half, balanced)))
    record.holds("class-balanced BCE: lowest at ½", lowest(bce, half, balanced))
    for name in ("dice_loss", "jaccard_loss"):
        for q in (0.01, 0.5, 0.99):
            record.holds(f"{name}: falls towards 1, q = {q}", slope(name, q, **_NO_SMOOTH))
    alpha, beta = 10 ** rng.uniform(-2, 1, (2, n))
    tversky = partial(slope, "tversky_loss", 0.4, smooth=0.0)
    record.holds("Tversky: falls towards 1 for β > 0", tversky(alpha=alpha, beta=beta))
    record.holds("Tversky: flat at β = 0", np.abs(tversky(alpha=alpha, beta=np.zeros(n))))
    squared, none = "squared_dice_loss", _NO_SMOOTH
    record.holds("squared Dice: flat at √π", np.abs(slope(squared, np.sqrt(fraction), **none)))
    record.holds("squared Dice: lowest at √π", lowest(squared, np.sqrt(fraction), **none))
    s = 10 ** rng.uniform(-2, 4, n)
    solution = np.asarray(oracles.squared_dice_best_constant(fraction, target, smooth=s))
    record.near(
        "squared Dice: solves πNq² + sq = πT + πs",
        target * solution**2 + s * solution,
        fraction * (target + s),
    )
    record.holds("squared Dice, smoothed: flat there", np.abs(slope(squared, solution, smooth=s)))
    for q in (0.1, 0.9):
        flat = slope("generalized_dice_loss", q, sums=_two_class_sums, **none)
        record.holds("two-class generalised Dice: flat", np.abs(flat))

    def margins(
        fraction: Array, target: Array, s: Array, alpha: Array, beta: Array
    ) -> tuple[tuple[str, Array, dict[str, Array]], ...]:
        """Loss, how far above the claimed threshold we are (relative), and its options."""
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
        """How far from the claimed threshold the loss turns to another end than claimed."""
        fraction = 10 ** (-4 * cube[:, 0])
        fraction = np.clip(fraction, 1e-4, 0.95)
        target = 10 ** (4 * cube[:, 1])
        s, alpha, beta = 10 ** (8 * cube[:, 2] - 4), 3 * cube[:, 3], 3 * cube[:, 4] + 1e-3
        # Half of the candidates sit near Dice's own threshold, where a wrong one shows.
        near = np.arange(len(cube)) % 2 == 0
        threshold = 2 * fraction * target / np.maximum(1 - 2 * fraction, 1e-3)
        s = np.where(near, threshold * (1 + (cube[:, 2] - 0.5)), s)
        _, where = _two_groups(target, target / fraction)
        q = 0.05 + 0.9 * cube[:, 5]
        worst = np.zeros(len(cube))
        for name, margin, options in margins(fraction, target, s, alpha, beta):
            push = slope(name, q, where, **options)
            wrong = np.sign(push) == np.sign(margin)
            worst = np.maximum(worst, np.where(wrong, np.abs(margin), 0))
        return worst

    labels = np.tile([1.0, 0.0], (max(n, 32), 1))
    cube = rng.random((n, 6))
    record.holds("with smoothing: to 1 or to 0 as claimed", disagreement(cube))
    worst = lab.worst_case(disagreement, 6)
    record.holds("adversary: to 1 or to 0 as claimed", disagreement(worst))
    _, small = _two_groups(np.array([40.0]), np.array([4e3]))
    record.near(
        "the oracle says so too",
        [
            oracles.dice_best_constant(0.01, 40.0, smooth=1.0),
            oracles.dice_best_constant(0.01, 40.0, smooth=1e-5),
            oracles.tversky_best_constant(0.01, 40.0, alpha=0.3, beta=0.7, smooth=1.0),
        ],
        [0.0, 1.0, 0.0],
    )
    turned, straight = (slope("dice_loss", 0.5, small, smooth=s) for s in (1.0, 1e-5))
    record.holds("s = 1 pushes 40 of 4,000 pixels down", -turned)
    record.holds("s = 1e-5 pushes them up", straight)
    record.fails_at(
        "With the article's smooth = 1 the best constant prediction for 40 of 4,000 pixels is 0.",
        fraction=0.01,
        target=40.0,
        push_at_smooth_1=turned[0],
        push_at_smooth_1e_5=straight[0],
    )


def _c7(lab: Lab, record: Record) -> None:
    n = min(lab.trials, 32)
    y = (lab.rng.random((n, 48)) < 0.25).astype(float)
    y[:, 0], y[:, 1] = 1, 0
    base = lab.rng.normal(size=y.shape) + 4 * y
    losses: tuple[tuple[str, dict[str, Any]], ...] = (
        ("binary_cross_entropy_loss", {}),
        ("dice_loss", {"smooth": 0.0}),
        ("squared_dice_loss", {"smooth": 0.0}),
        ("tversky_loss", {"smooth": 0.0, "alpha": 0.3, "beta": 0.7}),
    )
    offsets = np.linspace(-12, 8, 41)
    for name, options in losses:

        def push(bias: Array, name: str = name, options: Any = options) -> tuple[Array, Array]:
            return lab.value_and_gradient(
                name, base + bias[:, None], y, sums=sigmoid_region_sums, **options
            )

        values = np.stack([push(np.full(n, b))[0] for b in offsets])
        best = values.argmin(0)
        # The statement is about finite stationary points: these problems have one.
        record.holds(f"{name}: a finite optimum", (best == 0) | (best == len(offsets) - 1))
        best = np.clip(best, 1, len(offsets) - 2)
        low, high = offsets[best - 1], offsets[best + 1]
        for _ in range(50):
            middle = (low + high) / 2
            up = push(middle)[1].sum(1) < 0
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        gradient = push((low + high) / 2)[1]
        balance = gradient_balance(jnp.asarray(gradient), y, axis=1)
        record.near(f"{name}: share ½", balance.foreground_share, 0.5, tolerance=1e-7)
    fraction = np.array([0.01, 0.1, 0.3])
    labels, weights = _two_groups(fraction * 1e4, np.full(3, 1e4))
    gradient = lab.gradient(
        "dice_loss",
        np.full((3, 2), 25.0),
        labels,
        sums=sigmoid_region_sums,
        where=weights,
        **_NO_SMOOTH,
    )
    mass, omega = np.abs(gradient), fraction / (1 - fraction)
    share = mass[:, 0] / mass.sum(1)
    record.near("bias-only Dice: (1 + ω)/(2 + ω)", share, (1 + omega) / (2 + omega))
    record.fails_at(
        "Bias-only Dice runs to infinity: its share is not ½.",
        fraction=fraction,
        share=share,
    )


def _c8(lab: Lab, record: Record) -> None:
    _, y = lab.problems()
    s = 10 ** lab.rng.uniform(-2, 2, len(y))
    target = y.sum(1, keepdims=True)
    sign = np.where(y == 1, -1, 1)
    plain = lab.gradient("dice_loss", y, y, **_NO_SMOOTH)
    record.near("Dice: ∓1/(2T)", plain, sign / (2 * target))
    smoothed = lab.gradient("dice_loss", y, y, smooth=s)
    record.near("with smoothing: ∓1/(2T + s)", smoothed, sign / (2 * target + s[:, None]))
    squared = lab.gradient("squared_dice_loss", y, y, **_NO_SMOOTH)
    record.near("squared Dice: 0", squared, np.zeros_like(y))
    z = 40 * (2 * y - 1)
    for name in ("dice_loss", "squared_dice_loss"):
        at_logits = lab.gradient(name, z, y, sums=sigmoid_region_sums, **_NO_SMOOTH)
        record.near(f"{name}: 0 at the logits", at_logits, np.zeros_like(y), tolerance=1e-12)
    inside = np.abs(y - 1e-3)
    for name in ("dice_loss", "squared_dice_loss"):
        at, near = (lab.value(name, x, y, **_NO_SMOOTH) for x in (y, inside))
        record.near(f"{name}: 0 at p = y", at, np.zeros(len(y)))
        record.holds(f"{name}: a minimum", 1e-9 - near)


def _c9(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    soft = lab.rng.random(y.shape)
    dice = lab.value("dice_loss", p, y, **_NO_SMOOTH)
    record.near("1 − D = Σ|p−y|/S", dice, np.abs(p - y).sum(1) / (p + y).sum(1))
    for what, target in (("hard", y), ("soft", soft)):
        squared = lab.value("squared_dice_loss", p, target, **_NO_SMOOTH)
        size = (p**2 + target**2).sum(1)
        record.near(f"1 − D₂ = Σ(p−y)²/Q, {what}", squared, ((p - target) ** 2).sum(1) / size)
    value, gradient = lab.value_and_gradient(
        "dice_plus_plus_loss", p, y, sums=None, gamma=2.0, smooth=0.0
    )
    other, other_gradient = lab.value_and_gradient("squared_dice_loss", p, y, **_NO_SMOOTH)
    record.near("DSC++ with γ = 2 is squared Dice", value, other)
    scale = np.abs(other_gradient).max(1, keepdims=True)
    record.near("and so is its gradient", gradient, other_gradient, scale=scale)
    semimetric = lab.value("dice_semimetric_loss", p, y, **_NO_SMOOTH)
    record.near("the Dice semimetric is Dice on hard labels", semimetric, dice)
    of_soft = lab.value("dice_loss", p, soft, **_NO_SMOOTH)
    bound = np.abs(p - soft).sum(1) / (p + soft).sum(1)
    record.holds("soft labels: 1 − D ≥ Σ|p−y|/S", bound - of_soft)
    record.fails_at(
        "With soft labels 1 − D is not Σ|p−y|/S: at p = y it is not 0.",
        prediction=[0.5, 0.5],
        target=[0.5, 0.5],
        loss=lab.value("dice_loss", np.full((1, 2), 0.5), np.full((1, 2), 0.5), **_NO_SMOOTH)[0],
    )


def _c10(lab: Lab, record: Record) -> None:
    p, y = lab.problems()

    def closed(p: Array, y: Array) -> tuple[Array, Array]:
        i, q = (p * y).sum(1, keepdims=True), (p**2 + y**2).sum(1, keepdims=True)
        return np.where(y == 1, -2 * (q - 2 * p * i) / q**2, 4 * p * i / q**2), 2 * i / q

    gradient = lab.gradient("squared_dice_loss", p, y, **_NO_SMOOTH)
    expected, dice = closed(p, y)
    scale = np.abs(expected).max(1, keepdims=True)
    record.near("gradient", gradient, expected, scale=scale)
    a, b, index = lab.closed(closed_forms.squared_dice_gradient_values, p, y, **_NO_SMOOTH)
    line = a[:, None] * y + b[:, None] * p
    record.near("squared_dice_gradient_values", line, expected, scale=scale)
    record.near("its index", index, dice[:, 0])
    record.holds("signs", np.where(y == 1, gradient, -gradient) / scale)
    first, second = _two_values(gradient, y)
    record.near(
        "ratio is (1/D₂ − pᵢ)/pⱼ",
        np.abs(first / second),
        (1 / dice - p[:, :1]) / p[:, 1:2],
        scale=(1 / dice) / p[:, 1:2],
    )
    record.near(
        "squared_dice_gradient_ratio",
        closed_forms.squared_dice_gradient_ratio(dice, p[:, :1], p[:, 1:2]),
        (1 / dice - p[:, :1]) / p[:, 1:2],
    )

    def violations(p: Array, y: Array) -> Array:
        """How deep inside one side of pᵢ + pⱼ = 1/D₂ a pair behaves as on the other."""
        gradient = np.abs(lab.gradient("squared_dice_loss", p, y, **_NO_SMOOTH))
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

    record.holds("≥ 1 iff pᵢ + pⱼ ≤ 1/D₂", violations(p, y))
    worst = lab.worst_case(lambda cube: violations(*_decoded(cube)), 2 * _ADVERSARY)
    record.holds("adversary: ≥ 1 iff pᵢ + pⱼ ≤ 1/D₂", violations(*_decoded(worst)))
    p1, y1 = np.array([[0.95, 0.9, 0.95, 0.9, 0.05, 0.0]]), np.array([[1.0, 1, 1, 0, 0, 0]])
    gradient = lab.gradient("squared_dice_loss", p1, y1, **_NO_SMOOTH)[0]
    foreground, background = np.abs(gradient[0]), np.abs(gradient[3])
    record.holds("the article's inequality fails for such a pair", foreground - background)
    record.fails_at(
        "V-Net's own loss: a sure foreground pixel beside a sure false positive; |g₊| < |g₋|.",
        prediction=p1[0],
        target=y1[0],
        squared_dice=closed(p1, y1)[1].item(),
        foreground_gradient=foreground,
        background_gradient=background,
    )


def _c11(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    z = _logit(p)
    at_p = lab.gradient("dice_loss", p, y, **_NO_SMOOTH)
    at_z = lab.gradient("dice_loss", z, y, sums=sigmoid_region_sums, **_NO_SMOOTH)
    record.near("g_z = g·p(1 − p)", at_z, at_p * p * (1 - p), scale=np.abs(at_z))
    stuck = z.copy()
    stuck[:, 0] = -20
    dice = lab.gradient("dice_loss", stuck, y, sums=sigmoid_region_sums, **_NO_SMOOTH)
    bce = lab.gradient("binary_cross_entropy_loss", stuck, y, sums=sigmoid_region_sums)
    record.near("BCE pulls a false negative with −1/N", bce[:, 0], -1 / y.shape[1], tolerance=1e-7)
    record.holds("Dice does not", np.abs(dice[:, 0]) * y.shape[1] - 1e-6)

    def escape(name: str, start: Array, target: Array, count: Array, **options: float) -> Array:
        """Time for free logits to reach p = ½ on the foreground, by the midpoint rule."""
        labels, weights = _two_groups(target, count)

        def speed(z: Array) -> Array:
            gradient = lab.gradient(
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
    found = escape("dice_loss", start, target, count, **_NO_SMOOTH)
    expected = (target + background) / 2 * np.exp(-start)
    # An asymptotic statement: the error must die out like |z₀|e^−|z₀| beside the integrator's own.
    allowed = 4e-4 + (4 * np.abs(start) + 1 / fraction) * np.exp(start)
    record.holds("Dice: ((T + B)/2)e^|z₀|", np.abs(found / expected - 1) / allowed - 1)
    record.near("Dice at |z₀| = 20", found[-1], expected[-1], tolerance=1e-3)
    record.near(
        "dice_escape_time",
        closed_forms.dice_escape_time(start, target, background),
        expected,
    )
    found = escape("binary_cross_entropy_loss", start, target, count)
    expected = count * (np.abs(start) + 1 - np.exp(start))
    record.near("BCE: N(|z₀| + 1 − e^z₀)", found, expected, tolerance=1e-3)
    record.near(
        "cross_entropy_escape_time", closed_forms.cross_entropy_escape_time(start, count), expected
    )
    crossing = np.asarray(closed_forms.escape_crossing(fraction))
    record.near("e^|z₀|/|z₀| = 2/π at the crossing", np.exp(crossing) / crossing, 2 / fraction)
    record.holds("about 7.3 at π = 0.01", np.abs(crossing[-1] - 7.3) - 0.05)
    rare, many = np.array([0.01, 0.01]), np.full(2, 1e4)
    around = -crossing[-1] + np.array([2.0, -2.0])
    dice = escape("dice_loss", around, rare * many, many, **_NO_SMOOTH)
    bce = escape("binary_cross_entropy_loss", around, rare * many, many)
    record.holds("Dice is faster before the crossing", dice[0] / bce[0] - 1)
    record.holds("and slower beyond it", 1 - dice[1] / bce[1])
    record.fails_at(
        "Saturated beyond the crossing, Dice takes longer than BCE to find the foreground.",
        start=around[1],
        fraction=0.01,
        dice_time=dice[1],
        cross_entropy_time=bce[1],
    )


def _c12(lab: Lab, record: Record) -> None:
    def factors(p: Array, y: Array) -> Array:
        """|g_z Dice|/|g_z BCE| over p_t, which the statement gives in closed form."""
        z = _logit(p)
        dice = lab.gradient("dice_loss", z, y, sums=sigmoid_region_sums, **_NO_SMOOTH)
        bce = lab.gradient("binary_cross_entropy_loss", z, y, sums=sigmoid_region_sums)
        return np.abs(dice / bce) / np.where(y == 1, p, 1 - p)

    def expected(p: Array, y: Array) -> Array:
        i, s, u, _ = _sums(p, y)
        count = p.shape[1]
        return np.where(y == 1, 2 * u * count / s**2, 2 * i * count / s**2)

    p, y = lab.problems()
    found = factors(p, y)
    record.near("p_t·2UN/S² and p_t·2IN/S²", found, expected(p, y))
    values = lab.closed(closed_forms.late_phase_factors, p, y)
    record.near(
        "late_phase_factors", np.where(y == 1, *(v[:, None] for v in values)), expected(p, y)
    )
    dice = 1 - lab.value("dice_loss", p, y, **_NO_SMOOTH)[:, None]
    foreground, background = _two_values(found, y)
    record.near("the relative weight is 2/D − 1", foreground / background, 2 / dice - 1)
    late = np.where(y == 1, 1 - 1e-9, 1e-9)
    record.near(
        "→ 1/(2π) as D → 1",
        factors(late, y),
        1 / (2 * y.mean(1, keepdims=True)) + 0 * y,
        tolerance=1e-5,
    )
    # p = ½ on two foreground and two background pixels: I = 1, S = 4.
    weights = factors(np.full((1, 4), 0.5), np.array([[1.0, 1, 0, 0]]))
    record.near("a relative weight of 3 at D = ½", weights[:, 0] / weights[:, 3], 3.0)

    def score(cube: Array) -> Array:
        p, y = _decoded(cube)
        p = np.clip(p, 1e-6, 1 - 1e-6)
        claimed = expected(p, y)
        return (np.abs(factors(p, y) - claimed) / claimed).max(1)

    worst = lab.worst_case(score, 2 * _ADVERSARY)
    # p = 1 − 1e-6 keeps only ten digits of 1 − p on the way to the logit and back.
    record.holds("adversary: p_t·2UN/S² and p_t·2IN/S²", score(worst), tolerance=1e-8)
    p1, y1 = np.array([[0.1, 0.9, 0.1, 0.05]]), np.array([[1.0, 1, 0, 0]])
    pull = factors(p1, y1) * np.where(y1 == 1, p1, 1 - p1)
    record.holds("hard pixels are weighted down, not mined", pull[0, 0] - pull[0, 1])
    record.fails_at(
        "'Dice mines hard pixels': beside BCE it weights the missed foreground pixel (p = 0.1) "
        "less than the found one (p = 0.9).",
        prediction=p1[0],
        target=y1[0],
        pull_over_bce=pull[0],
    )


def _c13(lab: Lab, record: Record) -> None:
    n = 10
    p, y = (x[:, :n] for x in lab.problems())
    for s in (0.0, 3.0):
        found = lab.hessian("dice_loss", p, y, smooth=s)
        i, size = (p * y).sum(1)[:, None, None], (p + y).sum(1)[:, None, None] + s
        claimed = 2 / size**2 * (y[:, :, None] + y[:, None, :])
        claimed = claimed - 2 * (2 * i + s) / size**3
        scale = np.abs(claimed).max((1, 2), keepdims=True)
        record.near(f"the Hessian at s = {s:g}", found, claimed, scale=scale)
        eigenvalues = np.linalg.eigvalsh(found) / scale[:, 0]
        record.holds(f"rank 2 at s = {s:g}", np.abs(eigenvalues[:, 1:-1]), tolerance=1e-8)
        indefinite = np.maximum(eigenvalues[:, 0], -eigenvalues[:, -1]) + 1e-7
        record.holds(f"indefinite at s = {s:g}", indefinite)
        closed = closed_forms.dice_hessian(
            region_sums(jnp.asarray(p[0]), jnp.asarray(y[0])), y[0], smooth=s
        )
        record.near(f"dice_hessian at s = {s:g}", closed, claimed[0], scale=scale[0])
    p, y = lab.problems()
    other = lab.rng.random(p.shape)
    value, gradient = lab.value_and_gradient("dice_loss", p, y, **_NO_SMOOTH)
    gain = lab.value("dice_loss", other, y, **_NO_SMOOTH) - value
    step = (gradient * (other - p)).sum(1)
    # Linear-fractional along every line: the difference is the slope times S(p)/S(p′), so its sign
    # is the slope's, and a point that no direction leads down from is a global minimum.
    record.near(
        "linear-fractional: L(p′) − L(p) = ∇L·(p′ − p)·S/S′",
        gain,
        step * (p + y).sum(1) / (other + y).sum(1),
        scale=1.0,
    )
    y1 = np.array([[1.0, 0.0]])
    ends = np.array([[0.0, 0.0], [0.0, 1.0]]) + np.array([[0.5, 0.0]])
    low, high = (lab.value("dice_loss", e[None], y1, **_NO_SMOOTH)[0] for e in ends)
    middle = lab.value("dice_loss", ends.mean(0)[None], y1, **_NO_SMOOTH)[0]
    record.holds("not convex", (low + high) / 2 - middle + 1e-6)
    record.fails_at(
        "Not convex: the midpoint of two predictions costs more than they do on average.",
        target=y1[0],
        predictions=ends,
        losses=[low, high],
        midpoint_loss=middle,
    )


def _c14(lab: Lab, record: Record) -> None:
    n, pixels = lab.trials, 40
    p, y = lab.rng.random((2, n, pixels)) * 0.98 + 0.01
    gradient = lab.gradient("dice_loss", p, y, **_NO_SMOOTH)
    i, s, _, _ = _sums(p, y)
    wrong = np.sign(gradient) != np.sign(i / s - y)
    record.holds("the sign turns at y = D/2", np.where(wrong, np.abs(i / s - y), 0))
    best = np.asarray(jax.vmap(oracles.dice_oracle)(jnp.asarray(y)).prediction)
    value, gradient = lab.value_and_gradient("dice_loss", best, y, **_NO_SMOOTH)
    record.near("the oracle's Dice", 1 - value, [_best_dice(row) for row in y])
    record.holds("a hard threshold is optimal", np.where(best == 1, gradient, -gradient))
    for _ in range(4):
        other = lab.rng.random(y.shape) ** lab.rng.uniform(0.1, 4, (n, 1))
        record.holds(
            "and no other prediction beats it",
            value - lab.value("dice_loss", other, y, **_NO_SMOOTH),
        )
    for name in ("squared_dice_loss", "dice_semimetric_loss"):
        at, other = (lab.value(name, x, y, **_NO_SMOOTH) for x in (y, p))
        record.near(f"{name}: 0 at p = y", at, np.zeros(n))
        record.holds(f"{name}: lowest there", 1e-6 - other)
        nudged = np.clip(y + 1e-4 * lab.rng.normal(size=y.shape), 0, 1)
        near = lab.value(name, nudged, y, **_NO_SMOOTH)
        record.holds(f"{name}: a minimum", 1e-12 - near, tolerance=0)
    flat = lab.gradient("squared_dice_loss", y, y, **_NO_SMOOTH)
    record.near("squared Dice: zero gradient at p = y", flat, np.zeros_like(y))
    at_truth = lab.gradient("dice_loss", y[:1, :5], y[:1, :5], **_NO_SMOOTH)
    record.fails_at(
        "At the soft labels themselves the Dice gradient is not 0: it pushes them to 0 and 1.",
        target=y[0, :5],
        gradient=at_truth[0],
    )


def _best_dice(mu: Array) -> float:
    """Max over hard masks of 2Σ_{mask}μ/(|mask| + Σμ): the k likeliest pixels for some k."""
    ordered = np.sort(mu)[::-1]
    return float(np.max(2 * np.cumsum(ordered) / (np.arange(1, mu.size + 1) + mu.sum())))


def _c15(lab: Lab, record: Record) -> None:
    n, pixels = lab.trials, 30
    a, b = lab.rng.uniform(0.2, 2, (2, n, 1))
    mu = lab.rng.beta(a, b, (n, pixels))
    mu = np.clip(mu, 1e-3, 1 - 1e-3)
    # Expected sums exactly: each pixel once with y = 1 and weight μ, once with y = 0 and 1 − μ.
    y = np.concatenate([np.ones_like(mu), np.zeros_like(mu)], 1)
    weight = np.concatenate([mu, 1 - mu], 1)

    def expected(name: str, p: Array, **options: Any) -> tuple[Array, Array]:
        value, gradient = lab.value_and_gradient(name, np.tile(p, 2), y, where=weight, **options)
        return value, gradient[:, :pixels] + gradient[:, pixels:]

    def optimal(name: str, p: Array, **options: Any) -> Array:
        value, gradient = expected(name, p, **options)
        scale = np.abs(gradient).max() + 1e-12
        inside = (p > 0) & (p < 1)
        # The conditions of a minimum in the cube, and no random prediction that beats it.
        stuck = np.where(inside, np.abs(gradient), np.where(p == 1, gradient, -gradient))
        others = [
            expected(name, lab.rng.random(mu.shape) ** e, **options)[0] for e in (0.3, 1.0, 3.0)
        ]
        others.append(
            expected(name, np.clip(p + 0.01 * lab.rng.normal(size=p.shape), 0, 1), **options)[0]
        )
        return np.maximum(stuck.max(1) / max(scale, 1e-3), value - np.min(others, 0))

    hard = np.asarray(jax.vmap(oracles.dice_oracle)(jnp.asarray(mu)).prediction)
    star = np.array([_best_dice(row) for row in mu])
    record.near("Dice: 1[μ > D*/2]", hard, (mu > star[:, None] / 2).astype(float))
    record.near("its Dice", 1 - expected("dice_loss", hard, **_NO_SMOOTH)[0], star)
    record.holds("Dice: optimal", optimal("dice_loss", hard, **_NO_SMOOTH))
    graded = np.asarray(jax.vmap(oracles.squared_dice_oracle)(jnp.asarray(mu)).prediction)
    index = 1 - expected("squared_dice_loss", graded, **_NO_SMOOTH)[0]
    record.near("squared Dice: min(1, μ/D₂*)", graded, np.minimum(1, mu / index[:, None]))
    record.holds("squared Dice: inflated", (mu - graded).max(1))
    record.holds("squared Dice: optimal", optimal("squared_dice_loss", graded, **_NO_SMOOTH))
    flat = mu[0] * 0.05 + 0.4
    unclipped = np.asarray(oracles.squared_dice_oracle(jnp.asarray(flat)).prediction)
    scale = np.sqrt(flat.sum() / (flat**2).sum())
    record.near("squared Dice: √(Σμ/Σμ²) unclipped", unclipped, scale * flat)
    record.holds("BCE: p = μ is optimal", optimal("binary_cross_entropy_loss", mu))

    # Correlated within the image: a sure core of A pixels, and a block of b drawn as a whole.
    core, block, chance = 30.0, 30.0, 0.45

    def per_image(q: float) -> float:
        p = np.array([[1.0, q], [1.0, q]])
        loss = lab.value(
            "dice_loss",
            p,
            np.array([[1.0, 1.0], [1.0, 0.0]]),
            where=np.array([[core, block]] * 2),
            **_NO_SMOOTH,
        )
        return chance * loss[0] + (1 - chance) * loss[1]

    rule = oracles.dice_oracle(jnp.asarray([1.0] * 30 + [chance] * 30))
    record.near("the rule fills the block", rule.prediction[-1], 1.0)
    record.holds("the per-image optimum leaves it empty", per_image(0.0) - per_image(1.0))
    record.fails_at(
        "Noise correlated within the image: the rule fills a block that is drawn as a whole with "
        "chance 0.45, but per image leaving it empty costs less.",
        core=core,
        block=block,
        chance=chance,
        threshold=float(rule.dice) / 2,
        loss_filled=per_image(1.0),
        loss_empty=per_image(0.0),
    )


def _c16(lab: Lab, record: Record) -> None:
    p, _ = lab.problems()
    empty = np.zeros_like(p)
    s = 10 ** lab.rng.uniform(-4, 2, len(p))
    total = p.sum(1)
    value, gradient = lab.value_and_gradient("dice_loss", p, empty, **_NO_SMOOTH)
    record.near("no smoothing: L = 1", value, 1.0)
    record.near("no smoothing: zero gradient", gradient, np.zeros_like(p))
    at_zero = lab.value_and_gradient("dice_loss", empty, empty, **_NO_SMOOTH)
    record.near("0/0: nothing there, nothing claimed", at_zero[0], np.zeros(len(p)))
    record.near("0/0: a finite gradient", at_zero[1], np.zeros_like(p))
    value, gradient = lab.value_and_gradient("dice_loss", p, empty, smooth=s)
    record.near("L = P/(P + s)", value, total / (total + s))
    size = (total + s)[:, None] ** 2
    record.near("g = s/(P + s)²", gradient, s[:, None] / size + 0 * p)
    closed = closed_forms.empty_mask_dice(total, s)
    record.near("empty_mask_dice", np.stack(closed), [total / (total + s), s / (total + s) ** 2])
    below = lab.value_and_gradient("dice_loss", p, empty, smooth=0.0, smooth_denominator=s)
    record.near("smoothing below only: L = 1", below[0], 1.0)
    record.near("smoothing below only: zero gradient", below[1], np.zeros_like(p))

    n = lab.trials
    volume, q, s = 10 ** lab.rng.uniform((0, -4, -2), (3, 0, 1.5), (n, 3)).T
    odds = s * (q * volume + volume + s) ** 2 / ((2 * volume + s) * (q * volume + s) ** 2)
    record.near("break_even_odds", closed_forms.break_even_odds(volume, q, s), odds)

    def step(odds: Array) -> Array:
        """The expected gradient at q, relative to its two parts."""
        slopes = [
            lab.gradient(
                "dice_loss", q[:, None], np.full((n, 1), y), where=volume[:, None], smooth=s
            )[:, 0]
            for y in (1.0, 0.0)
        ]
        mu = odds / (1 + odds)
        parts = mu * slopes[0], (1 - mu) * slopes[1]
        return (parts[0] + parts[1]) / (np.abs(parts[0]) + np.abs(parts[1]))

    record.holds("break-even", np.abs(step(odds)))
    record.holds("up beyond the break-even", step(odds * 1.01))
    record.holds("down below it", -step(odds / 1.01))
    record.near(
        "empty_image_oracle: all iff μ > ½",
        [oracles.empty_image_oracle(mu, 50.0, smooth=1.0).prediction for mu in (0.49, 0.51)],
        [0.0, 1.0],
    )
    # Pooled with an image that has foreground, an empty one is penalised without any smoothing.
    rows, labels = np.full((1, 4), 0.5), np.array([[1.0, 1, 0, 0]])
    pooled = lab.gradient("dice_loss", rows, labels, **_NO_SMOOTH)[0, 2:]
    i, size, _, _ = _sums(rows, labels)
    record.near("pooled: 2I/S² on the empty image", pooled, (2 * i / size**2)[0])
    alone = lab.value_and_gradient("dice_loss", rows[:, 2:], labels[:, 2:], smooth=1e-5)
    record.fails_at(
        "'Smoothing only prevents 0/0': on an empty image it is the whole price of a false "
        "positive, next to nothing at s = 1e-5 (loss near 1, gradient near 0).",
        prediction=rows[0, 2:],
        smooth=1e-5,
        loss=alone[0][0],
        gradient=alone[1][0],
        pooled_gradient=pooled,
    )


def _sudre_loss(sums: Any, *, smooth: Any, epsilon: Any) -> Any:
    """Generalised Dice as first written down, with w = 1/(T + ε)² and nothing capped."""
    weight = 1 / (sums.target + epsilon) ** 2
    overlap = (2 * weight * sums.intersection).sum(-1)
    return 1 - (overlap + smooth) / ((weight * (sums.prediction + sums.target)).sum(-1) + smooth)


def _c17(lab: Lab, record: Record) -> None:
    n, pixels = min(lab.trials, 32), 40
    z = lab.rng.normal(size=(n, pixels, 3))
    labels = (lab.rng.random((n, pixels)) < 0.3).astype(int)
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
        value = lab.value(capped, z, labels, sums=softmax_region_sums, smooth=s)
        record.near(f"capped weights, s = {s:g}", value, 1 - (above + s) / (below + s))
    # A class weight with a large object: 1/T² counts no pixels.
    heavy = np.full((n, pixels), 100.0)

    def size(loss: Any, where: Any = None, z: Array = z, **options: float) -> Array:
        gradient = lab.gradient(loss, z, labels, sums=softmax_region_sums, where=where, **options)
        return np.linalg.norm(gradient.reshape(n, -1), axis=1)

    healthy = size(capped, smooth=0.0)
    naive = size(_sudre_loss, smooth=0.0, epsilon=1e-6)
    record.holds("uncapped: the gradient vanishes", naive / healthy - 1e-6)
    record.holds("capped: it does not", 1e-4 - healthy)
    never = z.copy()
    never[..., 2] -= 60
    unless = size(_sudre_loss, z=never, smooth=0.0, epsilon=1e-6)
    record.holds("unless the class has next to no probability", 1e-4 - unless)
    swamped, free = (size(_sudre_loss, heavy, never, smooth=s, epsilon=1e-6) for s in (1.0, 0.0))
    record.holds("uncapped: s = 1 swamps sums that are not in pixels", swamped / free - 0.1)
    kept, alone = (size(capped, heavy, smooth=s) for s in (1.0, 0.0))
    record.holds("capped and scaled: it does not", 0.5 - kept / alone)
    record.fails_at(
        "Uncapped weights w = 1/(T + 1e-6)²: with one class absent nothing is learnt.",
        class_pixels=target[0],
        gradient_norm_uncapped=naive[0],
        gradient_norm_capped=healthy[0],
    )


def _c18(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    alpha, beta = 10 ** lab.rng.uniform(-1.5, 1, (2, len(p)))
    i, s, _, t = _sums(p, y)
    a, b = alpha[:, None], beta[:, None]
    false_positives, size = s - t - i, i + a * (s - t - i) + b * (t - i)
    gradient = lab.gradient("tversky_loss", p, y, alpha=alpha, beta=beta, **_NO_SMOOTH)
    expected = np.where(y == 1, -(a * false_positives + b * t) / size**2, a * i / size**2)
    record.near("the two values", gradient, expected)
    foreground, background = _two_values(gradient, y)
    ratio = np.abs(foreground / background)
    record.near("ratio is (αFP + βT)/(αI)", ratio, (a * false_positives + b * t) / (a * i))
    record.holds("at least β/α", (b / a - ratio) / ratio)
    values = lab.closed(
        closed_forms.tversky_gradient_values, p, y, alpha=alpha, beta=beta, **_NO_SMOOTH
    )
    record.near("tversky_gradient_values", np.stack(values, 1), np.hstack([foreground, background]))
    options: dict[str, Any] = {"alpha": 0.7, "beta": 0.3, "smooth": 0.0}
    p1, y1 = np.array([[0.9, 0.1, 0.1]]), np.array([[1.0, 0.0, 0.0]])
    gradient = np.abs(lab.gradient("tversky_loss", p1, y1, **options)[0])
    record.holds("α > β allows a ratio below 1", gradient[0] - gradient[1])
    record.fails_at(
        "α > β: a background pixel pulls harder than a foreground one.",
        prediction=p1[0],
        target=y1[0],
        alpha=0.7,
        beta=0.3,
        ratio=gradient[0] / gradient[1],
    )


def _c19(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    # From far off to nearly perfect, so that L → 0 is among the problems.
    pull = 10 ** lab.rng.uniform(-6, 0, (len(p), 1))
    p = y + pull * (p - y)
    i, s, u, _ = _sums(p, y)
    loss, dice = np.abs(p - y).sum(1, keepdims=True) / s, 2 * i / s
    plain = np.where(y == 1, -2 * u / s**2, 2 * i / s**2)
    focal = lab.gradient("focal_tversky_loss", p, y, alpha=0.5, beta=0.5, gamma=0.75, **_NO_SMOOTH)
    # L itself is 1 − D in the library: near 0 its last digits are rounding.
    tolerance: dict[str, Any] = {"tolerance": 1e-8}
    record.near("power 0.75: 0.75·L^−0.25", focal, 0.75 * loss**-0.25 * plain, **tolerance)
    log_cosh = lab.gradient("log_cosh_dice_loss", p, y, **_NO_SMOOTH)
    record.near("log-cosh: tanh L", log_cosh, np.tanh(loss) * plain, **tolerance)
    log = lab.gradient("log_dice_loss", p, y, **_NO_SMOOTH)
    record.near("log: 1/D", log, plain / dice)
    record.near("power_factor", closed_forms.power_factor(loss, 0.75), 0.75 * loss**-0.25)
    record.near("log_cosh_factor", closed_forms.log_cosh_factor(loss), np.tanh(loss))
    order = np.argsort(loss[:, 0])
    gain = (focal / plain)[order, 0]
    record.holds("the power amplifies more, the smaller L", np.diff(gain) / gain[0])
    record.holds("log-cosh damps", np.abs(log_cosh / plain) - 1)


def _c20(lab: Lab, record: Record) -> None:
    p, y = lab.problems()
    for alpha in (0.5, 1.0, 3.0):
        peak = 1 / (1 + alpha)
        record.near("self_adjusting_peak", closed_forms.self_adjusting_peak(alpha), peak)
        options: dict[str, Any] = {"alpha": alpha, "smooth": 1.0}

        def pixel(
            q: float, what: str, options: Any = options, name: str = "self_adjusting_dice_loss"
        ) -> Array:
            x = p.copy()
            x[:, 0] = q
            value, gradient = lab.value_and_gradient(name, x, y, sums=None, **options)
            return value if what == "value" else gradient[:, 0]

        record.near(f"flat at 1/(1+α), α = {alpha:g}", pixel(peak, "gradient"), np.zeros(len(p)))
        record.holds(f"up below it, α = {alpha:g}", pixel(peak - 0.05, "gradient"))
        record.holds(f"down beyond it, α = {alpha:g}", 1e-9 - pixel(peak + 0.05, "gradient"))
        best = pixel(peak, "value")
        for q in (0.01, peak / 2, (1 + peak) / 2, 0.99):
            record.holds(f"best there, α = {alpha:g}", best - pixel(q, "value"))
        at_peak, at_truth = pixel(peak, "value")[0], pixel(0.999, "value")[0]
        record.fails_at(
            "A sure and right foreground pixel costs more than an unsure one.",
            alpha=alpha,
            loss_at_peak=at_peak,
            loss_at_p_0_999=at_truth,
        )


def _c21(lab: Lab, record: Record) -> None:
    count = 1e9
    target = np.array([10.0, 100.0, 1e3, 1e4, 1e8])
    labels, weights = _two_groups(target, np.full(5, count))

    def mass(foreground: Any, background: Any) -> Array:
        x = np.broadcast_to([foreground, background], (5, 2))
        gradient = lab.gradient("dice_loss", x, labels, where=weights, **_NO_SMOOTH)
        return np.abs(gradient[:, 0])

    for q in (0.1, 0.5, 0.9):
        s, i = count * q + target, q * target
        record.near(f"M₊ = 2TU/S² at q = {q}", mass(q, q), 2 * target * (s - i) / s**2)
    closed = closed_forms.dice_foreground_mass(
        region_sums(np.full((5, 2), 0.5), labels, axis=1, where=weights)
    )
    record.near("dice_foreground_mass", closed, mass(0.5, 0.5))
    constant = mass(0.5, 0.5)
    record.near("≈ 2T/(Nq) for q ≫ T/N", constant[:3], 4 * target[:3] / count, tolerance=1e-5)
    record.holds("a small object has far less", constant[:-1] / constant[1:] - 0.2)
    record.near("½ at every size as D → 1", mass(1 - 1e-14, 1e-14), 0.5, tolerance=1e-5)
    record.near("2 at every size as q → 0", mass(1e-14, 1e-14), 2.0, tolerance=1e-5)
    record.fails_at(
        "At q = ½ the foreground of an object of 10 pixels pulls far less than one of 10⁸.",
        pixels=target,
        foreground_mass=constant,
    )


def _c22(lab: Lab, record: Record) -> None:
    n = 10
    p, y = (x[:, :n] for x in lab.problems())
    p = 0.05 + 0.9 * p
    dice = lab.hessian("dice_loss", p, y, smooth=0.0)
    i, s = (p * y).sum(1)[:, None, None], (p + y).sum(1)[:, None, None]
    claimed = (2 * (y[:, :, None] + y[:, None, :]) - 4 * i / s) / s**2
    scale = np.abs(claimed).max((1, 2), keepdims=True)
    record.near("∂²L/∂pᵢ∂pⱼ", dice, claimed, scale=scale)
    record.holds("no entry is 0", 1e-9 - np.abs(dice) / scale, tolerance=0)
    off_diagonal = ~np.eye(n, dtype=bool)
    bce = lab.hessian("binary_cross_entropy_loss", p, y)
    record.holds("BCE: only the diagonal", np.abs(bce[:, off_diagonal]), tolerance=0)
    record.holds("BCE: the diagonal is positive", -np.abs(bce[:, ~off_diagonal]) + 1e-9)
    missed = np.where(y == 1, 0.0, p)
    none = lab.hessian("dice_loss", missed, y, smooth=0.0)
    both = (y[:, :, None] == 0) & (y[:, None, :] == 0)
    record.holds("0 for background pairs at I = 0", np.abs(none[both]))
    perfect = lab.hessian("dice_loss", y, y, smooth=0.0)
    mixed = y[:, :, None] != y[:, None, :]
    record.holds("0 for mixed pairs at p = y", np.abs(perfect[mixed]))
    record.fails_at(
        "At p = y a foreground pixel does not feel a background one, nor at I = 0 a background "
        "pixel another.",
        target=y[0],
        mixed_entry_at_perfect=np.abs(perfect[mixed]).max(),
        background_entry_without_overlap=np.abs(none[both]).max(),
    )


CHECKS: dict[str, Callable[[Lab, Record], None]] = {
    "C1": _c1,
    "C2": _c2,
    "C3": _c3,
    "C4": _c4,
    "C5": _c5,
    "C6": _c6,
    "C7": _c7,
    "C8": _c8,
    "C9": _c9,
    "C10": _c10,
    "C11": _c11,
    "C12": _c12,
    "C13": _c13,
    "C14": _c14,
    "C15": _c15,
    "C16": _c16,
    "C17": _c17,
    "C18": _c18,
    "C19": _c19,
    "C20": _c20,
    "C21": _c21,
    "C22": _c22,
}
