"""What losses of arrays share: each also takes its sums, which another function makes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, ParamSpec, TypeVar, cast

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax._core.hints import explains_keywords
from dice_jax._core.safe_math import ratio
from dice_jax.sums.additive import AdditiveSums, known_options, unknown_options, without_options
from dice_jax.sums.operands import (
    Operands,
    binary_operands,
    soft_probabilities,
    soft_targets,
    weighted_sums,
)

__all__ = [
    "ArraySums",
    "Request",
    "binary_request",
    "loss_of",
    "share",
    "sums_of",
    "sums_or_arrays",
]

P = ParamSpec("P")
R = TypeVar("R")


S = TypeVar("S", bound="ArraySums")


def sums_or_arrays(
    kind: type[AdditiveSums], make: Callable[..., AdditiveSums]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a loss of arrays take its sums instead: ``loss(make(arrays, …), …)``.

    What ``make`` takes belongs to the sums. Given with sums, it is an error: it would change
    nothing.

    Args:
        kind: the class of the sums.
        make: makes them, from the arrays and some of the loss's options.

    Returns:
        A decorator that keeps the loss's signature and docstring.
    """
    of_sums = inspect.signature(make).parameters
    arrays = [name for name, p in of_sums.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]

    def decorate(loss: Callable[P, R]) -> Callable[P, R]:
        line = f"{loss.__name__}({make.__name__}({', '.join(arrays)}))"

        @explains_keywords
        @functools.wraps(loss)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            first: Any = args[0] if args else kwargs.get(arrays[0])
            if isinstance(first, AdditiveSums):
                if not isinstance(first, kind):
                    raise TypeError(
                        f"{loss.__name__} takes {kind.__name__} or arrays, got "
                        f"{type(first).__name__}; write {line}"
                    )
                beside = [*arrays[1 : len(args)], *(k for k in kwargs if k in of_sums)]
                beside = [name for name in beside if name != arrays[0]]
                if beside:
                    raise TypeError(
                        f"{loss.__name__} got sums, which have their {', '.join(beside)} already; "
                        f"give it to {make.__name__}"
                    )
            return loss(*args, **kwargs)

        return checked

    return decorate


class Request(NamedTuple):
    """Sums that are not computed yet: a loss of arrays computes them in one program with itself.

    Args:
        kind: the class of the sums.
        operands: the checked arrays.
        options: those that the sums' fields depend on, in the order that ``kind.fields`` takes.
        static: names and values of those that change the program: they cannot be traced.
    """

    kind: type[ArraySums]
    operands: Operands
    options: dict[str, Any]
    static: tuple[tuple[str, int], ...] = ()


class ArraySums(AdditiveSums):
    """Sums that a loss of arrays is a function of. A subclass says what it sums.

    Either by ``terms``, a function of a pixel's probability and target (and the options) to a term
    for every field but ``count``; or by ``fields``, where that is not enough.
    """

    terms: ClassVar[Callable[..., dict[str, jax.Array]]]
    # Makes numbers of the targets.
    numbers: ClassVar[Callable[[jax.Array, Any], jax.Array]] = staticmethod(soft_targets)

    @classmethod
    def fields(
        cls,
        predictions: jax.Array,
        targets: jax.Array,
        where: jax.Array | None,
        axes: tuple[int, ...],
        *options: ArrayLike,
    ) -> dict[str, jax.Array]:
        """Sum the class's ``terms`` over pooled pixels: of probabilities and binary targets.

        Args:
            predictions: [...], floating.
            targets: the same shape.
            where: the mask or weight, or ``None``.
            axes: the axes that one region runs over.
            *options: that the terms depend on.

        Returns:
            The fields by name.
        """
        dtype = checks.accumulation_dtype(predictions, targets, where)
        shared = tuple(jnp.asarray(option, dtype) for option in options)

        def terms(
            p: jax.Array, y: jax.Array, *options: jax.Array, axis: int
        ) -> dict[str, jax.Array]:
            p = soft_probabilities(p, dtype)
            return cls.terms(p, cls.numbers(y, dtype), *options)

        arrays, ndim = (predictions, targets), predictions.ndim
        return weighted_sums(terms, arrays, where, axes, ndim=ndim, dtype=dtype, shared=shared)


