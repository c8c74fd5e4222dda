"""A pass over pixels that are spread over devices: each goes over its own, and sums are added.

Under `jit` the compiler decides late how an array is spread, and a loop over tiles would make it
gather. So the pass is handed to it whole, with a rule for cutting it (`custom_partitioning`).
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dice_jax._pass.op import Work

__all__ = ["part_by_part"]

Arrays = tuple[jax.Array, ...]
# For every axis of an array, which pixel axis it is, or None.
_Axes = tuple[int | None, ...]


def part_by_part(local: Callable[..., Arrays], work: Work) -> Callable[[Arrays], Arrays]:
    """Do a work where its pixels are.

    Args:
        local: does a part of the work on one device: maps it, ``valid`` and the arguments to its
            results; ``valid`` (boolean, the part's pixel shape) marks what is no padding, ``None``:
            all.
        work: what to do.

    Returns:
        Maps the arguments to the results.
    """
    ndim = len(work.shape)

    def pixel_axes(shape: tuple[int, ...]) -> _Axes:
        lead = (k if n == work.shape[k] > 1 else None for k, n in enumerate(shape[:ndim]))
        return (*lead, *(None,) * (len(shape) - ndim))

    def on_one_device(valid: jax.Array | None, *arguments: jax.Array) -> Arrays:
        return local(work.part(arguments), valid, arguments)

    def run(arguments: Arrays) -> Arrays:
        inputs = [pixel_axes(x.shape) for x in arguments]
        outputs = [pixel_axes(result.aval.shape) for result in work.results]
        return _cut(on_one_device, inputs, outputs, work.shape)(*arguments)

    return run


def _cut(
    local: Callable[..., Arrays],
    inputs: Sequence[_Axes],
    outputs: Sequence[_Axes],
    shape: tuple[int, ...],
) -> Callable[..., Arrays]:
    """Run ``local`` on every device's part; an output that lacks a pixel axis is summed over it."""
    x64 = bool(jax.config.read("jax_enable_x64"))

    @custom_partitioning
    def computation(*arguments: jax.Array) -> Arrays:
        # Jitted: it may hold constants, which `custom_partitioning` itself refuses.
        return jax.jit(lambda *x: local(None, *x))(*arguments)

    def partition(mesh: Any, given: Any, results: Any) -> Any:
        along = _spread(inputs, [argument.sharding for argument in given], len(shape))

        def sharding(pixel_axes: _Axes) -> NamedSharding:
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


def _spread(inputs: Sequence[_Axes], shardings: list[Any], ndim: int) -> dict[int, tuple[str, ...]]:
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


def _like(valid: jax.Array, x: jax.Array, axes: _Axes) -> jax.Array:
    """Cut a mark of pixels down to the pixel axes of an argument."""
    # Pixels lie in a box: along an axis that the argument lacks, any valid index will do.
    lacking = tuple(k for k in range(valid.ndim) if k not in axes)
    kept = jnp.any(valid, lacking)
    names = [k for k in axes if k is not None]
    place = [axes.index(k) for k in sorted(names)]
    return jax.lax.broadcast_in_dim(kept, x.shape, place)


def _rule(inputs: Sequence[_Axes], outputs: Sequence[_Axes]) -> dict[str, Any]:
    """Say which axes are the same: one letter per pixel axis, one of its own for any other."""
    own = (f"{a}{b}" for a in string.ascii_lowercase for b in range(1000))
    pixel: dict[int, str] = {}
    whole: list[str] = []

    def letters(pixel_axes: _Axes) -> str:
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
