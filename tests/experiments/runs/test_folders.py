"""A study of a user's images: its data, its stored split, its folds and tiles, what it says."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.api import run
from experiments.errors import ConfigError
from experiments.presets import resolve
from experiments.runs.data import noise_level, splits
from experiments.runs.directory import earlier_configs, load_runs
from experiments.runs.notices import notices
from experiments.runs.progress import Progress
from experiments.runs.study import run_study
from tests.experiments.images.folders import arrays, save, write

pytestmark = pytest.mark.usefixtures("unrendered")

# In early versions, by their hashes: 4 to learn from, 2 to choose with, 2 to test on.
NAMES = ("scan_2", "scan_3", "scan_0", "scan_1", "scan_15", "scan_19", "scan_5", "scan_24")
TINY = {"model": "linear", "losses": ("bce",), "steps": 2, "seeds": 1, "learning_rates": (1.0,)}


@pytest.fixture
def pngs(tmp_path):
    return write(tmp_path / "data", NAMES)


def test_the_study_is_what_was_measured(pngs):
    config = resolve(data=pngs)
    masks = np.stack([arrays(row)[1] for row in range(8)])
    assert config.fractions == (pytest.approx(masks.mean(), rel=1e-3),)
    assert config.image_shape == (16, 24)
    assert (config.train_images, config.validation_images, config.test_images) == (4, 2, 2)
    assert (config.batch_size, config.channels, config.data) == (4, 1, str(pngs))
    training, _, test = splits(config, config.fractions[0], 0)
    images = np.asarray(training.images)
    assert images.mean() == pytest.approx(0, abs=1e-5)
    assert images.std() == pytest.approx(1, rel=1e-5)
    assert np.isnan(noise_level(config, config.fractions[0]))
    # Training labels can be spoilt, test labels stay.
    spoilt = splits(dataclasses.replace(config, annotator_bias=1.0), config.fractions[0], 0)
    assert np.asarray(spoilt[0].masks).sum() > np.asarray(training.masks).sum()
    np.testing.assert_array_equal(spoilt[2].masks, test.masks)


def test_the_split_is_stored_and_the_study_goes_on_with_it(pngs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    config = resolve(data=pngs, **TINY)
    assert run((config,), out, Progress()) == 1
    assert len(load_runs(out)[0]["per_image"]["dice"]) == 2
    result = load_runs(out)[0]
    assert result["test_images"] == result["test_groups"]
    assert len(result["test_images"]) == 2
    rows = [line.split(",") for line in (out / "split.csv").read_text().splitlines()]
    assert rows[0] == ["image", "group", "part"]
    assert sorted(row[0] for row in rows[1:]) == sorted(NAMES)
    assert [row[0] for row in rows[1:] if row[2] == "test"] == result["test_images"]
    # The file that is written can be read.
    given = resolve(data=pngs, split_file=str(out / "split.csv"), **TINY)
    assert given.split == config.split
    # Another version of the program would split in another way.
    with monkeypatch.context() as patch:
        patch.setattr("experiments.images.measured.split_folder", lambda *_: "vvttttee")
        with pytest.raises(ConfigError, match="holds a different study"):
            run_study([resolve(data=pngs, **TINY)], out, Progress())
        again = resolve(data=pngs, earlier=earlier_configs(out), **TINY)
        assert again == config
        assert run_study([again], out, Progress()) == 0
    # Another picture under an old name is another study.
    save(pngs / "images" / f"{NAMES[0]}.png", arrays(99)[0])
    with pytest.raises(ConfigError, match="no longer holds the images that the study began with"):
        splits(config, config.fractions[0], 1)
    again = resolve(data=pngs, earlier=earlier_configs(out), **TINY)
    with pytest.raises(ConfigError, match="holds a different study"):
        run_study([again], out, Progress())


def test_a_study_of_an_early_version_goes_on_with_its_split(pngs, tmp_path):
    config = resolve(data=pngs, **TINY)
    settings = dataclasses.asdict(config)
    for name in ("split", "channels", "tile", "group", "foreground", "gap", "folds", "masks"):
        del settings[name]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text(json.dumps({"tiers": [settings]}))
    again = resolve(data=pngs, earlier=earlier_configs(tmp_path / "out"), **TINY)
    assert again.split == ""
    names = sorted(NAMES)
    _, validation, _ = splits(again, again.fractions[0], 0)
    expected = [arrays(NAMES.index(name))[1] for name in names if name in ("scan_15", "scan_19")]
    np.testing.assert_array_equal(validation.masks, expected)


def test_tiles_of_images_of_any_size_and_colour(tmp_path):
    for row in range(9):
        image, mask = arrays(row, (20 + row, 30 - row))
        save(tmp_path / "d" / f"{row}.png", np.stack([image, image // 2, image], -1))
        save(tmp_path / "d" / f"{row}_m.png", mask)
    asked = {"data": tmp_path / "d", "images": "{id}.png", "masks": "{id}_m.png"}
    with pytest.raises(ConfigError, match=r"the images have 9 sizes: 20x30, .*\n.*--tile 128"):
        resolve(**asked)
    soft = np.arange(600, dtype=np.uint8).reshape(20, 30)
    save(tmp_path / "soft" / "0.png", soft)
    save(tmp_path / "soft" / "0_m.png", soft)
    save(tmp_path / "soft" / "1.png", soft[1:])
    save(tmp_path / "soft" / "1_m.png", soft[1:])
    with pytest.raises(ConfigError, match=r"(?s)more than two values.*2 sizes: 19x30, 20x30"):
        resolve(**asked | {"data": tmp_path / "soft"})
    config = resolve(**asked, tile=16, **TINY)
    assert (config.image_shape, config.channels, config.test_images) == ((16, 16), 3, 2)
    assert config.train_images == 5 * 4
    training, _, test = splits(config, config.fractions[0], 0)
    assert training.images.shape == (20, 16, 16, 3)
    assert test.where is not None
    assert run((config,), tmp_path / "out", Progress()) == 1
    (result,) = load_runs(tmp_path / "out")
    pixels = np.asarray(test.where).sum()
    assert result["metrics"]["foreground_fraction_test"] == test.masks.sum() / pixels
    assert sum(result["reliability"]["pixels"]) == pixels


def test_folds_take_turns_with_the_seeds(tmp_path):
    path = write(tmp_path, [f"p{i // 2}_{i}" for i in range(20)])
    config = resolve(data=path, folds=5, group="^[^_]+", **TINY | {"seeds": None})
    assert config.seeds == 5
    assert (config.train_images, config.validation_images, config.test_images) == (12, 4, 4)
    tested = [np.asarray(splits(config, config.fractions[0], seed)[2].masks) for seed in range(5)]
    expected = sorted(arrays(row)[1].tobytes() for row in range(20))
    assert sorted(mask.tobytes() for masks in tested for mask in masks) == expected
    assert "in fold 0 of 5" in notices([config])[0]


def test_what_a_user_should_know_comes_before_the_first_step(pngs, tmp_path, monkeypatch):
    (pngs / "images" / "Thumbs.db").write_text("junk")
    lines = []

    class Heard(Progress):
        def note(self, line):
            lines.append(line)

    config = resolve(data=write(tmp_path / "d", [f"p{i % 4}_{i}" for i in range(12)]), **TINY)
    (tmp_path / "d" / "images" / "Thumbs.db").write_text("junk")
    monkeypatch.setattr("experiments.api.run_study", lambda *a, **k: lines.append("began") or 0)
    monkeypatch.setattr("experiments.api.write_report", lambda out: None)
    run((config,), tmp_path / "out", Heard())
    assert "skipped, as they are no images: images/Thumbs.db" in lines[0]
    assert "4 groups" in lines[1]
    assert lines[2].startswith("12 images (16x24, ")
    assert "8 train, 2 validation, 2 test" in lines[2]
    assert "for 1 runs, without compiling and drawing, and 0.6 GiB of memory" in lines[3]
    assert lines[4:] == ["began", "drawing the figures and the report"]
    monkeypatch.setattr("os.sysconf", lambda name: 2**14)
    assert "this machine has 0.2 GiB: write a smaller --tile" in notices([config])[-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fractions": (0.1,)}, ["fractions is measured", "leave it out"]),
        ({"split": "tv"}, ["split is measured"]),
        ({"shape": "disk"}, ["shape is for synthetic images"]),
        ({"mask_threshold": 3.0, "foreground": (1.0,)}, ["leave out one of them"]),
        ({"folds": 2}, ["folds must be a number from 3"]),
        ({"tile": 16, "label_noise": 1.0}, ["leave out --tile"]),
        ({"tile": 15}, ["tile must be a multiple of 4"]),
    ],
)
def test_options_that_do_not_go_together_are_refused(pngs, changes, words):
    with pytest.raises(ConfigError) as caught:
        resolve(data=pngs, **changes)
    assert all(word in str(caught.value) for word in words), caught.value


def test_options_of_a_folder_need_one():
    with pytest.raises(ConfigError, match="tile is for your own images: write --data"):
        resolve(tile=64)


def test_a_size_that_the_model_cannot_take_names_a_tile(tmp_path):
    path = write(tmp_path, NAMES, size=(18, 30))
    assert resolve(data=path, model="linear").image_shape == (18, 30)
    with pytest.raises(ConfigError, match=r"18x30 pixels, the unet .*write --tile 16, or another"):
        resolve(data=path)
