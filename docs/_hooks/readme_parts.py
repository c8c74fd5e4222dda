"""Copies the README's measured tables and paragraphs into pages, so that each number stands once.

A page asks by `<!-- README: table after **Speed.** -->` or `<!-- README: paragraph **Speed.** -->`;
the words are the beginning of a paragraph of the README.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["insert", "on_page_markdown"]

_ROOT = Path(__file__).parents[2]
_REQUEST = re.compile(r"<!-- README: (table after|paragraph) (.+?) -->")
_LINK = re.compile(r"\[([^]]*)\]\((?!https?:)[^)]*\)")


def insert(markdown: str, readme: str) -> str:
    """Answer a page's requests.

    Args:
        markdown: of the page.
        readme: the README's text.

    Returns:
        The page with what it asked for. Links in it, which are relative to the README, become
        plain words.

    Raises:
        LookupError: if the README has no such paragraph, or no table after it.
    """
    blocks = re.split(r"\n{2,}", readme)

    def answer(request: re.Match[str]) -> str:
        kind, words = request.groups()
        places = [k for k, block in enumerate(blocks) if block.startswith(words)]
        if not places:
            raise LookupError(f"README.md has no paragraph that begins with {words!r}")
        if kind == "paragraph":
            return _LINK.sub(r"\1", blocks[places[0]])
        for block in blocks[places[0] + 1 :]:
            if block.startswith("|"):
                return _LINK.sub(r"\1", block)
        raise LookupError(f"README.md has no table after {words!r}")

    return _REQUEST.sub(answer, markdown)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Answer the requests of a page (mkdocs calls this)."""
    return insert(markdown, (_ROOT / "README.md").read_text(encoding="utf-8"))
