"""A user's own images: every format reads the same, and all that does not fit is told at once."""

import shutil

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from experiments.errors import ConfigError
from experiments.images import folder as module
from experiments.images.folder import Source, read_folder
from tests.experiments.images.folders import arrays, save, write

NAMES = ("a1", "a2", "b1", "b2", "c1", "c2", "d1", "d2")


@pytest.fixture
def pngs(tmp_path):
    return write(tmp_path / "data", NAMES)


def _read(path, **options):
    module._read.cache_clear()
    return read_folder(Source(path, **options))


def test_png_tiff_and_numpy_read_the_same(tmp_path, pngs):
    first = _read(pngs)
    assert first.names == NAMES
    for row in range(len(NAMES)):
        image, mask = arrays(row)
        np.testing.assert_array_equal(first.images[row], image)
        np.testing.assert_array_equal(first.masks[row], mask)
    for suffix in ("tif", "npy", "PNG", "bmp"):
        there = write(tmp_path / suffix, NAMES, image=f"images/{{}}.{suffix}")
        assert _read(there).digest == first.digest
    assert first.masks[0].dtype == bool
    # The digest of grey images is that of the first versions, whose studies go on.
    assert first.digest == "76d26c1b7c466313"


def test_nothing_is_written_beside_the_images(pngs):
    before = sorted(pngs.rglob("*"))
    _read(pngs)
    assert sorted(pngs.rglob("*")) == before


def test_colour_stays_unless_all_of_it_is_grey(tmp_path):
    path = write(tmp_path, "abc")
    image, _ = arrays(0)
    save(path / "images" / "a.png", np.stack([image] * 3, axis=-1))
    assert [x.shape for x in _read(path).images] == [(16, 24)] * 3
    colour = np.stack([image, np.roll(image, 1, 0), np.roll(image, 1, 1)], axis=-1)
    save(path / "images" / "a.png", colour)
    found = _read(path)
    assert [x.shape for x in found.images] == [(16, 24, 3)] * 3
    np.testing.assert_array_equal(found.images[0], colour)
    np.testing.assert_array_equal(found.images[1], np.stack([arrays(1)[0]] * 3, axis=-1))


def test_what_a_masks_values_mean(tmp_path):
    path = write(tmp_path, "abcd")
    values = np.array([0, 60, 120, 200], np.uint8)
    for name in "abcd":
        mask = np.zeros((16, 24), np.uint8)
        mask[:4], mask[4:8], mask[8:10] = values[1:]
        save(path / "masks" / f"{name}.png", mask)
    # A mask of 1 bit among them is foreground and background, whatever the threshold.
    save(path / "masks" / "d.png", np.arange(384).reshape(16, 24) < 96)
    assert _read(path, mask_threshold=127).foreground.tolist() == [1 / 8] * 3 + [1 / 4]
    assert _read(path, mask_threshold=100).foreground.tolist() == [3 / 8] * 3 + [1 / 4]
    assert _read(path, foreground=(60, 200)).foreground.tolist() == [3 / 8] * 3 + [0]
    with pytest.raises(ConfigError) as caught:
        _read(path)
    message = str(caught.value)
    assert "more than two values: 0, 60, 120, 200" in message
    assert "--mask-threshold 100" in message
    assert "--foreground 200" in message


def test_masks_of_one_image_are_joined(tmp_path):
    path = write(tmp_path, "abc", mask="masks/{}/1.png")
    second = np.zeros((16, 24), np.uint8)
    second[15] = 255
    save(path / "masks" / "a" / "2.png", second)
    # 1-bit files and 8-bit files may be mixed.
    save(path / "masks" / "a" / "3.png", second[::-1] > 0)
    found = _read(path, masks="masks/{id}/*.png")
    np.testing.assert_array_equal(found.masks[0], arrays(0)[1] | (second > 0) | (second[::-1] > 0))
    np.testing.assert_array_equal(found.masks[1], arrays(1)[1])


def test_one_bit_and_eight_bit_masks_agree(tmp_path):
    path = write(tmp_path, "abc")
    first = _read(path)
    save(path / "masks" / "a.png", arrays(0)[1])
    assert _read(path).digest == first.digest
    # An empty mask beside one that is full.
    for name, value in zip("abc", (0, 255, 0), strict=True):
        save(path / "masks" / f"{name}.png", np.full((16, 24), value, np.uint8))
    assert _read(path).foreground.tolist() == [0, 1, 0]


