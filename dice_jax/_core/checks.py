"""Checks of the public functions' arguments, with errors that name the line to write."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dice_jax._core.hints import explains_keywords

P = ParamSpec("P")
R = TypeVar("R")

Axis = int | Sequence[int] | None


def describe(x: Any) -> str:
    """Say in a few words what came, for an error message: type, dtype and shape.

    Args:
        x: anything.

    Returns:
        For example ``"float32 of shape (2, 3)"``.
    """
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return f"{x.dtype} of shape {tuple(x.shape)}"
    return f"a {type(x).__name__}"


def as_array(name: str, x: Any) -> jax.Array:
    """Convert an array-like argument to a JAX array.

    JAX holds integers of 32 bits unless 64 are enabled, and drops the upper bits of longer ones:
    2³² + 1 becomes the label 1. So NumPy's 64-bit integers are clipped to the nearest number of 32
    bits. A label, a target or an object's number that did not exist still does not exist. (Inside
    a caller's own `jax.jit` JAX has dropped the bits already.)

    Args:
        name: the argument's name, for the error.
        x: a JAX or NumPy array, or a (nested sequence of) Python numbers.

    Returns:
        A JAX array.

    Raises:
        TypeError: if ``x`` is not an array of numbers.
    """
    if isinstance(x, jax.Array):
        return x
    try:
        # Python numbers stay what they are: JAX types them weakly.
        numbers = x if isinstance(x, (bool, int, float, complex, list, tuple)) else clipped(x)
        try:
            return jnp.asarray(numbers)
        except OverflowError:
            return jnp.asarray(clipped(np.asarray(x)))
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name} must be an array of numbers, got {describe(x)}") from error


def clipped(x: Any) -> Any:
    """Clip 64-bit integers on the host to what JAX's integers hold.

    Args:
        x: anything.

    Returns:
        A NumPy array with the nearest integers; anything else as it is.
    """
    # What only JAX can read (an object with `__jax_array__`) is not converted here.
    if isinstance(x, jax.Array) or not hasattr(x, "__array__") or hasattr(x, "__jax_array__"):
        return x
    array = np.asarray(x)
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return array
    narrow = jax.dtypes.canonicalize_dtype(array.dtype)
    if narrow == array.dtype:
        return array
    limits = np.iinfo(narrow)
    return np.clip(
        array, limits.min, limits.max, out=np.empty(array.shape, narrow), casting="unsafe"
    )


def is_float(x: jax.Array) -> bool:
    """Tell whether an array is of a floating type (float16, bfloat16, float32, float64)."""
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def is_integer(x: jax.Array) -> bool:
    """Tell whether an array is of an integer type (bool is not one)."""
    return bool(jnp.issubdtype(x.dtype, jnp.integer))


def accumulation_dtype(*arrays: jax.Array | None) -> np.dtype[Any]:
    """Choose the type that sums are accumulated in: at least float32, float64 if any input is.

    Args:
        *arrays: the inputs; ``None`` and non-floating ones do not count.

    Returns:
        float32 or float64.
    """
    wide = any(a is not None and is_float(a) and a.dtype == np.float64 for a in arrays)
    return np.dtype(np.float64 if wide else np.float32)


def normalize_axis(name: str, axis: Axis, ndim: int, *, what: str) -> tuple[int, ...]:
    """Turn ``axis`` into sorted, distinct, non-negative axis numbers.

    Args:
        name: the argument's name, for the error.
        axis: an axis, several, or ``None`` for all.
        ndim: the number of axes there are.
        what: what has those axes, for the error.

    Returns:
        The axes, ascending.

    Raises:
        TypeError: if an axis is not an integer.
        ValueError: if an axis does not exist or is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    try:
        entries = tuple(
            operator.index(a) for a in (axis if isinstance(axis, Iterable) else (axis,))
        )
    except TypeError:
        raise TypeError(
            f"{name} must be an int, a sequence of ints or None, got {axis!r}"
        ) from None
    for entry in entries:
        if not -ndim <= entry < ndim:
            raise ValueError(f"{name} {entry} does not exist: {what} has {ndim} axes")
    axes = sorted(entry % ndim for entry in entries)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name} {entries} names an axis twice: {what} has {ndim} axes")
    return tuple(axes)


