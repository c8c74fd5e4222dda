"""The one error that a user can correct, and the hint for a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ConfigError", "did_you_mean", "unknown_name"]


class ConfigError(ValueError):
    """A study that cannot be run as asked.

    The message says what to change: in one line, or in two lines for each kind of fault that a
    folder of images has, or in a line for each fault of a file of sets.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Write a hint with the known name that is nearest to a misspelt one; nothing if none is."""
    written = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), written, 1)
    return f" (did you mean {written[near[0]]!r}?)" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str], more: str = "") -> ConfigError:
    """Make the error for a name that is not known, with the nearest known one."""
    known = list(known)
    hint = did_you_mean(name, known)
    return ConfigError(f"unknown {kind} {name!r}{hint}; known are {', '.join(known)}{more}")
