"""How often a timed call does its work: on an accelerator several times before it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from benchmarks.harness.timing import Call

__all__ = ["in_a_row", "times"]


def times() -> int:
    """Count how often a timed call does its work.

    Returns:
        1 on a CPU. An accelerator is handed work while it is still busy, as in training: what a
        single call would add is the time of the message there and back.
    """
    return 1 if jax.default_backend() == "cpu" else 20


def in_a_row(start: Callable[[], Any], wait: Callable[[Any], Any]) -> Call:
    """Make the call that is timed.

    Args:
        start: starts the work, and need not wait for it.
        wait: waits for what `start` returned last.

    Returns:
        A call that does the work as often as `times` says, and waits once.
    """

    def call() -> Any:
        started = None
        for _ in range(times()):
            started = start()
        return wait(started)

    return call
