"""How often a timed call does its work: once on a CPU, several times on an accelerator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from benchmarks.harness.timing import Call

__all__ = ["repeat", "repetitions"]


def repetitions() -> int:
    """Count how often a timed call does its work.

    Returns:
        1 on a CPU, 20 on an accelerator. A training loop hands an accelerator new work while it is
        still busy. If we waited after every single piece of work, we would also time the message to
        the accelerator and back.
    """
    return 1 if jax.default_backend() == "cpu" else 20


def repeat(start: Callable[[], Any], wait: Callable[[Any], Any]) -> Call:
    """Make the call that is timed.

    Args:
        start: starts the work, and need not wait for it.
        wait: waits for what `start` returned last.

    Returns:
        A call that does the work as often as `repetitions` says, and waits once.
    """

    def call() -> Any:
        started = None
        for _ in range(repetitions()):
            started = start()
        return wait(started)

    return call
