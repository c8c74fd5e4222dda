"""What is compiled: one trace per shape, no image-sized temporaries, nothing that no one reads."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj

SIXTEEN = (16, 256, 256)


@pytest.fixture
def traces():
    """Count how often JAX traces a function to a jaxpr."""
    seen = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/jaxpr_trace_duration":
            seen.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y, s: dj.dice_loss(dj.sigmoid_region_sums(x, y), smooth=s),
        lambda x, y, s: dj.generalized_dice_loss(dj.region_sums(x, y, axis=0), smooth=s),
        lambda x, y, s: dj.tversky_loss(dj.region_sums(x, y), alpha=s, beta=1 - s, smooth=s),
        lambda x, y, s: dj.focal_tversky_loss(dj.region_sums(x, y), alpha=s, beta=s, gamma=s),
        lambda x, y, s: dj.binary_cross_entropy_loss(dj.sigmoid_region_sums(x, y, where=y > 0)),
        lambda x, y, s: dj.cross_entropy_loss(dj.softmax_region_sums(x, y[:, 0])),
    ],
)
def test_a_call_outside_jit_is_traced_once_per_shape_whatever_the_values(call, traces):
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.uniform(size=(6, 4)), jnp.float32), rng.integers(0, 2, (6, 4))
    jax.clear_caches()
    call(x, y, 0.1)
    traces.clear()
    for smooth in (0.3, 0.4):
        call(x, 1 - y, smooth)
    assert not traces
    call(x[:3], y[:3], 0.1)
    assert traces, "another shape must be traced: else this test counts nothing"


def programs(loss, x, y):
    program = jax.jit(jax.value_and_grad(loss)).lower(x, y).compile()
    return program.as_text(), program.memory_analysis().temp_size_in_bytes


def dice(x, y):
    return dj.dice_loss(dj.softmax_region_sums(x, y)).mean()


def dice_and_cross_entropy(x, y):
    s = dj.softmax_region_sums(x, y)
    return dj.dice_loss(s).mean() + dj.cross_entropy_loss(s)


def binary_dice(x, y):
    return dj.dice_loss(dj.sigmoid_region_sums(x, y))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
@pytest.mark.parametrize(
    ("loss", "classes", "shape"),
    [
        (dice_and_cross_entropy, 2, SIXTEEN),
        (dice_and_cross_entropy, 4, SIXTEEN),
        (dice_and_cross_entropy, 32, (2, 256, 256)),
        (dice_and_cross_entropy, 104, (1, 96, 96, 32)),
        (binary_dice, None, SIXTEEN),
    ],
)
def test_temporaries_stay_below_two_megabytes(loss, classes, shape, dtype):
    x = jax.ShapeDtypeStruct(shape if classes is None else (*shape, classes), dtype)
    y = jax.ShapeDtypeStruct(shape, jnp.int32)
    _, temporaries = programs(loss, x, y)
    assert temporaries <= 2**21
    if classes == 4:
        x = jax.ShapeDtypeStruct((4 * shape[0], *x.shape[1:]), dtype)
        y = jax.ShapeDtypeStruct((4 * shape[0], *shape[1:]), jnp.int32)
        assert programs(loss, x, y)[1] <= 1.5 * temporaries


def test_bfloat16_takes_one_gradient_sized_temporary():
    """XLA:CPU converts a bfloat16 array that a loop carries to float32 and back at every step."""
    x = jax.ShapeDtypeStruct((*SIXTEEN, 4), jnp.bfloat16)
    y = jax.ShapeDtypeStruct(SIXTEEN, jnp.int32)
    text, temporaries = programs(dice_and_cross_entropy, x, y)
    assert temporaries <= 2 * x.size + 2**18
    # No float32 array of the image's size: only what a tile holds.
    assert not re.search(rf"f32\[\d*({x.size}|{x.size // 4},4|16,256,256,4)\]", text)


def test_a_sum_that_no_one_reads_is_not_computed():
    """Dice reads no cross-entropy: its program has no logarithm, forwards or backwards."""
    x, y = jnp.zeros((*SIXTEEN, 4)), jnp.zeros(SIXTEEN, jnp.int32)
    logarithm = re.compile(r"= \S+ log(-plus-one)?\(")
    assert not logarithm.search(programs(dice, x, y)[0])
    assert logarithm.search(programs(dice_and_cross_entropy, x, y)[0])
    assert not logarithm.search(programs(binary_dice, x[..., 0], y)[0])


def test_large_arrays_go_in_tiles_and_small_ones_do_not():
    assert " while(" in programs(dice, jnp.zeros((*SIXTEEN, 4)), jnp.zeros(SIXTEEN, jnp.int32))[0]
    assert " while(" not in programs(dice, jnp.zeros((8, 8, 4)), jnp.zeros((8, 8), jnp.int32))[0]


def test_the_path_is_chosen_when_lowered_not_by_the_default_backend():
    """Lowered for a TPU on this CPU host: one expression, no loop over tiles."""
    x = jax.ShapeDtypeStruct((*SIXTEEN, 4), jnp.float32)
    y = jax.ShapeDtypeStruct(SIXTEEN, jnp.int32)
    traced = jax.jit(jax.value_and_grad(dice_and_cross_entropy)).trace(x, y)
    assert "while" in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "while" not in traced.lower(lowering_platforms=("tpu",)).as_text()
    assert "while" not in traced.lower(lowering_platforms=("cuda",)).as_text()


def test_a_gpu_s_derivative_computes_again_what_the_pass_found():
    """XLA would see that both say the same, and keep the softmax of the whole image."""
    x = jax.ShapeDtypeStruct((*SIXTEEN, 4), jnp.float32)
    y = jax.ShapeDtypeStruct(SIXTEEN, jnp.int32)
    traced = jax.jit(jax.value_and_grad(dice_and_cross_entropy)).trace(x, y)
    behind_a_barrier = re.compile(r"optimization_barrier [^\n]*tensor<16x256x256x4xf32>")
    for platform, passes in (("cuda", 2), ("tpu", 0)):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert len(behind_a_barrier.findall(text)) == passes, platform
