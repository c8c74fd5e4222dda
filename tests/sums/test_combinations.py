"""Microbatches, devices, shardings and processes, in every combination: the whole batch's numbers.

A real U-Net, its parameters' gradients, against the whole batch in one piece on one device.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs.combinations import MICROBATCHES, cases

# One worker runs the module: each of its two fixtures compiles dozens of programs.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("combinations")]

ROOT = Path(__file__).parents[2]
# What is compiled runs once: compiling it well would take longer than running it does.
FAST = "--xla_backend_optimization_level=0"
# A device that waits for the other process holds a thread: there must be one for every device.
THREADS = {"PJRT_NPROC": "16", "NPROC": "16"}
LIMITS = {"float32": 1e-5, "float64": 1e-12}


def run(processes, microbatches):
    flags = f"--xla_force_host_platform_device_count={8 // processes} {FAST}"
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    tested = ",".join(map(str, microbatches))
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.programs.combinations",
                tested,
                str(processes),
                str(i),
                str(port),
            ],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **THREADS},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    reports = []
    try:
        for process in started:
            output, problems = process.communicate(timeout=900)
            assert process.returncode == 0, problems
            reports.append(json.loads(output.partition("RESULT ")[2]))
    finally:
        for process in started:
            process.kill()
    return reports


@pytest.mark.parametrize(
    ("processes", "microbatches"),
    [
        (1, MICROBATCHES),
        (2, (2,)),
        # The rest of them, several minutes: two processes wait for each other at every sum.
        pytest.param(2, MICROBATCHES, marks=pytest.mark.huge),
    ],
    ids=str,
)
def test_every_combination_gives_the_gradient_of_the_whole_batch(processes, microbatches):
    expected = [(name, m) for name, _, m in cases(processes, microbatches)]
    single = [f"float32, 4 microbatches, {name}" for name, _, _ in cases(processes, (4,))]
    for errors in run(processes, microbatches):
        assert set(errors) == {*single, *(f"float64, {m} microbatches, {n}" for n, m in expected)}
        for name, error in errors.items():
            assert error < LIMITS[name[:7]], name
