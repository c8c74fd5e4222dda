"""One run: rows measured one after another, and the record of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import environment
from benchmarks.harness.case import Case, Family, Settings, measure

__all__ = ["SCHEMA", "MeasureRow", "measure_row", "run", "write"]

# Raised when a reader of older files could stumble.
SCHEMA = 1

Tell = Callable[[str], None]
MeasureRow = Callable[[Family, Case, Settings, Tell], dict[str, Any]]


def measure_row(family: Family, case: Case, settings: Settings, tell: Tell) -> dict[str, Any]:
    """Measure a row's contenders against each other, see `benchmarks.harness.case.measure`."""
    del family
    return measure(case, settings.budget, tell=tell)


def run(
    rows: Sequence[tuple[Family, Case]],
    settings: Settings,
    *,
    command: str,
    measure_row: MeasureRow = measure_row,
    tell: Tell = lambda words: None,
    done: Callable[[dict[str, Any]], None] = lambda record: None,
) -> dict[str, Any]:
    """Measure rows one after another.

    Args:
        rows: with their families.
        settings: of the run.
        command: for the record.
        measure_row: measures one row and gives its record.
        tell: is called with words on the progress.
        done: is called with the record so far after every row.

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
            row = measure_row(family, case, settings, lambda words, t=title: tell(f"{t}: {words}"))
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


def write(record: dict[str, Any], path: Path) -> None:
    """Write a record as JSON; the file is whole at any time.

    Args:
        record: of a run, or of the part of it that is done.
        path: of the file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    partial.replace(path)
