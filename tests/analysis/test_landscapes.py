"""Landscapes, curves and curvature against NumPy; the pictures of them."""

from functools import partial

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import analysis
from dice_jax.analysis import plots

_dice = partial(dj.dice_loss, smooth=1e-5)


@pytest.fixture(scope="module")
def picture():
    return analysis.landscape(dj.dice_loss, fraction=0.1, count=1000.0, points=9)


def test_the_landscape_is_that_of_numpy(picture):
    background, foreground = np.meshgrid(picture.background, picture.foreground, indexing="ij")
    i, s = 100 * foreground, 100 * foreground + 900 * background + 100
    index = (2 * i + 1) / (s + 1)
    np.testing.assert_allclose(picture.loss, 1 - index, rtol=1e-5)
    np.testing.assert_allclose(picture.foreground_gradient, -100 * (2 - index) / (s + 1), rtol=1e-4)
    np.testing.assert_allclose(picture.background_gradient, 900 * index / (s + 1), rtol=1e-4)
    slope = foreground * (1 - foreground)
    np.testing.assert_allclose(picture.foreground_flow, (2 - index) / (s + 1) * slope, rtol=1e-4)
    slope = background * (1 - background)
    np.testing.assert_allclose(picture.background_flow, -index / (s + 1) * slope, rtol=1e-4)


def test_the_size_curve_is_that_of_numpy():
    sizes = np.array([5.0, 50.0, 500.0])
    curve = analysis.size_curve(_dice, sizes, count=1000.0, foreground=0.8, background=0.1)
    i, s = 0.8 * sizes, 0.8 * sizes + 0.1 * (1000 - sizes) + sizes
    np.testing.assert_allclose(curve.loss, 1 - 2 * i / s, rtol=1e-4)
    np.testing.assert_allclose(curve.foreground_mass, 2 * sizes * (s - i) / s**2, rtol=1e-4)
    np.testing.assert_allclose(curve.background_mass, 2 * (1000 - sizes) * i / s**2, rtol=1e-4)


def test_the_smoothing_curve_is_that_of_the_statement():
    smooths = np.array([0.0, 1.0, 100.0])
    curve = analysis.smoothing_curve(
        dj.dice_loss, smooths, target=20.0, count=1000.0, foreground=0.4, background=0.2
    )
    i = 8.0
    u = 8.0 + 196 + 20 - i
    np.testing.assert_allclose(curve.ratio, (2 * u + smooths) / (2 * i + smooths), rtol=1e-4)
    size = i + u + smooths
    foreground, background = -(2 * u + smooths) / size**2, (2 * i + smooths) / size**2
    np.testing.assert_allclose(curve.foreground_gradient, foreground, rtol=1e-4)
    np.testing.assert_allclose(curve.background_gradient, background, rtol=1e-4)


P = np.random.default_rng(0).uniform(0.1, 0.9, 30)
Y = (np.arange(30) < 7).astype(np.float64)


@pytest.mark.parametrize("smooth", [0.0, 5.0])
def test_curvature_in_probability_space_has_rank_two(smooth):
    loss = partial(dj.dice_loss, smooth=smooth)
    i, s = (P * Y).sum(), (P + Y).sum() + smooth
    one = np.ones_like(Y)
    hessian = 2 / s**2 * (np.outer(Y, one) + np.outer(one, Y))
    hessian -= 2 * (2 * i + smooth) / s**3 * np.outer(one, one)
    expected = np.linalg.eigvalsh(hessian)
    with jax.enable_x64(True):
        p = jnp.asarray(P)
        vector = jnp.asarray(np.random.default_rng(1).normal(size=30))
        product = analysis.hessian_vector_product(loss, p, Y, vector)
        np.testing.assert_allclose(product, hessian @ np.asarray(vector), rtol=1e-9, atol=1e-14)
        spectrum = analysis.curvature_spectrum(loss, p, Y, key=jax.random.key(0), rank=6)
        closed = analysis.dice_curvatures(dj.region_sums(p, Y), smooth=smooth)
    extremes = [expected[0], expected[-1]]
    np.testing.assert_allclose([spectrum[0], spectrum[-1]], extremes, rtol=1e-9)
    np.testing.assert_allclose(spectrum[1:-1], 0, atol=1e-12)
    np.testing.assert_allclose(closed, extremes, rtol=1e-9)


