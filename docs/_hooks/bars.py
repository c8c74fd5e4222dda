"""Draws measured times as bars, from the files of benchmarks/results, when the site is built.

A page asks by `<!-- bars: cpu.json dice-ce- -->`: the rows of that file whose names begin so.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

__all__ = ["bars", "insert", "on_page_markdown"]

_RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
_REQUEST = re.compile(r"(?<!`)<!-- bars: (\S+\.json) (\S+) -->")
_SHOWN = {
    "dice_jax": "dice_jax",
    "optax": "Optax",
    "MONAI": "MONAI",
    "MONAI compiled": "MONAI compiled",
}


def bars(record: dict[str, Any], prefix: str) -> str:
    """Draw the rows of a run.

    Args:
        record: as `python -m benchmarks --json` writes it.
        prefix: what the names of the rows begin with.

    Returns:
        HTML: per row a title, and a bar for each library, as long as its time.

    Raises:
        LookupError: if no such row compares dice_jax with another library.
    """
    rows = [_row(row) for row in record["rows"] if row["name"].startswith(prefix)]
    drawn = [row for row in rows if row]
    if not drawn:
        raise LookupError(f"no row that begins with {prefix!r} compares dice_jax with a library")
    return '<div class="bars">\n' + "\n".join(drawn) + "\n</div>"


def _row(row: dict[str, Any]) -> str:
    times = {c["name"]: c["median"] / c["amount"] for c in row["contenders"] if c["name"] in _SHOWN}
    if "dice_jax" not in times or len(times) < 2:
        return ""
    longest = max(times.values())
    lines = [
        f'<div class="bar{" ours" if name == "dice_jax" else ""}"><span>{_SHOWN[name]}</span>'
        f'<i style="width:{100 * times[name] / longest:.1f}%"></i>'
        f"<b>{_milliseconds(times[name])}</b></div>"
        for name in _SHOWN
        if name in times
    ]
    return f"<div><p>{html.escape(row['work'])}</p>{''.join(lines)}</div>"


def _milliseconds(seconds: float) -> str:
    time = 1e3 * seconds
    return f"{time:.0f} ms" if time >= 10 else f"{time:.2f} ms"


def insert(markdown: str, results: Path = _RESULTS) -> str:
    """Answer a page's requests.

    Args:
        markdown: of the page.
        results: the folder of the runs.

    Returns:
        The page with the bars.
    """
    return _REQUEST.sub(
        lambda m: bars(json.loads((results / m[1]).read_text(encoding="utf-8")), m[2]), markdown
    )


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Answer the requests of a page (mkdocs calls this)."""
    return insert(markdown)
