"""A process of its own that answers one request at a time."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.harness.case import Unavailable

__all__ = ["Worker", "WorkerError"]


class WorkerError(RuntimeError):
    """A worker's request failed; the words are the last line of its traceback."""


class Worker:
    """A process that holds one object and calls its methods on request.

    The process is started anew rather than forked, so that it can choose its JAX devices and the
    copies of the packages that it imports. While a request is answered, the parent waits. So two
    workers of one parent never compute at the same time.

    Args:
        make: makes the object in the new process; a function of a module's top level.
        *arguments: of `make`; they must be picklable.
        paths: folders in which the new process looks first for what it imports.

    Raises:
        Unavailable: if `make` raised it.
        WorkerError: if `make` raised anything else.
    """

    def __init__(
        self, make: Callable[..., Any], *arguments: Any, paths: Sequence[str] = ()
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # Not a daemon: a daemon may not start processes, and some rows do.
        self._process = context.Process(target=_serve, args=(theirs, list(paths)))
        self._process.start()
        theirs.close()
        try:
            self._request((make, arguments))
        except BaseException:
            self.close()
            raise

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object and wait for the answer.

        Args:
            method: its name.
            *arguments: of the method; they must be picklable, as must be the answer.

        Returns:
            What the method returns.

        Raises:
            Unavailable: if the method raised it.
            WorkerError: if the method raised anything else, or the process has ended.
        """
        return self._request((method, arguments))

    def _request(self, message: Any) -> Any:
        try:
            self._connection.send(message)
            kind, answer = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerError("the process ended, perhaps for want of memory") from None
        if kind == "unavailable":
            raise Unavailable(answer)
        if kind == "failed":
            raise WorkerError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        # The closed connection ends the process's loop.
        self._connection.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(connection: Connection, paths: Sequence[str]) -> None:
    """Answer requests until the parent closes the connection."""
    # An interrupt reaches the parent too, which then closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Before the first request is unpickled: unpickling imports the modules that it names.
    sys.path[:0] = paths
    held: Any = None
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        try:
            method, arguments = pickle.loads(message)
            if callable(method):
                held, answer = method(*arguments), None
            else:
                answer = getattr(held, method)(*arguments)
            reply = ("done", answer)
        except Unavailable as reason:
            reply = ("unavailable", str(reason))
        except Exception:
            reply = ("failed", traceback.format_exc().strip().splitlines()[-1])
        connection.send(reply)
