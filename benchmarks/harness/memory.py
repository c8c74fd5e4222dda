"""How much memory is left, so that a contender that would not fit is skipped."""

from __future__ import annotations

import os

from benchmarks.harness.case import Unavailable

__all__ = ["available_bytes", "require"]


def available_bytes() -> int | None:
    """Ask how many bytes can be allocated without swapping.

    Returns:
        Bytes, or ``None`` where the system does not say.
    """
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def require(needed: float, what: str) -> None:
    """Raise an error for a contender that does not fit.

    Args:
        needed: bytes.
        what: what needs them, for the message.

    Raises:
        Unavailable: if there is less.
    """
    left = available_bytes()
    if left is not None and needed > left:
        raise Unavailable(f"{what} need {needed / 1e9:.1f} GB, {left / 1e9:.1f} GB are left")
