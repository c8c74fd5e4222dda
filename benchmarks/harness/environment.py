"""What a measurement depends on: versions, hardware, date, load of the machine."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

__all__ = ["cores", "describe", "load"]

_PACKAGES = (
    "dice_jax",
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "optax",
    "monai",
    "torch",
    "libtpu",
    "jax-cuda12-plugin",
)


def load() -> float | None:
    """Ask how many processes wanted a core over the last minute.

    Returns:
        The load average, or ``None`` where the system has none.
    """
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def describe() -> dict[str, Any]:
    """Record where and with what something is measured.

    Returns:
        ``date``, ``revision``, ``versions`` and ``hardware``, for JSON.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "versions": {"python": platform.python_version()} | _versions(),
        "hardware": {
            "cpu": _cpu(),
            "cores": cores(),
            "memory_bytes": _memory(),
            "backend": jax.default_backend(),
            "devices": [d.device_kind for d in jax.devices()],
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def cores() -> int:
    """Count the cores that this process may use.

    Returns:
        The number of cores.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _revision() -> str | None:
    """The commit of the sources, with ``-dirty`` where they differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        here = Path(__file__).parent
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
