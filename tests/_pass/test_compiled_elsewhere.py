"""Programs compiled for a TPU v5e and for an H100 without one: what they move and what they keep.

Each target has its own marker and its own command, in an environment with its compiler: ``pytest -m
tpu`` and ``pytest -m gpu_compiled``.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import dice_jax as dj
from benchmarks.contenders.objectives import SIGMOID_DICE_BCE, SOFTMAX_DICE_CE
from benchmarks.families.compiled import compiled_figures
from benchmarks.harness.case import Unavailable
from benchmarks.harness.problems import Problem
from benchmarks.harness.targets import H100, TPU_V5E

MB = 1e6
TARGETS = [
    pytest.param(TPU_V5E, marks=pytest.mark.tpu, id="TPU"),
    pytest.param(H100, marks=pytest.mark.gpu_compiled, id="GPU"),
]


@pytest.fixture(autouse=True)
def compilers(request):
    for marker, target in (("tpu", TPU_V5E), ("gpu_compiled", H100)):
        if request.node.get_closest_marker(marker):
            try:
                target.devices()
            except Unavailable as reason:
                # Its compiler needs an environment of its own, which the gate does not have.
                pytest.skip(str(reason))


@pytest.mark.tpu
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("classes", [None, 2, 3, 4, 8, 32])
def test_a_tpu_s_kernel_moves_the_least_bytes(classes, dtype):
    objective = SIGMOID_DICE_BCE if classes is None else SOFTMAX_DICE_CE
    with dj.pass_implementation("kernel"):
        problem = Problem((64, 256, 256), classes)
        figures = compiled_figures(TPU_V5E, objective.dice_jax, problem, dtype)
    assert figures["traffic_ratio"] <= 1.1
    assert figures["temporary_bytes"] <= 10 * MB
    assert figures["gathers"] == 0


@pytest.mark.tpu
def test_a_sigmoid_on_a_tpu_reads_its_targets_once_a_pass():
    problem = Problem((64, 256, 256), None)
    figures = compiled_figures(TPU_V5E, SIGMOID_DICE_BCE.dice_jax, problem, jnp.float32)
    assert figures["traffic_ratio"] <= 1.1


def masked(axis=None):
    def loss(x, y, w):
        sums = dj.softmax_region_sums(x, y, where=w, axis=axis)
        return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums).mean()

    return jax.value_and_grad(loss)


def hessian_vector_product(x, y, v):
    def loss(x):
        return dj.dice_loss(dj.softmax_region_sums(x, y)).mean()

    return jax.jvp(jax.grad(loss), (x,), (v,))[1]


def given(*shape, classes=3, labels=jnp.int32, weights=jnp.float32):
    x = jax.ShapeDtypeStruct((*shape, classes), jnp.float32)
    return x, jax.ShapeDtypeStruct(shape, labels), jax.ShapeDtypeStruct(shape, weights)


PROGRAMS = {
    "per image, weights": (masked((1, 2)), given(8, 256, 256), 2),
    "a mask, uint8 labels": (masked(), given(8, 256, 256, labels=jnp.uint8, weights=jnp.bool_), 2),
    "ragged rows and lanes": (masked(), given(4, 250, 200), 2),
    "few rows": (masked(), given(64, 5, 200), 2),
    "a large image": (masked(), given(1, 2048, 2048, classes=5), 2),
    "mapped": (jax.vmap(masked()), given(2, 4, 256, 256), 2),
    "forward over reverse": (
        hessian_vector_product,
        (*given(8, 256, 256)[:2], given(8, 256, 256)[0]),
        3,
    ),
    "unified focal": (
        jax.value_and_grad(lambda x, y: dj.unified_focal_loss(x, y)),
        given(8, 256, 256)[:2],
        4,
    ),
}


@pytest.mark.tpu
@pytest.mark.parametrize("name", PROGRAMS)
def test_mosaic_takes_the_kernel_of(name):
    function, arguments, most = PROGRAMS[name]
    with dj.pass_implementation("kernel"):
        compiled = TPU_V5E.compile(function, *arguments)
    assert 1 <= compiled.as_text().count("tpu_custom_call") <= most
    assert compiled.memory_analysis().temp_size_in_bytes <= 1 * MB


@pytest.mark.tpu
def test_what_the_kernel_cannot_do_goes_in_blocks():
    """A distance matrix is no single number, and Mosaic has no float16."""
    x, y, _ = given(32, 256, 256)
    distances = 1 - np.eye(3, dtype=np.float32)

    def wasserstein(x, y):
        return dj.generalized_wasserstein_dice_loss(jax.nn.softmax(x), y, distances).mean()

    half = jax.ShapeDtypeStruct(x.shape, jnp.float16)
    with dj.pass_implementation("kernel"):
        for loss, logits in ((wasserstein, x), (SOFTMAX_DICE_CE.dice_jax, half)):
            text = TPU_V5E.compile(jax.value_and_grad(loss), logits, y).as_text()
            assert "tpu_custom_call" not in text


@pytest.mark.tpu
def test_every_chip_of_a_shard_map_runs_its_own_kernel():
    mesh = Mesh(np.array(TPU_V5E.devices()), ("d",))
    every = P("d")

    def mean(x, y):
        sums = jax.lax.psum(dj.softmax_region_sums(x, y), "d")
        return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)

    loss = jax.shard_map(mean, mesh=mesh, in_specs=(every, every), out_specs=P())
    arguments = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, every))
        for x in given(64, 256, 256)[:2]
    ]
    with dj.pass_implementation("kernel"):
        text = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile().as_text()
        plain = jax.jit(jax.value_and_grad(SOFTMAX_DICE_CE.dice_jax)).lower(*arguments).compile()
    assert text.count("tpu_custom_call") == 2
    assert "all-gather" not in text
    # Under plain jit a kernel would gather: there the pass is the fused expression.
    assert "tpu_custom_call" not in plain.as_text()
    assert "all-gather" not in plain.as_text()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_head_makes_no_logits(target, dtype):
    """Of 2²⁰ pixels with 104 classes: nothing is larger than the features."""
    pixels, features, classes = 2**20, 32, 104

    def loss(h, kernel, y):
        sums = dj.linear_softmax_region_sums(h, kernel, y)
        return dj.dice_loss(sums).mean() + dj.cross_entropy_loss(sums)

    compiled = target.compile(
        jax.value_and_grad(loss, (0, 1)),
        jax.ShapeDtypeStruct((pixels, features), dtype),
        jax.ShapeDtypeStruct((features, classes), dtype),
        jax.ShapeDtypeStruct((pixels,), jnp.int32),
    )
    sizes = re.findall(r"\b(?:f32|bf16|s32|pred)\[([\d,]+)\]", compiled.as_text())
    assert max(np.prod([int(n) for n in size.split(",")]) for size in sizes) == pixels * features
    assert compiled.memory_analysis().temp_size_in_bytes <= 60 * MB


# The largest traffic over the least, and the largest temporaries.
GPU = {
    (None, "float32"): (1.1, 10 * MB),
    (None, "bfloat16"): (1.1, 10 * MB),
    (2, "float32"): (1.6, 10 * MB),
    (3, "float32"): (1.5, 10 * MB),
    (3, "bfloat16"): (1.6, 10 * MB),
    (8, "float32"): (1.5, 10 * MB),
    (32, "float32"): (2.15, 30 * MB),
}


@pytest.mark.gpu_compiled
@pytest.mark.parametrize(("classes", "dtype"), GPU)
def test_a_gpu_s_traffic(classes, dtype):
    objective = SIGMOID_DICE_BCE if classes is None else SOFTMAX_DICE_CE
    batch = {None: 512, 2: 128, 3: 64, 8: 32, 32: 16}[classes]
    problem = Problem((batch, 512, 512), classes)
    figures = compiled_figures(H100, objective.dice_jax, problem, jnp.dtype(dtype))
    traffic, temporaries = GPU[classes, dtype]
    assert figures["traffic_ratio"] <= traffic
    assert figures["temporary_bytes"] <= temporaries
