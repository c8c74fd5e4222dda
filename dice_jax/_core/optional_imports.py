"""Libraries that only some functions need: imported when those are called."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["optional"]


def optional(module: str, *, user: str, extra: str) -> Any:
    """Import a library that is not among the core's dependencies.

    Args:
        module: what to import.
        user: the function that needs it, for the error.
        extra: the extra of dice_jax that brings it, for the error.

    Returns:
        The module.

    Raises:
        ImportError: if it is not installed, with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{user} needs {module.split('.')[0]}: pip install 'dice_jax[{extra}]'"
        ) from error