def check_where(where: Any, pixel_shape: tuple[int, ...]) -> jax.Array | None:
    """Check a mask or weight against the pixels it is for.

    Args:
        where: boolean or floating, broadcastable to ``pixel_shape``; or ``None``.
        pixel_shape: the shape of the pixels (without a class axis).

    Returns:
        ``where`` as an array with as many axes as the pixels have, or ``None``.

    Raises:
        TypeError: if it is neither boolean nor floating.
        ValueError: if it does not broadcast to the pixel shape, fits it in two ways, or a weight on
            the host is negative or not finite.
    """
    if where is None:
        return None
    given, where = where, as_array("where", where)
    if not (where.dtype == jnp.bool_ or is_float(where)):
        raise TypeError(
            f"where must be boolean or floating, got {describe(where)}; write where=mask != 0"
        )
    pixel_shape = tuple(pixel_shape)
    leads = where.size > 1 and where.shape == pixel_shape[:-1]
    hint = "; write where[..., None] to give one weight to all entries of the last axis"
    if not _broadcasts(where.shape, pixel_shape):
        hints = {
            pixel_shape[:-1]: hint,
            (*pixel_shape, *where.shape[-1:]): "; it has an axis too many: write where[..., 0]",
        }
        raise ValueError(
            f"where must broadcast to the pixel shape {pixel_shape}, got {describe(where)}"
            + hints.get(where.shape, "")
        )
    if leads:
        raise ValueError(
            f"where fits the pixel shape {pixel_shape} in two ways, got {describe(where)}{hint}, "
            "or where[None] to repeat it along the first axis"
        )
    weights = host_values(given)
    if weights is not None and is_float(where) and weights.size:
        least, most = float(np.min(weights)), float(np.max(weights))
        # NaN passes: it stays NaN in the result.
        if least < 0 or math.isinf(most):
            raise ValueError(
                f"where must be finite and >= 0, got weights from {least:.4g} to {most:.4g}; "
                "write where=mask > 0"
            )
    return where.reshape((1,) * (len(pixel_shape) - where.ndim) + where.shape)


def _broadcasts(shape: tuple[int, ...], onto: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, onto) == onto
    except ValueError:
        return False


def weight_or_nan(weight: jax.Array) -> jax.Array:
    """Make NaN of what cannot be a weight: the check of traced values.

    Args:
        weight: boolean or floating.

    Returns:
        ``weight`` where it is finite and at least 0, NaN elsewhere.
    """
    if not is_float(weight):
        return weight
    fits = (weight >= 0) & (weight < jnp.inf)
    return jnp.where(fits, weight, jnp.full_like(weight, jnp.nan))


def check_number(
    name: str,
    value: Any,
    *,
    least: float = 0.0,
    open_at_least: bool = False,
    most: float = math.inf,
    open_at_most: bool = False,
) -> None:
    """Check a scalar option whose value is known; a traced one cannot be checked.

    Args:
        name: the argument's name, for the error.
        value: a Python number, a NumPy or JAX scalar, or a tracer.
        least: the smallest value allowed.
        open_at_least: whether ``least`` itself is not allowed.
        most: the largest value allowed.
        open_at_most: whether ``most`` itself is not allowed.

    Raises:
        TypeError: if it is not a real number.
        ValueError: if it is outside these bounds, NaN or infinite.
    """
    if isinstance(value, Tracer):
        return
    if isinstance(value, bool) or not isinstance(
        value, (int, float, np.generic, np.ndarray, jax.Array)
    ):
        raise TypeError(f"{name} must be a number, got {value!r}")
    for entry in np.asarray(value, dtype=np.float64).reshape(-1).tolist():
        low = entry < least or (open_at_least and entry == least)
        high = entry > most or (open_at_most and entry == most)
        if not math.isfinite(entry) or low or high:
            bound = f"> {least:g}" if open_at_least else f">= {least:g}"
            if math.isfinite(most):
                bound += f" and < {most:g}" if open_at_most else f" and <= {most:g}"
            raise ValueError(f"{name} must be finite and {bound}, got {entry:g}")


# How far outside [0, 1] a probability or a soft target may lie. One number serves all types:
# rounding stays within one step of the type at 1 (1/128 for bfloat16, 1/4 for float8_e5m2), and a
# resize goes further. Between two pixels, the positive weights of a bicubic resize sum to 9/8 and
# the negative ones to −1/8 (19/16 and −3/16 in PyTorch). So a small object reaches 1.27 in 2-D
# (1.45 in PyTorch), and a gap −0.48 in 3-D. Of the logits of a network that has begun to learn,
# some lie beyond.
UNIT_TOLERANCE = 0.5


def in_unit(x: jax.Array) -> jax.Array:
    """Tell where values are in [0, 1] up to `UNIT_TOLERANCE`; NaN is not.

    Args:
        x: a floating array.

    Returns:
        Booleans of its shape.
    """
    return (x >= -UNIT_TOLERANCE) & (x <= 1 + UNIT_TOLERANCE)


def unit_or_nan(x: jax.Array) -> jax.Array:
    """Make NaN of what cannot be a probability: the check of traced values.

    Args:
        x: any array; only floating types are looked at.

    Returns:
        ``x`` where it is in [0, 1] up to `UNIT_TOLERANCE`, NaN elsewhere.
    """
    return jnp.where(in_unit(x), x, jnp.full_like(x, jnp.nan)) if is_float(x) else x


