"""The lines of the pages: what is in a table of docs/coming-from is what is tested.

A table that is tested follows a comment ``<!-- images: KIND -->`` (one of `images.KINDS`; a
requirement such as ``optax<0.2.7`` may come after it, and ``; LIBRARY`` on a page of several), and
perhaps a block of Python that makes the ``sums``. Its first column is the other library's call, its
second one ours. A recipe is a block of Python that defines ``loss``, after
``<!-- images: KIND; LIBRARY: CALL -->``.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

__all__ = ["PAGES", "Line", "lines", "of"]

FOLDER = Path(__file__).parents[2] / "docs" / "coming-from"
PAGES = (
    "monai",
    "nnunet",
    "optax",
    "smp",
    "keras",
    "kornia",
    "torchmetrics",
    "medpy",
    "surface-distance",
    "cellpose-stardist",
    "panoptica",
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a page.

    page: where it stands.
    peer: the other library.
    kind: the images, one of `images.KINDS`.
    requires: a requirement on the library's version, such as "optax<0.2.7", or "".
    setup: Python that our expression needs, "" for none.
    theirs: the other library's expression.
    ours: the expression that gives the same.
    """

    page: str
    peer: str
    kind: str
    requires: str
    setup: str
    theirs: str
    ours: str

    @property
    def key(self) -> str:
        return " | ".join(part for part in (self.kind, self.requires, self.theirs) if part)

    @property
    def id(self) -> str:
        return f"{self.page}: {self.key}"


MARK = re.compile(
    r"<!-- images: (?P<kind>\w+)(?:, (?P<requires>[^;]+?))?"
    r"(?:; (?P<peer>[^:]+?)(?:: (?P<recipe>.+))?)? -->"
)
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
CODE = re.compile(r"`([^`]+)`")


def of(page: str) -> list[Line]:
    """The lines of one page, in order."""
    text = (FOLDER / f"{page}.md").read_text()
    marks = list(MARK.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        line
        for mark, end in zip(marks, ends, strict=True)
        for line in _section(page, mark, text[mark.end() : end])
    ]


def _section(page: str, mark: re.Match[str], text: str) -> list[Line]:
    kind, requires = mark["kind"], mark["requires"] or ""
    if mark["recipe"]:
        block = BLOCK.search(text)
        assert block, f"{page}.md: no block of Python after {mark[0]}"
        arguments = (
            "logits, targets"
            if kind in ("binary", "binary_ignore", "regions", "soft")
            else "logits, labels"
        )
        return [
            Line(page, mark["peer"], kind, requires, block[1], mark["recipe"], f"loss({arguments})")
        ]
    rows = list(_rows(text))
    assert rows, f"{page}.md: no table after {mark[0]}"
    block = BLOCK.search(text.split("\n|")[0])
    setup = block[1] if block else ""
    return [Line(page, mark["peer"] or page, kind, requires, setup, *row) for row in rows]


def _rows(text: str):
    """Both expressions of every row of the first table."""
    for line in re.split(r"\n(?!\|)", text[text.index("\n|") + 1 :])[0].splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        codes = [CODE.findall(cell) for cell in cells[:2]]
        assert all(len(code) == 1 for code in codes), f"one expression a cell, got {line}"
        yield codes[0][0], codes[1][0]


def lines() -> list[Line]:
    """The lines of all pages."""
    return [line for page in ("index", *PAGES) for line in of(page)]
