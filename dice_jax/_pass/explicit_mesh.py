"""A pass over arrays whose types say how they are sharded: each device takes its own pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dice_jax._pass.op import Arrays

__all__ = ["each_device_its_own", "pixel_spec"]

Names = Any  # of mesh axes: None, one name, or a tuple of names


def pixel_spec(operands: Arrays, ndim: int) -> tuple[Names, ...] | None:
    """Read off the operands' types over which mesh axes each of the pixel axes is sharded.

    ``None`` where no type says anything (over a mesh of Auto axes the compiler alone knows), and
    where trailing axes are sharded.
    """
    found: list[Names] = [None] * ndim
    for x in operands:
        spec = (*getattr(jax.typeof(x).sharding, "spec", ()), *(None,) * x.ndim)[: x.ndim]
        if any(names is not None for names in spec[ndim:]):
            return None
        found = [a if a is not None else b for a, b in zip(found, spec[:ndim], strict=True)]
    names = [name for entry in found for name in _as_tuple(entry)]
    return tuple(found) if names and len(set(names)) == len(names) else None


def each_device_its_own(
    sum_pixels: Callable[[Arrays, Arrays], Any],
    operands: Arrays,
    shared: Arrays,
    axes: tuple[int, ...],
    spec: tuple[Names, ...],
) -> Any:
    """Sum each device's own pixels inside `jax.shard_map`, and add up the devices' sums.

    ``sum_pixels`` maps the operands, cut to a device's pixels, and the shared arrays to a pytree of
    sums [*batch axes, *trailing]; ``spec`` is what `pixel_spec` says.
    """
    mesh = jax.typeof(operands[0]).sharding.mesh
    summed = tuple(name for k in axes for name in _as_tuple(spec[k]))

    def local(operands: Arrays, shared: Arrays) -> Any:
        sums = sum_pixels(operands, shared)
        return jax.lax.psum(sums, summed) if summed else sums

    def cut(x: jax.Array) -> P:
        return P(*(names if x.shape[k] > 1 else None for k, names in enumerate(spec)))

    specs = tuple(map(cut, operands)), tuple(P() for _ in shared)
    batch = P(*(names for k, names in enumerate(spec) if k not in axes))
    given = jax.tree.map(
        lambda x, spec: jax.sharding.reshard(x, NamedSharding(mesh, spec)),
        (operands, shared),
        specs,
    )
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=batch)(*given)


def _as_tuple(names: Names) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)
