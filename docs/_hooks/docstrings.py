"""Reads the docstrings as they are written: formulas, doctests, references, names in backticks."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

import dice_jax

# Griffe loads this file by its path, without the folder beside it.
sys.path.append(str(Path(__file__).parent))
import formulas

__all__ = ["DocstringStyle", "as_markdown", "prose", "with_formula"]

_ROOMS = ("", "analysis.", "metrics.", "analysis.plots.")
# A name in single backticks, not part of a longer run of backticks and not a link's text.
_NAME = re.compile(r"(?<![`\[])`([A-Za-z_][\w.]*)`(?![`\]])")
_URL = re.compile(r"(?<!<)(https?://[^\s,;)>]+[^\s,;.)>])")
_CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
_RETURNS = re.compile(r"(^Returns:\n)((?: {4}.*\n?)+)", re.MULTILINE)
_STATEMENT = re.compile(r"\b(C\d{1,2})\b")


def _address(name: str) -> str | None:
    name = name.removeprefix("dice_jax.")
    for room in _ROOMS:
        parts = f"{room}{name}".split(".")
        value: Any = dice_jax
        for part in parts:
            value = None if part.startswith("_") else getattr(value, part, None)
        if str(getattr(value, "__module__", "")).startswith("dice_jax"):
            address = ".".join(["dice_jax", *parts])
            # A function that shadows its module is found inside of it.
            return f"{address}.{part}" if value.__module__ == address else address
    return None


def _line(line: str) -> str:
    if line.lstrip().startswith((">>>", "...")):
        return line
    line = _NAME.sub(lambda m: f"[{m[0]}][{a}]" if (a := _address(m[1])) else m[0], line)
    line = _URL.sub(r"<\1>", line)
    pieces = _CODE.split(line)
    # Subscripts such as w_c are no emphasis; code and links keep theirs.
    return "".join(piece if k % 2 else prose(piece) for k, piece in enumerate(pieces))


# One letter with an index or an exponent: w_c, x_{k+1}, e^{-z}, L^γ. Longer words are names.
_INDEX = re.compile(r"(?<!\w)([^\W\d_])_(?:\{([^{}]+)\}|([^\W_]|\d)(?!\w))")
_EXPONENT = re.compile(r"(?<=[\w)₊₋₀])\^(?:\{([^{}]+)\}|\(([^()]+)\)|([−-]?\w)(?!\w))")


def prose(piece: str, theory: str = "../theory.md") -> str:
    """Turn words into Markdown: subscripts and exponents, and links to statements of the theory.

    Args:
        piece: without code.
        theory: the theory page, as a link from the page of these words.

    Returns:
        Markdown.
    """
    if "][" not in piece and "://" not in piece:
        piece = _INDEX.sub(lambda m: f"{m[1]}<sub>{m[2] or m[3]}</sub>", piece)
        piece = _EXPONENT.sub(lambda m: f"<sup>{m[1] or m[2] or m[3]}</sup>", piece)
        piece = piece.replace("_", r"\_")
    return _STATEMENT.sub(lambda m: f"[{m[1]}]({theory}#{m[1].lower()})", piece)


def as_markdown(docstring: str) -> str:
    """Turn a docstring into what the site's parser expects.

    Args:
        docstring: in the style of CONTRIBUTING.md.

    Returns:
        The same with "Example" and "References" as the parser names them, public names and
        addresses as links, and subscripts that are not emphasis.
    """
    text = re.sub(r"^Example:$", "Examples:", docstring, flags=re.MULTILINE)
    head, mark, examples = text.partition("\nExamples:\n")
    # A colon in prose would make a type of the words before it.
    head = _RETURNS.sub(lambda m: m[1] + m[2].replace(": ", "&#58; "), head)
    head = "\n".join(_argument(line) for line in head.split("\n"))
    examples, references, sources = examples.partition("\nReferences:\n")
    if not mark:
        head, references, sources = head.partition("\nReferences:\n")
    sources = "\n".join(_line(line) for line in sources.split("\n"))
    return head + mark + examples + references + sources


def _argument(line: str) -> str:
    # The name before the colon of an argument is no prose.
    match = re.match(r"^( {4}\*{0,2}[A-Za-z_]\w*:)(.*)$", line)
    return match[1] + _line(match[2]) if match else _line(line)


def with_formula(name: str, docstring: str) -> str:
    """Put the formula first, and after the words when to use it and what to read beside it.

    Args:
        name: of the object.
        docstring: in the style of CONTRIBUTING.md.

    Returns:
        What `as_markdown` makes of it, with these parts.
    """
    latex, docstring = formulas.split(name, docstring)
    parts = []
    if words := formulas.advice().get(name):
        parts.append(f"**Use it when** {words.rstrip('.')}.")
    if others := formulas.see_also(name):
        links = [f"[`{other}`][dice_jax.{other}]" for other in others]
        parts.append(f"**See also** {', '.join(links)}.")
    text = as_markdown(docstring)
    if latex:
        summary, _, rest = text.partition("\n\n")
        text = f"{summary}\n\n{formulas.display(latex)}\n\n{rest}"
    if not parts:
        return text
    words, args, rest = text.partition("\nArgs:\n")
    return "\n\n".join([words.rstrip(), *parts]) + "\n" + args + rest


class DocstringStyle(griffe.Extension):
    """Applies `as_markdown` to every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one object's docstring (griffe calls this)."""
        if obj.docstring is None:
            return
        public = obj.is_function and _address(obj.name) is not None
        text = obj.docstring.value
        text = with_formula(obj.name, text) if public else as_markdown(text)
        if any("NamedTuple" in str(base) for base in getattr(obj, "bases", ())):
            # Its fields are no parameters to the parser.
            text = text.replace("\nArgs:\n", "\nAttributes:\n")
        obj.docstring.value = text
