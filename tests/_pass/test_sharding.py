"""Sharded pixels, on eight CPU devices: the same numbers, and nothing moves but a few sums."""

import pytest

from tests.support.processes import report_of

# One worker runs the module: its fixture compiles for a long time.
pytestmark = pytest.mark.xdist_group("sharding")

SPECS = ["batch", "height", "both"]


@pytest.fixture(scope="module")
def results():
    return report_of("tests.programs.sharded_pass", devices=8)


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
@pytest.mark.parametrize("kind", KINDS)
def test_each_device_goes_in_tiles(results, name, spec, kind):
    """No image-sized temporaries: a device holds 50 kB of logits here."""
    result = results[f"{name} {kind.format(spec)}"]
    assert result["loops"] >= 1
    assert result["temporaries"] < 30_000


def test_whatever_reads_pixels_under_jit_is_cut_rightly(results):
    """Weights of another shape, regions, options, uneven shards, second derivatives, vmap."""
    further = {name: r for name, r in results.items() if name.startswith("further")}
    assert len(further) == 11
    for name, result in further.items():
        assert result["moves"] == 0, name
        assert result["error"] < 1e-5, name