def test_sections_of_a_volume_are_images_of_one_group(tmp_path):
    image, mask = (np.stack(x) for x in zip(*map(arrays, range(3)), strict=True))
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "images" / "v.tif", image, photometric="minisblack")
    labels = mask.astype(np.uint8)
    tifffile.imwrite(tmp_path / "masks" / "v.tif", labels, photometric="minisblack")
    for sub, volume in (("images", image), ("masks", labels)):
        data = nibabel.Nifti1Image(np.moveaxis(volume, 0, -1), np.eye(4))
        nibabel.save(data, tmp_path / sub / "w.nii.gz")
    found = _read(tmp_path)
    assert found.names == tuple(f"{v}/{i:03d}" for v in "vw" for i in range(3))
    assert found.groups == ("v",) * 3 + ("w",) * 3
    np.testing.assert_array_equal(found.images[:3], image)
    np.testing.assert_array_equal(found.images[3:], image)
    np.testing.assert_array_equal(found.masks[3:], mask)


def test_a_file_that_changes_is_read_again(pngs):
    first = read_folder(Source(pngs))
    assert read_folder(Source(pngs)) is first
    save(pngs / "images" / "a1.png", arrays(99)[0])
    assert read_folder(Source(pngs)).digest != first.digest


def _all_masks(change):
    def spoil(path):
        for file in sorted((path / "masks").iterdir()):
            save(file, change(np.asarray(Image.open(file))))

    return spoil


def _put(file, array):
    def spoil(path):
        (path / file).with_suffix(".png").unlink(missing_ok=True)
        save(path / file, array)

    return spoil


IMAGE, MASK = arrays(0)


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (shutil.rmtree, {}, ["data: there is no such directory"]),
        (
            lambda p: (p / "images" / "a1.png").write_bytes(b"\x89PNG\r\n\x1a\nabc"),
            {},
            ["1 files cannot be read: a1.png", "not a readable png file", "remove them"],
        ),
        (_put("images/a1.npy", np.zeros((30, 16, 24))), {}, ["a1.npy has the shape (30, 16, 24)"]),
        (_put("images/a1.npy", np.full((16, 24), np.nan)), {}, ["not finite: a1.npy"]),
        (
            _put("masks/a1.npy", np.stack([IMAGE, IMAGE + 1, IMAGE], -1)),
            {},
            ["1 masks are coloured", "one number per pixel"],
        ),
        (
            _put("masks/a1.png", MASK[:, :-4].astype(np.uint8)),
            {},
            ["another size", "a1.png is 16x20, a1.png is 16x24"],
        ),
        (_put("masks/a1.png", MASK.T.astype(np.uint8)), {}, ["24x16", "one of them is turned"]),
        (_all_masks(np.zeros_like), {}, ["no mask has any foreground", "--masks"]),
        (_all_masks(np.ones_like), {}, ["no mask has any background"]),
        (lambda p: None, {"mask_threshold": 255.0}, ["no mask has any foreground", "between"]),
        (lambda p: None, {"foreground": (7.0,)}, ["any foreground", "a value that the masks have"]),
        (
            _put("images/a1.npy", np.zeros((16, 24, 4)) + np.arange(4)),
            {},
            ["the images have 3, 4 channels"],
        ),
    ],
)
def test_what_does_not_fit_is_told_with_what_mends_it(pngs, spoil, options, words):
    save(pngs / "images" / "b1.png", np.stack([IMAGE, IMAGE // 2, IMAGE], axis=-1))
    spoil(pngs)
    with pytest.raises(ConfigError) as caught:
        _read(pngs, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    # At most a screen.
    assert message.count("\n") < 24


def test_all_faults_come_in_one_message(pngs):
    (pngs / "masks" / "a2.png").unlink()
    (pngs / "images" / "b2.png").write_text("no image")
    save(pngs / "masks" / "c1.png", IMAGE)
    save(pngs / "masks" / "d1.png", MASK[1:].astype(np.uint8))
    with pytest.raises(ConfigError) as caught:
        _read(pngs)
    message = str(caught.value)
    for word in ("1 images have no mask", "cannot be read", "more than two values", "another size"):
        assert word in message
    assert message.count("\n- ") == 4


def test_files_beyond_the_limits_are_refused(pngs, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PIXELS", 16 * 24 - 1)
    with pytest.raises(ConfigError, match="16 x 24 pixels are more than the 383"):
        _read(pngs)
    monkeypatch.setattr(module, "_MOST_PIXELS", 16 * 24)
    monkeypatch.setattr(module, "_MOST_NUMBERS_IN_ALL", 8 * 16 * 24 - 1)
    with pytest.raises(ConfigError, match="which are kept in memory"):
        _read(pngs)
