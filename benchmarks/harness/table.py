"""The table of a record: one line per contender, its time against the row's baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

__all__ = ["render", "show"]


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


def _figure(name: str, value: float) -> str:
    words = name.rsplit("_", 1)[0] if name.endswith(("_bytes", "_ratio")) else name
    label = words.replace("_", " ")
    if name.endswith("_bytes"):
        return f"{label} {_bytes(value)}"
    return f"{label} {value:.2f}×" if name.endswith("_ratio") else f"{label} {value:g}"


def _figures(entry: Mapping[str, Any]) -> str:
    words = [_figure(name, value) for name, value in entry["figures"].items()]
    if entry["amount"] != 1 and entry["median"] is not None:
        each = entry["median"] / entry["amount"]
        words.insert(0, f"{_time(each) if each >= 1e-6 else f'{each * 1e9:.2f} ns'} each")
    return ", ".join(words)


def _unique(notes: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(notes))


def render(record: Mapping[str, Any]) -> Group:
    """Lay out a record, as `python -m benchmarks --json` writes it.

    Args:
        record: of one run.

    Returns:
        Something that Rich prints.
    """
    hardware, versions = record["hardware"], record["versions"]
    table = Table(
        title="value_and_grad with respect to the logits, timed in turns",
        caption="×: the median against the bold line's, per pixel where pixels differ; of a copy: "
        "the share of the copy's bandwidth that dice_jax reaches",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("work", no_wrap=True)
    table.add_column("who", no_wrap=True)
    for name in ("median", "least", "×"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("exact figures")
    family = None
    for row in record["rows"]:
        if not row["contenders"]:
            continue
        if row["family_title"] != family:
            family = row["family_title"]
            table.add_section()
            table.add_row(Text(family, style="bold"))
        table.add_section()
        for number, entry in enumerate(row["contenders"]):
            is_baseline = entry["name"] == row["baseline"]
            table.add_row(
                row["work"] if number == 0 else "",
                Text(entry["name"], style="bold" if is_baseline else ""),
                _time(entry["median"]),
                _time(entry["min"]),
                _times(entry["ratio"]),
                _figures(entry),
            )
    packages = ", ".join(f"{k} {v}" for k, v in versions.items() if v is not None)
    lines = [f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['backend']}; {packages}"]
    lines.append(f"{record['date']}: {record['command']}")
    rows = record["rows"]
    lines += _unique(note for row in rows for e in row["contenders"] for note in e["notes"])
    skips = _unique(note for row in rows for note in row["notes"])
    for note in skips:
        names = [row["name"] for row in rows if note in row["notes"]]
        lines.append(f"{', '.join(names) if len(names) < 4 else f'{len(names)} rows'}: {note}")
    load = record["load"][0]
    if load is not None and load > hardware["cores"] / 2:
        lines.append(f"The machine was busy before the run (load {load:.1f}): do not trust this.")
    return Group(table, *(Text(line) for line in lines))


def show(record: Mapping[str, Any]) -> None:
    """Print a record's table, as wide as it has to be when it goes to a file.

    Args:
        record: of one run.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=170)
    console.print(render(record), highlight=False)
