"""The page of examples: written whole, every number on it, also of a user's own images."""

import numpy as np
import pytest
from PIL import Image

from experiments.errors import ConfigError
from experiments.reporting.example_page import write_examples
from tests.experiments.images.folders import write


@pytest.mark.slow
def test_page_shows_what_was_asked_for_and_what_was_achieved(tmp_path):
    lines = []
    write_examples(
        tmp_path,
        shapes=("ellipse", "posterior"),
        fractions=(0.1, 0.003),
        objects=(2,),
        image_size=24,
        report=lines.append,
    )
    # 0.003 of 24² is two pixels: refused, and said so on the page.
    assert [line.split(",")[0] for line in lines] == [
        "shape ellipse",
        "shape posterior",
    ]
    for line in lines:
        achieved = float(line.split("achieved ")[1].split(" %")[0])
        assert achieved == pytest.approx(10, rel=0.15)
    page = (tmp_path / "examples.html").read_text()
    assert page.count("<td>posterior</td>") == 1
    assert "http" not in page
    picture = np.asarray(Image.open(tmp_path / "examples.png").convert("L"))
    # Of half of the cells there is nothing but a line of text.
    assert 0.05 < (picture < 250).mean() < 0.5


def test_page_of_a_folder_shows_its_splits(tmp_path):
    lines = []
    data = write(tmp_path / "data", [f"scan_{i}" for i in range(8)])
    write_examples(tmp_path / "out", data=data, report=lines.append)
    assert [line.split(", foreground")[0] for line in lines] == [
        "split train, images 4", "split validation, images 2", "split test, images 2",
    ]  # fmt: skip
    assert (tmp_path / "out" / "examples.png").exists()
    assert "by split" in (tmp_path / "out" / "examples.html").read_text()


def test_impossible_settings_leave_nothing(tmp_path):
    for settings in (
        {"image_size": 30},
        {"fractions": (2.0,)},
        {"shapes": ("star",)},
        {"data": tmp_path / "none"},
    ):
        with pytest.raises(ConfigError):
            write_examples(tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
