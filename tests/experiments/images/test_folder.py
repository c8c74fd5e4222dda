"""A user's own images: every format reads the same, names split, and what does not fit is told."""

import dataclasses
import shutil
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from experiments.config import ConfigError
from experiments.images import folder as module
from experiments.images.folder import measured, read_folder, split_of
from experiments.presets import resolve
from experiments.runs.data import noise_level, splits
from experiments.runs.directory import load_runs
from experiments.runs.progress import Progress
from experiments.runs.study import run_study

# By their hashes: 4 to learn from, 2 to choose with, 2 to test on.
NAMES = ("scan_2", "scan_3", "scan_0", "scan_1", "scan_15", "scan_19", "scan_5", "scan_24")


def _arrays(row, size=(16, 24)):
    generator = np.random.default_rng(row)
    mask = np.zeros(size, bool)
    top, left = generator.integers(1, 8, 2)
    mask[top : top + 5, left : left + 6] = True
    image = np.clip(60 + 100 * mask + 30 * generator.normal(size=size), 0, 255)
    return image.astype(np.uint8), mask


def _write(path, names=NAMES, size=(16, 24), suffix="png"):
    for sub in ("images", "masks"):
        (path / sub).mkdir(parents=True, exist_ok=True)
    for row, name in enumerate(names):
        image, mask = _arrays(row, size)
        _save(path / "images" / f"{name}.{suffix}", image)
        _save(path / "masks" / f"{name}.{suffix}", np.uint8(255) * mask)
    return path


def _save(file, array):
    if file.suffix == ".npy":
        np.save(file, array)
    elif file.suffix in (".tif", ".tiff"):
        tifffile.imwrite(file, array)
    else:
        Image.fromarray(array).save(file)


@pytest.fixture
def pngs(tmp_path):
    return _write(tmp_path / "data")


def test_png_tiff_and_numpy_read_the_same(tmp_path, pngs):
    first = read_folder(pngs)
    assert first.names == tuple(sorted(NAMES))
    for row, name in enumerate(NAMES):
        image, mask = _arrays(row)
        np.testing.assert_array_equal(first.images[first.names.index(name)], image)
        np.testing.assert_array_equal(first.masks[first.names.index(name)], mask)
    for suffix in ("tif", "npy", "PNG"):
        other = read_folder(_write(tmp_path / suffix, suffix=suffix))
        assert other.digest == first.digest
    assert (first.images.dtype, first.masks.dtype) == (np.float32, bool)


def test_colour_becomes_grey_and_types_are_kept(tmp_path):
    image, mask = _arrays(0)
    colour = np.stack([image, np.roll(image, 1, 0), np.roll(image, 1, 1)], axis=-1)
    grey = colour @ np.array([0.299, 0.587, 0.114])
    alpha = np.concatenate([colour, np.full_like(colour[..., :1], 7)], axis=-1)
    variants = {
        "a.png": (colour, grey),
        "b.png": (alpha, grey),
        "c.png": (image.astype(np.uint16) * 200, image * 200.0),
        "d.tif": (image.astype(np.float32) / 7, image / 7),
        "e.tif": (colour.astype(np.uint16) * 256, grey),
        "f.npy": (image[..., None].astype(np.int64) - 500, image - 500.0),
        "g.npy": (image > 80, (image > 80) * 1.0),
    }
    for sub in ("images", "masks"):
        (tmp_path / sub).mkdir()
    for name, (array, _) in variants.items():
        _save(tmp_path / "images" / name, array)
        _save(tmp_path / "masks" / f"{name[0]}.npy", mask)
    # Colours of a palette are colours, those of a label map only mark its labels.
    Image.fromarray(colour).quantize(8).save(tmp_path / "images" / "h.png")
    labels = Image.fromarray(mask.astype(np.uint8), mode=None)
    labels.putpalette([200, 30, 0, 0, 99, 255])
    labels.save(tmp_path / "masks" / "h.png")
    found = read_folder(tmp_path)
    for row, (_, expected) in enumerate(variants.values()):
        np.testing.assert_allclose(found.images[row], expected, rtol=1e-5)
    assert np.abs(found.images[-1] - grey).mean() < 20
    assert (found.masks == mask).all()


