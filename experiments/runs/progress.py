"""Progress of a study, its phase and the time left: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.monitoring
from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from experiments.runs.plan import RunSpec

__all__ = ["Bars", "Lines", "Progress", "duration", "for_this_terminal"]

_SPEED_OF_SECONDS = 120
_SECONDS_PER_LINE = 60
# Steps and results have lines of their own.
_SAID_ONCE = ("compiling", "evaluating")
_COMPILATION = "/jax/core/compile/backend_compile_duration"


class Progress:
    """Is told how far a study is, and says nothing. Work is in the unit of `plan.step_cost`."""

    def study(
        self, runs: int, finished: int, work: float
    ) -> contextlib.AbstractContextManager[None]:
        """Begin a study: all its runs, how many of them are finished, and the work left."""
        return contextlib.nullcontext()

    def grow(self, runs: int, work: float) -> None:
        """Add runs and their work."""

    def begin(self, specs: Sequence[RunSpec], steps: int, cost: float) -> None:
        """Begin a training of one run, or of several at once; ``cost`` is the work of a step."""

    def phase(self, name: str) -> None:
        """Name the training's phase: preparing, compiling, training or evaluating."""

    def skip(self, steps: int) -> None:
        """Resume the training after so many steps, which were done before."""

    def advance(self, steps: int) -> None:
        """Count steps that were done."""

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Count a run that was written."""

    def note(self, line: str) -> None:
        """Show a line that a person should read."""


class _Clock:
    """Seconds, without those in which XLA compiles: a program is compiled once, not every step."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._compiled = now, 0.0

    def __call__(self) -> float:
        return self._now() - self._compiled

    @contextlib.contextmanager
    def without_compilation(self) -> Iterator[None]:
        def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
            del kwargs
            self._compiled += duration_secs if event == _COMPILATION else 0

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)


class _Passed(ProgressColumn):
    """The time since a task began, compilation included."""

    def render(self, task: Task) -> Text:
        """Write the time."""
        return Text(duration(task.fields["now"]() - task.fields["began"]))


def _words(specs: Sequence[RunSpec]) -> str:
    spec = specs[0]
    if len(specs) > 1:
        return f"{spec.model} {spec.loss}, {len(specs)} runs at once"
    words = f"{spec.model} {spec.loss} at {spec.foreground_fraction:g}"
    if spec.is_tuning:
        return f"{words}, trying rate {spec.learning_rate:g}"
    return f"{words}, seed {spec.seed}"


def _score(result: dict[str, Any]) -> str:
    dice = result["metrics"]["dice"]
    return result["status"] if dice is None or dice != dice else f"Dice {dice:.3f}"


