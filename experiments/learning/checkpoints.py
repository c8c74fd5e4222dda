"""The middle of a training on disk: it goes on from there after a kill, and ends with the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

__all__ = ["Checkpoint", "Forget", "Keeper"]


_LOGGER = logging.getLogger("absl")


class Keeper(Protocol):
    """Keeps the middle of a training."""

    def restore(self, like: Any) -> Any | None:
        """Give back what was saved last, in the structure of ``like``; ``None``: begin anew."""
        ...

    def due(self) -> bool:
        """Say whether it is time to save."""
        ...

    def save(self, position: Any) -> None:
        """Save a tree of arrays."""
        ...


class Forget:
    """Keeps nothing."""

    def restore(self, like: Any) -> None:
        """Begin anew."""

    def due(self) -> bool:
        """Never."""
        return False

    def save(self, position: Any) -> None:
        """Do nothing."""


class Checkpoint:
    """One training's checkpoint in a directory, written whole or not at all by Orbax.

    It is a shortcut and no result: one that is torn, of another training or of other versions is
    ignored, and one that cannot be written is done without, with one line each.

    Args:
        path: the directory.
        identity: what was trained, on what; a checkpoint of anything else is ignored.
        seconds: between two checkpoints.
        note: is told the line.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        seconds: float,
        note: Callable[[str], None],
    ) -> None:
        self._path = path.absolute()
        self._identity = json.loads(json.dumps(identity))
        self._seconds, self._note = seconds, note
        self._last = time.monotonic()
        self._saved = 0

    def restore(self, like: Any) -> Any | None:
        """Read the latest checkpoint."""
        if not self._path.exists():
            return None
        try:
            with self._manager() as manager:
                return self._read(manager, like)
        # Whatever is wrong with it: Orbax, TensorStore and JSON each have their own errors, and the
        # training can begin anew without it.
        except Exception as error:
            self._note(f"ignored the checkpoint {self._path.name}: {_one_line(error)}")
            self.remove()
            return None

    def due(self) -> bool:
        """Say whether the last one is old enough."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, position: Any) -> None:
        """Write a checkpoint; the one before it goes once it is there."""
        from orbax import checkpoint as ocp

        packed = _packed(position)
        about = {"identity": self._identity, "digest": _digest(packed)}
        try:
            with self._manager() as manager:
                self._saved = max(self._saved, manager.latest_step() or 0) + 1
                manager.save(
                    self._saved,
                    args=ocp.args.Composite(
                        arrays=ocp.args.StandardSave({"packed": packed}),
                        about=ocp.args.JsonSave(about),
                    ),
                )
        # A full disk or whatever else Orbax says: the training itself must not end for it.
        except Exception as error:
            self._note(f"no checkpoint of {self._path.name} this time: {_one_line(error)}")
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove it: the training has ended."""
        shutil.rmtree(self._path, ignore_errors=True)

    @contextlib.contextmanager
    def _manager(self) -> Iterator[Any]:
        # Imported late: a second that studies of short runs never need.
        from orbax import checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=1,
            create=False,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
            # The first process alone writes, and waits for no other.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}, barrier_sync_key_prefix="checkpoint"
            ),
        )
        self._path.mkdir(parents=True, exist_ok=True)
        # It warns of what a kill left behind, which is then ignored or removed.
        level = _LOGGER.level
        _LOGGER.setLevel(logging.ERROR)
        try:
            with ocp.CheckpointManager(self._path, options=options) as manager:
                yield manager
        finally:
            _LOGGER.setLevel(level)

    def _read(self, manager: Any, like: Any) -> Any | None:
        from orbax import checkpoint as ocp

        step = manager.latest_step()
        if step is None:
            return None
        about = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))
        there = about["about"]
        if there["identity"] != self._identity:
            raise ValueError("it is of another training, of other versions or another machine")
        arguments = ocp.args.StandardRestore({"packed": _packed(like)})
        packed = manager.restore(step, args=ocp.args.Composite(arrays=arguments))["arrays"][
            "packed"
        ]
        if _digest(packed) != there["digest"]:
            raise ValueError("its numbers are not those that were written")
        return _unpacked(packed, like)


# One array of bytes: it is written once and not leaf by leaf, and read whole or not at all.


def _packed(tree: Any) -> np.ndarray:
    parts = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]
    return np.frombuffer(b"".join(parts), np.uint8)


def _unpacked(packed: np.ndarray, like: Any) -> Any:
    expected, structure = jax.tree.flatten(like)
    leaves, at = [], 0
    for leaf in map(np.asarray, expected):
        end = at + leaf.nbytes
        leaves.append(packed[at:end].view(leaf.dtype).reshape(leaf.shape).copy())
        at = end
    return jax.tree.unflatten(structure, leaves)


def _digest(packed: np.ndarray) -> str:
    return hashlib.sha256(packed.tobytes()).hexdigest()


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
