"""The TPU's kernel, interpreted on a CPU: it computes what the oracles say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

import dice_jax as dj
from dice_jax._pass import primitive
from dice_jax._pass.choice import implementation_in_use
from dice_jax._pass.config import replaced
from dice_jax._pass.fused_xla import fused
from dice_jax._pass.tpu_kernel import in_kernel, should_use_kernel
from tests.support import oracles, reference
from tests.support.cases import CASES


@pytest.fixture
def kernels(monkeypatch):
    """Run passes in the interpreted kernel: the ops that ran in it, and those that did not."""
    ran, declined = [], []

    def choose(op, arguments, *_, **__):
        if should_use_kernel(op, arguments):
            ran.append(op)
            return functools.partial(in_kernel, interpret=True)
        declined.append(op)
        return fused

    monkeypatch.setattr(primitive, "_implementation", choose)
    # Blocks of a few rows: an image is several blocks.
    with replaced(fewest_pixels=1, fewest_region_pixels=1, kernel_block_bytes=2**16):
        yield ran, declined


def dice_and_cross_entropy(logits, labels, where=None, axis=None):
    sums = dj.softmax_region_sums(logits, labels, where=where, axis=axis)
    dice = dj.dice_loss(sums)
    # Unequal weights: a gradient in the wrong image or class shows.
    weights = jnp.arange(1, 1 + dice.size, dtype=dice.dtype).reshape(dice.shape)
    return jnp.sum(dice * weights) + dj.cross_entropy_loss(sums).mean()


def draw(shape, classes, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 2, (*shape, classes)), dtype)
    return logits, jnp.asarray(rng.integers(0, classes, shape), jnp.int32), rng


def in_float64(loss, logits, *arguments):
    """A loss and its gradient in float64, which the kernel leaves to the plain expression."""
    with jax.enable_x64(True):
        found = jax.jit(jax.value_and_grad(loss))(jnp.asarray(logits, jnp.float64), *arguments)
        return jax.tree.map(np.asarray, found)


def agree(actual, expected, rtol=2e-5):
    (value, gradient), (expected_value, expected_gradient) = actual, expected
    np.testing.assert_allclose(float(value), float(expected_value), rtol=rtol)
    scale = np.max(np.abs(expected_gradient))
    np.testing.assert_allclose(
        reference.float64(gradient), expected_gradient, rtol=0, atol=scale * rtol
    )


FORMS = {
    "pooled": lambda y, rng: {},
    "per image": lambda y, rng: {"axis": (1, 2)},
    "mask": lambda y, rng: {"where": jnp.asarray(rng.random(y.shape) < 0.7)},
    "weights per image": lambda y, rng: {
        "axis": (1, 2),
        "where": jnp.asarray(rng.uniform(size=y.shape), jnp.float32),
    },
}
CHEAP = [
    # Rows and lanes that no register divides, and a mask, which has registers of 32 rows.
    ((2, 43, 130), 3, "mask", jnp.float32),
    # The classes in the sublanes; several blocks an image, the last one beyond its edge.
    ((2, 100, 128), 4, "weights per image", jnp.float32),
]
ALL = [
    (shape, classes, form, dtype)
    for shape, classes, form, dtype in [
        *(((2, 100, 256), 3, form, jnp.float32) for form in FORMS),
        *(((2, 32, 128), classes, "pooled", jnp.float32) for classes in (2, 8, 9, 32)),
        ((2, 64, 128), 3, "mask", jnp.bfloat16),
        ((3, 5, 140), 2, "per image", jnp.float32),
        ((40, 129), 5, "pooled", jnp.float32),
        ((2, 3, 24, 128), 4, "pooled", jnp.float32),
    ]
]


def check(kernels, shape, classes, form, dtype):
    logits, labels, rng = draw(shape, classes, dtype)
    loss = functools.partial(dice_and_cross_entropy, **FORMS[form](labels, rng))
    actual = jax.jit(jax.value_and_grad(loss))(logits, labels)
    ran, declined = kernels
    assert (len(ran), len(declined)) == (2, 0), "one kernel each way"
    assert actual[1].dtype == dtype
    agree(actual, in_float64(loss, logits, labels), rtol=2e-5 if dtype == jnp.float32 else 1e-2)


@pytest.mark.parametrize(("shape", "classes", "form", "dtype"), CHEAP)
def test_value_and_gradient(kernels, shape, classes, form, dtype):
    check(kernels, shape, classes, form, dtype)


@pytest.mark.huge
@pytest.mark.parametrize(("shape", "classes", "form", "dtype"), ALL)
def test_value_and_gradient_of_every_form(kernels, shape, classes, form, dtype):
    check(kernels, shape, classes, form, dtype)


def test_a_derivative_of_a_derivative(kernels):
    """A Hessian-vector product: forward over reverse."""
    logits, labels, rng = draw((1, 16, 128), 3)
    along = jnp.asarray(rng.normal(size=logits.shape), jnp.float32)

    def product(x, v):
        return jax.jvp(lambda x: jax.grad(dice_and_cross_entropy)(x, labels), (x,), (v,))[1]

    actual = jax.jit(product)(logits, along)
    assert not kernels[1]
    with jax.enable_x64(True):
        wide = jnp.asarray(logits, jnp.float64), jnp.asarray(along, jnp.float64)
        expected = np.asarray(jax.jit(product)(*wide))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.max(np.abs(expected)))


@pytest.mark.huge
@pytest.mark.parametrize("name", CASES)
def test_every_loss_of_the_battery(kernels, name):
    """In the kernel, or beside it where a loss has terms that no kernel knows."""
    case = CASES[name]
    x, y = case.kind.draw(np.random.default_rng(0), (2, 19, 130))
    weight = np.random.default_rng(1).random(y.shape).astype(np.float32)
    loss = case.kind.call(case.loss, dj, case.options)
    oracle = case.kind.call(getattr(oracles, case.name), reference, case.options)
    value = jax.jit(lambda x: loss(x, y, axis=(1, 2), where=weight))(x)
    expected = [
        oracle(
            *(np.asarray(v[i], np.float64) if v is not y else v[i] for v in (x, y)),
            where=weight[i].astype(np.float64),
        )
        for i in range(2)
    ]
    np.testing.assert_allclose(value, np.stack(expected), rtol=1e-4, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(loss(x, y, axis=(1, 2), where=weight))))(x)
    assert gradient.shape == x.shape
    assert np.isfinite(gradient).all()
    assert np.any(gradient)


def test_the_choice_is_part_of_the_key_of_a_compiled_function():
    traced = []

    @jax.jit
    def loss(x):
        traced.append(implementation_in_use())
        return x + 1

    for name in ("auto", "fused", "kernel", "fused", "auto"):
        with dj.pass_implementation(name):
            loss(jnp.float32(0))
    loss(jnp.float32(0))
    assert traced == ["auto", "fused", "kernel"]


def test_the_fused_expression_has_no_loop_on_a_cpu():
    x, y = jnp.zeros((80, 80, 3)), jnp.zeros((80, 80), jnp.int32)
    program = jax.jit(dice_and_cross_entropy)
    assert "while" in program.lower(x, y).as_text()
    with dj.pass_implementation("fused"):
        assert "while" not in program.lower(x, y).as_text()
    with dj.pass_implementation("kernel"):
        assert "while" in program.lower(x, y).as_text()


def test_only_a_tpu_s_program_has_kernels():
    x = jax.ShapeDtypeStruct((2, 64, 128, 3), jnp.float32)
    y = jax.ShapeDtypeStruct((2, 64, 128), jnp.int32)
    program = jax.jit(jax.value_and_grad(dice_and_cross_entropy))
    # Pallas asks which device it compiles for.
    device = AbstractDevice("TPU v5 lite", 1, "tpu")
    with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        for choice, kernels in (("kernel", 2), ("auto", 0), ("fused", 0)):
            with dj.pass_implementation(choice):
                traced = program.trace(x, y)
            # What is traced keeps its choice.
            for platform, expected in (("tpu", kernels), ("cuda", 0)):
                text = traced.lower(lowering_platforms=(platform,)).as_text()
                assert text.count("tpu_custom_call") == expected, (choice, platform)


@pytest.mark.parametrize("name", ["pallas", "", None])
def test_an_unknown_choice_is_an_error(name):
    with pytest.raises(ValueError, match=r'name must be "auto", "fused" or "kernel", got'):
        dj.pass_implementation(name)
