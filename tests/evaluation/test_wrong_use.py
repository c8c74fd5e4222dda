"""What `evaluate` says when files or options do not fit: one error that names what to do."""

import re

import numpy as np
import pytest
from PIL import Image

from dice_jax.__main__ import main
from tests.evaluation.test_numbers import save

MASK = np.zeros((24, 32), int)
MASK[4:12, 4:12] = 1


def fill(folder, predictions, truth, kinds=(".png", ".png")):
    for part, arrays, kind in zip(("p", "t"), (predictions, truth), kinds, strict=True):
        (folder / part).mkdir()
        for name, array in arrays.items():
            save(folder / part / name, np.asarray(array), kind)


def error(capsys, *arguments):
    """The one line that a wrong call prints."""
    assert main(["evaluate", *map(str, arguments)]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    text = printed.err[printed.err.index("error: ") :]
    assert len(text) < 1200
    return text


ONE = {"a": MASK}
NUMBERS = np.arange(768).reshape(24, 32)
# By what is wrong: predictions, truth, kinds of files, options, and what the error says.
WRONG = {
    "names": ({"a_pred": MASK, "b_pred": MASK}, {"a": MASK, "b": MASK}, "pp", (),
              "no prediction has the name of a truth: * pass --prediction-suffix _pred"),
    "missing": (ONE, dict.fromkeys("abc", MASK), "pp", (),
                "2 of 3 files of truth have no prediction: b, c; pass --allow-missing"),
    "sizes": (dict.fromkeys("ab", MASK[:20]), dict.fromkeys("ab", MASK), "pp", (),
              "2 of 2 cases do not fit:*a.png: the prediction is 20 × 32 and the truth 24*b.png"),
    "logits": ({"a": MASK * 8.5 - 4}, ONE, "np", (),
               "probabilities in [0, 1], got -4 at [0, 0]; if these are logits, save jax"),
    "nan": ({"a": np.where(MASK, np.nan, 0.0)}, ONE, "np", (), "a.npy: it holds nan at [4, 4]"),
    "scaled labels": ({"a": MASK * 127}, {"a": MASK + (NUMBERS == 0) * 2}, "pp", (),
                      "the truth holds 1, 2 and the predictions 127: no label is in both"),
    "grey probabilities": ({"a": MASK * (NUMBERS % 256)}, ONE, "pp", (),
                           "the truth holds one label, 1, and the predictions * --probabilities"),
    "objects": (ONE, {"a": NUMBERS % 200}, "pp", (), "holds 199 labels; pass --instances"),
    "swapped": (ONE, {"a": MASK * 0.7}, "pn", (),
                "must hold labels, got 0.7 at [4, 4]; * --truth-threshold * PREDICTIONS TRUTH"),
    "nothing true": (ONE, {"a": MASK * 0}, "pp", (), "no file of truth holds anything but 0"),
    "class": (ONE, ONE, "pp", ("--classes", "liver=7"),
              "--classes: no file holds label 7 (class liver); the truth holds 0, 1"),
    "class text": (ONE, ONE, "pp", ("--classes", "liver"), "must be labels such as 3, liver=3"),
    "class twice": (ONE, ONE, "pp", ("--classes", "1", "1=1"), "names '1' twice"),
    "instances": (ONE, ONE, "pp", ("--classes", "1", "--instances"), "leave out --classes"),
    "spacing": (ONE, ONE, "pp", ("--spacing", "1", "1", "2"),
                "one positive number, or one for each of 2 axes, got 1 1 2"),
    "negative spacing": (ONE, ONE, "pp", ("--spacing", "0"), "one positive number"),
    "threshold": (ONE, ONE, "pp", ("--threshold", "50"), "--threshold must be in [0, 1], got 50"),
    "tolerance": (ONE, ONE, "pp", ("--tolerance", "-1"), "--tolerance must be at least 0, got -1"),
    "group": (ONE, ONE, "pp", ("--group", r"^\d+"), "finds nothing in the name a"),
    "pattern": (ONE, ONE, "pp", ("--group", "("), "is no regular expression"),
    "suffix": (ONE, ONE, "pp", ("--truth-suffix", "_gt"), "no image whose name ends in '_gt'"),
    "images": (ONE, ONE, "pp", ("--images", "."), "pass --plot DIR too"),
    "colour": (ONE, {"a": np.stack([MASK, MASK * 2, MASK], -1)}, "pp", (), "a colour picture"),
    "axes": ({"a": MASK, "b": np.stack([MASK, MASK])}, {"a": MASK, "b": np.stack([MASK, MASK])},
             "nn", (), "as many axes: *a.npy is 24 × 32*b.npy is 2 × 24 × 32"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_use_gives_one_error_that_says_what_to_do(name, tmp_path, capsys):
    predictions, truth, kinds, options, says = WRONG[name]
    fill(tmp_path, predictions, truth, [{"p": ".png", "n": ".npy"}[k] for k in kinds])
    text = error(capsys, tmp_path / "p", tmp_path / "t", *options)
    pattern = ".*".join(map(re.escape, says.split("*")))
    assert re.search(pattern, text, re.DOTALL), text


def test_wrong_paths_and_files(tmp_path, capsys):
    fill(tmp_path, ONE, ONE)
    p, t = tmp_path / "p", tmp_path / "t"
    assert "PREDICTIONS: nowhere does not exist" in error(capsys, "nowhere", t)
    assert "PREDICTIONS and TRUTH are the same" in error(capsys, t, t)
    assert "a.png is a file and" in error(capsys, p / "a.png", t)
    (tmp_path / "empty").mkdir()
    assert "holds no image" in error(capsys, tmp_path / "empty", t)
    np.save(p / "a.npy", MASK)
    assert "a.png and a.npy are two files of the case a" in error(capsys, p, t)
    (p / "a.npy").unlink()
    (p / "a.png").write_bytes(b"nothing")
    assert "a.png: not a readable png file" in error(capsys, p, t)


def test_headers_that_do_not_agree(tmp_path, capsys):
    p, t = tmp_path / "p", tmp_path / "t"
    save(p / "a", MASK, ".nii.gz", (1.0, 1.0, 1.0))
    save(t / "a", MASK, ".nii.gz", (2.0, 1.0, 1.0))
    assert "1.0 × 1.0 mm and those of the truth 2.0 × 1.0 mm" in error(capsys, p, t)
    for part in (p, t):
        save(part / "a", MASK, ".nii.gz", (1.0, 1.0, 1.0))
        save(part / "b", MASK, ".png")
    assert "says how large its pixels are" in error(capsys, p, t)


def test_files_without_a_partner_are_named(tmp_path, capsys):
    fill(tmp_path, {"a": MASK, "c": MASK, "d": MASK}, {"a": MASK, "b": MASK, "c": MASK})
    (tmp_path / "p" / "plans.json").write_text("{}")
    (tmp_path / "p" / ".hidden.png").write_bytes(b"")
    assert main(["evaluate", str(tmp_path / "p"), str(tmp_path / "t"), "--allow-missing"]) == 0
    printed = capsys.readouterr().out
    assert "2 cases" in printed
    assert "Not scored: 1 without a prediction (b)." in printed
    assert "Left out: 1 predictions without a truth (d)." in printed
    assert "Not read: 1 other files (plans.json)." in printed


def test_two_annotators_in_one_folder_are_told_by_their_suffixes(tmp_path, capsys):
    for name in ("a_first", "a_second", "b_first", "b_second"):
        save(tmp_path / "t" / name, MASK, ".png")
    folder = str(tmp_path / "t")
    options = ["--prediction-suffix", "_second", "--truth-suffix", "_first"]
    assert main(["evaluate", folder, folder, *options]) == 0
    printed = capsys.readouterr().out
    assert "2 cases" in printed
    assert "Not read" not in printed


def test_a_palette_gives_labels_and_grey_colours_one_channel(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "t").mkdir()
    picture = Image.fromarray(MASK.astype(np.uint8), mode=None)
    picture.putpalette([0, 0, 0, 200, 0, 0])
    picture.save(tmp_path / "t" / "a.png")
    grey = np.repeat(255 * MASK[..., None], 3, -1).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "p" / "a.png")
    out = tmp_path / "s.csv"
    assert main(["evaluate", *(str(tmp_path / x) for x in "pt"), "--csv", str(out)]) == 0
    assert ",found,1,1,1,1,0,0,1,0,0,1,1," in out.read_text()
