"""The pass itself, with terms of its own: what it is given is summed, however it is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dice_jax.one_pass import sum_over_pixels

SHAPES = {
    "plain": (3, 5, 4),
    "tiled": (3, 64, 65),
    "tiled with a rest": (4099,),
    "many regions": (40, 300),
}


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

        def terms_of(x, power, mix):
            mixed = x if classes is None else x @ mix
            return {"power": mixed**power, "count": jnp.ones_like(mixed)}

        def passed(x, power, mix):
            shared = (power, mix)
            return sum_over_pixels(terms_of, (x,), axes, ndim, shared)["power"].sum()

        def written_out(x, power, mix):
            return jnp.sum(terms_of(x, power, mix)["power"])

        for function in (
            jax.value_and_grad,
            lambda f: jax.grad(f, (0, 1, 2)),
            lambda f: lambda *a: jax.jvp(jax.grad(f), a, a)[1],
        ):
            actual = jax.jit(function(passed))(x, jnp.float64(1.7), mix)
            expected = jax.jit(function(written_out))(x, jnp.float64(1.7), mix)
            jax.tree.map(
                lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-10), actual, expected
            )
        powers = jnp.array([0.5, 2.0])
        mapped = jax.vmap(jax.grad(passed, 1), (None, 0, None))(x, powers, mix)
        looped = [jax.grad(written_out, 1)(x, p, mix) for p in powers]
        np.testing.assert_allclose(mapped, looped, rtol=1e-10)


@pytest.mark.parametrize(
    "shape", [(4096,), (4099,), (2, 61, 67), (5, 7, 128), (2**13 + 64,)], ids=str
)
def test_every_pixel_is_counted_once(shape):
    """Each pixel holds a number of its own: none is left out, none taken twice."""
    with jax.enable_x64(True):
        x = jnp.arange(np.prod(shape), dtype=jnp.float64).reshape(shape) + 1
        axes = tuple(range(len(shape)))
        value, gradient = jax.value_and_grad(
            lambda x: sum_over_pixels(lambda x: x * x, (x,), axes, len(shape))
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
        return sum_over_pixels(lambda x: x[..., None] * bins, (x,), axes_of(shape, 0), len(shape))

    np.testing.assert_allclose(summed(x), np.sum(np.asarray(x, np.float64)) * bins, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(lambda x: summed(x).sum())(x), np.full(shape, 7.0))
