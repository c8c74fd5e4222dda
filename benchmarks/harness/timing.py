"""How calls are timed against each other: in turns, each one warm, by medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Budget", "Call", "Timed", "interleave", "median"]

Call = Callable[[], Any]


@dataclass(frozen=True)
class Budget:
    """How many rounds a case may take: as many as fit into the seconds, within bounds.

    Args:
        least: rounds, however long they take.
        most: rounds, however short they are.
        seconds: what the rounds between the two may take together.
    """

    least: int = 7
    most: int = 40
    seconds: float = 20.0

    def rounds(self, seconds_per_round: float) -> int:
        """Choose the number of rounds.

        Args:
            seconds_per_round: what one round takes.

        Returns:
            The number of rounds.
        """
        fitting = int(self.seconds / max(seconds_per_round, 1e-9))
        return max(self.least, min(self.most, fitting))


@dataclass(frozen=True)
class Timed:
    """A call to time, and what is done, untimed, right before it.

    Args:
        call: does the work once and waits until it is done.
        prepare: ``None`` for the call itself, so that no one pays for what the one before left in
            caches, thread pools and the allocator.
    """

    call: Call
    prepare: Call | None = None


def interleave(
    calls: Mapping[str, Timed],
    budget: Budget,
    *,
    clock: Callable[[], float] = time.perf_counter,
    tell: Callable[[str], None] = lambda words: None,
) -> dict[str, list[float]]:
    """Time calls in turns, A B C A B C …, so that a change of the machine's mood meets them all.

    Args:
        calls: what to time, by name.
        budget: how many rounds.
        clock: gives the time in seconds.
        tell: is told about progress.

    Returns:
        The seconds of every timed call, by name.
    """

    def once(timed: Timed) -> float:
        (timed.prepare or timed.call)()
        began = clock()
        timed.call()
        return clock() - began

    began = clock()
    for timed in calls.values():
        once(timed)
    rounds = budget.rounds(clock() - began)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}")
            for name, timed in calls.items():
                seconds[name].append(once(timed))
    finally:
        if collecting:
            gc.enable()
    return seconds


def median(seconds: list[float]) -> float:
    """Take the middle of several times, which a few disturbed ones do not move.

    Args:
        seconds: one or more.

    Returns:
        The median.
    """
    return statistics.median(seconds)
