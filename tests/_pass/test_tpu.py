"""Programs compiled for a TPU v5e (2x4) without one: what travels, and how the gradient lies.

Run by its own command, in an environment with libtpu: ``pytest -m tpu``.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.tpu,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="libtpu is not installed (pip install libtpu, in an environment of its own)",
    ),
]

PROGRAM = """
import json
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
import numpy as np
import dice_jax as dj

def loss(x, y):
    sums = dj.softmax_region_sums(x, y)
    return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)

devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices
mesh = Mesh(np.array(devices).reshape(2, 4), ("b", "h"), axis_types=(AxisType.Auto,) * 2)
report = {}
specs = {"batch": P(("b", "h")), "height": P(None, ("b", "h")), "both": P("b", "h")}
for name, spec in specs.items():
    sharding = NamedSharding(mesh, spec)
    x = jax.ShapeDtypeStruct((16, 256, 256, 4), jnp.float32, sharding=sharding)
    y = jax.ShapeDtypeStruct((16, 256, 256), jnp.int32, sharding=sharding)
    compiled = jax.jit(jax.value_and_grad(loss)).lower(x, y).compile()
    memory = compiled.memory_analysis()
    report[name] = {
        "hlo": compiled.as_text(),
        "temporaries": memory.temp_size_in_bytes,
        "logits": memory.argument_size_in_bytes,
        "keeps_sharding": compiled.output_shardings[1].is_equivalent_to(sharding, 4),
    }
x = jax.ShapeDtypeStruct((64, 256, 256, 2), jnp.float32)
y = jax.ShapeDtypeStruct((64, 256, 256), jnp.int32)
one = jax.sharding.SingleDeviceSharding(devices[0])
here = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=one), (x, y))
every = P(("b", "h"))
mapped = jax.shard_map(
    lambda x, y: jax.lax.pmean(loss(x, y), ("b", "h")), mesh=mesh, in_specs=(every, every),
    out_specs=P(),
)
of_a_chip = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(
        (8 * a.shape[0], *a.shape[1:]), a.dtype, sharding=NamedSharding(mesh, every)
    ),
    (x, y),
)
large = {"one chip": (loss, here), "shard_map": (mapped, of_a_chip)}
for name, (function, arguments) in large.items():
    compiled = jax.jit(jax.value_and_grad(function)).lower(*arguments).compile()
    report[name] = {"temporaries": compiled.memory_analysis().temp_size_in_bytes}
print("RESULT", json.dumps(report))
"""


@pytest.fixture(scope="module")
def report():
    # A process of its own: libtpu makes every import of JAX print warnings.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.partition("RESULT ")[2])


@pytest.mark.parametrize("spec", ["batch", "height", "both"])
def test_only_a_few_sums_travel_between_chips(report, spec):
    hlo = report[spec]["hlo"]
    found = set(re.findall(r"\b(all-\w+|collective-\w+|reduce-scatter|gather)(?:-start)?\(", hlo))
    assert found == {"all-reduce"}
    # Eight sums of four classes at most, in the shapes that the collectives are given.
    for shapes in re.findall(r"= (.*) all-reduce(?:-start)?\(", hlo):
        for shape in re.findall(r"f32\[([\d,]*)\]", shapes):
            assert eval(shape.replace(",", "*") or "1") <= 32, shapes
    assert report[spec]["keeps_sharding"]


@pytest.mark.parametrize("spec", ["batch", "height", "both"])
def test_a_chip_keeps_no_image_sized_temporaries(report, spec):
    assert report[spec]["temporaries"] < report[spec]["logits"] / 4


@pytest.mark.parametrize("where", ["one chip", "shard_map"])
def test_many_pixels_of_a_chip_go_in_blocks(report, where):
    """In one expression, XLA keeps what it found per pixel: 51 MB here."""
    assert report[where]["temporaries"] < 2**20
