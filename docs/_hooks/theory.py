"""Writes the theory page's statements from `dice_jax.analysis`, where they are verified."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from dice_jax.analysis import theory_markdown

# The site's builder loads this file by its path, without the folder beside it.
sys.path.append(str(Path(__file__).parent))
import formulas

__all__ = ["on_page_markdown", "statements"]

_HERE = "<!-- statements -->"


def statements() -> str:
    """The statements, each under an anchor of its own: ``theory.md#c10``.

    Returns:
        Markdown.
    """
    first, *sections = re.split(r"^(?=### C\d+\. |## Myths)", theory_markdown(), flags=re.MULTILINE)
    text = first + "".join(map(_section, sections))
    myths = text.index("## Myths")
    link = re.compile(r"\bC\d+\b")
    linked = link.sub(lambda m: f"[{m[0]}](#{m[0].lower()})", text[myths:])
    return text[:myths] + linked


def _section(section: str) -> str:
    """Give a statement its anchor, and its formula above the words."""
    found = re.match(r"### (C\d+)\. (.*)\n\n", section)
    if found is None:
        return section
    title = f"### {found[1]}. {found[2]} {{ #{found[1].lower()} }}\n\n"
    latex, _ = formulas.split(found[1], section)
    shown = f"{formulas.display(latex)}\n\n" if latex else ""
    return title + shown + section[found.end() :]


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill the theory page in (mkdocs calls this)."""
    if page.file.src_uri != "theory.md":
        return markdown
    if _HERE not in markdown:
        raise LookupError(f"docs/theory.md has no line {_HERE}")
    return markdown.replace(_HERE, statements())
