"""What the other libraries gave, and in which version; written by `tests.parity.record`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["path", "read"]


def path(peer: str) -> Path:
    """The file of one library."""
    return Path(__file__).parent / f"{peer}.json"


def read(peer: str) -> dict[str, Any]:
    """The recorded lines of one library by key."""
    return json.loads(path(peer).read_text()) if path(peer).exists() else {}
