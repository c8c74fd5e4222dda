"""Sharded pixels, on eight CPU devices: the same numbers, and nothing moves but a few sums."""

import json
import os
import subprocess
import sys

import pytest

SPECS = ["batch", "height", "both"]


@pytest.fixture(scope="module")
def results():
    eight = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.sharded_pass"],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | eight,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


KINDS = ["jit {}", "shard_map {} check_vma=True", "shard_map {} check_vma=False"]


@pytest.mark.parametrize("name", ["sigmoid", "softmax"])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("kind", KINDS)
def test_sharded_pixels_give_the_same_numbers_and_only_sums_travel(results, name, spec, kind):
    result = results[f"{name} {kind.format(spec)}"]
    assert result["value_error"] < 1e-6
    assert result["gradient_error"] < 1e-5
    assert result["moves"] == 0
    assert result["all_reduces"] >= 1
    assert result["keeps_sharding"]


@pytest.mark.parametrize("name", ["sigmoid", "softmax"])
@pytest.mark.parametrize("spec", SPECS)
def test_inside_shard_map_each_device_goes_in_tiles(results, name, spec):
    """There every array is one device's own: tiles, and no image-sized temporaries."""
    for kind in KINDS[1:]:
        result = results[f"{name} {kind.format(spec)}"]
        assert result["loops"] >= 1
        assert result["temporaries"] < 30_000
