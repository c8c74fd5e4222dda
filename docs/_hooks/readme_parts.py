"""Copies the README's measured tables and paragraphs into pages, so that each number stands once.

A page asks by `<!-- README: table after **Speed.** -->`, `<!-- README: paragraph **Speed.** -->` or
`<!-- README: range of optax (jit) after **Speed.** -->` (the least and the largest number of a
table's column); the words at the end are the beginning of a paragraph of the README.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["insert", "on_page_markdown"]

_ROOT = Path(__file__).parents[2]
_REQUEST = re.compile(r"(?<!`)<!-- README: (table after|paragraph|range of (.+?) after) (.+?) -->")
_LINK = re.compile(r"\[([^]]*)\]\((?!https?:)([^)]*)\)")


def insert(markdown: str, readme: str) -> str:
    """Answer a page's requests.

    Args:
        markdown: of the page.
        readme: the README's text.

    Returns:
        The page with what it asked for. Of the links in it, which are relative to the README, those
        to pages stay; the others become plain words.

    Raises:
        LookupError: if the README has no such paragraph, or no table after it.
    """
    blocks = re.split(r"\n{2,}", readme)

    def answer(request: re.Match[str]) -> str:
        kind, column, words = request.groups()
        places = [k for k, block in enumerate(blocks) if block.startswith(words)]
        if not places:
            raise LookupError(f"README.md has no paragraph that begins with {words!r}")
        if kind == "paragraph":
            return _LINK.sub(_link, blocks[places[0]])
        tables = [block for block in blocks[places[0] + 1 :] if block.startswith("|")]
        if not tables:
            raise LookupError(f"README.md has no table after {words!r}")
        return _LINK.sub(_link, tables[0]) if column is None else _range(tables[0], column)

    return _REQUEST.sub(answer, markdown)


def _link(match: re.Match[str]) -> str:
    words, target = match.groups()
    page = target.removeprefix("docs/")
    # Only pages beside the landing page ask.
    return f"[{page}]({page})" if target == words and page.endswith(".md") else words


def _range(table: str, column: str) -> str:
    head, _, *rows = ([cell.strip() for cell in row.split("|")] for row in table.splitlines())
    if column not in head:
        raise LookupError(f"README.md's table has no column {column!r}, only {head[1:-1]}")
    cells = [row[head.index(column)] for row in rows]
    numbers = sorted(float(m[0]) for cell in cells if (m := re.search(r"\d+(\.\d+)?", cell)))
    if not numbers:
        raise LookupError(f"README.md's column {column!r} holds no numbers")
    return f"{numbers[0]:g} to {numbers[-1]:g}"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Answer the requests of a page (mkdocs calls this)."""
    return insert(markdown, (_ROOT / "README.md").read_text(encoding="utf-8"))
