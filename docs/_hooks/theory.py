"""Writes the theory page's statements from `dice_jax.analysis`, where they are verified."""

from __future__ import annotations

import re
from typing import Any

from dice_jax.analysis import theory_markdown

__all__ = ["on_page_markdown", "statements"]

_HERE = "<!-- statements -->"


def statements() -> str:
    """The statements, each under an anchor of its own: ``theory.md#c10``.

    Returns:
        Markdown.
    """
    text = re.sub(
        r"^### (C\d+)\. (.*)$",
        lambda m: f"### {m[1]}. {m[2]} {{ #{m[1].lower()} }}",
        theory_markdown(),
        flags=re.MULTILINE,
    )
    myths = text.index("## Myths")
    link = re.compile(r"\bC\d+\b")
    linked = link.sub(lambda m: f"[{m[0]}](#{m[0].lower()})", text[myths:])
    return text[:myths] + linked


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill the theory page in (mkdocs calls this)."""
    if page.file.src_uri != "theory.md":
        return markdown
    if _HERE not in markdown:
        raise LookupError(f"docs/theory.md has no line {_HERE}")
    return markdown.replace(_HERE, statements())