def binary_request(
    kind: type[S],
    probabilities: Any,
    targets: Any,
    axis: checks.Axis,
    where: ArrayLike | None,
    **options: Any,
) -> Request | S:
    """Check probabilities, binary targets and what goes with them.

    Args:
        kind: the class of the sums.
        probabilities: [...], floating; or sums of this kind, which are given back.
        targets: the same shape: boolean, integer 0/1, or floating.
        axis: the axes that one region runs over.
        where: boolean or floating weight.
        **options: of the kind.

    Returns:
        What to compute, or the sums that were given.

    Raises:
        TypeError: if a type does not fit.
        ValueError: if a shape or an axis does not fit.
    """
    if isinstance(probabilities, kind):
        return probabilities
    unit = ("probabilities", "targets")
    operands = binary_operands("probabilities", probabilities, targets, axis, where, unit=unit)
    return Request(kind, operands, options)


def sums_of(kind: type[S], request: Request | S) -> S:
    """Compute sums on their own, for a caller who is going to add them.

    Args:
        kind: the class of the sums.
        request: from `binary_request` or the like.

    Returns:
        The sums, with their options.

    Raises:
        TypeError: if an option is traced: nothing could tell unlike sums apart then.
        ValueError: if an option is out of its range.
    """
    if isinstance(request, kind):
        return request
    _, (*arrays, axes), options, static = cast(Request, request)
    known = known_options(kind, options, checks.accumulation_dtype(*arrays))
    for name, value in known.items():
        if value is None:
            raise TypeError(
                f"{name} must be a known number for {kind.__name__}, got a traced one: sums that "
                "differ in it must not be added. Close over it instead of passing it to jit, vmap "
                "or grad, or give the arrays to the loss itself"
            )
    values = tuple(options.values())
    fields = _fields(*arrays, values, kind=kind, axes=axes, static=static)
    return kind(**fields, **known, **dict(static))


def loss_of(
    combine: Callable[..., jax.Array], request: Request | AdditiveSums, **options: ArrayLike
) -> jax.Array:
    """Compute a loss of sums; if they are not computed yet, in one program with them.

    Args:
        combine: maps the sums, and options as keywords, to the loss. It is compiled once per shape,
            so it must be a function of a module, not a closure.
        request: from `binary_request` or the like.
        **options: numbers that ``combine`` needs, each at least 0.

    Returns:
        The loss.

    Raises:
        TypeError: if an option is not a number.
        ValueError: if an option is out of its range.
    """
    for name, value in options.items():
        checks.check_number(name, value)
    if isinstance(request, AdditiveSums):
        return _combine(without_options(request), options, combine=combine)
    kind, (*arrays, axes), of_sums, static = request
    known_options(kind, of_sums, checks.accumulation_dtype(*arrays))
    values = tuple(of_sums.values())
    return _loss(*arrays, values, options, kind=kind, combine=combine, axes=axes, static=static)


@functools.partial(jax.jit, static_argnames="combine")
def _combine(
    sums: AdditiveSums, options: dict[str, ArrayLike], *, combine: Callable[..., jax.Array]
) -> jax.Array:
    return combine(sums, **{k: jnp.asarray(v, sums.dtype) for k, v in options.items()})


@functools.partial(jax.jit, static_argnames=("kind", "axes", "static"))
def _fields(
    predictions: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    options: tuple[ArrayLike, ...],
    *,
    kind: Any,
    axes: tuple[int, ...],
    static: tuple[tuple[str, int], ...],
) -> dict[str, jax.Array]:
    return kind.fields(predictions, targets, where, axes, *options, **dict(static))


@functools.partial(jax.jit, static_argnames=("kind", "combine", "axes", "static"))
def _loss(
    predictions: jax.Array,
    targets: jax.Array,
    where: jax.Array | None,
    of_sums: tuple[ArrayLike, ...],
    options: dict[str, ArrayLike],
    *,
    kind: Any,
    combine: Callable[..., jax.Array],
    axes: tuple[int, ...],
    static: tuple[tuple[str, int], ...],
) -> jax.Array:
    fields = kind.fields(predictions, targets, where, axes, *of_sums, **dict(static))
    return _combine(unknown_options(kind, fields), options, combine=combine)


def share(error: jax.Array, size: jax.Array, smooth: jax.Array) -> jax.Array:
    """Divide errors by a size: e / (d + s), 0 at 0/0.

    Args:
        error: e, 0 where no pixel was counted.
        size: d.
        smooth: s, in pixels.

    Returns:
        The quotient.
    """
    return ratio(error, size + smooth, jnp.zeros_like(size))
