"""Sharded pixels, on eight CPU devices: the same numbers, and nothing moves but a few sums."""

import pytest

from tests.programs.sharding.pixels import CASES, FURTHER_CASES
from tests.support.processes import sharding_facts

# One worker runs the module: its fixture compiles for a long time.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sharding")]


@pytest.fixture(scope="module")
def results():
    return sharding_facts("pixels")


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_sharded_pixels_give_the_same_numbers_and_only_sums_travel(results, case):
    result = results[" ".join(case)]
    assert result["value_error"] < 1e-6
    assert result["gradient_error"] < 1e-5
    assert result["moves"] == 0
    assert result["all_reduces"] >= 1
    assert result["keeps_sharding"]


@pytest.mark.parametrize("case", [c for c in CASES if c[1] != "jit"], ids=" ".join)
def test_inside_shard_map_each_device_goes_in_tiles(results, case):
    """No image-sized temporaries: a device holds 50 kB of logits here."""
    result = results[" ".join(case)]
    assert result["loops"] >= 1
    assert result["temporaries"] < 30_000


@pytest.mark.parametrize("kind", ["shard_map", "Explicit"])
def test_a_head_makes_no_logits_on_any_device(results, kind):
    """A tile of 2,048 pixels takes 0.9 MB, a device's own logits would take 3.4 MB."""
    assert results["head"][kind] < 3.4e6


@pytest.mark.parametrize("case", FURTHER_CASES, ids=" ".join)
def test_whatever_reads_pixels_under_jit_is_cut_rightly(results, case):
    """Weights of another shape, regions, options, uneven shards, second derivatives, vmap."""
    result = results[" ".join(case)]
    assert "problem" not in result, result["problem"]
    assert result["moves"] == 0
    assert result["error"] < 1e-5
