"""Microbatches, devices, shardings and processes together: the whole batch's numbers.

A real U-Net, its parameters' gradients, against the whole batch in one piece on one device.
"""

import json

import pytest

from tests.programs.sharding.combinations import every, few
from tests.support import WITHOUT_EXTRA
from tests.support.processes import free_port, start

pytest.importorskip("flax", reason=WITHOUT_EXTRA)

# One worker runs the module: each of its two fixtures compiles dozens of programs.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("combinations")]

# A device that waits for the other process holds a thread: there must be one for every device.
THREADS = {"PJRT_NPROC": "16", "NPROC": "16"}
LIMITS = {"float32": 1e-5, "float64": 1e-12}


def run(processes, which):
    program, devices, port = "tests.programs.sharding.combinations", 8 // processes, free_port()
    started = [
        start(program, which, processes, i, port, devices=devices, **THREADS)
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


# Every combination takes minutes: two processes wait for each other at every sum.
@pytest.mark.parametrize("which", ["few", pytest.param("every", marks=pytest.mark.huge)])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_combination_gives_the_gradient_of_the_whole_batch(processes, which):
    expected = (few if which == "few" else every)(processes)
    for errors in run(processes, which):
        assert set(errors) == {", ".join(case) for case in expected}
        for name, error in errors.items():
            assert error < LIMITS[name[:7]], name


def test_the_few_have_every_mesh_and_every_number_of_microbatches():
    assert set(few(2)) < set(every(2))
    assert set(few(1)) < set(every(1))
    for part in range(3):
        assert {case[part] for case in few(1)} == {case[part] for case in every(1)}
