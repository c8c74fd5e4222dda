"""Many devices and two processes give what one device gives."""

import json

import jax
import numpy as np
import pytest

from tests.support import WITHOUT_EXTRA, networks
from tests.support.networks import relative_error
from tests.support.processes import free_port, sharding_facts, start

pytest.importorskip("flax", reason=WITHOUT_EXTRA)

# One worker runs the module: its fixture compiles for a long time.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("distributed")]


@pytest.fixture(scope="module")
def sharding():
    """Measure everything on eight CPU devices in one process of its own."""
    facts = sharding_facts("accumulation")
    assert facts["devices"] == 8
    return facts


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_inside_shard_map(sharding, devices, check_vma):
    name = f"shard_map {devices=} {check_vma=}"
    assert sharding[name] < 1e-5
    if devices > 1:
        assert sharding[f"collectives of {name}"] == ["all-reduce"]


@pytest.mark.parametrize("check_vma", [True, False])
def test_a_unet_inside_shard_map(sharding, check_vma):
    assert sharding[f"U-Net shard_map {check_vma=}"] < 1e-12


@pytest.mark.parametrize("case", ["marked by the caller", "explicit axes"])
def test_parameters_and_meshes_of_other_kinds(sharding, case):
    assert sharding[case] < 1e-5


def test_a_stream_of_sharded_pieces(sharding):
    assert sharding["stream of sharded pieces"] < 1e-5


def test_an_axis_that_the_mesh_lacks_is_named(sharding):
    assert sharding["unbound axis"].startswith("axis_name 'rows' is not bound here")


@pytest.fixture(scope="module")
def two_processes():
    """Let two processes work together on half the batch each, until the second one dies."""
    port = free_port()
    both = [start("tests.programs.two_processes", i, port) for i in (0, 1)]
    try:
        return [(*process.communicate(timeout=300), process.returncode) for process in both]
    finally:
        for process in both:
            process.kill()


def test_two_processes_with_half_the_batch_each_equal_one(two_processes):
    expected = jax.jit(jax.value_and_grad(networks.whole_loss))(
        networks.unet()[1], networks.batch()
    )
    for output, problems, _ in two_processes:
        _, found, result = output.partition("RESULT ")
        assert found, problems
        loss, *gradients = json.loads(result)
        assert relative_error(loss, expected[0]) < 1e-5
        assert relative_error([np.array(g) for g in gradients], expected[1]) < 1e-5


def test_when_one_process_dies_the_other_stops_and_says_why(two_processes):
    (_, problems, code), (_, _, died) = two_processes
    assert died == 3
    # It would be 0 after a minute without a failure, and the fixture's limit ends a hang.
    assert code == 1, problems
    assert "process 0 of 2 stops, because it or another one of them has failed" in problems
