"""Progress of a study with the time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import collections
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from experiments.runs.plan import RunSpec

__all__ = ["Bar", "Clock", "Lines", "Progress", "Silent", "duration", "for_this_terminal"]


class Progress(Protocol):
    """What a study tells while it runs. Work is in the units of `plan.step_cost`."""

    def study(self, runs: int, kept: int, work: float) -> contextlib.AbstractContextManager[None]:
        """Begin: so many runs in all, so many of them kept, so much work to do."""
        ...

    def grow(self, runs: int, work: float) -> None:
        """Learn of further runs and their work."""
        ...

    def begin(self, specs: Sequence[RunSpec], steps: int, cost: float) -> None:
        """Begin a training of one run, or of several at once; a step of all is so much work."""
        ...

    def skip(self, steps: int) -> None:
        """Learn that the training goes on after so many steps, done before."""
        ...

    def advance(self, steps: int) -> None:
        """Count steps that were done."""
        ...

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Count a run that was written."""
        ...

    def note(self, line: str) -> None:
        """Say something that a person should know."""
        ...


class Silent:
    """Says nothing."""

    @contextlib.contextmanager
    def study(self, runs: int, kept: int, work: float) -> Iterator[None]:
        """Begin."""
        yield

    def grow(self, runs: int, work: float) -> None:
        """Say nothing."""

    def begin(self, specs: Sequence[RunSpec], steps: int, cost: float) -> None:
        """Say nothing."""

    def skip(self, steps: int) -> None:
        """Say nothing."""

    def advance(self, steps: int) -> None:
        """Say nothing."""

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Say nothing."""

    def note(self, line: str) -> None:
        """Say nothing."""


def _words(specs: Sequence[RunSpec]) -> str:
    spec = specs[0]
    if len(specs) > 1:
        return f"{spec.model} {spec.loss}, {len(specs)} runs at once"
    words = f"{spec.model} {spec.loss} at {spec.foreground_fraction:g}"
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


class Clock:
    """Tells how long the work that is left will take, from the speed of the last minutes.

    Args:
        now: seconds, of a clock that only goes forward.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.runs, self.finished, self.work = 0, 0, 0.0
        self.steps, self.step, self._cost = 0, 0, 0.0
        self._done = 0.0
        self._seen: collections.deque[tuple[float, float]] = collections.deque()

    def start(self, runs: int, kept: int, work: float) -> None:
        """Begin a study."""
        self.runs, self.finished, self.work = runs, kept, work
        self._done = 0.0
        self._seen = collections.deque([(self._now(), 0.0)])

    def grow(self, runs: int, work: float) -> None:
        """Add runs and their work."""
        self.runs += runs
        self.work += work

    def begin(self, steps: int, cost: float) -> None:
        """Begin a training."""
        self.steps, self.step, self._cost = steps, 0, cost

    def skip(self, steps: int) -> None:
        """Take steps off the work: they were done before."""
        self.step += steps
        self.work -= steps * self._cost

    def advance(self, steps: int) -> None:
        """Count steps."""
        self.step += steps
        self._done += steps * self._cost
        self._seen.append((self._now(), self._done))
        while len(self._seen) > 2 and self._seen[0][0] < self._seen[-1][0] - _SPEED_OF_SECONDS:
            self._seen.popleft()

    @property
    def share(self) -> float:
        """The share of the work that is done."""
        return self._done / self.work if self.work > 0 else 1.0

    @property
    def left(self) -> float | None:
        """Seconds until all is done; ``None``: not known yet."""
        return self._time_of(self.work - self._done)

    @property
    def left_of_run(self) -> float | None:
        """Seconds until this training is done; ``None``: not known yet."""
        return self._time_of((self.steps - self.step) * self._cost)

    def _time_of(self, work: float) -> float | None:
        (began, before), done = self._seen[0], self._done
        return None if done <= before else max(work, 0) * (self._now() - began) / (done - before)


_SPEED_OF_SECONDS = 120
_SECONDS_A_LINE = 60


