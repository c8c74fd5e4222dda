"""Several processes as one study: the first one reads and writes, and all of them train."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.errors import ConfigError

__all__ = ["Alone", "Processes", "Together", "all_or_none", "join"]

T = TypeVar("T")


class Processes(Protocol):
    """The processes of a study."""

    @property
    def writes(self) -> bool:
        """Whether this process reads and writes the directory."""
        ...

    def decide(self, what: Callable[[], T]) -> T:
        """Let the writing process compute a JSON value, and return it, or its error, in all."""
        ...

    def share(self, tree: Any) -> Any:
        """Send the writing process's arrays to all."""
        ...


class Alone:
    """One process."""

    writes = True

    def decide(self, what: Callable[[], T]) -> T:
        """Compute the value."""
        return what()

    def share(self, tree: Any) -> Any:
        """Return the arrays."""
        return tree


class Together:
    """The processes that `jax.distributed` has joined. The first one writes."""

    @property
    def writes(self) -> bool:
        """The first one."""
        return jax.process_index() == 0

    def decide(self, what: Callable[[], T]) -> T:
        """Compute it on the first process; an error there is raised in all."""
        if not self.writes:
            answer = self._broadcast(b"")
            if "refused" in answer:
                raise ConfigError(answer["refused"])
            if "failed" in answer:
                raise OSError(f"process 0 failed: {answer['failed']}")
            return answer["value"]
        try:
            value = what()
        except ConfigError as error:
            self._broadcast(json.dumps({"refused": str(error)}).encode())
            raise
        except OSError as error:
            self._broadcast(json.dumps({"failed": str(error)}).encode())
            raise
        # As the others receive it: tuples become lists.
        return self._broadcast(json.dumps({"value": value}).encode())["value"]

    def share(self, tree: Any) -> Any:
        """Give everyone the first process's arrays."""
        return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))

    def _broadcast(self, message: bytes) -> Any:
        length = int(multihost_utils.broadcast_one_to_all(np.int32(len(message))))
        padded = np.zeros(length, np.uint8)
        if self.writes:
            padded[:] = np.frombuffer(message, np.uint8)
        return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))))


def join(
    coordinator: str | None, processes: int | None, process_id: int | None, patience: int
) -> Processes:
    """Join the processes of a study.

    Args:
        coordinator: HOST:PORT of the first process; ``None``: the cluster's, if JAX knows it.
        processes: how many there are.
        process_id: which one this is, from 0.
        patience: seconds without a sign of life after which a process counts as gone.

    Raises:
        ConfigError: if they cannot be joined as asked.
    """
    if processes == 1:
        return Alone()
    given = {"coordinator": coordinator, "processes": processes, "process_id": process_id}
    missing = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ConfigError(
            f"--distributed was given without {' and '.join(missing)}: give --coordinator, "
            "--processes and --process-id, or none of them on a cluster that JAX knows"
        )
    if process_id is not None and processes is not None and not 0 <= process_id < processes:
        raise ConfigError(f"process_id must lie in [0, {processes}), got {process_id}")
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise ConfigError(f"coordinator must be HOST:PORT, got {coordinator}")
    # For CPUs; GPUs and TPUs have collectives of their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process_id,
            initialization_timeout=patience,
            heartbeat_timeout_seconds=patience,
            shutdown_timeout_seconds=patience,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the processes could not be joined: {reason}") from None
    devices = jax.local_device_count()
    if jax.default_backend() == "cpu" and devices > 1:
        # While a device waits for another process, it occupies a thread that the next device needs.
        raise ConfigError(
            f"this process has {devices} CPU devices, and several processes must have one each: "
            "set JAX_NUM_CPU_DEVICES=1, or use one process"
        )
    return Together()


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """Stop this process at once, with a message, when it or another one has failed.

    Otherwise it would wait at its exit for a process that no longer exists. A user's mistakes pass:
    `Together.decide` tells every process about them.
    """
    try:
        yield
    except (ConfigError, OSError):
        raise
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr, flush=True)
        os._exit(130)
    except BaseException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if not (isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in reason):
            # Not the loss of another process, but a bug in this program.
            traceback.print_exc()
        print(
            f"error: process {jax.process_index()} of {jax.process_count()} stops, because it or "
            f"another one of them has failed ({reason}); start all of them again: finished runs "
            "stay",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)