def test_names_split_whatever_else_is_there(pngs):
    before = {name: split_of(name) for name in NAMES}
    assert sorted(before.values()) == ["test"] * 2 + ["train"] * 4 + ["validation"] * 2
    folder = read_folder(pngs)
    assert {folder.names[i]: s for s in module.SPLITS for i in folder.split(s)} == before
    shares = [split_of(f"any name {i}") for i in range(4000)]
    assert shares.count("train") / 4000 == pytest.approx(0.7, abs=0.03)
    assert shares.count("test") / 4000 == pytest.approx(0.15, abs=0.03)


def test_the_study_is_what_was_measured(pngs):
    config = resolve(data=pngs)
    folder = read_folder(pngs)
    assert config.fractions == (pytest.approx(folder.masks.mean(), rel=1e-3),)
    assert config.image_shape == (16, 24)
    assert (config.train_images, config.validation_images, config.test_images) == (4, 2, 2)
    assert config.batch_size == 4
    assert config.data == str(pngs)
    training, _, test = splits(config, config.fractions[0], 0)
    images = np.asarray(training.images)
    assert images.mean() == pytest.approx(0, abs=1e-5)
    assert images.std() == pytest.approx(1, rel=1e-5)
    rows = folder.split("test")
    np.testing.assert_array_equal(test.masks, folder.masks[rows])
    assert np.corrcoef(test.images.ravel(), folder.images[rows].ravel())[0, 1] > 0.9999
    assert np.isnan(noise_level(config, config.fractions[0]))
    # Training labels can be spoilt, test labels stay.
    spoilt = splits(dataclasses.replace(config, annotator_bias=1.0), config.fractions[0], 0)
    assert np.asarray(spoilt[0].masks).sum() > np.asarray(training.masks).sum()
    np.testing.assert_array_equal(spoilt[2].masks, test.masks)


def test_a_study_of_a_folder_runs_and_is_taken_up(pngs, tmp_path):
    asked = {"model": "linear", "losses": ("bce",), "steps": 2, "seeds": 1}
    config = resolve(data=pngs, **asked)
    assert run_study([config], tmp_path / "out", Progress()) == 1
    (result,) = load_runs(tmp_path / "out")
    assert result["foreground_fraction"] == config.fractions[0]
    assert len(result["per_image"]["dice"]) == 2
    assert run_study([config], tmp_path / "out", Progress()) == 0
    # Another picture under an old name is another study.
    image, _ = _arrays(99)
    _save(pngs / "images" / f"{NAMES[0]}.png", image)
    with pytest.raises(ConfigError, match="no longer holds the images that the study began with"):
        splits(config, config.fractions[0], 1)
    again = resolve(data=pngs, **asked)
    with pytest.raises(ConfigError, match="holds a different study"):
        run_study([again], tmp_path / "out", Progress())


def test_the_cache_is_used_until_a_file_changes_and_never_needed(pngs, monkeypatch):
    first = read_folder(pngs)
    (cache,) = (pngs / ".cache").iterdir()
    module._read.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_load", None)
        assert read_folder(pngs).digest == first.digest
    # A torn or foreign cache is read over.
    for content in (b"", b"torn", b"\x93NUMPY garbage"):
        cache.write_bytes(content)
        module._read.cache_clear()
        assert read_folder(pngs).digest == first.digest
    np.save(cache, np.zeros((2, 3, 4, 4), np.float32))
    module._read.cache_clear()
    assert read_folder(pngs).digest == first.digest
    image, _ = _arrays(99)
    _save(pngs / "images" / f"{NAMES[0]}.png", image)
    assert read_folder(pngs).digest != first.digest
    assert len(list((pngs / ".cache").iterdir())) == 1


def test_a_cache_that_cannot_be_written_does_not_matter(pngs, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_whole", full)
    assert len(read_folder(pngs).names) == len(NAMES)


def _bomb(file):
    """A PNG of 16,000 x 16,000 pixels in 32 kB: a header and a very short story."""

    def chunk(kind, data):
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    side = 16_000
    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes(side * (side + 1) // 8), 9)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def _huge_npy(file):
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": (100_000, 100_000)}
        )


def _pickled(file):
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)


def _archive(file):
    with file.open("wb") as out:
        np.savez_compressed(out, a=np.zeros((16, 24)))


def _replace(sub, name, write):
    def spoil(path):
        (path / sub / f"{NAMES[0]}.png").unlink()
        write(path / sub / name)

    return spoil


def _array(value):
    return lambda file: _save(file, value)


