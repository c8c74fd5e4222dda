"""A pass over pixels that are spread over devices: each adds up its own, and the sums are added.

Under `jit` the compiler decides late how an array is spread, and a loop over tiles would make it
gather. So the pass is handed to it whole, with a rule for cutting it (`custom_partitioning`). Such
a rule knows no derivatives: three primitives (the sums, their derivative along tangents, and the
transpose of that) know each other's, and every other transformation falls back on the expression
that `plain` gives.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

__all__ = ["sum_shards"]

Arrays = tuple[jax.Array, ...]


def sum_shards(
    local: Callable[..., Any],
    plain: Callable[..., Any],
    shared: Arrays,
    operands: Arrays,
    axes: tuple[int, ...],
    ndim: int,
) -> Any:
    """Add up per-pixel terms of arrays that may be spread over devices along their pixel axes.

    Args:
        local: maps ``valid``, ``shared`` and one device's part of ``operands`` to that part's sums;
            ``valid`` (boolean, the part's pixel shape) marks what is no padding, ``None``: all.
        plain: maps ``shared`` and the whole ``operands`` to the same sums; one expression, which
            the compiler can cut by itself.
        shared: arrays that every device needs whole.
        operands: arrays whose first ``ndim`` axes are the pixel shape, or of size 1 there.
        axes: the pixel axes that are summed, ascending.
        ndim: how many axes are pixel axes.

    Returns:
        What ``plain`` returns.
    """
    n = len(shared)
    structure = jax.tree.structure(jax.eval_shape(plain, shared, operands))

    def leaves(sums: Any) -> Arrays:
        return tuple(jax.tree.leaves(sums))

    one_pass = _Pass(
        lambda valid, *arguments: leaves(local(valid, arguments[:n], arguments[n:])),
        lambda *arguments: leaves(plain(arguments[:n], arguments[n:])),
        n,
        axes,
        ndim,
        operands[0].shape[:ndim],
    )
    return jax.tree.unflatten(structure, _bind(_sums, *shared, *operands, one_pass=one_pass))


@dataclasses.dataclass(frozen=True, eq=False)
class _Pass:
    """What the three primitives share; its functions return tuples of arrays."""

    local: Callable[..., Arrays]
    plain: Callable[..., Arrays]
    shared: int
    axes: tuple[int, ...]
    ndim: int
    shape: tuple[int, ...]

    def pixel_axes(self, argument: int, shape: tuple[int, ...]) -> tuple[int | None, ...]:
        """For every axis of an argument, which pixel axis it is, or ``None``."""
        if argument < self.shared:
            return (None,) * len(shape)
        lead = (k if n == self.shape[k] > 1 else None for k, n in enumerate(shape[: self.ndim]))
        return (*lead, *(None,) * (len(shape) - self.ndim))

    def sum_axes(self, shape: tuple[int, ...]) -> tuple[int | None, ...]:
        """The same for a sum: its leading axes are the pixel axes that are not summed."""
        kept = [k if self.shape[k] > 1 else None for k in range(self.ndim) if k not in self.axes]
        return (*kept, *(None,) * (len(shape) - len(kept)))


# How a computation is cut along the pixel axes.

_Axes = Sequence[tuple[int | None, ...]]


def _cut(
    local: Callable[..., Arrays], inputs: _Axes, outputs: _Axes, shape: tuple[int, ...]
) -> Callable[..., Arrays]:
    """Run ``local`` on every device's part; an output that lacks a pixel axis is summed over it."""
    x64 = bool(jax.config.read("jax_enable_x64"))

    @custom_partitioning
    def computation(*arguments: jax.Array) -> Arrays:
        return local(None, *arguments)

    def partition(mesh: Any, given: Any, results: Any) -> Any:
        along = _spread(inputs, [argument.sharding for argument in given], len(shape))

        def sharding(pixel_axes: tuple[int | None, ...]) -> NamedSharding:
            return NamedSharding(mesh, P(*(None if k is None else along[k] for k in pixel_axes)))

        # The compiler asks from a thread of its own, which does not know this one's context.
        @jax.enable_x64(x64)
        def part(*arguments: jax.Array) -> Arrays:
            valid = _valid(along, mesh, shape)
            if valid is not None:
                # What pads a part may be anything: a NaN must not reach a derivative either.
                arguments = tuple(
                    x
                    if set(axes) <= {None}
                    else jnp.where(_like(valid, x, axes), x, jnp.zeros_like(x))
                    for x, axes in zip(arguments, inputs, strict=True)
                )
            return tuple(
                _add_over([n for k in along if k not in axes for n in along[k]], value)
                for value, axes in zip(local(valid, *arguments), outputs, strict=True)
            )

        return mesh, part, tuple(map(sharding, outputs)), tuple(map(sharding, inputs))

    computation.def_partition(partition=partition, **_rule(inputs, outputs))
    return computation


def _add_over(names: list[str], value: jax.Array) -> jax.Array:
    return jax.lax.psum(value, tuple(names)) if names else value


def _spread(inputs: _Axes, shardings: list[Any], ndim: int) -> dict[int, tuple[str, ...]]:
    """For every pixel axis, the mesh axes that it is spread over: as the first input has it."""
    along: dict[int, tuple[str, ...]] = dict.fromkeys(range(ndim), ())
    used: set[str] = set()
    for pixel_axes, sharding in zip(inputs, shardings, strict=True):
        spec = tuple(sharding.spec) if isinstance(sharding, NamedSharding) else ()
        for k, names in zip(pixel_axes, spec, strict=False):
            names = (names,) if isinstance(names, str) else tuple(names or ())
            if k is not None and not along[k] and not used.intersection(names):
                along[k] = names
                used.update(names)
    return along


def _valid(
    along: dict[int, tuple[str, ...]], mesh: Any, shape: tuple[int, ...]
) -> jax.Array | None:
    """Mark a device's pixels that are no padding; ``None`` where the parts are of equal size."""
    valid = None
    parts = {k: math.prod(mesh.shape[name] for name in names) for k, names in along.items()}
    sizes = tuple(-(-shape[k] // parts[k]) for k in along)
    for k, names in along.items():
        if shape[k] % parts[k]:
            first = jax.lax.axis_index(names) * sizes[k]
            inside = first + jax.lax.broadcasted_iota(jnp.int32, sizes, k) < shape[k]
            valid = inside if valid is None else valid & inside
    return valid


def _like(valid: jax.Array, x: jax.Array, axes: tuple[int | None, ...]) -> jax.Array:
    """Cut a mark of pixels down to the pixel axes of an argument."""
    # Pixels lie in a box: along an axis that the argument lacks, any valid index will do.
    lacking = tuple(k for k in range(valid.ndim) if k not in axes)
    kept = jnp.any(valid, lacking)
    names = [k for k in axes if k is not None]
    place = [axes.index(k) for k in sorted(names)]
    return jax.lax.broadcast_in_dim(kept, x.shape, place)


def _rule(inputs: _Axes, outputs: _Axes) -> dict[str, Any]:
    """Say which axes are the same: one letter per pixel axis, one of its own for any other."""
    own = (f"{a}{b}" for a in string.ascii_lowercase for b in range(1000))
    pixel: dict[int, str] = {}
    whole: list[str] = []

    def letters(pixel_axes: tuple[int | None, ...]) -> str:
        names = []
        for k in pixel_axes:
            name = next(own) if k is None else pixel.setdefault(k, next(own))
            if k is None:
                whole.append(name)
            names.append(name)
        return " ".join(names)

    left, right = ", ".join(map(letters, inputs)), ", ".join(map(letters, outputs))
    summed = {name for k, name in pixel.items() if not any(k in axes for axes in outputs)}
    return {
        "sharding_rule": f"{left} -> {right}",
        "need_replication_factors": tuple(whole),
        "reduction_factors": tuple(sorted(summed)),
    }


# Three primitives.


def _bind(primitive: _Primitive, *arguments: Any, **options: Any) -> list[Any]:
    # Traced now: JAX looks into a primitive's programs to see that they need the devices' names.
    shapes = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arguments)
    program = jax.make_jaxpr(functools.partial(primitive.fast, **options))(*shapes)
    return primitive.bind(*arguments, program=program, **options)


class _Primitive(Primitive):
    """A computation that is ``fast`` as it stands and ``plain`` to every transformation."""

    def __init__(
        self,
        name: str,
        fast: Callable[..., Arrays],
        plain: Callable[..., Arrays],
        jvp: Callable[..., Any],
        types: Callable[..., list[Any]] | None = None,
    ) -> None:
        super().__init__(f"dice_jax_{name}")
        self.multiple_results = True
        self.fast = fast

        def implementation(*arguments: jax.Array, program: Any, **_: Any) -> list[jax.Array]:
            return jax.jit(jaxpr_as_fun(program))(*arguments)

        def shapes(*arguments: Any, program: Any, **options: Any) -> list[Any]:
            return list(program.out_avals) if types is None else types(*arguments, **options)

        def batch(arguments: Any, dims: Any, *, program: Any, **options: Any) -> Any:
            mapped = jax.vmap(functools.partial(plain, **options), in_axes=tuple(dims))(*arguments)
            return mapped, [0] * len(mapped)

        def derivative(primals: Any, tangents: Any, *, program: Any, **options: Any) -> Any:
            return jvp(primals, tangents, **options)

        def lower(*arguments: jax.Array, program: Any, **_: Any) -> list[jax.Array]:
            return jaxpr_as_fun(program)(*arguments)

        self.def_impl(implementation)
        self.def_abstract_eval(shapes)
        batching.primitive_batchers[self] = batch
        ad.primitive_jvps[self] = derivative
        mlir.register_lowering(self, mlir.lower_fun(lower, multiple_results=True))


def _moving(tangents: Sequence[Any]) -> dict[int, Any]:
    return {i: t for i, t in enumerate(tangents) if not isinstance(t, ad.Zero)}


def _of_moving(function: Callable[..., Arrays], primals: Any) -> Callable[..., Arrays]:
    """Make a function of those arguments alone that move."""
    return lambda moved: function(*(moved.get(i, x) for i, x in enumerate(primals)))


def _along(function: Callable[..., Arrays], primals: Any, moving: dict[int, Any]) -> Arrays:
    """Differentiate the plain expression along the tangents of those arguments that move."""
    at = {i: primals[i] for i in moving}
    return jax.jvp(_of_moving(function, primals), (at,), (moving,))[1]


# The sums: one number per region and term.


def _sums_plain(*arguments: jax.Array, one_pass: _Pass) -> Arrays:
    return one_pass.plain(*arguments)


def _sums_fast(*arguments: jax.Array, one_pass: _Pass) -> Arrays:
    results = jax.eval_shape(one_pass.plain, *arguments)
    inputs = [one_pass.pixel_axes(i, x.shape) for i, x in enumerate(arguments)]
    outputs = [one_pass.sum_axes(s.shape) for s in results]
    return _cut(one_pass.local, inputs, outputs, one_pass.shape)(*arguments)


def _sums_jvp(primals: Any, tangents: Any, *, one_pass: _Pass) -> Any:
    moving = _moving(tangents)
    out = _bind(_sums, *primals, one_pass=one_pass)
    along = tuple(moving)
    return out, _bind(_push, *primals, *moving.values(), one_pass=one_pass, moving=along)


# Their derivative along the tangents of those arguments that move.


def _push_plain(*arguments: jax.Array, one_pass: _Pass, moving: tuple[int, ...]) -> Arrays:
    n = len(arguments) - len(moving)
    tangents = dict(zip(moving, arguments[n:], strict=True))
    return _along(one_pass.plain, arguments[:n], tangents)


def _push_jvp(primals: Any, tangents: Any, *, one_pass: _Pass, moving: tuple[int, ...]) -> Any:
    options = {"one_pass": one_pass, "moving": moving}
    n = len(primals) - len(moving)
    out = _bind(_push, *primals, **options)
    parts = []
    if _moving(tangents[n:]):
        moved = map(ad.instantiate_zeros, tangents[n:])
        parts.append(_bind(_push, *primals[:n], *moved, **options))
    if at := _moving(tangents[:n]):
        parts.append(_along(functools.partial(_push_plain, **options), primals, at))
    return out, [functools.reduce(jnp.add, terms) for terms in zip(*parts, strict=True)]


def _push_transpose(
    cotangents: Any, *arguments: Any, program: Any, one_pass: _Pass, moving: tuple[int, ...]
) -> Any:
    n = len(arguments) - len(moving)
    read = tuple(i for i, c in enumerate(cotangents) if not isinstance(c, ad.Zero))
    given = [cotangents[i] for i in read]
    pulled = _bind(_pull, *arguments[:n], *given, one_pass=one_pass, moving=moving, read=read)
    return [*[None] * n, *pulled]


# The transpose of that: the gradient at every pixel.


def _pull_with(function: Callable[..., Arrays], arguments: Any, moving: Any, read: Any) -> Arrays:
    n = len(arguments) - len(read)
    primals, cotangents = arguments[:n], tuple(arguments[n:])
    sums_of = _of_moving(function, primals)

    def sums_that_are_read(moved: dict[int, Any]) -> Arrays:
        sums = sums_of(moved)
        return tuple(sums[i] for i in read)

    (gradients,) = jax.vjp(sums_that_are_read, {i: primals[i] for i in moving})[1](cotangents)
    return tuple(gradients[i] for i in moving)


def _pull_types(*arguments: Any, moving: tuple[int, ...], **_: Any) -> list[Any]:
    # A gradient is of its argument's type, which may say how it is spread.
    return [arguments[i] for i in moving]


def _pull_plain(
    *arguments: jax.Array, one_pass: _Pass, moving: tuple[int, ...], read: tuple[int, ...]
) -> Arrays:
    return _pull_with(one_pass.plain, arguments, moving, read)


def _pull_fast(
    *arguments: jax.Array, one_pass: _Pass, moving: tuple[int, ...], read: tuple[int, ...]
) -> Arrays:
    n = len(arguments) - len(read)
    inputs = [one_pass.pixel_axes(i, x.shape) for i, x in enumerate(arguments[:n])]
    outputs = [inputs[i] for i in moving]
    inputs += [one_pass.sum_axes(x.shape) for x in arguments[n:]]

    def local(valid: jax.Array | None, *arguments: jax.Array) -> Arrays:
        return _pull_with(functools.partial(one_pass.local, valid), arguments, moving, read)

    return _cut(local, inputs, outputs, one_pass.shape)(*arguments)


def _pull_jvp(primals: Any, tangents: Any, **options: Any) -> Any:
    out = _bind(_pull, *primals, **options)
    pull = functools.partial(_pull_plain, **options)
    return out, _along(pull, primals, _moving(tangents))


_sums = _Primitive("sums", _sums_fast, _sums_plain, _sums_jvp)
# Forward mode is the plain expression; it stores nothing that its transpose would need.
_push = _Primitive("push", _push_plain, _push_plain, _push_jvp)
_pull = _Primitive("pull", _pull_fast, _pull_plain, _pull_jvp, _pull_types)
ad.primitive_transposes[_push] = _push_transpose
