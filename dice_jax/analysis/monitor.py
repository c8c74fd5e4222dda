"""A cheap, jit-able report on the gradients of a training step, with an alarm and its reasons."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.safe_math import ratio
from dice_jax.analysis.direction import compare_gradients
from dice_jax.losses.overlap import binary_cross_entropy_loss, cross_entropy_loss
from dice_jax.sums.balance import gradient_balance
from dice_jax.sums.region import sigmoid_region_sums, softmax_region_sums

__all__ = ["Alarm", "GradientReport", "LossReport", "gradient_monitor", "monitor_metrics"]


class Alarm(enum.IntFlag):
    """Why the monitor raises an alarm; reasons add up.

    ``OVERFLOW``: a logit, a loss or a gradient is not finite. ``EMPTY_TARGET``: no foreground in
    the batch. ``DEAD_GRADIENT``: the prediction is wrong, but the gradient of a loss is almost 0
    compared with cross-entropy's. ``ALL_FOREGROUND``: everything is predicted foreground.
    ``UNDERFLOW``: most of the gradient is 0 in the logits' type but not in float32.
    ``COLLAPSE``: almost no foreground is predicted where there is some, and a loss pulls it back
    less than a tenth as hard as cross-entropy would.

    Example:
        >>> from dice_jax.analysis import Alarm
        >>> print(repr(Alarm(int(Alarm.EMPTY_TARGET) + int(Alarm.DEAD_GRADIENT))))
        <Alarm.EMPTY_TARGET|DEAD_GRADIENT: 6>
    """

    NONE = 0
    OVERFLOW = 1
    EMPTY_TARGET = 2
    DEAD_GRADIENT = 4
    ALL_FOREGROUND = 8
    UNDERFLOW = 16
    COLLAPSE = 32


# A pixel is saturated, and an error confident, beyond this probability.
_CONFIDENT = 1e-3
# A gradient is dead below this fraction of the norm of cross-entropy's gradient.
_DEAD_NORM = 1e-4
# At a confident error it is dead below this fraction of cross-entropy's gradient there.
_DEAD_PIXEL = 1e-2
# The mean error of either class above which a prediction counts as wrong.
_WRONG = 1e-2
_ALL = 0.99
_MOST = 0.5
# The foreground is lost below this mean probability, and a loss hardly brings it back if its pull
# is below this fraction of cross-entropy's. Chosen on half of the study of collapses.
_LOST = 1e-2
_WEAK_PULL = 0.1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LossReport:
    r"""One loss at one training step.

    Args:
        value: the loss, summed over its regions.
        norm: the norm of its gradient at the logits.
        foreground_share: the part of Σ\|g\| that lies on the foreground; 0 without a gradient.
        ratio: mean \|g\| of a foreground pixel over that of a background pixel.
        dead_errors: the fraction of confident errors at which the gradient is almost 0.
        underflow: the fraction of pixels whose gradient is 0 in the logits' type only.
        dead: whether the whole gradient is almost 0 although the prediction is wrong.
        foreground_pull: Σ\|g\| over the foreground, over that of mean cross-entropy's gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> targets = jnp.arange(100) < 50
        >>> report = dj.analysis.gradient_monitor({"dice": dj.dice_loss}, jnp.zeros(100), targets)
        >>> print(f"{report.losses['dice'].foreground_share:.2f}")    # 1.5/2: C5 at q = π = ½
        0.75
    """

    value: jax.Array
    norm: jax.Array
    foreground_share: jax.Array
    ratio: jax.Array
    dead_errors: jax.Array
    underflow: jax.Array
    dead: jax.Array
    foreground_pull: jax.Array | float = math.nan


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientReport:
    """The gradients of a training step, from `gradient_monitor`.

    Args:
        losses: a `LossReport` per loss, by name.
        cosines: the cosine of each pair of losses at the logits, by ``"first|second"``.
        scales: the ratio of their norms: the weight on the second that makes both norms equal.
        foreground_fraction: of the targets.
        mean_probability: the mean predicted probability of foreground.
        saturated: the fraction of pixels whose largest probability exceeds 0.999.
        confident_errors: the fraction of pixels whose true class has less than 0.001.
        alarm: whether there is a reason for one.
        reason: the reasons, an integer to be read as `Alarm`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> targets = jnp.zeros(100, jnp.int32)
        >>> report = dj.analysis.gradient_monitor({"dice": dj.dice_loss}, jnp.zeros(100), targets)
        >>> print(bool(report.alarm), dj.analysis.Alarm(int(report.reason)).name)
        True EMPTY_TARGET
    """

    losses: dict[str, LossReport]
    cosines: dict[str, jax.Array]
    scales: dict[str, jax.Array]
    foreground_fraction: jax.Array
    mean_probability: jax.Array
    saturated: jax.Array
    confident_errors: jax.Array
    alarm: jax.Array
    reason: jax.Array


def gradient_monitor(
    losses: Mapping[str, Callable[[Any], jax.Array]],
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    where: ArrayLike | None = None,
    sums: Callable[[Any, Any], Any] | None = None,
) -> GradientReport:
    r"""Report on the gradients of some losses at the logits of a training step.

    Jit-able and cheap: one pass and its transpose per loss, and one for cross-entropy, with which
    the others are compared. It reports failures that raise no error: a gradient that vanishes on an
    empty target, for an absent class or at saturated logits; sums that overflow; a prediction that
    is all foreground; a training with Dice that has lost the foreground. (The last of these
    compares a loss with mean cross-entropy. So watch the loss that you train with, Dice + BCE say,
    and not a small multiple of it.)

    Args:
        losses: functions of what ``sums`` gives, by name, such as ``{"dice": dj.dice_loss}``. JAX
            compiles once per function object: make a lambda once, not in every step.
        logits: [...] with targets of that shape (binary or multi-label), or [..., C] with integer
            labels [...] (class 0 is background).
        targets: boolean, integer 0/1 or floating in [0, 1]; or integer labels.
        where: boolean or floating weight of the pixels, broadcastable to [...].
        sums: a function of logits and targets; ``None``: `sigmoid_region_sums` or, for labels,
            `softmax_region_sums`, pooled over everything. For losses of arrays from other
            libraries: ``lambda z, y: (z, y)``. A function of your own must apply the mask itself.

    Returns:
        A `GradientReport`, a pytree: return it from a jitted step and hand it to `monitor_metrics`.

    Raises:
        TypeError: if ``losses`` is no mapping to functions, or ``logits`` is not floating.
        ValueError: if ``losses`` is empty, or the shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> targets = jnp.arange(1000) < 50
        >>> losses = {"dice": dj.dice_loss, "bce": dj.binary_cross_entropy_loss}
        >>> report = dj.analysis.gradient_monitor(losses, jnp.zeros(1000), targets)
        >>> print(f"{report.losses['dice'].foreground_share:.3f}", bool(report.alarm))
        0.520 False
        >>> report = dj.analysis.gradient_monitor(losses, jnp.full(1000, -20.0), targets)
        >>> print(repr(dj.analysis.Alarm(int(report.reason))))
        <Alarm.DEAD_GRADIENT|COLLAPSE: 36>

    References:
        C11, C12, C16 and C17 of the theory page explain the failures that it looks for.
    """
    if not isinstance(losses, Mapping) or not all(callable(loss) for loss in losses.values()):
        raise TypeError(
            'losses must map names to functions, such as {"dice": dice_loss}, got '
            f"{checks.describe(losses)}"
        )
    if not losses:
        raise ValueError("losses is empty: there is nothing to watch")
    logits, targets = checks.as_array("logits", logits), checks.as_array("targets", targets)
    if not checks.is_float(logits):
        raise TypeError(f"logits must be floating, got {checks.describe(logits)}")
    classes = targets.shape == logits.shape[:-1] and checks.is_integer(targets)
    if not classes and targets.shape != logits.shape:
        raise ValueError(
            f"targets must have the shape of logits {logits.shape}, or be integer labels "
            f"{logits.shape[:-1]}, got {checks.describe(targets)}"
        )
    where = checks.check_where(where, targets.shape)
    return _gradient_monitor(
        logits, targets, where, losses=tuple(losses.items()), sums=sums, classes=classes
    )


@partial(jax.jit, static_argnames=("losses", "sums", "classes"))
def _gradient_monitor(
    logits: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    losses: tuple[tuple[str, Any], ...],
    sums: Any,
    classes: bool,
) -> GradientReport:
    own = partial(softmax_region_sums if classes else sigmoid_region_sums, where=where)
    sums = own if sums is None else sums
    dtype = checks.accumulation_dtype(logits)
    wide = logits.astype(dtype)
    weight = jnp.ones(targets.shape, dtype)
    if where is not None:
        weight = jnp.broadcast_to(where, targets.shape).astype(dtype)
        # A masked pixel may hold anything, in its logits and in its label.
        inside = weight != 0
        wide = jnp.where(inside[..., None] if classes else inside, wide, jnp.zeros_like(wide))
        targets = jnp.where(inside, targets, jnp.zeros_like(targets))

    def mean(x: jax.Array, of: jax.Array = weight) -> jax.Array:
        size = jnp.sum(of)
        nothing = size == 0
        one = jnp.ones_like(size)
        return jnp.where(nothing, 0 * one, jnp.sum(of * x) / jnp.where(nothing, one, size))

    def pixel_size(gradient: jax.Array) -> jax.Array:
        gradient = gradient.astype(dtype)
        return jnp.linalg.norm(gradient, axis=-1) if classes else jnp.abs(gradient)

    if classes:
        p = jax.nn.softmax(wide)
        truth = jnp.take_along_axis(p, targets[..., None], -1)[..., 0]
        foreground, probability = (targets > 0).astype(dtype), 1 - p[..., 0]
        confidence, reference = jnp.max(p, -1), cross_entropy_loss
    else:
        p, foreground = jax.nn.sigmoid(wide), targets.astype(dtype)
        truth, probability = 1 - jnp.abs(p - foreground), p
        confidence, reference = jnp.maximum(p, 1 - p), binary_cross_entropy_loss

    cross_entropy = jax.grad(lambda z: jnp.sum(reference(own(z, targets))))(wide)
    yardstick = pixel_size(cross_entropy)
    confident_error = weight * (truth < _CONFIDENT).astype(dtype)
    on_foreground, on_background = weight * foreground, weight * (1 - foreground)
    wrong = jnp.maximum(mean(1 - truth, on_foreground), mean(1 - truth, on_background)) > _WRONG
    missed = mean(probability, on_foreground) < _LOST
    full_pull = jnp.sum(on_foreground * yardstick)
    finite = jnp.all(jnp.isfinite(wide))

    reports: dict[str, LossReport] = {}
    gradients: dict[str, jax.Array] = {}
    for name, loss in losses:

        def total(z: jax.Array, loss: Any = loss) -> jax.Array:
            return jnp.sum(loss(sums(z, targets)))

        # In the logits' own type: what underflows here is 0 for the optimiser too.
        value, gradient = jax.value_and_grad(total)(logits)
        size = pixel_size(gradient)
        if where is not None:
            size = jnp.where(weight != 0, size, jnp.zeros_like(size))
        if logits.dtype == dtype:
            underflow = jnp.zeros((), dtype)
        else:
            lost = (size == 0) & (pixel_size(jax.grad(total)(wide)) != 0)
            underflow = mean(lost.astype(dtype))
        norm = compare_gradients(size, yardstick)
        balance = gradient_balance(size, foreground, where=weight)
        # A NaN is an overflow, not a dead gradient.
        dead = wrong & (norm.first_norm <= _DEAD_NORM * norm.second_norm)
        gradients[name] = gradient
        reports[name] = LossReport(
            value=value,
            norm=norm.first_norm,
            foreground_share=balance.foreground_share,
            ratio=balance.ratio,
            dead_errors=mean((size <= _DEAD_PIXEL * yardstick).astype(dtype), confident_error),
            underflow=underflow,
            dead=dead,
            foreground_pull=ratio(balance.foreground_mass, full_pull, jnp.zeros_like(full_pull)),
        )
        finite &= jnp.isfinite(value) & jnp.all(jnp.isfinite(size))

    pairs = {
        f"{a}|{b}": compare_gradients(gradients[a], gradients[b])
        for a, b in itertools.combinations(gradients, 2)
    }
    everything = mean(probability, on_background) > _ALL
    weak = _any(r.foreground_pull < _WEAK_PULL for r in reports.values())
    reasons = (
        (Alarm.OVERFLOW, ~finite),
        (Alarm.EMPTY_TARGET, jnp.sum(on_foreground) == 0),
        (Alarm.DEAD_GRADIENT, _any(r.dead for r in reports.values())),
        (Alarm.ALL_FOREGROUND, everything),
        (Alarm.UNDERFLOW, _any(r.underflow > _MOST for r in reports.values())),
        (Alarm.COLLAPSE, missed & weak & (full_pull > 0)),
    )
    codes = [jnp.where(on, jnp.int32(code), jnp.int32(0)) for code, on in reasons]
    reason = jnp.sum(jnp.stack(codes))
    return GradientReport(
        losses=reports,
        cosines={pair: result.cosine for pair, result in pairs.items()},
        scales={pair: result.relative_scale for pair, result in pairs.items()},
        foreground_fraction=mean(foreground),
        mean_probability=mean(probability),
        saturated=mean((confidence > 1 - _CONFIDENT).astype(dtype)),
        confident_errors=mean((truth < _CONFIDENT).astype(dtype)),
        alarm=reason != 0,
        reason=reason,
    )


def _any(flags: Any) -> jax.Array:
    return jnp.any(jnp.stack(list(flags)))


def monitor_metrics(report: GradientReport, *, prefix: str = "gradient/") -> dict[str, float]:
    """Turn a report into plain numbers for a logger.

    Args:
        report: from `gradient_monitor`, outside of ``jit``.
        prefix: put before every name.

    Returns:
        Numbers by name, such as ``"gradient/dice/norm"`` and ``"gradient/alarm"`` (0 or 1); the
        reason is an integer to be read as `Alarm`.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> report = dj.analysis.gradient_monitor(
        ...     {"dice": dj.dice_loss}, jnp.zeros(4), jnp.array([1, 0, 0, 0])
        ... )
        >>> metrics = dj.analysis.monitor_metrics(report)
        >>> print(metrics["gradient/foreground_fraction"], metrics["gradient/alarm"])
        0.25 0.0
    """
    # One transfer for the whole report.
    report = jax.device_get(report)
    metrics: dict[str, float] = {}
    for field in dataclasses.fields(report):
        value = getattr(report, field.name)
        if field.name == "losses":
            for name, loss in value.items():
                for part in dataclasses.fields(loss):
                    metrics[f"{prefix}{name}/{part.name}"] = float(getattr(loss, part.name))
        elif isinstance(value, dict):
            for name, number in value.items():
                metrics[f"{prefix}{field.name}/{name}"] = float(number)
        else:
            metrics[f"{prefix}{field.name}"] = float(value)
    return metrics
