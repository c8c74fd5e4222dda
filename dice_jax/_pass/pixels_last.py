"""How a tile lies in the cache: classes first, pixels last, so that a register is full of pixels.

A work's function is written for pixels first. Here it is traced and evaluated on arrays whose axes
lie in another order; what it says about axes is translated, operation by operation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

__all__ = ["evaluate_pixels_last"]

# Operations that know nothing of axes: every operand has the result's shape, or none.
_ELEMENTWISE = frozenset(
    (
        *("abs", "add", "add_any", "and", "atan2", "cbrt", "ceil", "clamp", "convert_element_type"),
        *("copy", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2"),
        *("expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p"),
        *("logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "pow"),
        *("pvary", "rem", "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square"),
        *("stop_gradient", "sub", "tan", "tanh", "xor"),
    )
)
_REDUCTIONS = frozenset(
    [
        *("argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or"),
        *("reduce_prod", "reduce_sum"),
    ]
)
# Operations that only call a program, and where they keep it.
_CALLS = {
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "jit": "jaxpr",
    "pjit": "jaxpr",
}


@dataclasses.dataclass(frozen=True)
class _Laid:
    """An array, and which axis of the function's own each of its axes is."""

    array: Any
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape as the function knows it."""
        return tuple(self.array.shape[self.order.index(k)] for k in range(len(self.order)))

    def laid(self, order: tuple[int, ...]) -> Any:
        """The array with its axes in an order."""
        if self.order == order:
            return self.array
        return jax.lax.transpose(self.array, tuple(self.order.index(k) for k in order))


def evaluate_pixels_last(
    function: Callable[..., Sequence[jax.Array]],
    blocks: Sequence[jax.Array | None],
    trailing: Sequence[int],
    results_trailing: Sequence[int],
    block: tuple[int, ...],
) -> list[jax.Array]:
    """Evaluate a function of blocks [*block, *trailing] on blocks [*trailing, *block].

    Args:
        function: of one array per block, to a sequence of arrays; any JAX function.
        blocks: [*trailing, *block] each, or [*trailing] where it has no pixels; ``None`` is handed
            on as it is.
        trailing: how many axes each block has that are no pixel axes.
        results_trailing: and each result.
        block: the pixel axes' sizes.

    Returns:
        What the function returns, of which [*block, *trailing] comes as [*trailing, *block].
    """
    given, types = [], []
    for x, n in zip(blocks, trailing, strict=True):
        if x is not None:
            given.append(_Laid(x, _pixels_last(x.ndim, x.ndim - n)))
            types.append(jax.typeof(x).update(shape=given[-1].shape))

    def of_arrays(*arrays: jax.Array) -> list[jax.Array]:
        left = iter(arrays)
        return list(function(*(None if x is None else next(left) for x in blocks)))

    closed = jax.make_jaxpr(of_arrays)(*types)
    results = _Evaluation(block).run(closed.jaxpr, closed.consts, given)
    return [
        x.laid(_pixels_last(len(x.order), len(x.order) - n))
        for x, n in zip(results, results_trailing, strict=True)
    ]


def _pixels_last(ndim: int, pixel_axes: int) -> tuple[int, ...]:
    return (*range(pixel_axes, ndim), *range(pixel_axes))


class _Evaluation:
    """Operations one after another, each with what it says of axes translated."""

    def __init__(self, block: tuple[int, ...]) -> None:
        self._block = block

    def _order(self, shape: Sequence[int]) -> tuple[int, ...]:
        """How a new array of a shape shall lie: any order is right, this one is fast."""
        n = len(self._block)
        if tuple(shape[:n]) == self._block:
            return _pixels_last(len(shape), n)
        return tuple(range(len(shape)))

    def run(self, jaxpr: Any, consts: Sequence[Any], given: Sequence[_Laid]) -> list[_Laid]:
        known: dict[Any, _Laid] = {}

        def read(atom: Any) -> _Laid:
            if isinstance(atom, Literal):
                kind: Any = atom.aval
                return _Laid(np.asarray(atom.val, kind.dtype), ())
            return known[atom]

        known.update(zip(jaxpr.invars, given, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            known[var] = _Laid(const, tuple(range(np.ndim(const))))
        for equation in jaxpr.eqns:
            operands = [read(atom) for atom in equation.invars]
            results = self._result(jaxpr, equation, operands)
            known.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _result(self, jaxpr: Any, equation: Any, operands: list[_Laid]) -> list[_Laid]:
        name, parameters = equation.primitive.name, equation.params
        shape = equation.outvars[0].aval.shape if equation.outvars else ()
        if name in _ELEMENTWISE:
            return [self._elementwise(equation, operands, shape)]
        if name in _REDUCTIONS:
            return [self._reduction(equation, operands[0])]
        if name == "broadcast_in_dim" and len(operands) == 1:
            return [self._broadcast(operands[0], shape, parameters["broadcast_dimensions"])]
        if name in ("reshape", "squeeze") and len(operands) == 1:
            kept = [k for k, n in enumerate(operands[0].shape) if n != 1]
            into = [k for k, n in enumerate(shape) if n != 1]
            if [operands[0].shape[k] for k in kept] == [shape[k] for k in into]:
                return [self._without_ones(operands[0], kept, into, shape)]
        if name == "transpose":
            (x,), to = operands, parameters["permutation"]
            return [_Laid(x.array, tuple(to.index(k) for k in x.order))]
        if (program := parameters.get(_CALLS.get(name))) is not None:
            return self.run(
                getattr(program, "jaxpr", program), getattr(program, "consts", ()), operands
            )
        return _as_written(jaxpr, equation, operands)

    def _elementwise(self, equation: Any, operands: list[_Laid], shape: Any) -> _Laid:
        order = self._order(shape)
        arrays = (x.laid(order) if x.order else x.array for x in operands)
        return _Laid(equation.primitive.bind(*arrays, **equation.params), order)

    def _reduction(self, equation: Any, x: _Laid) -> _Laid:
        axes = equation.params["axes"]
        own = tuple(sorted(x.order.index(k) for k in axes))
        array = equation.primitive.bind(x.array, **(equation.params | {"axes": own}))
        left = [k for k in range(len(x.order)) if k not in axes]
        return _Laid(array, tuple(left.index(k) for k in x.order if k not in axes))

    def _broadcast(self, x: _Laid, shape: Any, dimensions: Sequence[int]) -> _Laid:
        order = self._order(shape)
        own = sorted(range(len(x.order)), key=lambda k: order.index(dimensions[k]))
        array = jax.lax.broadcast_in_dim(
            x.laid(tuple(own)),
            tuple(shape[k] for k in order),
            tuple(order.index(dimensions[k]) for k in own),
        )
        return _Laid(array, order)

    def _without_ones(self, x: _Laid, kept: list[int], into: list[int], shape: Any) -> _Laid:
        order = self._order(shape)
        to = dict(zip(kept, into, strict=True))
        squeezed = jax.lax.squeeze(x.array, tuple(i for i, k in enumerate(x.order) if k not in to))
        lies = _Laid(squeezed, _ranks([to[k] for k in x.order if k in to]))
        places = [order.index(k) for k in into]
        array = lies.laid(tuple(np.argsort(places).tolist()))
        return _Laid(array.reshape(tuple(shape[k] for k in order)), order)


def _as_written(jaxpr: Any, equation: Any, operands: list[_Laid]) -> list[_Laid]:
    """Anything else sees the axes in the order that it was written for."""
    read = {
        atom: x.laid(tuple(range(len(x.order))))
        for atom, x in zip(equation.invars, operands, strict=True)
        if not isinstance(atom, Literal)
    }
    alone = jaxpr.replace(
        constvars=[],
        invars=list(read),
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
    )
    results = jaxpr_as_fun(ClosedJaxpr(alone, ()))(*read.values())
    return [_Laid(array, tuple(range(array.ndim))) for array in results]


def _ranks(numbers: list[int]) -> tuple[int, ...]:
    in_order = sorted(numbers)
    return tuple(in_order.index(n) for n in numbers)
