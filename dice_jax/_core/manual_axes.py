"""The mesh axes along which an array differs between devices, inside `jax.shard_map`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import jax

__all__ = ["vary", "varying_axes"]


def varying_axes(x: jax.Array) -> tuple[Hashable, ...]:
    """Read off an array's type along which mesh axes it differs between devices.

    Args:
        x: an array.

    Returns:
        The axes' names; none outside `jax.shard_map`, and none where its check is off.
    """
    aval = jax.typeof(x)
    # JAX 0.10 moved the set; both hold it only where the check is on.
    kind = getattr(aval, "manual_axis_type", None)
    varying = getattr(aval, "vma", frozenset()) if kind is None else kind.varying
    return tuple(varying)


def vary(x: jax.Array, names: Iterable[Hashable]) -> jax.Array:
    """Mark an array as different on every device along mesh axes, where it is not yet.

    Args:
        x: an array.
        names: mesh axes that `jax.shard_map` has made manual.

    Returns:
        The same numbers.
    """
    missing = tuple(sorted(set(names) - set(varying_axes(x)), key=str))
    return jax.lax.pcast(x, missing, to="varying") if missing else x
