"""Puts typeset formulas, "use it when" and "see also" into docstrings and statements of the theory.

The formulas stand in formulas.toml, the advice in the table of docs/choosing.md.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from functools import cache
from pathlib import Path

__all__ = ["Formula", "advice", "display", "formulas", "see_also", "split"]

_HERE = Path(__file__).parent
_CHOOSING = _HERE.parent / "choosing.md"


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula that the site typesets.

    Args:
        text: as the docstring or the statement has it.
        latex: the same for KaTeX.
        keep: whether the text stays beside the typeset formula, because it says more.
        see: public names to read beside it, without ``dice_jax.``.
    """

    text: str
    latex: str
    keep: bool = False
    see: tuple[str, ...] = ()


@cache
def formulas() -> dict[str, Formula]:
    """Read formulas.toml.

    Returns:
        Public names without their package, and ids of statements -> formulas.
    """
    table = tomllib.loads((_HERE / "formulas.toml").read_text(encoding="utf-8"))
    return {
        name: Formula(**{**entry, "see": tuple(entry.get("see", ()))})
        for name, entry in table.items()
    }


@cache
def advice() -> dict[str, str]:
    """Read when to take each loss from the table of docs/choosing.md.

    Returns:
        Names of losses -> the words of the column "take it when".

    Raises:
        LookupError: if there is no such table.
    """
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        for line in _CHOOSING.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    heads = [k for k, row in enumerate(rows) if "take it when" in row]
    if not heads:
        raise LookupError('docs/choosing.md has no table with the column "take it when"')
    column = rows[heads[0]].index("take it when")
    named = ((re.search(r"`(\w+_loss)`", row[0]), row) for row in rows[heads[0] + 1 :])
    return {name[1]: row[column] for name, row in named if name and len(row) > column}


def split(name: str, text: str) -> tuple[str | None, str]:
    """Take a formula out of a text.

    Args:
        name: of the formula.
        text: a docstring or a statement.

    Returns:
        The LaTeX, or ``None`` if the name has no formula; and the text. The text loses the formula
        if a paragraph begins with it and formulas.toml does not say `keep`.

    Raises:
        LookupError: if the text has another formula than formulas.toml.
    """
    formula = formulas().get(name)
    if formula is None:
        return None, text
    words = r"\s+".join(re.escape(word) for word in formula.text.split())
    if not re.search(words, text):
        raise LookupError(
            f"{name} no longer has the formula {formula.text!r}: "
            "change docs/_hooks/formulas.toml too"
        )
    if not formula.keep:
        text = re.sub(rf"(?m)(\n\n){words}[.,:;]?[ \n]*", r"\1", text, count=1)
    return formula.latex, text


def display(latex: str) -> str:
    """Write LaTeX as a formula on lines of its own.

    Args:
        latex: without delimiters.

    Returns:
        Markdown.
    """
    return f"\\[\n{latex}\n\\]"


def see_also(name: str) -> list[str]:
    """Name what to read beside a public name.

    Args:
        name: without its package.

    Returns:
        Public names without ``dice_jax.``.
    """
    formula = formulas().get(name)
    return list(formula.see) if formula else []
