"""A function evaluated on tiles whose axes lie in another order: the same, whatever it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dice_jax._pass import pixels_last
from dice_jax._pass.pixels_last import evaluate_pixels_last


def moved(x, pixel_axes):
    """[*pixels, *classes] as [*classes, *pixels]."""
    return np.transpose(x, (*range(pixel_axes, np.ndim(x)), *range(pixel_axes)))


def everything(valid, x, labels, mix, weights):
    """Operations that know of axes, that do not, that call programs, and that no rule knows."""
    lift = (..., None)
    one_hot = (labels[lift] == jnp.arange(x.shape[-1], dtype=labels.dtype)).astype(x.dtype)
    p = jax.nn.softmax(x)

    def loss(x):
        return jnp.sum(jnp.square(jax.nn.log_softmax(x)) * one_hot)

    ring = jnp.moveaxis(x[lift] * mix, 0, -1)
    slope, curvature = jax.jvp(jax.grad(loss), (x,), (p,))
    return {
        "a product with a matrix": p @ mix,
        "weights of the classes": jnp.where(one_hot > 0, jnp.log(p), jnp.zeros_like(p)) * weights,
        "the first of the largest": jnp.argmax(x, -1),
        "a program called": jax.nn.relu(x).sum(-1, keepdims=True) * jax.checkpoint(jnp.sin)(p),
        "a running sum": jnp.cumsum(x, -1),
        "further axes": x[lift] * mix,
        "an axis made": jax.lax.broadcast_in_dim(x, (*x.shape, 2), tuple(range(x.ndim))),
        "axes in a ring": jnp.moveaxis(ring * jnp.arange(ring.shape[-1], dtype=x.dtype), -1, 0),
        "one of them summed": jnp.sum(x[lift] * mix, -2),
        "the largest along the other": jnp.max(x[lift] * mix, -1, keepdims=True),
        "axes swapped": jnp.swapaxes(x[lift] * mix, -1, -2),
        "a slice": x[..., 1:],
        "axes of size 1": jnp.squeeze(jnp.reshape(x, (*labels.shape, 1, -1, 1)), -1),
        "a derivative": slope,
        "another": curvature,
        "a constant": jnp.ones_like(x),
        "handed through": x,
        "valid": x if valid is None else jnp.where(valid[lift], x, jnp.zeros_like(x)),
        "summed already": jnp.sum(x[lift] * mix, tuple(range(labels.ndim))),
    }


@pytest.mark.parametrize(
    ("block", "masked"),
    [((8, 16), True), ((8, 16), False), ((1,), False), ((3,), True), ((3, 3), False)],
    ids=str,
)
def test_a_function_gives_the_same_in_either_order(block, masked):
    rng = np.random.default_rng(0)
    pixel_axes = len(block)
    with jax.enable_x64(True):
        valid = jnp.asarray(rng.uniform(size=block) < 0.7) if masked else None
        x, mix, weights = (jnp.asarray(rng.normal(size=s)) for s in ((*block, 3), (3, 3), (3,)))
        labels = jnp.asarray(rng.integers(3, size=block), jnp.int32)
        expected = jax.jit(everything)(valid, x, labels, mix, weights)

        def flat(*blocks):
            return jax.tree.leaves(everything(*blocks))

        already = sorted(expected).index("summed already")
        of_results = [np.ndim(expected[name]) - pixel_axes for name in sorted(expected)]
        of_results[already] = 2

        def laid(x):
            blocks, of_blocks = [valid, x, labels, mix, weights], [0, 1, 0, 2, 1]
            return evaluate_pixels_last(flat, blocks, of_blocks, of_results, block)

        found = jax.jit(laid)(moved(x, pixel_axes))
    for (name, want), have in zip(sorted(expected.items()), found, strict=True):
        # [3, 3] of classes, also where a block is 3×3: what has no pixels comes as it is.
        if name != "summed already":
            want = moved(want, pixel_axes)
        np.testing.assert_allclose(have, want, rtol=1e-12, atol=1e-12, err_msg=name)


def test_nothing_is_moved_in_a_loss_of_ours(monkeypatch):
    """Right in any order, fast in one: no operation of a softmax's pass needs the old one."""
    import dice_jax as dj

    unknown = []
    as_written = pixels_last._as_written

    def noted(jaxpr, equation, operands):
        if operands:
            unknown.append(equation.primitive.name)
        return as_written(jaxpr, equation, operands)

    monkeypatch.setattr(pixels_last, "_as_written", noted)

    def loss(x, y):
        sums = dj.softmax_region_sums(x, y)
        entropy = dj.cross_entropy_loss(sums) + dj.binary_cross_entropy_loss(sums).mean()
        return dj.dice_loss(sums).mean() + entropy + dj.jaccard_loss(sums).mean()

    x, y = jnp.zeros((2, 64, 64, 3)), jnp.zeros((2, 64, 64), jnp.int32)
    jax.jit(jax.value_and_grad(loss)).lower(x, y)
    assert unknown == []
