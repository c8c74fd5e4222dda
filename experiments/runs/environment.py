"""What a run ran on: versions and devices."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import jax

__all__ = ["environment"]


def environment() -> dict[str, Any]:
    """Describe the versions and the devices that a run runs on.

    Returns:
        Plain JSON values by name; ``devices`` counts those of all processes.
    """
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
    device = jax.local_devices()[0]
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cpu_cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
