"""Progress of a study with the time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from experiments.plan import RunSpec

__all__ = ["Bar", "Lines", "Progress", "Silent", "for_this_terminal"]


class Progress(Protocol):
    """What a study tells while it runs."""

    def study(self, runs: int, kept: int, steps: int) -> contextlib.AbstractContextManager[None]:
        """Begin: so many runs in all, so many of them kept, so many steps to do."""
        ...

    def grow(self, runs: int, steps: int) -> None:
        """Learn of further runs and steps."""
        ...

    def describe(self, spec: RunSpec | None, loss: str) -> None:
        """Say what is trained next: one run, or several of one loss."""
        ...

    def advance(self, steps: int) -> None:
        """Count steps that were done."""
        ...

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Count a run that was written."""
        ...


class Silent:
    """Says nothing."""

    @contextlib.contextmanager
    def study(self, runs: int, kept: int, steps: int) -> Iterator[None]:
        """Begin."""
        yield

    def grow(self, runs: int, steps: int) -> None:
        """Say nothing."""

    def describe(self, spec: RunSpec | None, loss: str) -> None:
        """Say nothing."""

    def advance(self, steps: int) -> None:
        """Say nothing."""

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Say nothing."""


def _words(spec: RunSpec | None, loss: str) -> str:
    if spec is None:
        return f"{loss}, several runs at once"
    words = f"{spec.loss} at {spec.foreground_fraction:g}"
    if spec.is_tuning:
        return f"{words}, trying learning rate {spec.learning_rate:g}"
    return f"{words}, seed {spec.seed}"


def _score(result: dict[str, Any]) -> str:
    dice = result["metrics"]["dice"]
    return result["status"] if dice is None or dice != dice else f"Dice {dice:.3f}"


def duration(seconds: float) -> str:
    """Write a time for people: 8 s, 2 min 05 s, 1 h 02 min.

    Args:
        seconds: the time.

    Returns:
        The words.
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Lines:
    """A plain line for every run, for logs, notebooks and pipes."""

    def __init__(self) -> None:
        self._began, self._runs, self._done = 0.0, 0, 0
        self._steps, self._steps_done = 0, 0

    @contextlib.contextmanager
    def study(self, runs: int, kept: int, steps: int) -> Iterator[None]:
        """Begin."""
        self._began, self._runs, self._done = time.perf_counter(), runs, kept
        self._steps, self._steps_done = steps, 0
        words = f", {kept} of them finished before" if kept else ""
        print(f"{runs} runs{words}", flush=True)
        yield

    def grow(self, runs: int, steps: int) -> None:
        """Count further runs and steps."""
        self._runs += runs
        self._steps += steps

    def describe(self, spec: RunSpec | None, loss: str) -> None:
        """Say nothing: the line comes when there is a result."""

    def advance(self, steps: int) -> None:
        """Count steps."""
        self._steps_done += steps

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Print the run's line."""
        self._done += 1
        took = time.perf_counter() - self._began
        left = took / max(self._steps_done, 1) * (self._steps - self._steps_done)
        words = f", about {duration(left)} left" if left > 0 else ""
        line = f"{_words(spec, spec.loss)}: {_score(result)}{words}"
        print(f"[{self._done}/{self._runs}] {line}", flush=True)


class Bar:
    """A bar with the time left, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.fields[what]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps,"),
            TextColumn("{task.fields[runs]} runs,"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            speed_estimate_period=120,
        )
        self._task = self._bars.add_task("", total=None, what="", runs="")
        self._runs, self._done, self._steps = 0, 0, 0

    @contextlib.contextmanager
    def study(self, runs: int, kept: int, steps: int) -> Iterator[None]:
        """Begin."""
        self._runs, self._done, self._steps = runs, kept, steps
        self._bars.update(self._task, total=steps, runs=f"{kept}/{runs}")
        with self._bars:
            yield

    def grow(self, runs: int, steps: int) -> None:
        """Lengthen the bar."""
        self._runs += runs
        self._steps += steps
        self._bars.update(self._task, total=self._steps, runs=f"{self._done}/{self._runs}")

    def describe(self, spec: RunSpec | None, loss: str) -> None:
        """Name what is trained."""
        self._bars.update(self._task, what=_words(spec, loss))

    def advance(self, steps: int) -> None:
        """Move the bar."""
        self._bars.advance(self._task, steps)

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Leave the run's result above the bar."""
        self._done += 1
        self._bars.update(self._task, runs=f"{self._done}/{self._runs}")
        self._bars.console.print(f"{_words(spec, spec.loss)}: {_score(result)}", highlight=False)


def for_this_terminal() -> Progress:
    """Choose a bar on a terminal, and plain lines in a notebook, a pipe or a file."""
    console = Console()
    return Bar(console) if console.is_terminal and sys.stdout.isatty() else Lines()