class Lines:
    """A plain line for every run, and every minute of a long one, for logs and pipes."""

    def __init__(self) -> None:
        self._clock, self._what, self._said = Clock(), "", 0.0

    @contextlib.contextmanager
    def study(self, runs: int, kept: int, work: float) -> Iterator[None]:
        """Begin."""
        self._clock.start(runs, kept, work)
        words = f", {kept} of them finished before" if kept else ""
        self._say(f"{runs} runs{words}")
        yield

    def grow(self, runs: int, work: float) -> None:
        """Count further runs."""
        self._clock.grow(runs, work)

    def begin(self, specs: Sequence[RunSpec], steps: int, cost: float) -> None:
        """Say nothing: the line comes when there is a result."""
        self._what = _words(specs)
        self._clock.begin(steps, cost)

    def skip(self, steps: int) -> None:
        """Say where it goes on."""
        self._clock.skip(steps)
        self._say(f"{self._what}: goes on after step {steps} of {self._clock.steps}")

    def advance(self, steps: int) -> None:
        """Count steps; after a minute of silence, say how far it is."""
        self._clock.advance(steps)
        if time.perf_counter() - self._said > _SECONDS_A_LINE:
            clock = self._clock
            run = "" if clock.left_of_run is None else f", about {duration(clock.left_of_run)} left"
            self._say(f"{self._what}: step {clock.step} of {clock.steps}{run}{self._in_all()}")

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Print the run's line."""
        self._clock.finished += 1
        count = f"[{self._clock.finished}/{self._clock.runs}]"
        left = self._in_all() if self._clock.finished < self._clock.runs else ""
        self._say(f"{count} {_words([spec])}: {_score(result)}{left}")

    def note(self, line: str) -> None:
        """Print the line."""
        self._say(line)

    def _in_all(self) -> str:
        left = self._clock.left
        return "" if left is None else f"; about {duration(left)} left in all"

    def _say(self, line: str) -> None:
        self._said = time.perf_counter()
        print(line, flush=True)


class Bar:
    """Two bars with the time left, of the training and of the study, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("gone, {task.fields[left]} left"),
            console=console,
        )
        self._clock = Clock()
        self._run = self._bars.add_task("", total=1, count="", left="?")
        self._all = self._bars.add_task("in all", total=1, count="", left="?")

    @contextlib.contextmanager
    def study(self, runs: int, kept: int, work: float) -> Iterator[None]:
        """Begin."""
        self._clock.start(runs, kept, work)
        self._draw()
        with self._bars:
            yield

    def grow(self, runs: int, work: float) -> None:
        """Lengthen the bar."""
        self._clock.grow(runs, work)
        self._draw()

    def begin(self, specs: Sequence[RunSpec], steps: int, cost: float) -> None:
        """Name what is trained."""
        self._clock.begin(steps, cost)
        self._bars.reset(self._run, description=_words(specs), total=steps)
        self._draw()

    def skip(self, steps: int) -> None:
        """Move the training's bar."""
        self._clock.skip(steps)
        self._draw()

    def advance(self, steps: int) -> None:
        """Move the bars."""
        self._clock.advance(steps)
        self._draw()

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Leave the run's result above the bars."""
        self._clock.finished += 1
        self._draw()
        self.note(f"{_words([spec])}: {_score(result)}")

    def note(self, line: str) -> None:
        """Leave the line above the bars."""
        self._bars.console.print(line, highlight=False, markup=False)

    def _draw(self) -> None:
        clock = self._clock
        self._bars.update(
            self._run,
            completed=clock.step,
            count=f"{clock.step}/{clock.steps} steps",
            left=_or_unknown(clock.left_of_run),
        )
        self._bars.update(
            self._all,
            completed=clock.share,
            count=f"{clock.finished}/{clock.runs} runs",
            left=_or_unknown(clock.left),
        )


def _or_unknown(seconds: float | None) -> str:
    return "?" if seconds is None else duration(seconds)


def for_this_terminal() -> Progress:
    """Choose a bar on a terminal, and plain lines in a notebook, a pipe or a file."""
    console = Console()
    return Bar(console) if console.is_terminal and sys.stdout.isatty() else Lines()
