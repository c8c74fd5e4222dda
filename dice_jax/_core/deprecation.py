"""How a public name goes: it works for one more minor version, and says which line replaces it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["deprecated"]

P = ParamSpec("P")
R = TypeVar("R")


def deprecated(function: Callable[P, R], *, name: str, line: str, goes_in: str) -> Callable[P, R]:
    """Make a function that warns, and then does what ``function`` does.

    Args:
        function: does what the old name did.
        name: the old name, as users write it.
        line: the line to write instead.
        goes_in: the version in which the name goes.

    Returns:
        The function to keep under the old name.

    Example:
        >>> import warnings
        >>> old = deprecated(abs, name="dj.old", line="abs(x)", goes_in="0.4")
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     _ = warnings.simplefilter("always")
        ...     print(old(-1), caught[0].message)
        1 dj.old goes in 0.4. Write abs(x) instead.
    """

    @functools.wraps(function)
    def old(*args: P.args, **kwargs: P.kwargs) -> R:
        # Level 2 is the caller's line, which is the one to change.
        message = f"{name} goes in {goes_in}. Write {line} instead."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    return old
