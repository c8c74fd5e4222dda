"""A stream is exact: pieces of any size, read twice, give what everything in one piece gives."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from tests.support import networks
from tests.support.networks import relative_error


def params():
    return {"w": jnp.float32(1.5), "b": jnp.float32(-0.5)}


def pixel_sums(params, piece):
    image, target, *where = piece
    logits = image * params["w"] + params["b"]
    return dj.sigmoid_region_sums(logits, target, where=where[0] if where else None)


def dice(sums):
    return dj.dice_loss(sums, smooth=1e-5)


def slide(shape=(20, 33)):
    rng = np.random.default_rng(0)
    target = (rng.uniform(size=shape) < np.linspace(0, 0.7, shape[1])).astype(np.int32)
    return (target + rng.normal(size=shape)).astype(np.float32), target


def tiles(image, target, size=8):
    rows, columns = image.shape
    for i in range(0, rows, size):
        for j in range(0, columns, size):
            tile = slice(i, i + size), slice(j, j + size)
            yield image[tile], target[tile]


def padded_tiles(image, target, size=8):
    for piece in tiles(image, target, size):
        padded, where = dj.pad_piece(piece, (size, size))
        yield *padded, where


@pytest.fixture(scope="module")
def whole():
    return jax.device_get(jax.value_and_grad(lambda p: dice(pixel_sums(p, slide())))(params()))


@pytest.fixture(scope="module")
def stream():
    """Build the function once; what it compiled for one test serves the others."""
    return dj.streamed_value_and_grad(pixel_sums, dice)


@pytest.mark.parametrize("cut", [tiles, padded_tiles])
def test_uneven_tiles_equal_the_whole_slide(stream, whole, cut):
    loss, gradients = stream(params(), lambda: cut(*slide()))
    assert relative_error(loss, whole[0]) < 1e-5
    assert relative_error(gradients, whole[1]) < 1e-5


def test_a_unet_over_uneven_pieces_equals_the_whole_batch():
    with jax.enable_x64(True):
        image, labels = networks.batch(8, dtype=np.float64)
        params = jax.tree.map(lambda x: x.astype(np.float64), networks.unet()[1])
        # Most of the foreground is in the last piece.
        pieces = [(image[c], labels[c]) for c in (slice(0, 5), slice(5, 8))]
        f = dj.streamed_value_and_grad(networks.unet_sums, networks.unet_loss)
        loss, gradients = f(params, pieces)
        expected = jax.jit(jax.value_and_grad(networks.whole_loss))(params, (image, labels))
        chex.assert_trees_all_equal_shapes_and_dtypes(gradients, params)
        assert relative_error(loss, expected[0]) < 1e-12
        assert relative_error(gradients, expected[1]) < 1e-12


def test_padded_tiles_compile_once():
    traced = []

    def sums_fn(params, piece):
        traced.append(piece[0].shape)
        return pixel_sums(params, piece)

    f = dj.streamed_value_and_grad(sums_fn, dice)
    f(params(), lambda: padded_tiles(*slide((8, 8))))
    one_tile = len(traced)
    f(params(), lambda: padded_tiles(*slide()))
    assert len(traced) == one_tile
    f(params(), lambda: tiles(*slide((12, 8))))
    assert len(traced) > one_tile


def test_padding_takes_no_part_whatever_it_holds(stream, whole):
    def pieces():
        for image, target, where in padded_tiles(*slide()):
            yield np.where(where, image, np.float32(1e3)), np.where(where, target, 255), where

    chex.assert_trees_all_close(stream(params(), pieces), whole, rtol=1e-5)


def test_from_a_memory_mapped_file(tmp_path, stream, whole):
    for name, array in zip(("image", "target"), slide(), strict=True):
        np.save(tmp_path / f"{name}.npy", array)

    def pieces():
        mapped = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("image", "target"))
        return tiles(*mapped)

    chex.assert_trees_all_close(stream(params(), pieces), whole, rtol=1e-5)


def test_an_iterator_may_fill_the_same_buffer_again(stream, whole):
    def pieces():
        image, target = np.empty((8, 8), np.float32), np.empty((8, 8), np.int32)
        where = np.empty((8, 8), np.bool_)
        for piece in padded_tiles(*slide()):
            for buffer, new in zip((image, target, where), piece, strict=True):
                buffer[:] = new
            yield image, target, where

    chex.assert_trees_all_close(stream(params(), pieces), whole, rtol=1e-5)


def test_no_more_than_two_pieces_are_on_the_device():
    computed, waiting = [], []

    def slow_sums(params, piece):
        # Reading must be faster than computing, or pieces would not pile up anyway.
        image = jax.lax.fori_loop(0, 300, lambda _, x: jnp.sin(x), piece[0])
        sums = pixel_sums(params, (image, piece[1]))
        jax.debug.callback(lambda _: computed.append(1), sums.intersection)
        return sums

    def pieces():
        computed.clear()
        for read in range(1, 7):
            yield np.ones((64, 257), np.float32), np.ones((64, 257), np.int32)
            waiting.append(read - len(computed))

    dj.streamed_value_and_grad(slow_sums, dice)(params(), pieces)
    assert len(waiting) == 12
    # The one being computed; the next one is read while it is.
    assert max(waiting) <= 1


def test_aux_is_a_list_on_the_host():
    def sums_fn(params, piece):
        return pixel_sums(params, piece), piece[0] * params["w"]

    f = dj.streamed_value_and_grad(sums_fn, dice, has_aux=True)
    cut = list(tiles(*slide((8, 12))))
    (loss, aux), gradients = f(params(), cut)
    plain = dj.streamed_value_and_grad(pixel_sums, dice)(params(), cut)
    chex.assert_trees_all_close((loss, gradients), plain, rtol=1e-6)
    assert [a.shape for a in aux] == [(8, 8), (8, 4)]
    assert all(isinstance(a, np.ndarray) for a in aux)
    for a, (image, _) in zip(aux, cut, strict=True):
        np.testing.assert_allclose(a, 1.5 * image, rtol=1e-6)


def test_thousands_of_pieces_do_not_drift():
    f = dj.streamed_value_and_grad(lambda w, x: w * x, lambda s: s)
    loss, _ = f(jnp.float32(1), [np.float32(0.3)] * 3000)
    naive = np.float32(0)
    for _ in range(3000):
        naive += np.float32(0.3)
    exact = 3000 * float(np.float32(0.3))
    assert abs(float(loss) / exact - 1) < 1e-7
    assert abs(float(naive) / exact - 1) > 1e-6  # otherwise the line above would say nothing


def test_gradients_of_half_precision_accumulate_in_float32():
    f = dj.streamed_value_and_grad(lambda w, x: w * x, lambda s: s)
    loss, gradient = f(jnp.ones((), jnp.bfloat16), [jnp.ones((), jnp.bfloat16)] * 300)
    assert gradient.dtype == jnp.bfloat16
    assert (float(loss), float(gradient)) == (300, 300)  # in bfloat16 it would stop at 256


def test_a_padded_piece_keeps_its_channels():
    image, labels = np.ones((3, 5, 2), np.float32), np.ones((3, 5), np.int32)
    piece, where = dj.pad_piece({"image": image, "labels": labels}, (4, 8))
    assert piece["image"].shape == (4, 8, 2)
    assert piece["labels"].dtype == np.int32
    assert where.sum() == 15
    assert where[:3, :5].all()
    assert piece["image"].sum() == 30
    assert piece["labels"].sum() == 15


# Bad input.


class Hiding:
    """A function that gives the same iterator every time."""

    def __init__(self):
        self.pieces = tiles(*slide((8, 12)))

    def __call__(self):
        return self.pieces


class Shrinking:
    """A function that gives a piece less every time."""

    def __init__(self, *counts):
        self.counts = iter(counts)

    def __call__(self):
        return iter([slide((4, 4))] * next(self.counts))


def per_row_sums(params, piece):
    image, target = piece
    return dj.sigmoid_region_sums(image * params["w"], target, axis=1)


@pytest.mark.parametrize(
    ("error", "message", "pieces"),
    [
        (TypeError, "pieces can be read only once.*generator", lambda: tiles(*slide())),
        (TypeError, "pieces can be read only once.*zip", lambda: zip(*slide(), strict=True)),
        (ValueError, "pieces gives the same .* again", Hiding),
        (ValueError, "pieces must give at least one", list),
        (ValueError, "pieces must give at least one", lambda: lambda: iter(())),
        (ValueError, "pieces .*got 2 at the first and 1 at the second", lambda: Shrinking(2, 1)),
        (ValueError, "pieces .*got 2 at the first and 0 at the second", lambda: Shrinking(2, 0)),
        (ValueError, "pieces .*got 1 at the first and more", lambda: Shrinking(1, 2)),
        (TypeError, "pieces must be a list.*dict", lambda: {"image": 1}),
        (TypeError, "pieces must be a list.*float", lambda: 1.0),
        (TypeError, "pieces must be a list.*a str", lambda: "slide.npy"),
    ],
)
def test_errors_name_the_pieces(stream, error, message, pieces):
    with pytest.raises(error, match=message):
        stream(params(), pieces())


@pytest.mark.parametrize(
    ("error", "message", "sums_fn", "loss_fn"),
    [
        (
            ValueError,
            "sums_fn must give sums of the same shapes",
            per_row_sums,
            lambda s: dice(s)[0],
        ),
        (ValueError, "loss_fn .*loss.mean", pixel_sums, lambda s: dice(s)[None]),
        (TypeError, "sums_fn .*float", lambda p, x: None, dice),
    ],
)
def test_errors_name_the_function(error, message, sums_fn, loss_fn):
    with pytest.raises(error, match=message):
        dj.streamed_value_and_grad(sums_fn, loss_fn)(params(), [slide((4, 4)), slide((3, 4))])


def test_a_stream_under_jit_is_an_error(stream):
    with pytest.raises(TypeError, match="params are being traced"):
        jax.jit(lambda p: stream(p, [slide((4, 4))]))(params())
    with pytest.raises(TypeError, match=r"params .*int32"):
        stream({"w": jnp.int32(1)}, [slide((4, 4))])


@pytest.mark.parametrize(
    ("error", "message", "piece", "shape"),
    [
        (ValueError, "piece .*no larger than the shape", np.ones((3, 4)), (3, 3)),
        (
            ValueError,
            "piece .*share their first 2 axes",
            (np.ones((3, 4)), np.ones((4, 3))),
            (4, 4),
        ),
        (ValueError, "piece .*share their first 2 axes", np.ones(3), (4, 4)),
        (ValueError, "piece .*no array", (), (4, 4)),
        (TypeError, "piece must hold arrays.*a str", ("a.png",), (4, 4)),
        (TypeError, "shape must be a sequence", np.ones((3, 4)), 4),
        (TypeError, "shape must be a sequence", np.ones((3, 4)), (4.0, 4)),
    ],
)
def test_errors_of_padding_name_the_argument(error, message, piece, shape):
    with pytest.raises(error, match=message):
        dj.pad_piece(piece, shape)
