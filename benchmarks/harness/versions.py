"""Two versions of dice_jax in one run: `--against` times the rows of both in turns.

Each version lives in a process of its own, which imports that version's `dice_jax` and this
checkout's `benchmarks` and `experiments`. Both make their inputs from the same seeds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.case import Case, Contender, Family, Settings, Unavailable, difference
from benchmarks.harness.comparison import Comparison, compare
from benchmarks.harness.timing import Budget, median, timed_turn
from benchmarks.harness.worker import Worker, WorkerError

__all__ = ["Versions", "checkout", "resolve"]

_ROOT = Path(__file__).parents[2]
# Calls of a turn: as many as fit into so many seconds, within bounds.
_TURN_SECONDS = 0.05
_MOST_REPETITIONS = 20
# With fewer turns there is no lower bound of the ratio.
_LEAST_TURNS = 7

Tell = Callable[[str], None]


def resolve(commit: str) -> str:
    """Find a commit that has a package `dice_jax`.

    Args:
        commit: anything that git resolves to a commit.

    Returns:
        Its full id.

    Raises:
        ValueError: if git does not know the commit, or this is no git checkout.
    """
    try:
        revision = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").decode().strip()
        _git("cat-file", "-e", f"{revision}:dice_jax/__init__.py")
    except (OSError, subprocess.CalledProcessError):
        raise ValueError(
            f"--against {commit}: git finds no such commit with a package dice_jax in {_ROOT}; "
            "give a commit that `git log` shows, in a clone of the repository"
        ) from None
    return revision


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Unpack the package `dice_jax` of a commit into a temporary folder.

    Args:
        revision: from `resolve`.

    Yields:
        The folder that holds ``dice_jax``.
    """
    packed = _git("archive", "--format=zip", revision, "dice_jax")
    with tempfile.TemporaryDirectory(prefix="dice_jax-") as folder:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)
        # Resolved, to be comparable with the path that the worker finds.
        yield Path(folder).resolve()


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, check=True)
    return done.stdout


class _Rows:
    """What a worker holds: at most one contender at a time."""

    def __init__(self, folder: str) -> None:
        found = importlib.util.find_spec("dice_jax")
        where = Path(found.origin).resolve() if found and found.origin else None
        if where is None or Path(folder) not in where.parents:
            raise RuntimeError(f"dice_jax was imported from {where}, not from {folder}")
        self._contender: Contender | None = None

    def build(
        self,
        cases: Callable[[Settings], Sequence[Case]],
        settings: Settings,
        row: str,
        name: str,
    ) -> dict[str, Any]:
        """Build a contender and give what can be said before it is timed."""
        self.free()
        (case,) = (case for case in cases(settings) if case.name == row)
        self._contender = contender = case.builders[name]()
        return {"timed": contender.call is not None, "checked": contender.result is not None}

    def save(self, path: str) -> float:
        """Write the gradient to a file and return the value."""
        value, gradient = self._result()
        np.save(path, gradient)
        return value

    def agreement(self, value: float, path: str, tolerance: float) -> tuple[bool, str]:
        """Compare with what the other version has saved."""
        reference = value, np.load(path, mmap_mode="r")
        own = self._result()
        differs = difference(reference, own, tolerance)
        if differs:
            return False, differs
        same = own[0] == value and np.array_equal(own[1], reference[1])
        return True, "bit-equal" if same else "equal within the tolerance"

    def time(self, repetitions: int) -> list[float]:
        """Time the contender's call, once warmed up."""
        assert self._contender is not None
        timed = self._contender.timed()
        assert timed is not None
        return timed_turn(timed, repetitions)

    def figures(self) -> dict[str, float]:
        """Give the contender's figures, with those known after the timed calls."""
        assert self._contender is not None
        return {**self._contender.figures, **self._contender.later_figures()}

    def free(self) -> None:
        """Let the contender go."""
        if self._contender is not None:
            self._contender.close()
        self._contender = None

    def _result(self) -> tuple[float, np.ndarray]:
        assert self._contender is not None
        assert self._contender.result is not None
        return self._contender.result()


