"""Runs a module of the tests in a process of its own, which has several CPU devices."""

import json
import os
import subprocess
import sys


def report_of(module, devices):
    """Run a module and read the JSON that it prints."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-m", module],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
