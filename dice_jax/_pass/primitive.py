"""A pass over pixels as JAX sees it: one primitive, whose derivatives are passes again.

A derivative of a pass computes something of every pixel and sums it, and so does the transpose of
that: where the one sums, the other spreads, and the other way round. So one primitive is closed
under differentiation and under `vmap`, to any order, and each of them goes over the pixels in the
way that `tiles`, `blocks` and `shards` know.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive, jaxpr_as_fun, unmapped_aval
from jax.interpreters import ad, batching, mlir

from dice_jax._pass.cpu_tiles import in_tiles, worth_tiling
from dice_jax._pass.op import Argument, Result, Work, in_manual_mesh, whole, zeros_beside
from dice_jax._pass.shards import part_by_part
from dice_jax._pass.tpu_blocks import in_blocks, worth_blocks

__all__ = ["sums_of_pixels"]

Arrays = tuple[jax.Array, ...]


def sums_of_pixels(
    terms: Callable[..., Any],
    operands: Arrays,
    axes: tuple[int, ...],
    shape: tuple[int, ...],
    shared: Arrays,
) -> Any:
    """Add up per-pixel terms, as `one_pass.sum_over_pixels` says.

    Args:
        terms: maps a block of each operand, and ``shared``, to a pytree of arrays.
        operands: arrays with the pixel axes in front.
        axes: the pixel axes to sum over, ascending.
        shape: the pixel shape.
        shared: arrays without pixel axes.

    Returns:
        The pytree of ``terms``, without the axes that are summed.
    """
    n, ndim = len(operands), len(shape)
    block = [jax.ShapeDtypeStruct((1, *x.shape[ndim:]), x.dtype) for x in operands]
    of_block = jax.eval_shape(terms, *block, *shared)
    structure = jax.tree.structure(of_block)

    def function(valid: jax.Array | None, *blocks: jax.Array) -> Arrays:
        values = jax.tree.leaves(terms(*blocks))
        return tuple(values if valid is None else (_inside(value, valid) for value in values))

    arguments = _equally_varying((*operands, *(x.reshape((1,) * ndim + x.shape) for x in shared)))
    lead = tuple(1 if k in axes else size for k, size in enumerate(shape))

    def result(term: jax.ShapeDtypeStruct) -> Result:
        aval = _aval(arguments[0], lead + term.shape[1:], term.dtype)
        return Result(False, len(term.shape) - 1, aval)

    work = Work(
        function,
        shape,
        axes,
        tuple(Argument(i < n, x.ndim - ndim) for i, x in enumerate(arguments)),
        tuple(map(result, jax.tree.leaves(of_block))),
    )
    sums = (jnp.squeeze(value, axes) for value in _bind(work, arguments))
    return jax.tree.unflatten(structure, sums)


def _inside(value: jax.Array, valid: jax.Array) -> jax.Array:
    valid = valid.reshape(valid.shape + (1,) * (value.ndim - valid.ndim))
    return jnp.where(valid, value, jnp.zeros_like(value))


def _aval(like: jax.Array, shape: tuple[int, ...], dtype: Any) -> Any:
    """Make the type of a sum: inside `shard_map` as varying over the mesh as what is summed."""
    if in_manual_mesh():
        return jax.typeof(like).update(shape=shape, dtype=dtype, weak_type=False)
    return ShapedArray(shape, dtype)


def _equally_varying(arrays: Arrays) -> Arrays:
    """Inside `shard_map`, make all arrays vary over the mesh as one does.

    What is added is 0 and compiles to nothing; taking it from the arrays needs no name that changes
    with JAX's versions.
    """
    if not in_manual_mesh():
        return arrays
    kinds = {jax.typeof(x).update(shape=(), dtype=jnp.bool_, weak_type=False) for x in arrays}
    if len(kinds) == 1:
        return arrays
    never = jnp.zeros((), jnp.bool_)
    for x in arrays:
        first = jax.lax.stop_gradient(x[(0,) * x.ndim])
        never = jnp.where(never, first != first, never)
    return tuple(jnp.where(never, jnp.zeros((), x.dtype), x) for x in arrays)


# The primitive, and what each transformation makes of it.

_pass = Primitive("dice_jax_pixel_pass")
_pass.multiple_results = True


def _bind(work: Work, arguments: Sequence[Any]) -> list[Any]:
    programs = {platform: _early_program(work, platform, arguments) for platform in _PLATFORMS}
    x64 = bool(jax.config.read("jax_enable_x64"))
    return _pass.bind(*arguments, work=work, x64=x64, **programs)


# Which way is taken is decided when a program is lowered, for then its platform is known.
_PLATFORMS = ("cpu", "tpu", "other")


def _way(work: Work, platform: str) -> Callable[..., Arrays]:
    """How one device of a platform does the work."""
    if platform == "cpu" and worth_tiling(work.shape, work.axes):
        return in_tiles
    if platform == "tpu" and worth_blocks(work.shape):
        return in_blocks
    return _afresh if platform == "other" else whole


def _afresh(work: Work, valid: jax.Array | None, arguments: Sequence[jax.Array]) -> Arrays:
    """In one expression that shares nothing with another pass over the same pixels.

    A GPU's compiler would see that a pass and its derivative say the same, and keep an image of
    everything that the one found at a pixel for the other.
    """
    return whole(work, valid, jax.lax.optimization_barrier(tuple(arguments)))


def _several_cpu_devices() -> bool:
    try:
        return jax.local_device_count("cpu") > 1
    except RuntimeError:
        return False


def _on_one_device(context: Any) -> bool:
    """Whether a program is lowered for one device; not, where a JAX to come does not say so."""
    where = getattr(context.module_context, "axis_context", None)
    return getattr(where, "num_devices", None) == 1


def _early_program(work: Work, platform: str, arguments: Sequence[Any]) -> Any | None:
    """Trace the program now, where that cannot wait; ``None``: when it is lowered."""
    way = _way(work, platform)
    if way is in_tiles and not in_manual_mesh() and _several_cpu_devices():
        # JAX looks into a primitive's programs to see that they need the devices' names.
        types = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arguments]
        return jax.make_jaxpr(lambda *x: part_by_part(way, work)(x))(*types)
    if in_manual_mesh():
        # The mesh that `shard_map` has taken over is known only here.
        return jax.make_jaxpr(lambda *x: way(work, None, x))(*map(jax.typeof, arguments))
    return None


def _lowering(platform: str) -> Callable[..., Any]:
    def lower(context: Any, *arguments: Any, work: Work, x64: bool, **programs: Any) -> Any:
        if (program := programs[platform]) is not None:
            run, types = jaxpr_as_fun(program), program.in_avals
        else:
            way = _way(work, platform)
            if way is in_blocks and not _on_one_device(context):
                # The loop would gather, and the compiler for TPUs has been seen to know no
                # `custom_partitioning`.
                way = whole
            # What is known of the arguments' shardings is for the compiler.
            types = [ShapedArray(x.shape, x.dtype) for x in context.avals_in]

            # The context of the one who asked, which need not be that of the lowering.
            @jax.enable_x64(x64)
            def run(*x: jax.Array) -> Arrays:
                return way(work, None, x)

        lowered = mlir.lower_fun(run, multiple_results=True)
        return lowered(context.replace(avals_in=types), *arguments)

    return lower


mlir.register_lowering(_pass, _lowering("cpu"), platform="cpu")
mlir.register_lowering(_pass, _lowering("tpu"), platform="tpu")
mlir.register_lowering(_pass, _lowering("other"))


@_pass.def_impl
def _run(*arguments: jax.Array, **parameters: Any) -> list[jax.Array]:
    return jax.jit(functools.partial(_pass.bind, **parameters))(*arguments)


@_pass.def_abstract_eval
def _types(*_: Any, work: Work, **programs: Any) -> list[Any]:
    return [result.aval for result in work.results]


def _batch(arguments: Sequence[Any], dims: Sequence[int | None], *, work: Work, **_: Any) -> Any:
    """What is mapped over is one more pixel axis that is kept."""
    moved = [
        x[None] if dim is None else jnp.moveaxis(x, dim, 0)
        for x, dim in zip(arguments, dims, strict=True)
    ]
    size = max(x.shape[0] for x in moved)
    mapped = dataclasses.replace(
        work,
        shape=(size, *work.shape),
        axes=tuple(k + 1 for k in work.axes),
        results=tuple(r._replace(aval=unmapped_aval(size, 0, r.aval)) for r in work.results),
    )
    return _bind(mapped, moved), [0] * len(work.results)


batching.primitive_batchers[_pass] = _batch


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], *, work: Work, **_: Any) -> Any:
    moving = tuple(i for i, t in enumerate(tangents) if not isinstance(t, ad.Zero))
    along = _bind(_derivative(work, moving), (*primals, *(tangents[i] for i in moving)))
    return _bind(work, primals), along


ad.primitive_jvps[_pass] = _jvp


def _derivative(work: Work, moving: tuple[int, ...]) -> Work:
    """Differentiate along the tangents of some arguments, which are further arguments."""
    n = len(work.arguments)

    def function(valid: Any, *blocks: jax.Array) -> Arrays:
        def of_moving(moved: dict[int, jax.Array]) -> Arrays:
            return work.function(valid, *(moved.get(i, x) for i, x in enumerate(blocks[:n])))

        at = {i: blocks[i] for i in moving}
        return jax.jvp(of_moving, (at,), (dict(zip(moving, blocks[n:], strict=True)),))[1]

    arguments = work.arguments + tuple(work.arguments[i] for i in moving)
    return dataclasses.replace(work, function=function, arguments=arguments)


def _transpose(cotangents: Sequence[Any], *arguments: Any, work: Work, **_: Any) -> list[Any]:
    linear = {i: x.aval for i, x in enumerate(arguments) if ad.is_undefined_primal(x)}
    read = tuple(i for i, c in enumerate(cotangents) if not isinstance(c, ad.Zero))
    given = [x for i, x in enumerate(arguments) if i not in linear]
    given += [cotangents[i] for i in read]
    transposed = _transposed(work, linear, read)
    if len(given) < len(transposed.arguments):
        given.append(jnp.zeros(work.shape, jnp.bool_))
    gradients = dict(zip(linear, _bind(transposed, given), strict=True))
    return [gradients.get(i) for i in range(len(arguments))]


ad.primitive_transposes[_pass] = _transpose


def _transposed(work: Work, linear: dict[int, Any], read: tuple[int, ...]) -> Work:
    """Turn cotangents of the results that are read into those of the linear arguments."""
    ndim = len(work.shape)
    fixed = tuple(i for i in range(len(work.arguments)) if i not in linear)
    arguments = [work.arguments[i] for i in fixed]
    arguments += [Argument(work.results[i].pixel, work.results[i].trailing) for i in read]
    if not any(argument.pixel for argument in arguments):
        # The linear ones were all that had pixels; a block must have a shape nevertheless.
        arguments.append(Argument(True, 0))

    def function(valid: Any, *blocks: jax.Array) -> Arrays:
        constant = dict(zip(fixed, blocks, strict=False))
        cotangents = blocks[len(fixed) : len(fixed) + len(read)]
        block = transposed.block_shape(blocks)

        def of_linear(moved: dict[int, jax.Array]) -> list[jax.Array]:
            every = constant | moved
            results = work.function(valid, *(every[i] for i in range(len(every))))
            return [results[i] for i in read]

        zeros = {
            i: zeros_beside(
                blocks[0], (block if work.arguments[i].pixel else ()) + x.shape[ndim:], x.dtype
            )
            for i, x in linear.items()
        }
        values, pull = jax.vjp(of_linear, zeros)
        spread = map(lambda c, value: jnp.broadcast_to(c, value.shape), cotangents, values)
        (gradients,) = pull(list(spread))
        return tuple(gradients[i] for i in linear)

    transposed = dataclasses.replace(
        work,
        function=function,
        arguments=tuple(arguments),
        results=tuple(Result(*work.arguments[i], aval) for i, aval in linear.items()),
    )
    return transposed
