"""The worked example: its numbers, its files, its page, and what it says to bad input."""

import pickle
import re

import matplotlib.figure
import numpy as np
import pytest
import tifffile
from PIL import Image

from dice_jax import analysis
from dice_jax.__main__ import main
from dice_jax.analysis import explanation

MASK = np.zeros((12, 20), bool)
MASK[3:7, 5:11] = True


@pytest.fixture
def files(tmp_path):
    Image.fromarray(MASK.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    tifffile.imwrite(tmp_path / "mask.tif", MASK.astype(np.uint16))
    np.save(tmp_path / "mask.npy", MASK)
    probabilities = np.random.default_rng(0).random(MASK.shape)
    np.save(tmp_path / "prediction.npy", probabilities.astype(np.float32))
    Image.fromarray(np.round(probabilities * 255).astype(np.uint8)).save(tmp_path / "p.png")
    return tmp_path


def test_the_two_substitutes_stand_for_what_their_labels_say():
    holds, fails = analysis.article_examples()
    assert holds.intersection < holds.target_sum < holds.prediction_sum
    assert not fails.target_sum < fails.prediction_sum
    assert (holds.chain_holds, fails.chain_holds) == (True, False)
    assert "Substitute" in holds.title
    assert "Substitute" in fails.title
    assert holds.ratio > 1
    assert fails.ratio > 1


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_every_number_is_that_of_numpy(smooth):
    for example in analysis.article_examples(smooth=smooth):
        y, p = example.target.astype(float), example.prediction
        np.testing.assert_array_equal(example.product, y * p)
        assert example.intersection == pytest.approx((y * p).sum(), rel=1e-12)
        assert example.prediction_sum == pytest.approx(p.sum(), rel=1e-12)
        top, bottom = 2 * (y * p).sum() + smooth, (y + p).sum() + smooth
        np.testing.assert_allclose(
            example.gradient, -(2 * y * bottom - top) / bottom**2, rtol=1e-12
        )
        assert example.dice == pytest.approx(top / bottom, rel=1e-12)
        assert example.ratio == pytest.approx(2 * bottom / top - 1, rel=1e-12)
        np.testing.assert_allclose(
            example.logit_gradient, example.gradient * p * (1 - p), rtol=1e-12
        )
        np.testing.assert_allclose(example.cross_entropy_logit_gradient, (p - y) / y.size)


def test_no_foreground_is_a_result_that_says_so():
    example = analysis.worked_example(np.zeros((3, 4)), np.full((3, 4), 0.5))
    assert example.ratio is None
    assert example.foreground_gradient is None
    assert "no foreground" in example.findings[0]
    assert f"{1 / 49:.3g}" in example.findings[1]
    full = analysis.worked_example(np.ones((3, 4)), np.full((3, 4), 0.5))
    assert full.ratio is None
    assert "no background" in full.findings[0]
    missed = analysis.worked_example(MASK, np.where(MASK, 0.0, 0.5), smooth=0.0)
    assert missed.ratio is None
    assert "costs nothing" in missed.findings[-1]


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([[0, 255], [255, 0]], [[0, 1], [1, 0]]),
        ([[0.0, 1.0]], [[0, 1]]),
        ([[False, True]], [[0, 1]]),
        ([[0, 0]], [[0, 0]]),
        ([[7, 7]], [[1, 1]]),
        (np.repeat([[[0], [255]]], 3, -1).astype(np.uint8), [[0, 1]]),
    ],
)
def test_what_is_a_mask(mask, expected):
    np.testing.assert_array_equal(analysis.as_mask(mask), np.array(expected, bool))


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ([[0, 1, 1], [0, 2, 1]], "3: beside 0 and 2, 1 at row 0, column 1"),
        ([[0, 1], [np.nan, 1]], "nan at row 1, column 0"),
        ([[0, 1], [1, np.inf]], "inf at row 1, column 1"),
        ([0, 1], "two axes"),
        (np.zeros((4, 5, 6)), "two axes"),
        ([["a", "b"]], "numbers"),
        (np.array([[[0, 255, 0]]], np.uint8), "colour"),
        (np.zeros((0, 3)), "two axes"),
    ],
)
def test_what_is_no_mask_is_told_where(mask, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        analysis.as_mask(mask)


@pytest.mark.parametrize(
    ("prediction", "says"),
    [
        ([[0.5, np.nan]], "nan at row 0, column 1"),
        ([[0.5], [1.5]], "1.5 at row 1, column 0"),
        ([[-0.25, 0.5]], "-0.25 at row 0, column 0"),
        (np.array([[3, 1]]), "3 at row 0, column 0"),
    ],
)
def test_what_are_no_probabilities_is_told_where(prediction, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        analysis.as_probabilities(prediction)


def test_probabilities_are_scaled_by_their_type():
    for dtype, top in ((np.uint8, 255), (np.uint16, 65535)):
        found = analysis.as_probabilities(np.array([[0, top]], dtype))
        np.testing.assert_array_equal(found, [[0, 1]])
    np.testing.assert_array_equal(analysis.as_probabilities(np.array([[0, 1]], np.uint8)), [[0, 1]])


@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_a_mask_is_read_from_any_format(files, suffix):
    np.testing.assert_array_equal(analysis.read_mask(files / f"mask.{suffix}"), MASK)


def test_a_pickle_is_never_opened(files):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    np.save(files / "trap.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="not a readable npy"):
        analysis.read_mask(files / "trap.npy")
    (files / "raw.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="not a readable npy"):
        analysis.read_mask(files / "raw.npy")


@pytest.mark.parametrize("name", ["text.png", "text.tif", "text.npy", "text.txt", "missing.png"])
def test_what_is_not_an_image_is_refused(files, name, capsys):
    if not name.startswith("missing"):
        (files / name).write_text("not an image")
    assert main(["explain", "--out", str(files / "out"), "--mask", str(files / name)]) == 2
    error = capsys.readouterr().err
    assert name in error
    assert error.count("\n") == 1
    assert not (files / "out").exists()


def test_the_command_draws_the_article(tmp_path, capsys):
    assert main(["explain", "--out", str(tmp_path / "out")]) == 0
    page = tmp_path / "out" / "index.html"
    assert capsys.readouterr().out.strip() == str(page)
    text = page.read_text()
    assert "Substitute A: the article&#x27;s chain holds" in text
    assert "Substitute B: the article&#x27;s chain fails" in text
    # One file with nothing to fetch.
    assert text.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', text)
    for example in analysis.article_examples():
        assert f"{example.ratio:.4g}" in text
    for name in ("example_a.png", "example_b.png"):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.width > 800


def test_the_command_draws_a_users_mask(files, capsys):
    out = files / "out"
    arguments = ["explain", "--out", str(out), "--mask", str(files / "mask.tif")]
    assert main([*arguments, "--prediction", str(files / "p.png"), "--smooth", "0"]) == 0
    text = (out / "index.html").read_text()
    assert "mask.tif, predicted by p.png" in text
    expected = analysis.worked_example(MASK, analysis.read_prediction(files / "p.png"), smooth=0.0)
    assert f"{expected.ratio:.4g}" in text
    assert main(arguments) == 0
    assert "substitute prediction" in (out / "index.html").read_text()


def test_the_command_takes_an_empty_mask(files):
    np.save(files / "empty.npy", np.zeros((5, 6)))
    out = files / "out"
    assert main(["explain", "--out", str(out), "--mask", str(files / "empty.npy")]) == 0
    assert "There is no foreground" in (out / "index.html").read_text()


def test_the_command_refuses_what_does_not_belong_together(files, capsys):
    out = ["explain", "--out", str(files / "out")]
    np.save(files / "small.npy", np.zeros((2, 2)))
    assert main([*out, "--prediction", str(files / "prediction.npy")]) == 2
    assert "--mask" in capsys.readouterr().err
    mask = ["--mask", str(files / "mask.png")]
    assert main([*out, *mask, "--prediction", str(files / "small.npy")]) == 2
    assert "shape" in capsys.readouterr().err
    assert main([*out, "--smooth", "-1"]) == 2
    assert "smooth" in capsys.readouterr().err
    assert not (files / "out").exists()


def test_a_figure_needs_no_global_state():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figure = explanation.draw(analysis.article_examples()[0])
    assert isinstance(figure, matplotlib.figure.Figure)
    assert plt.get_fignums() == before
