"""Two losses' gradients compared: norm, cosine and relative scale, at logits and parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax.sums.region import sigmoid_region_sums

__all__ = [
    "GradientComparison",
    "compare_at_parameters",
    "compare_gradients",
    "compare_losses",
    "suggest_weight",
    "weight_trajectory",
]

Loss = Callable[[Any], jax.Array]
Sums = Callable[[Any, Any], Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientComparison:
    r"""How two gradients relate.

    Args:
        first_norm: ‖a‖.
        second_norm: ‖b‖.
        cosine: a·b/(‖a‖‖b‖); 0 where one of them vanishes.
        relative_scale: ‖a‖/‖b‖, the λ for which a and λ·b are equally long; infinite where only b
            vanishes, 0 where a does.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> one, other = jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0])
        >>> comparison = dj.analysis.compare_gradients(one, other)
        >>> print(comparison.cosine, comparison.relative_scale)
        0.0 0.5
    """

    first_norm: jax.Array
    second_norm: jax.Array
    cosine: jax.Array
    relative_scale: jax.Array


def compare_gradients(first: Any, second: Any) -> GradientComparison:
    r"""Norm, cosine and relative scale of two gradients.

    Args:
        first: an array, or a pytree of arrays such as the gradient of a network's parameters.
        second: the same structure and shapes.

    Returns:
        A `GradientComparison` of scalars, in at least float32.

    Raises:
        ValueError: if the structures or the shapes differ, or there is nothing to compare.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> result = dj.analysis.compare_gradients(jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0]))
        >>> print(result.first_norm, result.cosine, result.relative_scale)
        5.0 0.8 2.5

    References:
        C3 and C12 of the theory page.
    """
    shapes = [jax.tree.map(jnp.shape, g) for g in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"second must have the structure and shapes of first, got {shapes}")
    if not jax.tree.leaves(first):
        raise ValueError("first holds no arrays: there is nothing to compare")
    return _compare_gradients(first, second)


@jax.jit
def _compare_gradients(first: Any, second: Any) -> GradientComparison:
    a, b = jax.tree.leaves(first), jax.tree.leaves(second)
    dtype = checks.accumulation_dtype(*(jnp.asarray(x) for x in a + b))
    a, b = ([jnp.asarray(x).astype(dtype) for x in leaves] for leaves in (a, b))
    # Scaled by the largest entry, because the square of 1e-23 is 0 in float32.
    largest_a, largest_b = _largest(a), _largest(b)
    a, b = [x / largest_a for x in a], [x / largest_b for x in b]
    size_a, size_b = (jnp.sqrt(_dot(x, x)) for x in (a, b))
    product = size_a * size_b
    nothing = product == 0
    one, zero = jnp.ones_like(product), jnp.zeros_like(product)
    cosine = jnp.where(nothing, zero, _dot(a, b) / jnp.where(nothing, one, product))
    first_norm, second_norm = size_a * largest_a, size_b * largest_b
    still = size_b == 0
    scale = (size_a / jnp.where(still, one, size_b)) * (largest_a / largest_b)
    unbounded = jnp.where(size_a == 0, zero, jnp.full_like(zero, jnp.inf))
    return GradientComparison(
        first_norm=first_norm,
        second_norm=second_norm,
        cosine=cosine,
        relative_scale=jnp.where(still, unbounded, scale),
    )


def _largest(leaves: list[jax.Array]) -> jax.Array:
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(x), initial=0) for x in leaves]))
    return jnp.where(largest == 0, jnp.ones_like(largest), largest)


def _dot(a: list[jax.Array], b: list[jax.Array]) -> jax.Array:
    return jnp.sum(jnp.stack([jnp.sum(x * y) for x, y in zip(a, b, strict=True)]))


def _floating(name: str, x: ArrayLike) -> jax.Array:
    x = checks.as_array(name, x)
    if not checks.is_float(x):
        raise TypeError(f"{name} must be floating, got {checks.describe(x)}")
    return x


def compare_losses(
    first: Loss,
    second: Loss,
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sums: Sums = sigmoid_region_sums,
) -> GradientComparison:
    r"""Norm, cosine and relative scale of two losses' gradients at the logits.

    Args:
        first: takes what ``sums`` gives, e.g. `dice_loss`; several regions are summed.
        second: the same.
        logits: [...] or [..., C], what ``sums`` takes.
        targets: [...], what ``sums`` takes beside them.
        sums: `sigmoid_region_sums`, `softmax_region_sums`, a ``functools.partial`` of them, or
            `region_sums` with probabilities in place of logits.

    Returns:
        A `GradientComparison` of scalars.

    Raises:
        TypeError: if ``logits`` is not floating.
        ValueError: whatever ``sums`` and the losses raise on arguments that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> z, y = jnp.array([1.0, -1.0, 0.5, -2.0]), jnp.array([1, 1, 0, 0])
        >>> half = lambda sums: dj.jaccard_loss(sums, smooth=0.5)
        >>> result = dj.analysis.compare_losses(dj.dice_loss, half, z, y)
        >>> print(f"{result.cosine:.6f}")    # one direction: only the step differs
        1.000000

    References:
        C3 of the theory page; Eelbode et al. (2020).
    """
    logits, targets = _floating("logits", logits), checks.as_array("targets", targets)
    return _compare_losses(logits, targets, first=first, second=second, sums=sums)


@partial(jax.jit, static_argnames=("first", "second", "sums"))
def _compare_losses(
    logits: jax.Array, targets: jax.Array, *, first: Any, second: Any, sums: Any
) -> GradientComparison:
    a, b = (
        jax.grad(lambda z, loss=loss: jnp.sum(loss(sums(z, targets))))(logits)
        for loss in (first, second)
    )
    return _compare_gradients(a, b)


def compare_at_parameters(
    first: Loss,
    second: Loss,
    parameters: Any,
    predict: Callable[[Any], jax.Array],
    targets: ArrayLike,
    *,
    sums: Sums = sigmoid_region_sums,
) -> GradientComparison:
    r"""Norm, cosine and relative scale of two losses' gradients at a network's parameters.

    An optimiser sees these gradients. They can disagree although the gradients at the logits agree
    in sign at every pixel, and they can agree although those differ.

    Args:
        first: takes what ``sums`` gives, e.g. `dice_loss`.
        second: the same.
        parameters: a pytree of floating arrays.
        predict: takes the parameters and gives the logits of one batch: with Flax NNX,
            ``lambda p: nnx.merge(graph, p)(images)``. Compiled once per object.
        targets: [...], what ``sums`` takes beside the logits.
        sums: as in `compare_losses`.

    Returns:
        A `GradientComparison` of scalars.

    Raises:
        ValueError: whatever ``sums`` and the losses raise on arguments that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> x, y = jnp.array([1.0, -1.0, 0.5]), jnp.array([1, 0, 0])
        >>> weights = {"slope": jnp.float32(0.5), "bias": jnp.float32(0.0)}
        >>> result = dj.analysis.compare_at_parameters(
        ...     dj.dice_loss, dj.log_dice_loss, weights, lambda w: w["slope"] * x + w["bias"], y
        ... )
        >>> print(f"{result.cosine:.5f}")
        1.00000

    References:
        C3 of the theory page; Eelbode et al. (2020).
    """
    targets = checks.as_array("targets", targets)
    return _compare_at_parameters(
        parameters, targets, first=first, second=second, predict=predict, sums=sums
    )


@partial(jax.jit, static_argnames=("first", "second", "predict", "sums"))
def _compare_at_parameters(
    parameters: Any, targets: jax.Array, *, first: Any, second: Any, predict: Any, sums: Any
) -> GradientComparison:
    # One forward pass and its transpose, pulled back once for each loss.
    logits, pull_back = jax.vjp(predict, parameters)
    gradients = [
        pull_back(jax.grad(lambda z, loss=loss: jnp.sum(loss(sums(z, targets))))(logits))[0]
        for loss in (first, second)
    ]
    return _compare_gradients(*gradients)


def suggest_weight(
    first: Loss,
    second: Loss,
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sums: Sums = sigmoid_region_sums,
    parameters: Any = None,
    predict: Callable[[Any], jax.Array] | None = None,
) -> jax.Array:
    r"""The λ at which first and λ·second have gradients of equal length.

    λ = ‖∇first‖/‖∇second‖, at the logits, or at a network's parameters if those are given. It holds
    for this batch and this moment only: as a network learns, the λ that balances Dice and
    cross-entropy changes by orders of magnitude (`weight_trajectory` shows how).

    Args:
        first: takes what ``sums`` gives, e.g. `dice_loss`.
        second: the same, e.g. `binary_cross_entropy_loss`.
        logits: [...] or [..., C], what ``sums`` takes; not read where ``predict`` is given.
        targets: [...], what ``sums`` takes beside them.
        sums: as in `compare_losses`.
        parameters: a network's parameters, to balance there.
        predict: takes the parameters and gives the logits; see `compare_at_parameters`.

    Returns:
        λ, a scalar: infinite if only the second gradient is 0, and 0 if the first is.

    Raises:
        TypeError: if ``logits`` is not floating.
        ValueError: if only one of ``parameters`` and ``predict`` is given, or whatever ``sums`` and
            the losses raise on arguments that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> z, y = jnp.zeros(1000), (jnp.arange(1000) < 10)
        >>> weight = dj.analysis.suggest_weight(dj.dice_loss, dj.binary_cross_entropy_loss, z, y)
        >>> print(f"{weight:.3f}")
        0.195

    References:
        C12 of the theory page: for Dice and mean BCE the scale tends to p_t/(2π). C25: count λ in
        units of 1/(2π); `cross_entropy_thresholds` says which of the two pulls harder at a pixel.
    """
    if (parameters is None) != (predict is None):
        raise ValueError("parameters and predict belong together: give both or neither")
    if predict is not None:
        return compare_at_parameters(
            first, second, parameters, predict, targets, sums=sums
        ).relative_scale
    return compare_losses(first, second, logits, targets, sums=sums).relative_scale


def weight_trajectory(
    first: Loss,
    second: Loss,
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sums: Sums = sigmoid_region_sums,
) -> jax.Array:
    r"""How the balancing λ of `suggest_weight` moves over training.

    Args:
        first: takes what ``sums`` gives, e.g. `dice_loss`.
        second: the same.
        logits: [steps, ...], the logits of one batch at successive moments of training.
        targets: [...], the targets of that batch.
        sums: as in `compare_losses`.

    Returns:
        λ at each moment, [steps].

    Raises:
        TypeError: if ``logits`` is not floating.
        ValueError: if ``logits`` has no leading axis, or whatever ``sums`` and the losses raise.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> y = jnp.arange(100) < 5
        >>> logits = jnp.array([[0.0], [2.0], [4.0]]) * jnp.where(y, 1.0, -1.0)
        >>> weights = dj.analysis.weight_trajectory(
        ...     dj.dice_loss, dj.binary_cross_entropy_loss, logits, y
        ... )
        >>> print(weights.shape, bool(weights[-1] > 10 * weights[0]))
        (3,) True

    References:
        C12 of the theory page.
    """
    logits, targets = _floating("logits", logits), checks.as_array("targets", targets)
    if logits.ndim == 0:
        raise ValueError("logits must lead with the training steps, [steps, ...], got a scalar")
    return _weight_trajectory(logits, targets, first=first, second=second, sums=sums)


@partial(jax.jit, static_argnames=("first", "second", "sums"))
def _weight_trajectory(
    logits: jax.Array, targets: jax.Array, *, first: Any, second: Any, sums: Any
) -> jax.Array:
    def weight(z: jax.Array) -> jax.Array:
        comparison = _compare_losses(z, targets, first=first, second=second, sums=sums)
        return comparison.relative_scale

    # One step after another: all at once would need the memory of all their gradients.
    return jax.lax.map(weight, logits)