class Versions:
    """The two versions, old and new, each in its process.

    Args:
        old: the folder that holds the old ``dice_jax``.
        new: the folder that holds the new one; ``None`` for this checkout.
    """

    def __init__(self, old: Path, new: Path | None = None) -> None:
        self._folders = {"old": old, "new": new or _ROOT}
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Versions:
        """Start nothing yet: the processes start with the first row."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self.close()

    def close(self) -> None:
        """End the processes; the next row starts new ones."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _open(self) -> dict[str, Worker]:
        for version, folder in self._folders.items():
            if version not in self._workers:
                # The old version's folder holds only dice_jax; the rest comes from this checkout.
                paths = list(dict.fromkeys([str(folder), str(_ROOT)]))
                self._workers[version] = Worker(_Rows, str(folder), paths=paths)
        return self._workers

    def measure(
        self, family: Family, case: Case, settings: Settings, tell: Tell = lambda words: None
    ) -> dict[str, Any]:
        """Measure what a row has of dice_jax, in both versions in turns.

        Args:
            family: of the row.
            case: the row.
            settings: of the run.
            tell: is called with words on the progress.

        Returns:
            The row's record, for JSON.
        """
        notes, entries, failed = [], [], False
        for name in case.ours:
            tell(name)
            try:
                entry = self._measure_twice(family, case, name, settings, tell)
            except Unavailable as reason:
                notes.append(f"{name} is skipped: {reason}")
                continue
            except WorkerError as failure:
                self.close()
                notes.append(f"{name} failed: {failure}")
                failed = True
                continue
            entries.append(entry)
            failed = failed or not entry["agrees"]
        row = {"name": case.name, "work": case.work, "baseline": None, "contenders": entries}
        return row | {"notes": notes} | ({"failed": True} if failed else {})

    def _measure_twice(
        self, family: Family, case: Case, name: str, settings: Settings, tell: Tell
    ) -> dict[str, Any]:
        """Measure a contender again in new processes if the new version seems to be slower.

        The place of its arrays in memory can cost a process several per cent. So the smaller ratio
        counts.
        """
        entry = self._measure(family, case, name, settings, tell)
        if not entry.get("slower"):
            return entry
        self.close()
        again = self._measure(family, case, name, settings, tell)
        kept = min(entry, again, key=lambda e: e["ratio"])
        return kept | {"ratios_of_both_tries": [entry["ratio"], again["ratio"]]}

    def _measure(
        self, family: Family, case: Case, name: str, settings: Settings, tell: Tell
    ) -> dict[str, Any]:
        workers = self._open()
        facts = {}
        for version, worker in workers.items():
            tell(f"{name}: building the {version} one")
            try:
                facts[version] = worker.ask("build", family.cases, settings, case.name, name)
            except WorkerError as failure:
                if version == "new":
                    raise
                # A row of something that the old version does not have.
                raise Unavailable(f"the old version cannot build it: {failure}") from None
        old, new = workers["old"], workers["new"]
        entry: dict[str, Any] = {"name": name, "agrees": True, "agreement": "not checked"}
        if facts["old"]["checked"] and facts["new"]["checked"]:
            tell(f"{name}: checking")
            entry["agrees"], entry["agreement"] = _agreement(old, new, case.tolerance)
        seconds: dict[str, list[float]] = {"old": [], "new": []}
        if entry["agrees"] and facts["old"]["timed"] and facts["new"]["timed"]:
            seconds = _in_turns(workers, settings.budget, lambda words: tell(f"{name}: {words}"))
            entry |= _comparison(compare(seconds["old"], seconds["new"]))
        for version, worker in workers.items():
            entry[version] = {
                "seconds": seconds[version],
                "median": median(seconds[version]) if seconds[version] else None,
                "figures": worker.ask("figures"),
            }
            worker.ask("free")
        return entry


def _comparison(found: Comparison) -> dict[str, Any]:
    verdicts = {"slower": found.slower, "surely_slower": found.surely_slower}
    return asdict(found) | verdicts


def _agreement(old: Worker, new: Worker, tolerance: float) -> tuple[bool, str]:
    """Compare values and gradients through a file: gradients can take gigabytes."""
    with tempfile.TemporaryDirectory(prefix="dice_jax-") as folder:
        path = str(Path(folder) / "gradient.npy")
        value = old.ask("save", path)
        return new.ask("agreement", value, path, tolerance)


def _in_turns(workers: dict[str, Worker], budget: Budget, tell: Tell) -> dict[str, list[float]]:
    """Time both versions in turns and keep each one's shortest time of every turn."""
    slowest = max(worker.ask("time", 1)[0] for worker in workers.values())
    repetitions = max(1, min(_MOST_REPETITIONS, math.ceil(_TURN_SECONDS / max(slowest, 1e-9))))
    # One more call warms up.
    turns = budget.rounds(len(workers) * (repetitions + 1) * slowest)
    turns = max(turns, _LEAST_TURNS)
    seconds: dict[str, list[float]] = {version: [] for version in workers}
    for turn in range(turns):
        tell(f"turn {turn + 1} of {turns}")
        # Old new, new old, old new …: neither version always comes after the other.
        order = list(workers.items())
        for version, worker in order if turn % 2 == 0 else reversed(order):
            seconds[version].append(min(worker.ask("time", repetitions)))
    return seconds
