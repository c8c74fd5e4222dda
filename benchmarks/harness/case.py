"""What a row is made of, and how one is measured: build, check, time in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.harness.timing import Budget, Call, Clock, Timed, interleave, median

__all__ = ["Builder", "Case", "Contender", "Family", "Result", "Settings", "Unavailable", "measure"]

# A loss, and its gradient in the layout of the case's logits.
Result = tuple[float, np.ndarray]


class Unavailable(Exception):
    """A contender cannot run here; the words say why."""


@dataclass(frozen=True)
class Contender:
    """One way to do a case's work, ready to be called.

    Args:
        call: does the work once and waits until it is done; ``None`` where only the figures count.
        prepare: see `benchmarks.harness.timing.Timed`.
        clock: see `benchmarks.harness.timing.Timed`.
        result: the loss and the gradient, to be checked against the baseline's before anything is
            timed; ``None`` where nothing can be compared.
        figures: exact facts. A name that ends in ``_bytes``, ``_seconds`` or ``_ratio`` is printed
            as such.
        later_figures: gives figures that are known only after the timed calls.
        notes: what a reader has to know to judge the comparison.
        amount: units of work in one call; ratios compare the time per unit.
        close: frees what the contender holds.
    """

    call: Call | None
    prepare: Call | None = None
    clock: Clock = time.perf_counter
    result: Callable[[], Result] | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    later_figures: Callable[[], Mapping[str, float]] = dict
    notes: Sequence[str] = ()
    amount: float = 1.0
    close: Callable[[], None] = lambda: None

    def timed(self) -> Timed | None:
        """Give the call with its preparation and its clock, ``None`` if there is no call."""
        return None if self.call is None else Timed(self.call, self.prepare, self.clock)


Builder = Callable[[], Contender]


@dataclass(frozen=True)
class Case:
    """One row of the table: contenders that do the same work.

    Args:
        name: unique within its family, in words that can be typed after ``--only``.
        work: what is done, for the table.
        builders: how to make each contender, by name.
        baseline: the contender that the others are checked against and compared with; ``None`` for
            the first.
        ours: the contenders that run dice_jax, which ``--against`` compares between versions.
        tolerance: the largest difference of a value (relative to it) and of a gradient (relative to
            its largest entry).
        notes: what holds for the whole row.
    """

    name: str
    work: str
    builders: Mapping[str, Builder]
    baseline: str | None = None
    ours: Sequence[str] = ("dice_jax",)
    tolerance: float = 1e-4
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Settings:
    """What the command line asks for.

    Args:
        quick: small sizes and few rounds.
        huge: the largest sizes too, which need several GiB.
        budget: how long each case is timed.
    """

    quick: bool = False
    huge: bool = False
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True)
class Family:
    """Rows that belong together.

    A module of `benchmarks.families` defines it, and `benchmarks.families.registry` lists it.

    Args:
        name: in words that can be typed after ``--only``.
        title: the heading of its rows.
        cases: makes the rows for some settings. It must be cheap, since it is also called to list
            the names, and a function of a module's top level, since other processes look it up.
    """

    name: str
    title: str
    cases: Callable[[Settings], Sequence[Case]]


def difference(reference: Result, other: Result, tolerance: float) -> str | None:
    """Describe how a value and a gradient differ from the baseline's.

    Args:
        reference: the baseline's.
        other: the contender's.
        tolerance: see `Case`.

    Returns:
        A description, or ``None`` where they agree.
    """
    (value, gradient), (other_value, other_gradient) = reference, other
    if gradient.shape != other_gradient.shape:
        return f"its gradient has shape {other_gradient.shape}, not {gradient.shape}"
    apart = abs(other_value - value) / max(abs(value), 1e-12)
    # `not <=`, so that NaN counts as a difference.
    if not apart <= tolerance:
        return f"its value is {other_value:.6g}, not {value:.6g}"
    scale = max(float(np.max(np.abs(gradient))), 1e-30)
    worst = float(np.max(np.abs(other_gradient - gradient))) / scale
    if not worst <= tolerance:
        return f"its gradient differs by {worst:.2g} of the largest entry"
    return None


def measure(
    case: Case,
    budget: Budget,
    *,
    tell: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """Build a case's contenders, check that they compute the same, and time them in turns.

    Args:
        case: the row.
        budget: how many rounds.
        tell: is called with words on the progress.

    Returns:
        The row's record, for JSON.
    """
    contenders: dict[str, Contender] = {}
    notes = list(case.notes)
    baseline = case.baseline or next(iter(case.builders))
    reference: Result | None = None
    try:
        for name in sorted(case.builders, key=lambda name: name != baseline):
            tell(f"building {name}")
            try:
                contender = case.builders[name]()
            except Unavailable as reason:
                if name == baseline:
                    return _row(case, baseline, [], [*notes, str(reason)])
                notes.append(f"{name} is skipped: {reason}")
                continue
            contenders[name] = contender
            if contender.result is None:
                continue
            if name == baseline:
                reference = contender.result()
            elif reference is not None:
                tell(f"checking {name}")
                differs = difference(reference, contender.result(), case.tolerance)
                if differs:
                    notes.append(f"{name} is left out, it computes something else: {differs}")
                    contenders.pop(name).close()
        reference = None
        order = [name for name in case.builders if name in contenders]
        calls = {name: timed for name in order if (timed := contenders[name].timed()) is not None}
        seconds = interleave(calls, budget, tell=tell) if calls else {}
        entries = [_entry(name, contenders[name], seconds.get(name, [])) for name in order]
    finally:
        for contender in contenders.values():
            contender.close()
    return _row(case, baseline, entries, notes)


def _row(
    case: Case, baseline: str, entries: list[dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    per_unit = {e["name"]: e["median"] / e["amount"] for e in entries if e["seconds"]}
    base = per_unit.get(baseline)
    for entry in entries:
        own = per_unit.get(entry["name"])
        entry["ratio"] = own / base if own is not None and base is not None else None
    return {
        "name": case.name,
        "work": case.work,
        "baseline": baseline,
        "contenders": entries,
        "notes": notes,
    }


def _entry(name: str, contender: Contender, seconds: list[float]) -> dict[str, Any]:
    return {
        "name": name,
        "seconds": seconds,
        "median": median(seconds) if seconds else None,
        "min": min(seconds) if seconds else None,
        "amount": float(contender.amount),
        "figures": {**contender.figures, **contender.later_figures()},
        "notes": list(contender.notes),
    }
