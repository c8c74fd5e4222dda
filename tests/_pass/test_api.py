"""The pass itself, with terms of its own: what it is given is summed, however it is cut."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dice_jax._pass import primitive
from dice_jax._pass.api import sum_over_pixels
from dice_jax._pass.config import replaced
from dice_jax._pass.fused_xla import fused
from dice_jax._pass.tpu_blocks import blocked

SHAPES = {
    "plain": (3, 5, 4),
    "tiled": (3, 64, 65),
    "tiled with a rest": (4099,),
    "many regions": (40, 300),
}


@pytest.fixture(params=["tiled", "blocked", "fused"], autouse=True)
def implementation(request, monkeypatch):
    """Go over the pixels as another platform would."""
    if request.param == "tiled":
        yield request.param
        return
    monkeypatch.setattr(primitive, "tiled", {"blocked": blocked, "fused": fused}[request.param])
    with replaced(block_pixels=1000):
        yield request.param


def axes_of(shape, kept):
    return tuple(range(kept, len(shape)))


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize(
    ("name", "kept"), [(n, k) for n, s in SHAPES.items() for k in (0, 1) if len(s) > k]
)
def test_what_all_pixels_share_is_differentiated_and_mapped_over_in_every_path(name, kept, classes):
    """A power, a distance matrix."""
    shape = SHAPES[name]
    axes, ndim = axes_of(shape, kept), len(shape)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.uniform(0.1, 1, shape if classes is None else (*shape, classes)))
        mix = jnp.asarray(rng.uniform(size=(3, 3)))

        def terms_of(x, power, mix, *, axis=-1):
            mixed = x
            if classes is not None:
                mixed = jnp.moveaxis(jnp.tensordot(x, mix, ((axis,), (0,))), -1, axis)
            return {"power": mixed**power, "count": jnp.ones_like(mixed)}

        def passed(x, power, mix):
            shared = (power, mix)
            return sum_over_pixels(terms_of, (x,), axes, ndim, shared)["power"].sum()

        def written_out(x, power, mix):
            return jnp.sum(terms_of(x, power, mix)["power"])

        def differentiated_and_mapped(f, x, power, mix, powers):
            arguments = (x, power, mix)
            return (
                jax.value_and_grad(f)(*arguments),
                jax.grad(f, (0, 1, 2))(*arguments),
                jax.jvp(jax.grad(f), arguments, arguments)[1],
                jax.vmap(jax.grad(f, 1), (None, 0, None))(x, powers, mix),
            )

        arguments = (x, jnp.float64(1.7), mix, jnp.array([0.5, 2.0]))
        actual = jax.jit(partial(differentiated_and_mapped, passed))(*arguments)
        expected = jax.jit(partial(differentiated_and_mapped, written_out))(*arguments)
        jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-10), actual, expected)


@pytest.mark.parametrize(
    "shape", [(4096,), (4099,), (2, 61, 67), (5, 7, 128), (2**13 + 64,)], ids=str
)
def test_every_pixel_is_counted_once(shape):
    """Each pixel holds a number of its own: none is left out, none taken twice."""
    with jax.enable_x64(True):
        x = jnp.arange(np.prod(shape), dtype=jnp.float64).reshape(shape) + 1
        axes = tuple(range(len(shape)))
        value, gradient = jax.value_and_grad(
            lambda x: sum_over_pixels(lambda x, axis: x * x, (x,), axes, len(shape))
        )(x)
        np.testing.assert_allclose(value, np.sum(np.square(np.asarray(x))), rtol=1e-13)
        np.testing.assert_allclose(gradient, 2 * np.asarray(x), rtol=1e-14)


@pytest.mark.parametrize("name", SHAPES)
def test_a_term_may_have_axes_that_no_operand_has(name):
    """A histogram's bins: the gradient of a large image too."""
    shape = SHAPES[name]
    x = jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)
    bins = np.array([1.0, 2.0, 4.0], np.float32)

    def summed(x):
        def terms(x, axis):
            edges = bins.reshape(-1, *(1,) * x.ndim) if axis == 0 else bins
            return jnp.expand_dims(x, axis) * edges

        return sum_over_pixels(terms, (x,), axes_of(shape, 0), len(shape))

    np.testing.assert_allclose(summed(x), np.sum(np.asarray(x, np.float64)) * bins, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(lambda x: summed(x).sum())(x), np.full(shape, 7.0))


