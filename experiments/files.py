"""Files that are written completely or not at all, even if the process dies."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["remove_unfinished", "write_json", "write_whole"]

_UNFINISHED = ".part"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file completely or not at all, even if the process dies; its directory is made."""
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(_UNFINISHED, f".{path.name}.", path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        # When a disk is full, the system does not say which file was being written.
        raise OSError(error.errno, f"{error.strerror}, while writing {path}") from error


def remove_unfinished(directory: Path) -> None:
    """Remove what killed processes left below a directory to which nobody else writes."""
    for path in directory.rglob(f".*{_UNFINISHED}"):
        path.unlink()


def _plain(value: Any) -> Any:
    """Make a value fit for JSON, which has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, completely or not at all; NaN and infinities become null."""
    write_whole(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")
