"""Writes the theory page's statements from `dice_jax.analysis`, where they are verified."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from dice_jax.analysis import theory_markdown

# The site's builder loads this file by its path, without the folder beside it.
sys.path.append(str(Path(__file__).parent))
import docstrings
import formulas

__all__ = ["on_page_markdown", "statements"]

_HERE = "<!-- statements -->"
_LINE = re.compile(r"^(\*[A-Z][\w ]+:\*)?(.+)$", re.MULTILINE)


def statements() -> str:
    """The notation, the statements, each under an anchor of its own (``theory.md#c10``), the myths.

    Returns:
        Markdown.
    """
    sections = re.split(r"^(?=### C\d+\. |## \w+$)", theory_markdown(), flags=re.MULTILINE)
    return "".join(map(_section, sections))


def _section(section: str) -> str:
    """Give a statement its anchor, and a section its formula above the words."""
    title, _, body = section.partition("\n\n")
    found = re.match(r"### (C\d+)\. ", title)
    name = found[1] if found else title.removeprefix("## ").upper()
    latex, shortened = formulas.split(name, f"\n\n{body}")
    # A statement stays whole, as the command prints it.
    body = f"\n\n{body}" if found else shortened
    anchor = f" {{ #{found[1].lower()} }}" if found else ""
    shown = f"\n\n{formulas.display(latex)}" if latex else ""
    return title + anchor + shown + _LINE.sub(_words, body)


def _words(line: re.Match[str]) -> str:
    # D* is no emphasis; the labels of a statement's parts are.
    label, words = line[1] or "", line[2].replace("*", r"\*")
    return label + docstrings.prose(words, theory="")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill the theory page in (mkdocs calls this)."""
    if page.file.src_uri != "theory.md":
        return markdown
    if _HERE not in markdown:
        raise LookupError(f"docs/theory.md has no line {_HERE}")
    return markdown.replace(_HERE, statements())
