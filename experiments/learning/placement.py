"""Where a training's arrays live: one device, runs spread over devices, or every batch cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np

from experiments.errors import ConfigError

__all__ = ["BatchCut", "OneDevice", "Placement", "RunsApart"]


class Placement(Protocol):
    """Puts a training's arrays on devices; hashable, for programs are compiled for one."""

    def state(self, tree: Any) -> Any:
        """Place what is carried from step to step, and the learning rates."""
        ...

    def images(self, tree: Any) -> Any:
        """Place the training images."""
        ...

    def order(self, order: np.ndarray) -> jax.Array:
        """Place the order of the images, [..., steps, batch]."""
        ...

    def keep(self, tree: Any) -> Any:
        """Hold a state where `state` put it, inside a compiled program."""
        ...


@dataclasses.dataclass(frozen=True)
class OneDevice:
    """Everything is on the default device."""

    def state(self, tree: Any) -> Any:
        """Place it there."""
        return jax.device_put(tree)

    def images(self, tree: Any) -> Any:
        """Place them there."""
        return jax.device_put(tree)

    def order(self, order: np.ndarray) -> jax.Array:
        """Place it there."""
        return jax.device_put(order)

    def keep(self, tree: Any) -> Any:
        """Nothing can move."""
        return tree


@dataclasses.dataclass(frozen=True)
class RunsApart:
    """The leading axis, the runs, is spread over this process's devices: they never speak.

    Args:
        runs: how many there are; as many devices are used as divide it.
    """

    runs: int

    @property
    def _sharding(self) -> jax.NamedSharding:
        devices = jax.local_devices()
        used = max(d for d in range(1, len(devices) + 1) if self.runs % d == 0)
        return jax.NamedSharding(_mesh(devices[:used]), jax.P(_AXIS))

    def state(self, tree: Any) -> Any:
        """Spread its leading axis."""
        return jax.device_put(tree, self._sharding)

    def images(self, tree: Any) -> Any:
        """Spread their leading axis."""
        return jax.device_put(tree, self._sharding)

    def order(self, order: np.ndarray) -> jax.Array:
        """Spread its leading axis."""
        return jax.device_put(order, self._sharding)

    def keep(self, tree: Any) -> Any:
        """Hold the leading axis spread."""
        return jax.lax.with_sharding_constraint(tree, self._sharding)


@dataclasses.dataclass(frozen=True)
class BatchCut:
    """Every batch is cut over all devices of all processes; all else is on each of them.

    Every process gives the same arrays, and keeps its part.

    Args:
        mesh: of all devices, with one axis.
    """

    mesh: jax.sharding.Mesh

    @classmethod
    def over_all_devices(cls, batch_size: int) -> BatchCut:
        """Cut over every device that there is.

        Args:
            batch_size: of the batches.

        Returns:
            The placement.

        Raises:
            ConfigError: if the devices cannot share a batch equally.
        """
        devices = jax.devices()
        if batch_size % len(devices):
            lower = batch_size - batch_size % len(devices)
            ways = " or ".join(str(n) for n in (lower, lower + len(devices)) if n)
            raise ConfigError(
                f"batch_size {batch_size} cannot be cut over {len(devices)} devices: "
                f"write --batch-size {ways}"
            )
        return cls(_mesh(devices))

    def state(self, tree: Any) -> Any:
        """Place it whole on every device."""
        return self._put(tree, jax.P())

    def images(self, tree: Any) -> Any:
        """Place them whole on every device: any of them may be in any batch's part."""
        return self._put(tree, jax.P())

    def order(self, order: np.ndarray) -> jax.Array:
        """Cut its last axis, the batch."""
        return self._put(order, jax.P(*(None,) * (order.ndim - 1), _AXIS))

    def keep(self, tree: Any) -> Any:
        """Hold it whole on every device."""
        return jax.lax.with_sharding_constraint(tree, jax.NamedSharding(self.mesh, jax.P()))

    def _put(self, tree: Any, spec: jax.P) -> Any:
        sharding = jax.NamedSharding(self.mesh, spec)

        def put(leaf: Any) -> jax.Array:
            if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
                return leaf
            whole = np.asarray(leaf)
            # From each process its own part: `device_put` would first compare all of them.
            return jax.make_array_from_callback(whole.shape, sharding, lambda at: whole[at])

        return jax.tree.map(put, tree)


_AXIS = "devices"


def _mesh(devices: Sequence[Any]) -> jax.sharding.Mesh:
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((len(devices),), (_AXIS,), devices=devices, axis_types=auto)