def check_unit(name: str, x: Any, *, where: Any = None, classes: bool = False, hint: str) -> None:
    """Check that values on the host are in [0, 1] up to `UNIT_TOLERANCE`.

    Values that are traced, on an accelerator or not computed yet are not looked at: `unit_or_nan`
    sees those, and the host does not wait. NaNs pass: they stay NaN in the result.

    Args:
        name: the argument's name, for the error.
        x: [...] or [..., C], the argument as the caller gave it; only floating types are looked at.
        where: a weight, broadcastable to [...]; where it is 0, ``x`` may hold anything.
        classes: whether ``x`` has a class axis.
        hint: the line that turns the usual mistake into what was expected, for the error.

    Raises:
        ValueError: if a value is out of range.
    """
    values, weights = host_values(x), host_values(where)
    if values is None or not jnp.issubdtype(values.dtype, jnp.floating):
        return
    if where is not None and weights is None:
        return
    if weights is not None:
        kept = np.broadcast_to(weights[..., None] if classes else weights, values.shape)
        values = values[kept != 0]
    if not values.size:
        return
    # These two leave NaNs out.
    low, high = (float(f.reduce(values, axis=None)) for f in (np.fmin, np.fmax))
    if low < -UNIT_TOLERANCE or high > 1 + UNIT_TOLERANCE:
        raise ValueError(
            f"{name} must be in [0, 1], got values from {low:.4g} to {high:.4g}; write {hint}"
        )


def host_values(x: Any) -> np.ndarray[Any, Any] | None:
    """Read an argument's values if that does not make an accelerator wait.

    Args:
        x: anything that `as_array` takes, or ``None``.

    Returns:
        A NumPy array; ``None`` if the values are traced, not computed yet, on an accelerator or on
        other hosts.
    """
    if x is None or isinstance(x, Tracer):
        return None
    if isinstance(x, jax.Array):
        local = x.is_fully_addressable and all(d.platform == "cpu" for d in x.devices())
        # An array on the CPU may be a copy that an accelerator has not sent yet.
        return np.asarray(x) if local and cast(Any, x).is_ready() else None
    if hasattr(x, "__jax_array__") or any(isinstance(v, Tracer) for v in jax.tree.leaves(x)):
        return None
    return np.asarray(x)


def check_count(name: str, value: Any, *, least: int, hint: str = "") -> int:
    """Check an option that counts something and shapes the program.

    Args:
        name: the argument's name, for the error.
        value: an integer, at least ``least``.
        least: the smallest one allowed.
        hint: what to write instead, for the error.

    Returns:
        The number.

    Raises:
        TypeError: if it is no integer.
        ValueError: if it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be >= {least}, got {value}{hint}")
    return int(value)


def check_spacing(spacing: Any, axis: Axis, ndim: int) -> tuple[Any, ...]:
    """Check the size of a pixel along each spatial axis.

    Args:
        spacing: one positive number per axis, in the order of ``axis``, or ``None`` for 1.
        axis: the spatial axes (already checked).
        ndim: the number of axes there are.

    Returns:
        One float per axis (a tracer stays one), the axes ascending.

    Raises:
        TypeError: if an entry is not a number.
        ValueError: if there is not one entry per axis, or one is not finite and positive.
    """
    named = list(range(ndim)) if axis is None else [int(a) % ndim for a in np.atleast_1d(axis)]
    if spacing is None:
        return (1.0,) * len(named)
    entries = tuple(spacing) if isinstance(spacing, Iterable) else (spacing,)
    if len(entries) != len(named):
        raise ValueError(f"spacing must have one entry per axis, {len(named)}, got {spacing!r}")
    for entry in entries:
        check_number("spacing", entry, open_at_least=True)
    steps = {
        a: e if isinstance(e, Tracer) else float(e) for a, e in zip(named, entries, strict=True)
    }
    return tuple(steps[a] for a in sorted(named))


def takes(kind: type, spell: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function refuse anything but a ``kind`` as its one array argument, with a hint.

    Args:
        kind: the class of the first argument.
        spell: how to make one, for the error; ``{name}`` stands for the function.

    Returns:
        A decorator that keeps the function's signature and docstring.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__

        @explains_keywords
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given: list[Any] = list(args) or [kwargs[k] for k in ("sums",) if k in kwargs]
            if given and (len(given) > 1 or not isinstance(given[0], kind)):
                came = ", ".join(describe(a) for a in given)
                raise TypeError(
                    f"{name} takes {kind.__name__}; write {spell.format(name=name)} (got {came})"
                )
            return function(*args, **kwargs)

        return checked

    return decorate