def _each_mask(change):
    def spoil(path):
        for file in sorted((path / "masks").iterdir()):
            _save(file, change(np.asarray(Image.open(file))))

    return spoil


_IMAGE, _MASK = _arrays(0)
_STRANGE = {
    "no directory": (shutil.rmtree, ["data", "no such directory"]),
    "no masks": (lambda p: shutil.rmtree(p / "masks"), ["masks", "no such directory"]),
    "nothing in it": (
        lambda p: [file.unlink() for file in (p / "images").iterdir()],
        ["images", "holds no image"],
    ),
    "an image without its mask": (
        lambda p: (p / "masks" / "scan_3.png").unlink(),
        ["images/scan_3.png", "no mask of the same name"],
    ),
    "masks without images": (
        lambda p: [(p / "images" / f"scan_{i}.png").unlink() for i in (0, 1)],
        ["masks/scan_0.png", "no image of the same name", "1 more"],
    ),
    "another kind of file": (
        lambda p: (p / "images" / "notes.txt").write_text("mine"),
        ["images/notes.txt", "PNG, TIFF or NumPy"],
    ),
    "two files of one name": (
        lambda p: _save(p / "images" / "scan_3.tif", _IMAGE),
        ["scan_3.tif", "scan_3.png", "keep one"],
    ),
    "a torn file": (
        lambda p: (p / "images" / "scan_3.png").write_bytes(b"\x89PNG\r\n\x1a\nabc"),
        ["images/scan_3.png", "not a readable png file"],
    ),
    "a torn TIFF": (
        _replace("images", f"{NAMES[0]}.tif", lambda f: f.write_bytes(b"II*\0abc")),
        [f"{NAMES[0]}.tif", "not a readable tif file"],
    ),
    "a pickle": (
        _replace("images", f"{NAMES[0]}.npy", _pickled),
        [f"{NAMES[0]}.npy", "Python objects"],
    ),
    "an archive": (
        _replace("images", f"{NAMES[0]}.npy", _archive),
        [f"{NAMES[0]}.npy", "magic string is not correct"],
    ),
    "a PNG bomb": (
        _replace("images", f"{NAMES[0]}.png", _bomb),
        [f"{NAMES[0]}.png", "bomb"],
    ),
    "a promise of an array": (
        _replace("images", f"{NAMES[0]}.npy", _huge_npy),
        [f"{NAMES[0]}.npy", "not a readable npy file"],
    ),
    "several pages": (
        _replace(
            "images",
            f"{NAMES[0]}.tif",
            lambda f: tifffile.imwrite(f, np.stack([_IMAGE] * 3), photometric="minisblack"),
        ),
        [f"{NAMES[0]}.tif", "3 pictures; one expected"],
    ),
    "a volume": (
        _replace("images", f"{NAMES[0]}.npy", _array(np.zeros((9, 16, 24)))),
        [f"{NAMES[0]}.npy", "(9, 16, 24)"],
    ),
    "words": (
        _replace("images", f"{NAMES[0]}.npy", _array(np.full((16, 24), "a"))),
        [f"{NAMES[0]}.npy", "must hold numbers", "<U1"],
    ),
    "not a number": (
        _replace("images", f"{NAMES[0]}.npy", _array(np.full((16, 24), np.nan))),
        [f"{NAMES[0]}.npy", "not finite"],
    ),
    "grey masks": (
        _replace("masks", f"{NAMES[0]}.png", _array(_IMAGE)),
        [f"masks/{NAMES[0]}.png", "not binary", "two values"],
    ),
    "masks of two conventions": (
        _replace("masks", f"{NAMES[0]}.png", _array(_MASK.astype(np.uint8))),
        ["not binary", "0 in ", f"1 in {NAMES[0]}.png", "255 in "],
    ),
    "a coloured mask": (
        _replace("masks", f"{NAMES[0]}.npy", _array(np.stack([_IMAGE, _IMAGE + 1, _IMAGE], -1))),
        [f"masks/{NAMES[0]}.npy", "must be grey"],
    ),
    "an image of another size": (
        _replace("images", f"{NAMES[0]}.png", _array(_IMAGE[:-1])),
        [f"images/{NAMES[0]}.png is 15x24", "is 16x24", "one size"],
    ),
    "a mask of another size": (
        _replace("masks", f"{NAMES[0]}.png", _array(_IMAGE[:, :-4])),
        [f"masks/{NAMES[0]}.png is 16x20", "one size"],
    ),
    "no foreground": (_each_mask(np.zeros_like), ["masks", "no mask has any foreground"]),
    "no background": (_each_mask(np.ones_like), ["masks", "no mask has any background"]),
    "too few images": (
        lambda p: [
            file.unlink() for file in p.glob("*/*.png") if split_of(file.stem) == "validation"
        ],
        ["6 images", "validation split gets no image at all", "add images"],
    ),
    "a split without foreground": (
        lambda p: [
            _save(file, np.zeros((16, 24), np.uint8))
            for file in (p / "masks").iterdir()
            if split_of(file.stem) == "test"
        ],
        ["test split gets no image with foreground"],
    ),
}


