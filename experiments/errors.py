"""The one error that a user can correct, and the hint for a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ConfigError", "unknown_name"]


class ConfigError(ValueError):
    """A study that cannot be run as asked.

    The message says what to change: in one line, or in two lines for each kind of fault that a
    folder of images has.
    """


def unknown_name(kind: str, name: str, known: Iterable[str], more: str = "") -> ConfigError:
    """Make the error for a name that is not known, with the nearest known one."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigError(f"unknown {kind} {name!r}{hint}; known are {', '.join(known)}{more}")
