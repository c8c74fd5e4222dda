"""The recipes of docs/scale.md run, and agree with each other and with one piece."""

import re
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

import dice_jax as dj
from tests.support import WITHOUT_EXTRA

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


@pytest.fixture(scope="module")
def page():
    """Run every block of Python on the page, in order, as a reader would."""
    pytest.importorskip("flax", reason=WITHOUT_EXTRA)
    names: dict = {}
    # Flax and Optax rely on implicit promotion; a reader's session allows it.
    with jax.numpy_dtype_promotion("standard"):
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_accumulated_and_sharded_training_are_the_same_training(page):
    assert len(page["accumulated_losses"]) == 3
    np.testing.assert_allclose(page["accumulated_losses"], page["sharded_losses"], rtol=1e-4)
    np.testing.assert_allclose(page["mapped_losses"], page["sharded_losses"], rtol=1e-4)
    np.testing.assert_allclose(page["tiled_losses"], page["sharded_losses"], rtol=1e-4)


def test_an_explicit_mesh_gives_the_loss_of_the_whole_batch(page):
    def loss(logits):
        return page["loss_fn"](dj.softmax_region_sums(logits, page["labels"]))

    value, gradient = jax.value_and_grad(loss)(np.zeros((8, 16, 16, 2), np.float32))
    np.testing.assert_allclose(page["explicit_loss"], value, rtol=1e-5)
    np.testing.assert_allclose(page["explicit_gradient"], gradient, rtol=1e-4, atol=1e-8)


def test_training_goes_down(page):
    for name in (
        "accumulated_losses",
        "sharded_losses",
        "mapped_losses",
        "streamed_losses",
        "head_losses",
    ):
        assert page[name][-1] < page[name][0]


def test_the_stream_is_the_loss_of_all_tiles_together(page):
    with jax.numpy_dtype_promotion("standard"):
        whole = jax.tree.map(lambda *x: np.concatenate(x), *page["tiles"]())
        loss = jax.jit(lambda p: page["loss_fn"](page["tile_sums"](p, whole)))(page["start"])
    np.testing.assert_allclose(page["streamed_losses"][0], loss, rtol=1e-5)


def test_the_head_trains_on_the_loss_of_the_logits_that_it_predicts_with(page):
    images, labels, params = page["images"], page["labels"], page["head_params"]
    with jax.numpy_dtype_promotion("standard"):
        model = page["nnx"].merge(page["head_graph"], params)
        high, low = model.features(images)
        logits, low_logits = model.head(high), model.low_head(low)
        np.testing.assert_array_equal(page["predicted"], logits.argmax(-1))
        sums = dj.softmax_region_sums(logits, labels)
        low_sums = dj.softmax_region_sums(low_logits, labels[:, ::2, ::2])
        expected = page["loss_fn"](sums) * 2 / 3 + page["loss_fn"](low_sums) / 3
        actual = page["head_loss"](params, images, labels)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_the_example_of_many_classes_learns_in_less_memory():
    pytest.importorskip("flax", reason=WITHOUT_EXTRA)
    path = str(PAGE.parent / "figures" / "head_training.py")
    with jax.numpy_dtype_promotion("standard"):
        names = runpy.run_path(path)
        report = names["main"](["--size", "24", "--steps", "4"])
    assert report["losses"][-1] < report["losses"][0]
    assert report["peak without logits"] < report["peak with logits"] - report["logits"]


def test_the_figure_is_there():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", PAGE.read_text()):
        assert (PAGE.parent / picture).stat().st_size > 10_000
