"""What every function of pixels needs: checked arguments, targets as numbers, weighted sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._pass.api import sum_over_pixels

__all__ = [
    "Operands",
    "Term",
    "binary_operands",
    "class_indicators",
    "class_masks",
    "class_operands",
    "class_targets",
    "floating",
    "hard_targets",
    "inside",
    "integer_labels",
    "integer_or_soft_labels",
    "lifted",
    "soft_probabilities",
    "soft_targets",
    "weighted_sums",
]


Term = jax.Array | Callable[[], jax.Array]


class Operands(NamedTuple):
    """The checked arguments of a function of arrays, ready for its jitted part.

    Args:
        predictions: floating, [...] or [..., C].
        targets: the targets or labels that go with them.
        where: the mask or weight with as many axes as there are pixel axes, or ``None``.
        axes: the pixel axes that one region runs over, ascending.
    """

    predictions: jax.Array
    targets: jax.Array
    where: jax.Array | None
    axes: tuple[int, ...]


# Checks of arguments.


def floating(name: str, x: ArrayLike) -> jax.Array:
    """Check that an argument is a floating array.

    Args:
        name: the argument's name, for the error.
        x: the argument, or the description of an array that is never made.

    Returns:
        The array, or the description as it is.

    Raises:
        TypeError: if it is of another type.
    """
    given: Any = x
    array: Any = given if isinstance(given, jax.ShapeDtypeStruct) else checks.as_array(name, x)
    if not checks.is_float(array):
        raise TypeError(f"{name} must be floating, got {checks.describe(array)}")
    return array


# The usual mistakes of range, and the line that mends each.
_MEND = {
    "probabilities": "jax.nn.sigmoid(logits), or of classes jax.nn.softmax(logits)",
    "targets": "targets / 255 for 8-bit gray values, or targets > 0 for a mask",
    "labels": "labels / labels.sum(-1, keepdims=True)",
}


def binary_operands(
    name: str,
    predictions: ArrayLike,
    targets: ArrayLike,
    axis: checks.Axis,
    where: Any,
    *,
    validate: Callable[[str, ArrayLike], jax.Array] = floating,
    targets_name: str = "targets",
    unit: Sequence[str] = ("targets",),
) -> Operands:
    """Check predictions and targets of one shape, and the options that go with them.

    Args:
        name: what the predictions are called, for the errors.
        predictions: [...], floating.
        targets: the same shape: boolean, integer 0/1, or floating.
        axis: the axes that one region runs over; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to [...], or ``None``.
        validate: checks the type of the predictions.
        targets_name: what the targets are called, for the errors.
        unit: which of the two must be in [0, 1], by name. Only values on the host are looked at.

    Returns:
        The checked operands.

    Raises:
        TypeError: if a type does not fit.
        ValueError: if a shape or an axis does not fit, or a value on the host is not in [0, 1].
    """
    given = {name: predictions, targets_name: targets}
    predictions = validate(name, predictions)
    targets = checks.as_array(targets_name, targets)
    if targets.shape != predictions.shape:
        raise ValueError(
            f"{targets_name} must have the shape of {name} {predictions.shape}, "
            f"got {checks.describe(targets)}"
            f"{_axis_of_one((name, predictions.shape), (targets_name, targets.shape))}"
        )
    if not (targets.dtype == jnp.bool_ or checks.is_integer(targets) or checks.is_float(targets)):
        raise TypeError(
            f"{targets_name} must be boolean, integer or floating, got {checks.describe(targets)}"
        )
    axes = checks.normalize_axis("axis", axis, predictions.ndim, what=name)
    kept = checks.check_where(where, predictions.shape)
    for argument in unit:
        checks.check_unit(argument, given[argument], where=where, hint=_MEND[argument])
    return Operands(predictions, targets, kept, axes)


def _axis_of_one(one: tuple[str, tuple[int, ...]], other: tuple[str, tuple[int, ...]]) -> str:
    """How to drop the channel axis that one of the two has and the other has not, for an error."""
    for (who, with_axis), (_, without) in ((one, other), (other, one)):
        if with_axis == (*without, 1):
            return f"; write {who}[..., 0]"
        if len(without) and with_axis == (without[0], 1, *without[1:]):
            return f"; write {who}[:, 0]"
    return ""


def integer_labels(name: str, labels: ArrayLike, predictions: jax.Array) -> jax.Array:
    """Check labels that must be class indices.

    Args:
        name: what the predictions are called, for the errors.
        labels: integer [...].
        predictions: [..., C].

    Returns:
        The labels.

    Raises:
        TypeError: if they are of another type.
        ValueError: if their shape does not fit.
    """
    labels = checks.as_array("labels", labels)
    pixel_shape, came = predictions.shape[:-1], checks.describe(labels)
    expected = f"expected integer labels {pixel_shape} for {name} of shape {predictions.shape}"
    if labels.shape == predictions.shape:
        if checks.is_float(labels):
            raise ValueError(
                f"labels are soft or one-hot, got {came}: {expected}. If they are one-hot, write "
                "labels.argmax(-1); if they are soft, that would lose the mixture, and this "
                "function cannot take them"
            )
        raise ValueError(f"labels are one-hot, got {came}: {expected}; write labels.argmax(-1)")
    _check_label_shape(name, labels, predictions.shape, expected)
    if not checks.is_integer(labels):
        raise TypeError(
            f"labels must be integers, got {came}: {expected}; write labels.astype(jnp.int32)"
        )
    return labels


def integer_or_soft_labels(name: str, labels: ArrayLike, predictions: jax.Array) -> jax.Array:
    """Check labels that may be class indices, or a floating weight per class.

    Args:
        name: what the predictions are called, for the errors.
        labels: integer [...], or floating [..., C].
        predictions: [..., C].

    Returns:
        The labels.

    Raises:
        TypeError: if their type does not fit their shape.
        ValueError: if their shape does not fit.
    """
    labels = checks.as_array("labels", labels)
    pixel_shape, came = predictions.shape[:-1], checks.describe(labels)
    expected = (
        f"expected integer labels {pixel_shape} or floating ones {predictions.shape} "
        f"for {name} of shape {predictions.shape}"
    )
    if labels.shape == predictions.shape:
        if not checks.is_float(labels):
            hint = f"write labels.argmax(-1), or labels.astype({name}.dtype)"
            raise TypeError(f"one-hot labels must be floating, got {came}: {expected}; {hint}")
        return labels
    _check_label_shape(name, labels, predictions.shape, expected)
    if not checks.is_integer(labels):
        hint = "write labels.astype(jnp.int32)"
        raise TypeError(f"labels of shape [...] must be integers, got {came}: {expected}; {hint}")
    return labels


def _check_label_shape(name: str, labels: jax.Array, shape: tuple[int, ...], expected: str) -> None:
    came = checks.describe(labels)
    if labels.shape == (*shape[:-1], 1):
        raise ValueError(
            f"labels have an axis too many, got {came}: {expected}; write labels[..., 0]"
        )
    if labels.shape != shape[:-1]:
        second = len(shape) > 1 and labels.shape == (shape[0], *shape[2:])
        hint = f"; classes last: write jnp.moveaxis({name}, 1, -1)" if second else ""
        raise ValueError(f"labels do not fit the {name}, got {came}: {expected}{hint}")


def class_operands(
    name: str,
    predictions: ArrayLike,
    labels: ArrayLike,
    axis: checks.Axis,
    where: Any,
    *,
    validate_labels: Callable[[str, ArrayLike, jax.Array], jax.Array] = integer_labels,
    unit: Sequence[str] = ("labels",),
) -> Operands:
    """Check predictions with classes last, their labels, and the options that go with them.

    Args:
        name: what the predictions are called, for the errors.
        predictions: [..., C], floating.
        labels: integer [...], or what ``validate_labels`` accepts.
        axis: the pixel axes that one region runs over; ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...], or ``None``.
        validate_labels: checks the labels against the predictions.
        unit: which of the two must be in [0, 1], by name, where it is floating. Only values on the
            host are looked at.

    Returns:
        The checked operands.

    Raises:
        TypeError: if a type does not fit.
        ValueError: if a shape or an axis does not fit, or a value on the host is not in [0, 1].
    """
    given = {name: predictions, "labels": labels}
    predictions = floating(name, predictions)
    if predictions.ndim == 0 or predictions.shape[-1] == 0:
        raise ValueError(
            f"{name} must have a class axis last, [..., C], got {checks.describe(predictions)}"
        )
    labels = validate_labels(name, labels, predictions)
    pixel_shape = predictions.shape[:-1]
    what = "the pixel shape (the class axis is last, and is kept)"
    axes = checks.normalize_axis("axis", axis, len(pixel_shape), what=what)
    kept = checks.check_where(where, pixel_shape)
    for argument in unit:
        checks.check_unit(
            argument, given[argument], where=where, classes=True, hint=_MEND[argument]
        )
    return Operands(predictions, labels, kept, axes)


# Under jit.


def soft_probabilities(probabilities: jax.Array, dtype: Any) -> jax.Array:
    """Probabilities as numbers; what cannot be one becomes NaN: loud, not wrong."""
    return checks.unit_or_nan(probabilities.astype(dtype))


def soft_targets(targets: jax.Array, dtype: Any) -> jax.Array:
    """Targets as numbers; a float that is far from [0, 1], or an integer beside 0 and 1, is NaN."""
    if targets.dtype == jnp.bool_:
        return targets.astype(dtype)
    if checks.is_float(targets):
        return checks.unit_or_nan(targets.astype(dtype))
    return hard_targets(targets, dtype)


def hard_targets(targets: jax.Array, dtype: Any) -> jax.Array:
    """Targets as 0 or 1; anything else, a soft target too, becomes NaN."""
    if targets.dtype == jnp.bool_:
        return targets.astype(dtype)
    one = targets == jnp.ones((), targets.dtype)
    valid = one | (targets == jnp.zeros((), targets.dtype))
    return jnp.where(valid, one.astype(dtype), jnp.full((), jnp.nan, dtype))


def class_masks(labels: jax.Array, classes: int, *, axis: int = -1) -> jax.Array:
    """Whether each pixel belongs to each class: integer labels [...] as booleans.

    Args:
        labels: integers.
        classes: how many classes there are.
        axis: where the class axis lies: −1 or 0.

    Returns:
        Booleans, [..., C] or [C, ...].
    """
    labels = jnp.expand_dims(labels, axis)
    axis %= labels.ndim
    shape = (*labels.shape[:axis], classes, *labels.shape[axis + 1 :])
    return labels == jax.lax.broadcasted_iota(labels.dtype, shape, axis)


def class_indicators(labels: jax.Array, classes: int, dtype: Any, *, axis: int = -1) -> jax.Array:
    """Integer labels [...] as 0 or 1 per class; a label out of range becomes NaNs.

    Args:
        labels: integers.
        classes: how many classes there are.
        dtype: of the numbers.
        axis: where the class axis lies: −1 or 0.

    Returns:
        Numbers, [..., C] or [C, ...].
    """
    labels = labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels
    valid = jnp.expand_dims((labels >= 0) & (labels < classes), axis)
    masks = class_masks(labels, classes, axis=axis)
    return jnp.where(valid, masks.astype(dtype), jnp.full((), jnp.nan, dtype))


def class_targets(labels: jax.Array, classes: int, dtype: Any, *, axis: int = -1) -> jax.Array:
    """Labels of either kind as numbers per class; what cannot be a label becomes NaN.

    Args:
        labels: integer [...], or floating [..., C] (its class axis at ``axis``).
        classes: how many classes there are.
        dtype: of the numbers.
        axis: where the class axis lies: −1 or 0.

    Returns:
        Numbers, [..., C] or [C, ...].
    """
    if checks.is_float(labels):
        return soft_targets(labels, dtype)
    return class_indicators(labels, classes, dtype, axis=axis)


def lifted(x: jax.Array, ndim: int, *, axis: int) -> jax.Array:
    """Give an array of pixels axes of size 1 where another one has its trailing axes.

    Args:
        x: [...].
        ndim: how many axes the other array has.
        axis: −1 where the other array is [..., *trailing], 0 where it is [*trailing, ...].

    Returns:
        The array with ``ndim`` axes.
    """
    ones = (1,) * (ndim - x.ndim)
    return x.reshape(x.shape + ones if axis else ones + x.shape)


def inside(x: jax.Array, where: jax.Array | None, *, axis: int = -1) -> jax.Array:
    """``x`` with zeros where the weight is 0, before anything is computed: 0 · NaN is NaN.

    Args:
        x: [..., *trailing].
        where: the mask or weight, of as many axes as [...] has; ``None`` for everything.
        axis: −1, or 0 where ``x`` is [*trailing, ...].

    Returns:
        An array of the shape and type of ``x``.
    """
    if where is None:
        return x
    return jnp.where(lifted(where.astype(jnp.bool_), x.ndim, axis=axis), x, jnp.zeros_like(x))


def weighted_sums(
    terms: Callable[..., Mapping[str, Term]],
    arrays: tuple[jax.Array, ...],
    where: jax.Array | None,
    axes: tuple[int, ...],
    *,
    ndim: int,
    dtype: Any,
    shared: tuple[jax.Array, ...] = (),
    products: tuple[int, ...] = (),
) -> dict[str, jax.Array]:
    """Σ w·term over pooled pixels, in one pass, for each of some per-pixel terms.

    Args:
        terms: maps the arrays, pixel by pixel, and then ``shared`` to named arrays
            [..., *trailing] of type ``dtype``, or to functions without arguments that return one
            and run only if their sum is read; it must be finite where the arrays are all 0. Its
            keyword ``axis`` is −1, or 0 where arrays come as [*trailing, ...] and leave as that.
        arrays: [..., *trailing] each.
        where: w, boolean or floating with ``ndim`` axes, or ``None`` for 1. Where it is 0 a pixel
            adds nothing to any value or gradient, whatever it holds.
        axes: the pixel axes to sum over, ascending.
        ndim: the number of pixel axes.
        dtype: the type to accumulate in.
        shared: arrays that every pixel needs, a traced option say. Terms must not close over them.
        products: what `sum_over_pixels` says.

    Returns:
        The sums by name, and Σ w as ``count``, unless that is one of the terms.
    """
    # A tile has another number of pixel axes than the image: what is fixed is how many trail.
    trailing = arrays[0].ndim - ndim
    # The pass outlives this trace: it may hold on to numbers and types, but not to arrays.
    count, masked = len(arrays), where is not None

    def weighted(*pixels_and_shared: jax.Array, axis: int) -> Mapping[str, Term]:
        if not masked:
            return terms(*pixels_and_shared, axis=axis)
        *values, weight = pixels_and_shared[: count + 1]
        options = pixels_and_shared[count + 1 :]
        named = terms(*(inside(x, weight, axis=axis) for x in values), *options, axis=axis)
        shape = values[0].shape
        shape = shape[: len(shape) - trailing] if axis else shape[trailing:]
        weight = jnp.broadcast_to(checks.weight_or_nan(weight.astype(dtype)), shape)

        def times_weight(term: Term) -> jax.Array:
            term = term() if callable(term) else term
            return term * lifted(weight, term.ndim, axis=axis)

        weighed = {name: partial(times_weight, term) for name, term in named.items()}
        return weighed | {"count": lambda: weight}

    operands = arrays if where is None else (*arrays, where)
    sums = sum_over_pixels(weighted, operands, axes, ndim, shared, products=products)
    if "count" not in sums:
        shape = arrays[0].shape[:ndim]
        kept = tuple(n for i, n in enumerate(shape) if i not in axes)
        sums["count"] = jnp.full(kept, math.prod(shape[i] for i in axes), dtype)
    return sums
