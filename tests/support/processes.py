"""Processes of their own for tests: with several CPU devices, or several that work together."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# As the tests themselves compile (conftest.py): programs that run once are compiled quickly.
FAST = os.environ.get("XLA_FLAGS", "")


def start(module, *arguments, devices=1, **environment):
    """Start a module of the tests as a program; its output is read with ``communicate``."""
    flags = f"--xla_force_host_platform_device_count={devices} {FAST}"
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **environment}
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sharding_facts(section, *arguments):
    """Measure one section of `tests.programs.sharding` on eight CPU devices."""
    process = start("tests.programs.sharding", section, *arguments, devices=8)
    try:
        output, problems = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, problems
    # JAX prints when it finds a NaN: the facts are the last line.
    return json.loads(output.splitlines()[-1])


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]