def test_each_implementation_is_the_one_that_was_asked_for(implementation):
    """Tiles are many small steps of a loop, blocks a few large ones, the fused form has no loop."""
    x = jnp.zeros((4, 5, 300))
    text = (
        jax.jit(lambda x: sum_over_pixels(lambda x, axis: x * x, (x,), (0, 1, 2), 3))
        .lower(x)
        .as_text()
    )
    assert ("while" in text) == (implementation != "fused")


@pytest.mark.parametrize("kept", [0, 1])
def test_a_pass_is_mapped_and_differentiated_to_any_order(kept):
    """Third derivatives, forward over reverse, a map over any argument."""
    shape = (2, 51, 49)
    axes = axes_of(shape, kept)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(*shape, 2)))
        w = jnp.asarray(rng.uniform(0.5, 1, (2, 1, 49)))
        powers = jnp.asarray([0.5, 2.0])
        mask = jnp.asarray(rng.uniform(size=(3, *shape)) < 0.5)

        def terms(x, w, mask, power, axis=-1):
            fields = jax.nn.sigmoid(x) * jnp.expand_dims(w, axis) ** power
            return jnp.where(jnp.expand_dims(mask, axis), fields, jnp.zeros_like(fields))

        def passed(x, w, mask, power):
            return sum_over_pixels(terms, (x, w, mask), axes, 3, (power,))

        def written_out(x, w, mask, power):
            return jnp.sum(terms(x, w, mask, power), axes)

        def third(f):
            def loss(x, w, power):
                return jnp.sum(jnp.sin(f(x, w, mask[0], power)))

            def curvature(x, w, power):
                slope, along = jax.jvp(
                    lambda *a: jax.grad(loss, (0, 1, 2))(*a), (x, w, power), (x, w, power)
                )
                return sum(jnp.sum(a * b) for a, b in zip(slope, along, strict=True))

            return jax.jit(jax.grad(curvature, (0, 1, 2)))(x, w, powers[1])

        def mapped(f):
            loss = jax.vmap(
                jax.vmap(jax.grad(lambda *a: jnp.sum(f(*a) ** 2), (0, 3)), (None, None, 0, None)),
                (None, None, None, 0),
            )
            return jax.jit(loss)(x, w, mask, powers)

        for what in (third, mapped):
            actual, expected = what(passed), what(written_out)
            jax.tree.map(
                lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-9),
                actual,
                expected,
            )


def test_a_pass_that_is_linear_in_an_argument_is_transposed():
    x, w = jnp.full((90, 91), 3.0), jax.ShapeDtypeStruct((90, 1), jnp.float32)
    weigh = jax.linear_transpose(
        lambda w: sum_over_pixels(lambda x, w, axis: x * w, (x, w), (0, 1), 2), w
    )
    np.testing.assert_allclose(weigh(jnp.float32(2))[0], np.full((90, 1), 2 * 3 * 91))


def test_a_pass_whose_only_argument_is_transposed_knows_its_pixels():
    """Nothing but the argument itself says how large a block is."""
    x = jax.ShapeDtypeStruct((90, 91, 2), jnp.float32)
    double = jax.linear_transpose(
        lambda x: sum_over_pixels(lambda x, axis: 2 * x, (x,), (0, 1), 2), x
    )
    (gradient,) = double(jnp.array([1.0, 3.0], jnp.float32))
    np.testing.assert_array_equal(gradient, np.broadcast_to([2.0, 6.0], x.shape))