@pytest.mark.parametrize("case", _STRANGE)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(case, pngs, tmp_path):
    spoil, words = _STRANGE[case]
    spoil(pngs)
    with pytest.raises(ConfigError) as caught:
        resolve(data=pngs)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert not (pngs / ".cache").exists() or "split" in message
    assert {file.name for file in tmp_path.iterdir()} <= {"data"}


def test_files_and_folders_beyond_the_limits_are_refused_before_they_are_read(pngs, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PIXELS", 16 * 24 - 1)
    with pytest.raises(ConfigError, match=r"scan_0\.png: 16 x 24 numbers are more than the 383"):
        read_folder(pngs)
    monkeypatch.setattr(module, "_MOST_PIXELS", 16 * 24)
    monkeypatch.setattr(module, "_MOST_PIXELS_IN_ALL", 8 * 16 * 24 - 1)
    with pytest.raises(ConfigError, match="8 images of 16x24 pixels are more than"):
        read_folder(pngs)
    monkeypatch.setattr(module, "_MOST_PIXELS_IN_ALL", 8 * 16 * 24)
    assert len(read_folder(pngs).names) == 8


def test_compressed_tiff_is_read_by_pillow_alone(pngs):
    """Its decoder fills a strip of known size; another would unpack whatever there is."""
    (pngs / "images" / "scan_2.png").unlink()
    image, _ = _arrays(0)
    Image.fromarray(image).save(pngs / "images" / "scan_2.tif", compression="tiff_deflate")
    found = read_folder(pngs)
    np.testing.assert_array_equal(found.images[found.names.index("scan_2")], image)
    # What Pillow does not know is read as it lies in the file, or not at all.
    file = pngs / "images" / "scan_2.tif"
    tifffile.imwrite(file, image.astype(np.float64))
    found = read_folder(pngs)
    np.testing.assert_array_equal(found.images[found.names.index("scan_2")], image)
    tifffile.imwrite(file, image.astype(np.float64), compression="zlib")
    with pytest.raises(ConfigError, match="compressed float64; save it uncompressed"):
        read_folder(pngs)


def test_hidden_files_are_left_alone(pngs):
    (pngs / "images" / ".DS_Store").write_bytes(b"x")
    assert len(read_folder(pngs).names) == len(NAMES)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fractions": (0.1,)}, ["fractions is measured"]),
        ({"image_size": 32}, ["image_size is measured"]),
        ({"test_images": 4}, ["test_images is measured"]),
        ({"shape": "tube"}, ["shape is for synthetic images"]),
        ({"empty_share": 0.1}, ["empty_share is for synthetic images"]),
        ({"batch_size": 5}, ["batch_size 5 exceeds train_images 4"]),
    ],
)
def test_settings_that_a_folder_decides_are_refused(changes, words, pngs):
    with pytest.raises(ConfigError) as caught:
        resolve(data=pngs, **changes)
    assert all(word in str(caught.value) for word in words)


def test_sizes_that_the_unet_cannot_take(tmp_path):
    path = _write(tmp_path / "odd", size=(18, 24))
    with pytest.raises(ConfigError, match=r"18x24 pixels, the unet model takes multiples of 4"):
        resolve(data=path)
    assert resolve(data=path, model="linear").image_shape == (18, 24)


def test_measured_fraction_is_short_and_right(pngs):
    folder = read_folder(pngs)
    (fraction,) = measured(folder, pngs)["fractions"]
    assert len(repr(fraction)) <= 8
    assert fraction == pytest.approx(folder.masks.mean(), rel=1e-3)