def duration(seconds: float) -> str:
    """Write a time for people: 8 s, 2 min 05 s, 1 h 02 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Counting(Progress):
    """Counts runs, steps and work with Rich, which estimates the time left from the last speed."""

    def __init__(
        self, console: Console | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now, self._clock = now, _Clock(now)
        self.bars = RichProgress(
            SpinnerColumn(),
            # On a narrow terminal only the description wraps.
            TextColumn("{task.description}", table_column=Column()),
            BarColumn(12, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[count]}"),
            _Passed(table_column=Column(no_wrap=True)),
            TextColumn("passed,"),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("left"),
            console=console,
            disable=console is None,
            speed_estimate_period=_SPEED_OF_SECONDS,
            get_time=self._clock,
        )
        self.run, self.all = (self._task(name) for name in ("", "in all"))
        self.runs, self.finished_runs, self.cost = 0, 0, 0.0
        self.what, self.kind = "", ""

    def _task(self, name: str) -> Task:
        self.bars.add_task(name, total=1, count="", now=self._now, began=self._now())
        return self.bars.tasks[-1]

    @contextlib.contextmanager
    def study(self, runs: int, finished: int, work: float) -> Iterator[None]:
        self.runs, self.finished_runs = runs, finished
        self.bars.reset(self.all.id, total=work)
        self._update(0)
        shown = contextlib.nullcontext() if self.bars.disable else self.bars
        with self._clock.without_compilation(), shown:
            yield

    def grow(self, runs: int, work: float) -> None:
        self.runs += runs
        self.all.total = (self.all.total or 0) + work
        self._update(0)

    def begin(self, specs: Sequence[RunSpec], steps: int, cost: float) -> None:
        self.what, self.cost = _words(specs), cost
        self.kind = f"{specs[0].model} {specs[0].loss}"
        self.bars.reset(self.run.id, total=steps)
        self.bars.update(self.run.id, began=self._now())
        self.phase("preparing")
        self._update(0)

    def phase(self, name: str) -> None:
        self.bars.update(self.run.id, description=f"{name} {self.what}")

    def skip(self, steps: int) -> None:
        # Steps that were done before say nothing about the speed.
        self.bars.reset(self.run.id, completed=steps)
        self.all.total = (self.all.total or 0) - steps * self.cost
        self._update(0)

    def advance(self, steps: int) -> None:
        # The first steps are over, so that everything is compiled.
        self.phase("training")
        self._update(steps)

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        self.finished_runs += 1
        self._update(0)

    def _update(self, steps: int) -> None:
        run, total = self.run, self.run.total or 0
        count = f"{run.completed + steps:.0f}/{total:.0f} steps"
        self.bars.update(run.id, advance=steps, count=count)
        count = f"{self.finished_runs}/{self.runs} runs"
        self.bars.update(self.all.id, advance=steps * self.cost, count=count)


class Lines(_Counting):
    """A plain line for every run, and every minute of a long one, for logs and pipes."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(now=now)
        self._last, self._said = now(), set[str]()

    @contextlib.contextmanager
    def study(self, runs: int, finished: int, work: float) -> Iterator[None]:
        """Print how many runs there are."""
        self.note(f"{runs} runs{f', {finished} of them finished before' if finished else ''}")
        with super().study(runs, finished, work):
            yield

    def phase(self, name: str) -> None:
        """Print what is compiled or evaluated, the first time for a model and a loss."""
        super().phase(name)
        line = f"{name} {self.kind}"
        if name in _SAID_ONCE and line not in self._said:
            self._said.add(line)
            self.note(line)

    def skip(self, steps: int) -> None:
        """Print where the run resumes."""
        super().skip(steps)
        self.note(f"{self.what}: resumed after step {steps} of {self.run.total:.0f}")

    def advance(self, steps: int) -> None:
        """Print a line if none was printed for a minute."""
        super().advance(steps)
        if self._now() - self._last > _SECONDS_PER_LINE:
            run = self.run
            left = _left(", about {} left", run.time_remaining)
            step = f"step {run.completed:.0f} of {run.total:.0f}"
            self.note(f"training {self.what}: {step}{left}{self._left_in_all()}")

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Print the run's result."""
        super().finished(spec, result)
        left = self._left_in_all() if self.finished_runs < self.runs else ""
        count = f"[{self.finished_runs}/{self.runs}]"
        self.note(f"{count} {_words([spec])}: {_score(result)}{left}")

    def note(self, line: str) -> None:
        """Print the line."""
        self._last = self._now()
        print(line, flush=True)

    def _left_in_all(self) -> str:
        return _left("; about {} left in all", self.all.time_remaining)


def _left(words: str, seconds: float | None) -> str:
    return "" if seconds is None else words.format(duration(seconds))


class Bars(_Counting):
    """Two bars with the time left, of the training and of the study, for a terminal."""

    def finished(self, spec: RunSpec, result: dict[str, Any]) -> None:
        """Print the run's result."""
        super().finished(spec, result)
        self.note(f"{_words([spec])}: {_score(result)}")

    def note(self, line: str) -> None:
        """Print the line above the bars."""
        self.bars.console.print(line, highlight=False, markup=False)


def for_this_terminal() -> Progress:
    """Choose bars on a terminal, and plain lines in a notebook, a pipe or a file."""
    console = Console()
    return Bars(console) if console.is_terminal and sys.stdout.isatty() else Lines()
