"""Where a training's arrays live: on one device, runs spread over devices, or batches divided."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.errors import ConfigError

__all__ = ["Placement", "batch_cut", "one_device", "runs_apart"]

_AXIS = "devices"


@dataclasses.dataclass(frozen=True)
class Placement:
    """Puts a training's arrays on devices. Programs are compiled for one placement.

    Args:
        mesh: of devices, with one axis; ``None``: the default device.
        data_spec: of the state, the learning rates and the source of the batches.
        batch_spec: of a step's images and masks, [B, H, W].
    """

    mesh: jax.sharding.Mesh | None
    data_spec: jax.P
    batch_spec: jax.P

    def constrain(self, tree: Any) -> Any:
        """Keep a state where `put` placed it, inside a compiled program."""
        return self._constrained(tree, self.data_spec)

    def cut(self, batch: Any) -> Any:
        """Divide a step's images and masks, inside a compiled program."""
        return self._constrained(batch, self.batch_spec)

    def _constrained(self, tree: Any, spec: jax.P) -> Any:
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, jax.NamedSharding(self.mesh, spec))

    def put(self, tree: Any) -> Any:
        """Place the state, the learning rates or the source of the batches."""
        if self.mesh is None:
            return jax.device_put(tree)
        sharding = jax.NamedSharding(self.mesh, self.data_spec)
        if jax.process_count() == 1:
            return jax.device_put(tree, sharding)

        def put(leaf: Any) -> jax.Array:
            if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
                return leaf
            whole = np.asarray(leaf)
            # Every process gives its own part; `device_put` would first compare all of them.
            return jax.make_array_from_callback(whole.shape, sharding, lambda at: whole[at])

        return jax.tree.map(put, tree)


def one_device() -> Placement:
    """Place everything on the default device."""
    return Placement(None, jax.P(), jax.P())


def runs_apart(runs: int) -> Placement:
    """Spread the leading axis, the runs, over this process's devices, which never communicate."""
    devices = jax.local_devices()
    used = max(d for d in range(1, len(devices) + 1) if runs % d == 0)
    return Placement(_mesh(devices[:used]), jax.P(_AXIS), jax.P(_AXIS))


def batch_cut(batch_size: int) -> Placement:
    """Divide every batch among all devices of all processes; all else is on each of them.

    Every process gives the same arrays, and keeps its part.

    Raises:
        ConfigError: if the devices cannot share a batch equally.
    """
    devices = jax.devices()
    if batch_size % len(devices):
        lower = batch_size - batch_size % len(devices)
        sizes = " or ".join(str(n) for n in (lower, lower + len(devices)) if n)
        raise ConfigError(
            f"batch_size {batch_size} cannot be cut over {len(devices)} devices: "
            f"write --batch-size {sizes}"
        )
    # The source is whole on every device: any image may be in any part of a batch.
    return Placement(_mesh(devices), jax.P(), jax.P(_AXIS))


def _mesh(devices: Sequence[Any]) -> jax.sharding.Mesh:
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((len(devices),), (_AXIS,), devices=devices, axis_types=auto)
