"""Patterns find images and masks in the layouts that people have, and say what they miss."""

import pytest

from experiments.errors import ConfigError
from experiments.images.layout import items_of


def _touch(path, *names):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"")
    return path


def _found(path, images=None, masks=None):
    items, faults = items_of(path, images, masks, [])
    faults.check()
    return {
        item.name: (
            item.image.relative_to(path).as_posix(),
            [mask.relative_to(path).as_posix() for mask in item.masks],
        )
        for item in items
    }


@pytest.mark.parametrize(
    ("files", "patterns", "expected"),
    [
        (
            ["images/a.png", "images/b.TIF", "masks/a.npy", "masks/b.png"],
            (),
            {"a": ("images/a.png", ["masks/a.npy"]), "b": ("images/b.TIF", ["masks/b.png"])},
        ),
        (
            ["Image_01L.jpg", "Image_01L_1stHO.png", "Image_01L_2ndHO.png"],
            ("{id}.jpg", "{id}_1stHO.png"),
            {"Image_01L": ("Image_01L.jpg", ["Image_01L_1stHO.png"])},
        ),
        # Masks that the images' pattern matches too are masks; several of one image are joined.
        (
            ["a (1).png", "a (1)_mask.png", "a (1)_mask_1.png"],
            ("{id}.png", "{id}_mask*.png"),
            {"a (1)": ("a (1).png", ["a (1)_mask.png", "a (1)_mask_1.png"])},
        ),
        (
            ["train/x/images/1.png", "train/x/masks/2.png", "train/x/masks/3.png"],
            ("train/{id}/images/*.png", "train/{id}/masks/*.png"),
            {"x": ("train/x/images/1.png", ["train/x/masks/2.png", "train/x/masks/3.png"])},
        ),
        (
            ["raw/07.tif", "labels/labels00000007.png"],
            ("raw/{id}.tif", "labels/labels000000{id}.png"),
            {"07": ("raw/07.tif", ["labels/labels00000007.png"])},
        ),
        (
            ["im/c_0000.nii.gz", "lab/c.nii.gz"],
            ("im/{id}_0000.nii.gz", "lab/{id}.*"),
            {"c": ("im/c_0000.nii.gz", ["lab/c.nii.gz"])},
        ),
        (
            ["p1/i/1.png", "p1/m/1.png", "p2/i/1.png", "p2/m/1.png"],
            ("{group}/i/{id}.png", "{group}/m/{id}.png"),
            {"p1/1": ("p1/i/1.png", ["p1/m/1.png"]), "p2/1": ("p2/i/1.png", ["p2/m/1.png"])},
        ),
        (
            ["a/b/x.png", "c/y.png", "m/x.png", "m/y.png"],
            ("**/{id}.png", "m/{id}.png"),
            {"x": ("a/b/x.png", ["m/x.png"]), "y": ("c/y.png", ["m/y.png"])},
        ),
    ],
)
def test_layouts_are_found(tmp_path, files, patterns, expected):
    assert _found(_touch(tmp_path, *files), *patterns) == expected


def test_folders_named_train_val_and_test_are_the_split(tmp_path):
    names = [f"{split}/{sub}/{split}1.png" for split in ("train", "val", "test")
             for sub in ("images", "masks")]  # fmt: skip
    items, _ = items_of(_touch(tmp_path, *names), None, None, [])
    assert {item.name: item.split for item in items} == {
        "train1": "train", "val1": "validation", "test1": "test",
    }  # fmt: skip


def test_junk_is_skipped_with_a_note_and_hidden_files_without(tmp_path):
    files = ["images/a.png", "images/Thumbs.db", "images/.DS_Store", "masks/a.png", "masks/x.txt"]
    notes = []
    items, faults = items_of(_touch(tmp_path, *files), None, None, notes)
    assert [item.name for item in items] == ["a"]
    assert not faults
    assert notes == ["skipped, as they are no images: images/Thumbs.db, masks/x.txt"]


def test_all_that_does_not_pair_is_in_one_message(tmp_path):
    files = [f"images/{i}.png" for i in range(6)] + ["masks/0.png", "masks/8.png", "images/0.tif"]
    with pytest.raises(ConfigError) as caught:
        _found(_touch(tmp_path, *files))
    message = str(caught.value)
    assert "5 images have no mask: images/1.png, images/2.png, images/3.png and 2 more" in message
    assert "1 masks have no image: masks/8.png" in message
    assert "images/0.tif and images/0.png" in message
    assert message.count("--images") >= 3


def test_patterns_are_suggested_from_what_is_there(tmp_path):
    files = [f"set/{i}/img/{i}.jpg" for i in range(5)] + [f"set/{i}/seg/a.png" for i in range(5)]
    with pytest.raises(ConfigError) as caught:
        _found(_touch(tmp_path, *files))
    message = str(caught.value)
    assert "no file is found by --images images/{id}.* and --masks masks/{id}.*" in message
    assert "'set/{id}/img/*.jpg' (5 files)" in message
    assert "'set/{id}/seg/*.png' (5 files)" in message
    with pytest.raises(ConfigError, match="no PNG, JPEG, BMP, TIFF, NumPy or NIfTI file"):
        _found(_touch(tmp_path / "empty", "notes.txt"))
    with pytest.raises(ConfigError, match="there is no such directory"):
        _found(tmp_path / "missing")


@pytest.mark.parametrize("pattern", ["images/*.png", "images/{name}.png"])
def test_a_pattern_without_id_is_refused(tmp_path, pattern):
    with pytest.raises(ConfigError, match=r"a pattern needs \{id\}"):
        _found(_touch(tmp_path, "images/a.png"), pattern)
