"""How calls are timed: in turns, each one warm, by medians."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Budget", "Call", "Clock", "Timed", "interleave", "median", "timed_turn"]

Call = Callable[[], Any]
Clock = Callable[[], float]


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
        prepare: ``None`` for the call itself: an untimed call first, so that the timed one does not
            pay for what the contender before it left in caches, thread pools and the allocator.
        clock: gives the time in seconds; ``time.process_time`` where only the work of this process
            counts.
    """

    call: Call
    prepare: Call | None = None
    clock: Clock = time.perf_counter


def timed_turn(timed: Timed, repetitions: int = 1) -> list[float]:
    """Warm a call up, then time it.

    Args:
        timed: the call. With a preparation of its own it is prepared before every repetition;
            otherwise one untimed call comes before all of them.
        repetitions: timed calls.

    Returns:
        The seconds of every timed call.
    """
    seconds = []
    with _without_collections():
        for number in range(repetitions):
            if timed.prepare is not None:
                timed.prepare()
            elif number == 0:
                timed.call()
            began = timed.clock()
            timed.call()
            seconds.append(timed.clock() - began)
    return seconds


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Python's garbage collector must not run inside a timed call."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def interleave(
    calls: Mapping[str, Timed],
    budget: Budget,
    *,
    clock: Clock = time.perf_counter,
    tell: Callable[[str], None] = lambda words: None,
) -> dict[str, list[float]]:
    """Time calls in turns, A B C A B C …, so that a change in the machine's speed meets them all.

    Args:
        calls: what to time, by name.
        budget: how many rounds.
        clock: measures what a round takes, in seconds.
        tell: is called with words on the progress.

    Returns:
        The seconds of every timed call, by name.
    """
    began = clock()
    for name, timed in calls.items():
        tell(f"warming {name}")
        timed_turn(timed)
    rounds = budget.rounds(clock() - began)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with _without_collections():
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}")
            for name, timed in calls.items():
                seconds[name] += timed_turn(timed)
    return seconds


def median(seconds: list[float]) -> float:
    """Take the middle of several times, which a few disturbed ones do not move.

    Args:
        seconds: one or more.

    Returns:
        The median.
    """
    return statistics.median(seconds)
