"""`python -m benchmarks`: dice_jax, its peers and the floor, side by side in one run."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.families.registry import FAMILIES
from benchmarks.harness import environment, table
from benchmarks.harness.case import Case, Family, Settings, measure
from benchmarks.harness.timing import Budget

# Raised when a reader of older files could stumble.
SCHEMA = 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Times value_and_grad with respect to the logits of dice_jax, Optax and MONAI, "
        "in turns, after checking that they compute the same. Exit code 1: a row failed.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes; under two minutes")
    parser.add_argument("--huge", action="store_true", help="2^28 pixels too; needs 12 GiB")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="rows or families whose name holds NAME"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record, row by row")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a record's table and stop")
    return parser


def choose(settings: Settings, only: Sequence[str] | None) -> list[tuple[Family, Case]]:
    """Find the rows that were asked for.

    Args:
        settings: of the run.
        only: words that a row's family or name must hold one of; ``None`` for all.

    Returns:
        The rows, with their families.

    Raises:
        ValueError: if a word fits nothing.
    """
    rows = [(family, case) for family in FAMILIES for case in family.cases(settings)]
    if only is None:
        return rows
    names = [f"{family.name}/{case.name}" for family, case in rows]
    for word in only:
        if not any(word in name for name in names):
            raise ValueError(f"--only {word} fits no row; --list prints the names")
    fits = [any(word in name for word in only) for name in names]
    return [row for row, fit in zip(rows, fits, strict=True) if fit]


def run(
    rows: Sequence[tuple[Family, Case]],
    settings: Settings,
    *,
    command: str,
    tell: Callable[[str], None] = lambda words: None,
    done: Callable[[dict[str, Any]], None] = lambda record: None,
) -> dict[str, Any]:
    """Measure rows one after another.

    Args:
        rows: from `choose`.
        settings: of the run.
        command: for the record.
        tell: is told what goes on.
        done: is given the record so far after every row.

    Returns:
        The record: where, when, with what, and the rows.
    """
    began = time.perf_counter()
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "command": command,
        "quick": settings.quick,
        **environment.describe(),
        "load": [environment.load()],
        "rows": [],
    }
    for family, case in rows:
        title = f"{family.name}/{case.name}"
        tell(title)
        head = {"family": family.name, "family_title": family.title}
        try:
            row = measure(case, settings.budget, tell=lambda words, t=title: tell(f"{t}: {words}"))
        except Exception as failure:  # One broken row must not cost the others.
            words = str(failure).strip().splitlines()
            note = f"failed: {type(failure).__name__}: {words[0] if words else ''}"
            row = {"name": case.name, "work": case.work, "baseline": None, "contenders": []}
            row |= {"notes": [note], "failed": True}
        record["rows"].append(head | row)
        record["seconds"] = time.perf_counter() - began
        done(record)
    record["load"].append(environment.load())
    return record


def _write(record: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    partial.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; ``None``: those of the process.

    Returns:
        The exit code: 0, 1 if a row failed, 2 for a request that cannot be met.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    if arguments.show:
        table.show(json.loads(arguments.show.read_text()))
        return 0
    budget = Budget(least=3, most=15, seconds=1.5) if arguments.quick else Budget()
    settings = Settings(quick=arguments.quick, huge=arguments.huge, budget=budget)
    try:
        rows = choose(settings, arguments.only)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.list:
        print("\n".join(f"{family.name}/{case.name}" for family, case in rows))
        return 0
    watch = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=watch,
        # A thread that draws would run beside the calls that are timed.
        auto_refresh=False,
    )
    with progress:
        task = progress.add_task("starting", total=len(rows))

        def tell(words: str) -> None:
            progress.update(task, description=words, refresh=watch.is_terminal)

        def done(record: dict[str, Any]) -> None:
            last, number = record["rows"][-1], len(record["rows"])
            progress.update(task, completed=number, refresh=watch.is_terminal)
            if not watch.is_terminal:
                took = f"{record['seconds']:.0f} s"
                print(f"[{number}/{len(rows)}] {took} {last['name']}", file=sys.stderr, flush=True)
            if arguments.json:
                _write(record, arguments.json)

        command = shlex.join(["python", "-m", "benchmarks", *given])
        record = run(rows, settings, command=command, tell=tell, done=done)
    table.show(record)
    if arguments.json:
        _write(record, arguments.json)
    return int(any(row.get("failed") for row in record["rows"]))


if __name__ == "__main__":
    sys.exit(main())
