"""Distances against SciPy's, and what the boundary and Hausdorff losses promise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import oracles, reference


def masks(shape, seed):
    """Sparse, dense, one blob, its complement, and a single False or True pixel."""
    rng = np.random.default_rng(seed)
    centre = np.array([n // 2 for n in shape])
    grid = np.moveaxis(np.indices(shape), 0, -1)
    ball = np.linalg.norm(grid - centre, axis=-1) < min(shape) / 2.5
    corner = np.ones(shape, bool)
    corner[(0,) * len(shape)] = False
    noise = rng.random(shape)
    return np.stack([noise < 0.1, noise < 0.98, ball, ~ball, corner, ~corner])


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((37,), (0.5,)),
        ((29, 41), None),
        ((29, 41), (0.7, 3.2)),
        ((11, 13, 9), (2.5, 0.9, 0.9)),
    ],
    ids=["1-D", "2-D", "2-D anisotropic", "3-D anisotropic"],
)
def test_equals_scipy_in_a_batch(shape, spacing):
    batch = masks(shape, 0)
    axis = tuple(range(1, len(shape) + 1))
    distance = dj.distance_transform(batch, axis=axis, spacing=spacing)
    signed = dj.signed_distance(batch, axis=axis, spacing=spacing)
    for i, mask in enumerate(batch):
        expected = reference.distance_transform(mask, spacing=spacing)
        np.testing.assert_allclose(distance[i], expected, rtol=1e-6, atol=1e-6)
        expected = reference.signed_distance(mask, spacing=spacing)
        np.testing.assert_allclose(signed[i], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seeds", ["many", "one", "border", "object"])
def test_lines_of_several_blocks(seeds):
    """Longer lines than a block, more of them than go together, and distances across blocks."""
    mask = np.ones((400, 601), bool)
    if seeds == "many":
        mask = np.random.default_rng(1).random(mask.shape) < 0.999
    elif seeds == "one":
        mask[130, 590] = False
    elif seeds == "border":
        mask[:, 0] = mask[-1] = False
    else:
        mask[100:300, 250:270] = False
        mask[:5, 595:] = False
    np.testing.assert_allclose(
        dj.distance_transform(mask), reference.distance_transform(mask), rtol=1e-6
    )


def test_what_accelerators_run_gives_the_same():
    """The program is chosen when it is lowered, so the other one is called by name here."""
    from dice_jax.images import distance

    step = jnp.float32(1.5)
    lines = jnp.where(np.concatenate(masks((40, 33), 8), 1), jnp.inf, 0.0)
    first = _branches(distance._first_axis, lines, step)
    further = _branches(distance._further_axis, first[0], step)
    for cpu, default in (first, further):
        np.testing.assert_allclose(default, cpu, rtol=1e-6)


def test_the_nearest_rows_of_any_heights():
    """Heights that no mask gives: rows whose nearest pixels are far from them, or nowhere."""
    from dice_jax.images import distance

    n, step = 300, 0.7
    row = np.arange(n)
    rng = np.random.default_rng(9)
    # Almost as concave as the price is convex: every row is the nearest one of some pixel.
    stretched = [5e4 - share * (step * (row - 150)) ** 2 for share in (0.5, 0.9, 0.99)]
    rough = [rng.uniform(0, top, n) ** 2 for top in (3, 30, 300)]
    rare = [np.where(rng.random(n) < 0.02, h, np.inf) for h in rough]
    # Only just worth a look from the next block: a bound that is a little too high misses it.
    tight = np.full((2, n), np.inf)
    tight[0, 0], tight[0, 174:] = 0, (step * 150) ** 2 - (step * 24) ** 2 + 100
    tight[1, :124] = tight[1, 174] = 0
    lines = [*stretched, *rough, *rare, *tight, np.full(n, np.inf)]
    heights = np.stack(lines, 1).astype(np.float32)
    heights = np.concatenate([heights, heights[::-1]], 1)
    price = (step * (row[:, None] - row)) ** 2
    expected = np.min(heights.astype(np.float64) + price[..., None], 1)
    many = 10  # more lines than go together
    for program in (jax.jit(distance._in_blocks), jax.jit(distance._at_once)):
        together = program(np.tile(heights, (1, many)), jnp.float32(step))
        np.testing.assert_allclose(together, np.tile(expected, (1, many)), rtol=2e-6, atol=1e-2)
        # Lines that go together wait for the slowest: each one on its own, too.
        for line, least in zip(heights.T, expected.T, strict=True):
            alone = program(line[:, None], jnp.float32(step))
            np.testing.assert_allclose(alone[:, 0], least, rtol=2e-6, atol=1e-2)


def _branches(function, *arguments):
    """Every program that ``platform_dependent`` could have chosen."""
    chosen = []

    def both(*arguments, cpu, default):
        chosen.extend((jax.jit(cpu)(*arguments), jax.jit(default)(*arguments)))
        return chosen[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "platform_dependent", both)
        function(*arguments)
    return chosen


def test_spacing_follows_the_order_of_axis():
    mask = masks((8, 9), 2)[0]
    expected = reference.distance_transform(mask.T, spacing=(2.0, 3.0))
    distance = dj.distance_transform(mask, axis=(-1, 0), spacing=(2.0, 3.0))
    np.testing.assert_allclose(distance, expected.T, rtol=1e-6)


def test_a_new_spacing_does_not_compile_again():
    from dice_jax.images import distance

    mask = np.ones((6, 7), bool)
    mask[2, 3] = False
    dj.distance_transform(mask, spacing=(1.0, 2.0))
    compiled = distance._distance_transform._cache_size()
    dj.distance_transform(mask, spacing=(1.5, 2.5))
    assert distance._distance_transform._cache_size() == compiled
    traced = jax.jit(lambda s: dj.distance_transform(mask, spacing=s))(jnp.array([1.5, 2.5]))
    expected = reference.distance_transform(mask, spacing=(1.5, 2.5))
    np.testing.assert_allclose(traced, expected, rtol=1e-6)


def test_images_of_one_class():
    both = np.stack([np.zeros((5, 6), bool), np.ones((5, 6), bool)])
    distance = dj.distance_transform(both, axis=(1, 2))
    assert (np.asarray(distance[0]) == 0).all()
    assert np.isposinf(distance[1]).all()
    np.testing.assert_array_equal(dj.signed_distance(both, axis=(1, 2)), 0)


def test_masked_pixels_are_no_one_s_neighbour():
    batch = masks((16, 18), 3)
    inner = np.zeros((16, 18), bool)
    inner[3:14, 2:13] = True
    crop = batch[:, 3:14, 2:13]
    for function, expected in (
        (dj.distance_transform, reference.distance_transform),
        (dj.signed_distance, reference.signed_distance),
    ):
        result = np.asarray(function(batch, axis=(1, 2), where=inner))
        assert (result[:, ~inner] == 0).all()
        for i in range(len(batch)):
            np.testing.assert_allclose(result[i, 3:14, 2:13], expected(crop[i]), rtol=1e-6)


def test_vmap_equals_batch():
    batch = masks((9, 10), 4)
    mapped = jax.vmap(dj.distance_transform)(batch)
    np.testing.assert_array_equal(mapped, dj.distance_transform(batch, axis=(1, 2)))


def test_no_gradient_flows_into_the_mask():
    def distances(x):
        return jnp.sum(dj.distance_transform(x > 0.5))

    x = np.random.default_rng(5).random((6, 7)).astype(np.float32)
    np.testing.assert_array_equal(jax.grad(distances)(x), 0)
    with jax.enable_x64(True):
        assert dj.distance_transform(x > 0.5).dtype == jnp.float64


def test_boundary_gradient_is_the_distance():
    y = masks((9, 11), 6)[2]
    phi = dj.signed_distance(y)
    p = np.random.default_rng(6).random((9, 11)).astype(np.float32)
    gradient = jax.grad(dj.boundary_loss)(p, phi)
    np.testing.assert_allclose(gradient, phi / 99, rtol=1e-5)


def test_hausdorff_spacing_and_power():
    rng = np.random.default_rng(7)
    p = rng.random((7, 8, 9)).astype(np.float32)
    y = rng.random(p.shape) < 0.3
    run = partial(dj.hausdorff_distance_loss, p, y, axis=(0, 2), spacing=(2.0, 0.5))
    for alpha in (1.0, 2.0):
        expected = oracles.hausdorff_distance_loss(
            p, y, axis=(0, 2), spacing=(2.0, 0.5), alpha=alpha
        )
        np.testing.assert_allclose(run(alpha=alpha), expected, rtol=1e-5)


def test_hausdorff_sees_how_far_a_mistake_is():
    y = np.zeros((9, 30), np.float32)
    y[3:6, 2:5] = 1

    def with_mistake(column):
        p = y.copy()
        p[4, column] = 1
        return dj.hausdorff_distance_loss(p, y)

    losses = [float(with_mistake(column)) for column in (6, 12, 25)]
    assert losses[0] < losses[1] < losses[2]


def test_wrong_arguments_say_what_is_expected():
    mask = np.ones((4, 5), bool)
    with pytest.raises(TypeError, match=r"mask must be boolean.*probabilities > 0\.5"):
        dj.distance_transform(mask.astype(np.float32))
    for spacing in ((0.0, 1.0), (1.0, -2.0), (np.inf, 1.0)):
        with pytest.raises(ValueError, match="spacing must be finite and > 0"):
            dj.distance_transform(mask, spacing=spacing)
    with pytest.raises(ValueError, match="one entry per axis, 1"):
        dj.signed_distance(mask, axis=0, spacing=(1.0, 1.0))
    with pytest.raises(ValueError, match="axis 2 does not exist"):
        dj.signed_distance(mask, axis=2)
    p = mask.astype(np.float32)
    with pytest.raises(TypeError, match="signed_distances must be floating"):
        dj.boundary_loss(p, mask)
    with pytest.raises(ValueError, match="alpha must be finite and > 0"):
        dj.hausdorff_distance_loss(p, mask, alpha=0.0)
