"""`python -m benchmarks`: the speed and memory of dice_jax and its peers, in one run."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.families.registry import FAMILIES
from benchmarks.harness import runs, table
from benchmarks.harness.case import Case, Family, Settings
from benchmarks.harness.timing import Budget
from benchmarks.harness.versions import Versions, checkout, resolve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Times value_and_grad with respect to the logits of dice_jax, Optax and MONAI, "
        "in turns, after checking that they compute the same. With --against, times dice_jax of "
        "another commit and of this checkout instead. Exit code 1: a row failed, or is surely more "
        "than 5 % slower than at the other commit.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes; under two minutes")
    parser.add_argument("--huge", action="store_true", help="2^28 pixels too; needs 12 GiB")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="rows or families whose name contains NAME"
    )
    parser.add_argument(
        "--against", metavar="COMMIT", help="compare with dice_jax of this commit, in turns"
    )
    parser.add_argument(
        "--seconds", type=float, help="of timing for each row; 20, or 1.5 with --quick"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record, row by row")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a record's table and stop")
    return parser


def choose(settings: Settings, only: Sequence[str] | None) -> list[tuple[Family, Case]]:
    """Find the rows that were asked for.

    Args:
        settings: of the run.
        only: a row's family or name must contain one of these words; ``None`` for all rows.

    Returns:
        The rows, with their families.

    Raises:
        ValueError: if no row contains one of the words.
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; ``None``: those of the process.

    Returns:
        The exit code: 0, 1 if a row failed or is surely slower, 2 for a request that cannot be met.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    if arguments.show:
        table.show(json.loads(arguments.show.read_text()))
        return 0
    budget = Budget(least=3, most=15, seconds=1.5) if arguments.quick else Budget()
    if arguments.seconds is not None:
        budget = dataclasses.replace(budget, seconds=arguments.seconds)
    settings = Settings(quick=arguments.quick, huge=arguments.huge, budget=budget)
    command = shlex.join(["python", "-m", "benchmarks", *given])
    try:
        rows = choose(settings, arguments.only)
        if arguments.list:
            print("\n".join(f"{family.name}/{case.name}" for family, case in rows))
            return 0
        against = None if arguments.against is None else resolve(arguments.against)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    record = _measure(rows, settings, command, against, arguments.json)
    table.show(record)
    entries = [entry for row in record["rows"] for entry in row["contenders"]]
    failed = any(row.get("failed") for row in record["rows"])
    return int(failed or any(entry.get("surely_slower") for entry in entries))


def _measure(
    rows: Sequence[tuple[Family, Case]],
    settings: Settings,
    command: str,
    against: str | None,
    path: Path | None,
) -> dict[str, Any]:
    """Measure the rows under a progress bar, and write the record after every row."""
    extra = {} if against is None else {"against": against}
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        # A thread that draws would run beside the calls that are timed.
        auto_refresh=False,
    )
    with contextlib.ExitStack() as stack:
        measure_row = runs.measure_row
        if against is not None:
            folder = stack.enter_context(checkout(against))
            measure_row = stack.enter_context(Versions(folder)).measure
            rows = [(family, case) for family, case in rows if case.ours]
        stack.enter_context(progress)
        task = progress.add_task("starting", total=len(rows))

        def tell(words: str) -> None:
            progress.update(task, description=words, refresh=console.is_terminal)
            # A log shows what takes long, but not every round.
            if not console.is_terminal and ": round" not in words:
                print(f"{progress.tasks[task].elapsed:.0f} s {words}", file=sys.stderr, flush=True)

        def done(record: dict[str, Any]) -> None:
            last, number = record["rows"][-1], len(record["rows"])
            progress.update(task, completed=number, refresh=console.is_terminal)
            if not console.is_terminal:
                took = f"{record['seconds']:.0f} s"
                print(f"[{number}/{len(rows)}] {took} {last['name']}", file=sys.stderr, flush=True)
            if path:
                runs.write(extra | record, path)

        record = extra | runs.run(
            rows, settings, command=command, measure_row=measure_row, tell=tell, done=done
        )
    if path:
        runs.write(record, path)
    return record


if __name__ == "__main__":
    sys.exit(main())
