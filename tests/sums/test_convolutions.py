"""Convolutions in loops: the same numbers, in the one layout that XLA:CPU is fast in."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dice_jax import with_canonical_convolutions

CANONICAL = {1: "b0f_0io->b0f", 2: "b01f_01io->b01f", 3: "b012f_012io->b012f"}


def layouts(function, *arguments):
    text = jax.jit(function).lower(*arguments).compiler_ir(dialect="hlo").as_hlo_text()
    return set(re.findall(r"dim_labels=(\S+?)(?:[,\s]|$)", text))


@pytest.mark.parametrize(
    ("shape", "kernel", "numbers", "options"),
    [
        ((2, 9, 3), (3, 3, 4), ("NWC", "WIO", "NWC"), {}),
        ((2, 8, 7, 3), (3, 2, 3, 4), ("NHWC", "HWIO", "NHWC"), {"window_strides": (2, 1)}),
        ((2, 8, 7, 4), (3, 3, 2, 6), ("NHWC", "HWIO", "NHWC"), {"feature_group_count": 2}),
        ((2, 3, 8, 7), (4, 3, 3, 3), ("NCHW", "OIHW", "NCHW"), {"rhs_dilation": (2, 1)}),
        ((2, 4, 5, 3), (3, 3, 3, 4), ("NHWC", "HWIO", "NHWC"), {"lhs_dilation": (2, 2)}),
        ((4, 6, 5, 3), (3, 3, 3, 4), ("NHWC", "HWIO", "CHWN"), {"batch_group_count": 2}),
        ((1, 4, 5, 6, 2), (3, 3, 3, 2, 3), ("NDHWC", "DHWIO", "NDHWC"), {}),
    ],
)
def test_the_gradient_in_a_loop_is_the_same(shape, kernel, numbers, options):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)
    w = jnp.asarray(rng.normal(size=kernel), jnp.float32)
    options = {"window_strides": (1,) * (len(shape) - 2)} | options

    def value(w, x):
        y = jax.lax.conv_general_dilated(
            x, w, padding="SAME" if "lhs_dilation" not in options else [(1, 1)] * 2,
            dimension_numbers=numbers, **options
        )  # fmt: skip
        return jnp.sum(jnp.sin(y))

    def gradient(w, xs):
        def step(total, x):
            # Nested programs, of a branch and of a rematerialised block.
            branch = jax.lax.cond(
                x.sum() > 0, jax.grad(jax.checkpoint(value)), jax.grad(value), w, x
            )
            return total + branch, jax.grad(value, 1)(w, x)

        return jax.lax.scan(step, jnp.zeros_like(w), xs)

    ours = with_canonical_convolutions(gradient)
    if "batch_group_count" not in options:
        assert layouts(gradient, w, x) != {CANONICAL[len(shape) - 2]}
    assert layouts(ours, w, x) == {CANONICAL[len(shape) - 2]}
    for new, old in zip(jax.jit(ours)(w, x), jax.jit(gradient)(w, x), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-4)


def test_other_platforms_get_the_program_as_it_is():
    def gradient(w, x):
        return jax.grad(
            lambda w: jnp.sum(
                jax.lax.conv_general_dilated(
                    x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
            )
        )(w)

    w, x = jnp.ones((3, 3, 2, 2)), jnp.ones((1, 4, 4, 2))
    traced = jax.jit(with_canonical_convolutions(gradient)).trace(w, x)
    plain = jax.jit(gradient).trace(w, x)

    def transpositions(traced, platform):
        return traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.transpose")

    assert transpositions(traced, "tpu") == transpositions(plain, "tpu")
    assert transpositions(traced, "cpu") > transpositions(plain, "cpu")
