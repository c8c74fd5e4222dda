"""Every transformation and debugging flag of JAX gives the plain numbers, on 1 and 8 devices."""

import jax
import jax.numpy as jnp
import pytest

import dice_jax as dj
from tests.support.processes import sharding_facts
from tests.support.transformations import ROWS, SHAPES, Problem

LIMIT = 2e-5
# One worker runs the module: the rows of a size share their problem, the devices a process.
pytestmark = pytest.mark.xdist_group("transformations")


@pytest.fixture(scope="module", params=SHAPES)
def problem(request):
    return Problem(request.param)


@pytest.mark.parametrize("name", ROWS)
def test_one_device(problem, name):
    assert ROWS[name](problem) < LIMIT


@pytest.fixture(
    scope="module",
    params=[
        # Small images are plain expressions: what is sharded here is JAX's own work.
        pytest.param("small", marks=pytest.mark.huge),
        pytest.param("large", marks=pytest.mark.slow),
    ],
)
def on_eight_devices(request):
    return sharding_facts("transformations", request.param)


@pytest.mark.parametrize("name", ROWS)
def test_eight_devices(on_eight_devices, name):
    result = on_eight_devices[name]
    assert isinstance(result, float), result
    assert result < LIMIT


def test_taylor_mode_of_a_large_image_names_the_way_out():
    """`jax.experimental.jet` cannot go through `jax.custom_jvp`, in JAX's own functions either."""
    from jax.experimental.jet import jet

    p = jnp.full((80, 80), 0.5)

    def intersection(p):
        return dj.region_sums(p, p > 2).intersection

    with pytest.raises(NotImplementedError, match=r"nest jax\.jvp"):
        jet(intersection, (p,), ((p,),))


def test_the_persistent_compilation_cache_keeps_the_pass(tmp_path):
    """A second process would find it: the key of the program does not change."""
    logits, labels = jnp.zeros((80, 80, 3)), jnp.zeros((80, 80), jnp.int32)
    names = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    before = {name: getattr(jax.config, name) for name in names}
    kept = []
    try:
        for name, value in names.items():
            jax.config.update(name, value)
        for _ in range(2):
            jax.clear_caches()
            jax.experimental.compilation_cache.compilation_cache.reset_cache()
            jax.block_until_ready(dj.softmax_region_sums(logits, labels))
            kept.append({path.name for path in tmp_path.iterdir() if "atime" not in path.name})
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        jax.experimental.compilation_cache.compilation_cache.reset_cache()
    assert kept[0]
    assert kept[0] == kept[1]
