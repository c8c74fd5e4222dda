"""The pass as JAX sees it: a primitive whose derivative, transpose and batch are passes again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.experimental import jet
from jax.extend.core import Primitive, unmapped_aval
from jax.interpreters import ad, batching, mlir, partial_eval

from dice_jax._core.manual_axes import vary, varying_axes
from dice_jax._pass.choice import implementation_in_use
from dice_jax._pass.cpu_tiles import should_tile, tiled
from dice_jax._pass.fused_xla import fused, rematerialized
from dice_jax._pass.op import (
    Argument,
    Arrays,
    PixelOp,
    Result,
    Wanted,
    derivative,
    evaluated,
    only,
    transposed,
)
from dice_jax._pass.tpu_blocks import blocked, should_block

__all__ = ["bound_pass"]


def bound_pass(
    terms: Callable[..., Any],
    operands: Arrays,
    axes: tuple[int, ...],
    shape: tuple[int, ...],
    shared: Arrays,
    products: tuple[int, ...],
) -> Any:
    """Add up per-pixel terms over the pixel axes ``axes``, as `api.sum_over_pixels` says."""
    n, ndim = len(operands), len(shape)
    pixel = [jax.ShapeDtypeStruct((1, *x.shape[ndim:]), x.dtype) for x in operands]
    of_pixel = jax.eval_shape(lambda *x: evaluated(terms(*x, axis=-1)), *pixel, *shared)
    arguments = _equally_varying((*operands, *(x.reshape((1,) * ndim + x.shape) for x in shared)))
    lead = tuple(1 if k in axes else size for k, size in enumerate(shape))

    def function(layout: int, wanted: Wanted, *blocks: jax.Array) -> Arrays:
        leaves = jax.tree.leaves(terms(*blocks, axis=layout))
        return tuple(evaluated([leaves[i] for i in wanted]))

    def result(term: Any) -> Result:
        trailing = term.shape[1:]
        return Result(False, False, len(trailing), _aval(arguments[0], lead + trailing, term.dtype))

    op = PixelOp(
        function,
        shape,
        axes,
        tuple(Argument(i < n, x.ndim - ndim) for i, x in enumerate(arguments)),
        tuple(map(result, jax.tree.leaves(of_pixel))),
        products,
    )
    sums = (jnp.squeeze(value, axes) for value in _bind(op, arguments))
    return jax.tree.unflatten(jax.tree.structure(of_pixel), sums)


def _in_manual_mesh() -> bool:
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def _aval(like: jax.Array, shape: tuple[int, ...], dtype: Any) -> Any:
    """Make the type of a sum: inside `jax.shard_map`, as varying as what is summed."""
    if _in_manual_mesh():
        return jax.typeof(like).update(shape=shape, dtype=dtype, weak_type=False)
    return ShapedArray(shape, dtype)


def _equally_varying(arrays: Arrays) -> Arrays:
    """Make all arrays vary over the mesh along the axes along which one of them does."""
    names = {name for x in arrays for name in varying_axes(x)}
    return tuple(vary(x, names) for x in arrays)


# The primitive, and what each transformation makes of it.

_pass = Primitive("dice_jax_pixel_pass")
_pass.multiple_results = True


def _bind(op: PixelOp, arguments: Sequence[Any]) -> list[Any]:
    x64 = bool(jax.config.read("jax_enable_x64"))
    return _pass.bind(*arguments, op=op, x64=x64, choice=implementation_in_use())


@_pass.def_impl
def _run(*arguments: jax.Array, op: PixelOp, **_: Any) -> Arrays:
    """Run outside `jax.jit`: under `jax.disable_jit`, and when JAX searches the source of a NaN."""
    return fused(op, arguments)


@_pass.def_abstract_eval
def _types(*_: Any, op: PixelOp, **__: Any) -> list[Any]:
    return [result.aval for result in op.results]


def _implementation(
    op: PixelOp, arguments: Sequence[Any], platform: str, choice: str, *, one_device: bool
) -> Callable[..., Arrays]:
    """Choose, when a program is lowered: then its platform is known."""
    # A loop over the pixels of several devices would gather them.
    if one_device and choice != "fused":
        if platform == "cpu" and should_tile(op.shape, op.axes):
            return tiled
        if platform == "tpu" and choice == "kernel" and not op.products:
            # Pallas takes longer to import than this library: only who wants the kernel waits.
            from dice_jax._pass.tpu_kernel import in_kernel, should_use_kernel

            if should_use_kernel(op, arguments):
                return in_kernel
        in_blocks = platform == "tpu" or bool(op.products)
        if in_blocks and should_block(op.shape, op.products):
            return blocked
    return rematerialized if platform == "other" else fused


def _lowering(platform: str) -> Callable[..., Any]:
    def lower(context: Any, *arguments: Any, op: PixelOp, x64: bool, choice: str) -> Any:
        where = getattr(context.module_context, "axis_context", None)
        one_device = _in_manual_mesh() or getattr(where, "num_devices", None) == 1

        def lowered(choice: str) -> Any:
            implementation = _implementation(
                op, context.avals_in, platform, choice, one_device=one_device
            )

            # The caller's context: a program may be lowered in another one.
            @jax.enable_x64(x64)
            def run(*x: jax.Array) -> Arrays:
                return implementation(op, x)

            return mlir.lower_fun(run, multiple_results=True)(context, *arguments)

        try:
            return lowered(choice)
        except NotImplementedError:
            # Terms may need an operation that a TPU's kernels do not know: a gather, a sort.
            if choice != "kernel":
                raise
            return lowered("auto")

    return lower


mlir.register_lowering(_pass, _lowering("cpu"), platform="cpu")
mlir.register_lowering(_pass, _lowering("tpu"), platform="tpu")
mlir.register_lowering(_pass, _lowering("other"))


def _batch(arguments: Sequence[Any], dims: Sequence[int | None], *, op: PixelOp, **_: Any) -> Any:
    """What is mapped over is one more batch axis."""
    given = list(zip(arguments, dims, strict=True))
    size = next(x.shape[dim] for x, dim in given if dim is not None)
    moved = [x[None] if dim is None else jnp.moveaxis(x, dim, 0) for x, dim in given]
    mapped = dataclasses.replace(
        op,
        shape=(size, *op.shape),
        axes=tuple(k + 1 for k in op.axes),
        results=tuple(r._replace(aval=unmapped_aval(size, 0, r.aval)) for r in op.results),
    )
    return _bind(mapped, moved), [0] * len(op.results)


batching.primitive_batchers[_pass] = _batch


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], *, op: PixelOp, **_: Any) -> Any:
    moving = tuple(i for i, t in enumerate(tangents) if not isinstance(t, ad.Zero))
    along = _bind(derivative(op, moving), (*primals, *(tangents[i] for i in moving)))
    return _bind(op, primals), along


ad.primitive_jvps[_pass] = _jvp


def _transpose(cotangents: Sequence[Any], *arguments: Any, op: PixelOp, **_: Any) -> list[Any]:
    linear = {i: x.aval for i, x in enumerate(arguments) if ad.is_undefined_primal(x)}
    read = tuple(i for i, c in enumerate(cotangents) if not isinstance(c, ad.Zero))
    given = [x for i, x in enumerate(arguments) if i not in linear]
    given += [cotangents[i] for i in read]
    pulled = transposed(op, linear, read)
    if len(given) < len(pulled.arguments):
        given.append(jnp.zeros(op.shape, jnp.bool_))
    gradients = dict(zip(linear, _bind(pulled, given), strict=True))
    return [gradients.get(i) for i in range(len(arguments))]


ad.primitive_transposes[_pass] = _transpose


def _without_unread(used: Sequence[bool], *rest: Any) -> Any:
    """Leave out the results that nothing reads."""
    # JAX 0.12 hands over one more argument, before the equation.
    equation = rest[-1]
    inputs, chosen = len(equation.invars), [i for i, read in enumerate(used) if read]
    if not chosen:
        return [False] * inputs, None
    if len(chosen) < len(used):
        params = equation.params | {"op": only(equation.params["op"], chosen)}
        outvars = [equation.outvars[i] for i in chosen]
        equation = equation.replace(params=params, outvars=outvars)
    return [True] * inputs, equation


partial_eval.dce_rules[_pass] = _without_unread


def _taylor_mode(*_: Any, **__: Any) -> Any:
    raise NotImplementedError(
        "jax.experimental.jet cannot go through jax.custom_jvp, which dice_jax needs for exact "
        "gradients; nest jax.jvp instead: jax.jvp(lambda x: jax.jvp(f, (x,), (v,))[1], (x,), (v,))"
    )


jet.jet_rules[_pass] = _taylor_mode
