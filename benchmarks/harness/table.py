"""The tables of a record: contenders against a row's baseline, or a new version against an old."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from benchmarks.harness.comparison import LIMIT

__all__ = ["render", "show", "verdicts"]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _times(ratio: float | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio:.2f}×" if ratio >= 1 else f"{ratio:.2f}× (1/{1 / ratio:.2f})"


def _bytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


_UNITS = {
    "bytes": _bytes,
    "seconds": _time,
    "ratio": lambda value: f"{value:.2f}×",
}


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return _UNITS.get(name.rpartition("_")[2], "{:g}".format)(value)


def _label(name: str) -> str:
    head, _, unit = name.rpartition("_")
    return (head if unit in _UNITS else name).replace("_", " ")


def _figures(entry: Mapping[str, Any]) -> str:
    words = [f"{_label(name)} {_value(name, value)}" for name, value in entry["figures"].items()]
    if entry["amount"] != 1 and entry["median"] is not None:
        each = entry["median"] / entry["amount"]
        words.insert(0, f"{_time(each) if each >= 1e-6 else f'{each * 1e9:.2f} ns'} each")
    return ", ".join(words)


def _unique(notes: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(notes))


def _table(title: str, caption: str, *numbers: str) -> Table:
    """A table of works and who does them, with columns of numbers and one of exact figures."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column("work", no_wrap=True)
    table.add_column("who", no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("exact figures")
    return table


def _fill(table: Table, rows: Iterable[Mapping[str, Any]], cells: Any) -> None:
    """Add the rows under the titles of their families; `cells` gives what follows the work."""
    family = None
    for row in rows:
        if not row["contenders"]:
            continue
        if row["family_title"] != family:
            family = row["family_title"]
            table.add_section()
            table.add_row(Text(family, style="bold"))
        table.add_section()
        for number, entry in enumerate(row["contenders"]):
            table.add_row(row["work"] if number == 0 else "", *cells(row, entry))


def _contender_cells(row: Mapping[str, Any], entry: Mapping[str, Any]) -> Sequence[str | Text]:
    return (
        Text(entry["name"], style="bold" if entry["name"] == row["baseline"] else ""),
        _time(entry["median"]),
        _time(entry["min"]),
        _times(entry["ratio"]),
        _figures(entry),
    )


def _version_cells(_: Mapping[str, Any], entry: Mapping[str, Any]) -> Sequence[str | Text]:
    old, new = entry["old"], entry["new"]
    figures = {name: old["figures"].get(name) for name in [*old["figures"], *new["figures"]]}
    changes = []
    for name, before in figures.items():
        words = [_value(name, before), _value(name, new["figures"].get(name))]
        changes.append(f"{_label(name)} {' → '.join(_unique(words))}")
    ratio, spread = entry.get("ratio"), entry.get("quartiles")
    return (
        Text(entry["name"], style="bold" if entry.get("surely_slower") else ""),
        _time(old["median"]),
        _time(new["median"]),
        "–" if ratio is None else f"{ratio:.3f}×",
        "–" if spread is None else f"{spread[0]:.3f} to {spread[1]:.3f}",
        ", ".join([entry["agreement"], *changes]),
    )


def render(record: Mapping[str, Any]) -> Group:
    """Lay out a record, as `python -m benchmarks --json` writes it.

    Args:
        record: of one run.

    Returns:
        Something that Rich prints.
    """
    hardware, versions = record["hardware"], record["versions"]
    rows = record["rows"]
    if "against" in record:
        table = _table(
            f"dice_jax of {record['against'][:12]} (old) and of this checkout (new), in turns",
            "×: new over old, the median over the turns; spread: the quartiles over the turns",
            *("old", "new", "×", "spread"),
        )
        _fill(table, rows, _version_cells)
    else:
        table = _table(
            "value_and_grad with respect to the logits, timed in turns",
            "×: the median against the bold line's, per pixel where pixels differ; of a copy: "
            "the share of the copy's bandwidth that dice_jax reaches",
            *("median", "least", "×"),
        )
        _fill(table, rows, _contender_cells)
    packages = ", ".join(f"{k} {v}" for k, v in versions.items() if v is not None)
    lines = [f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['backend']}; {packages}"]
    lines.append(f"{record['date']}: {record['command']}")
    lines += _unique(n for row in rows for e in row["contenders"] for n in e.get("notes", ()))
    for note in _unique(note for row in rows for note in row["notes"]):
        names = [row["name"] for row in rows if note in row["notes"]]
        lines.append(f"{', '.join(names) if len(names) < 4 else f'{len(names)} rows'}: {note}")
    load = record["load"][0]
    if load is not None and load > hardware["cores"] / 2:
        lines.append(f"The machine was busy before the run (load {load:.1f}): do not trust this.")
    if "against" in record:
        lines += verdicts(record)
    return Group(table, *(Text(line) for line in lines))


def verdicts(record: Mapping[str, Any]) -> list[str]:
    """Name what is worse in the new version.

    Args:
        record: of a run with ``--against``.

    Returns:
        A line for every contender that is slower, computes something else or needs more memory, or
        one line that says that there is none.
    """
    lines = []
    for row in record["rows"]:
        for entry in row["contenders"]:
            title = f"{row['family']}/{row['name']}, {entry['name']}"
            if not entry["agrees"]:
                lines.append(f"DIFFERENT: {title}: {entry['agreement']}; not timed.")
            if entry.get("slower"):
                sure = "SLOWER" if entry["surely_slower"] else "Perhaps slower"
                low = f"{entry['at_least']:.3f}× with 97.5 % confidence"
                lines.append(f"{sure}: {title}: {entry['ratio']:.3f}×, at least {low}.")
            if tries := entry.get("ratios_of_both_tries"):
                words = " and ".join(f"{ratio:.3f}×" for ratio in tries)
                lines.append(f"Measured twice, each time in new processes: {title}: {words}.")
            before, after = (
                entry[version]["figures"].get("temporary_bytes", 0) for version in ("old", "new")
            )
            if after > LIMIT * before:
                words = f"{_bytes(before)} → {_bytes(after)}"
                lines.append(f"More temporaries: {title}: {words}.")
    percent = f"{100 * (LIMIT - 1):.0f} %"
    return lines or [f"No row is more than {percent} slower or has {percent} more temporaries."]


def show(record: Mapping[str, Any]) -> None:
    """Print a record's table, as wide as it has to be when it goes to a file.

    Args:
        record: of one run.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=170)
    console.print(render(record), highlight=False)
