"""Keeps what takes long to make (the gallery's pictures) between builds of the site.

A thing is made again when its own source or the code of the library has changed. Docstrings and
comments are no code: while you edit them, `mkdocs serve` does not draw or train anything again.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

__all__ = ["code", "kept"]

_ROOT = Path(__file__).parents[2]
# Not under version control.
_FOLDER = _ROOT / ".cache" / "site"


@cache
def code(package: str) -> str:
    """Hash the code of a package, without docstrings and comments.

    Args:
        package: a folder of the repository.

    Returns:
        A short text that changes with the code.
    """
    total = hashlib.sha256()
    for path in sorted((_ROOT / package).rglob("*.py")):
        total.update(_without_docstrings(path.read_text(encoding="utf-8")).encode())
    return total.hexdigest()


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def kept(name: str, sources: list[str], make: Callable[[], bytes]) -> bytes:
    """Make something, or take what was made the last time.

    Args:
        name: of the file that keeps it.
        sources: all that it depends on.
        make: makes it.

    Returns:
        What ``make`` returned, now or the last time.
    """
    key = hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]
    stem, dot, suffix = name.rpartition(".")
    path = _FOLDER / f"{stem}-{key}{dot}{suffix}"
    if path.exists():
        return path.read_bytes()
    made = make()
    _FOLDER.mkdir(parents=True, exist_ok=True)
    for old in _FOLDER.glob(f"{stem}-{'[0-9a-f]' * 16}{dot}{suffix}"):
        old.unlink()
    # Complete or not at all: the builder may be stopped.
    part = path.with_suffix(".part")
    part.write_bytes(made)
    part.replace(path)
    return made