def test_smoothing_flattens_the_curvature():
    sums = dj.region_sums(P.astype(np.float32), Y.astype(np.float32))
    sharp, flat = (analysis.dice_curvatures(sums, smooth=s) for s in (0.0, 50.0))
    assert float(sharp[0]) < float(flat[0]) < 0 < float(flat[1]) < float(sharp[1])


def test_curvature_at_the_logits_matches_the_whole_hessian():
    z = np.log(P / (1 - P))
    with jax.enable_x64(True):
        hessian = jax.hessian(lambda z: dj.dice_loss(dj.sigmoid_region_sums(z, Y)))(jnp.asarray(z))
        found = analysis.curvature_spectrum(
            dj.dice_loss,
            jnp.asarray(z),
            Y,
            key=jax.random.key(1),
            rank=30,
            sums=dj.sigmoid_region_sums,
        )
    np.testing.assert_allclose(found, np.linalg.eigvalsh(hessian), atol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: analysis.landscape("dice", fraction=0.1), TypeError, "function"),
        (lambda: analysis.landscape(_dice, fraction=1.5), ValueError, "fraction"),
        (lambda: analysis.landscape(_dice, fraction=0.1, points=1), ValueError, "points"),
        (lambda: analysis.size_curve(_dice, 3.0), ValueError, "sizes"),
        (lambda: analysis.smoothing_curve(_dice, [1.0], target=-1.0), ValueError, "target"),
        (
            lambda: analysis.hessian_vector_product(_dice, P, Y, P[:3]),
            ValueError,
            "vector",
        ),
        (
            lambda: analysis.curvature_spectrum(_dice, P, Y, key=jax.random.key(0), rank=31),
            ValueError,
            "rank",
        ),
    ],
)
def test_a_wrong_argument_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_each_picture_returns_its_axes_and_shows_nothing(picture, monkeypatch):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("a picture was shown"))
    sizes = analysis.size_curve(_dice, np.array([5.0, 50.0, 500.0]))
    smooths = analysis.smoothing_curve(dj.dice_loss, np.array([0.1, 1.0, 10.0]), target=20.0)
    example = analysis.article_examples()[0]
    drawings = {
        "matrix": lambda ax: plots.matrix(example.prediction, ax=ax, title="t"),
        "gradient map": lambda ax: plots.gradient_map(example.gradient, ax=ax, title="t"),
        "large map": lambda ax: plots.gradient_map(np.ones((40, 50)), ax=ax, title="t"),
        "sums": lambda ax: plots.three_sums(example, ax=ax),
        "masses": lambda ax: plots.gradient_masses(example, ax=ax),
        "landscape": lambda ax: plots.landscape(picture, ax=ax, title="t"),
        "size": lambda ax: plots.size_curve(sizes, ax=ax, title="t"),
        "losses": lambda ax: plots.loss_against_size({"Dice": sizes}, ax=ax, title="t"),
        "smoothing": lambda ax: plots.smoothing_curve(smooths, ax=ax, title="t"),
        "weights": lambda ax: plots.weight_trajectory(np.array([1.0, 2.0]), ax=ax, title="t"),
    }
    for name, draw in drawings.items():
        figure, ax = plt.subplots()
        assert draw(ax) is ax, name
        assert ax.get_title(), name
        assert ax.has_data() or ax.images, name
        figure.canvas.draw()
        plt.close(figure)
    # Without axes, on a figure of its own.
    own = plots.matrix(example.target)
    assert own.texts[0].get_text() == "0"
    plt.close("all")


def test_an_all_zero_gradient_can_be_drawn():
    ax = plots.gradient_map(np.zeros((3, 3)))
    assert {text.get_text() for text in ax.texts} == {"0"}
    matplotlib.pyplot.close("all")
