"""Checkpoints of a training: after a kill it resumes from there, with the same final numbers."""

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

__all__ = ["Checkpoint", "Checkpointer", "NullCheckpointer"]


_LOGGER = logging.getLogger("absl")


class Checkpointer(Protocol):
    """Saves and restores a training that is under way."""

    def restore(self, like: Any) -> Any | None:
        """Return what was saved last, in the structure of ``like``, or ``None``."""
        ...

    def due(self) -> bool:
        """Say whether it is time to save."""
        ...

    def save(self, position: Any) -> None:
        """Save a tree of arrays."""
        ...


class NullCheckpointer:
    """Saves nothing."""

    def restore(self, like: Any) -> None:
        """Return nothing: the training starts from the beginning."""

    def due(self) -> bool:
        """Return False."""
        return False

    def save(self, position: Any) -> None:
        """Do nothing."""


class Checkpoint:
    """One training's checkpoint in a directory, written completely or not at all by Orbax.

    A checkpoint only saves time. One that is damaged, or of another training or version, is
    ignored; if one cannot be written, the training goes on. Each time ``note`` gets one line.

    Args:
        path: the directory.
        identity: what is trained, on what; a checkpoint with another identity is ignored.
        seconds: between two checkpoints.
        note: is called with the line.
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
        # Orbax, TensorStore and JSON each have their own errors. Whatever is wrong, the training
        # can start from the beginning.
        except Exception as error:
            self._note(f"ignored the checkpoint {self._path.name}: {_one_line(error)}")
            self.remove()
            return None

    def due(self) -> bool:
        """Say whether the last one is old enough."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, position: Any) -> None:
        """Write a checkpoint, then delete the one before it."""
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
        # A full disk, or any other error of Orbax: the training itself must go on.
        except Exception as error:
            self._note(f"no checkpoint of {self._path.name} this time: {_one_line(error)}")
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove it, once the training has ended."""
        shutil.rmtree(self._path, ignore_errors=True)

    @contextlib.contextmanager
    def _manager(self) -> Iterator[Any]:
        # Imported late: it takes a second, which a study of short runs does not need to spend.
        from orbax import checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=1,
            create=False,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
            # Only the first process writes; it does not wait for the others.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}, barrier_sync_key_prefix="checkpoint"
            ),
        )
        self._path.mkdir(parents=True, exist_ok=True)
        # Orbax warns about what a kill left behind, which is then ignored or removed.
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
            raise ValueError("it is of another training, version or machine")
        arguments = ocp.args.StandardRestore({"packed": _packed(like)})
        packed = manager.restore(step, args=ocp.args.Composite(arrays=arguments))["arrays"][
            "packed"
        ]
        if _digest(packed) != there["digest"]:
            raise ValueError("its contents have changed")
        return _unpacked(packed, like)


# All leaves become one array of bytes, which is written and read in one piece.


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
