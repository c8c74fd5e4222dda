"""Image files: every format gives the same pixels, and what is harmful or damaged is refused."""

import gzip
import pickle
import zlib

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from dice_jax.analysis import image_suffix, read_image

GREY = np.random.default_rng(0).integers(0, 255, (5, 7), np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
ALPHA = np.concatenate([COLOUR, np.full_like(COLOUR[..., :1], 7)], axis=-1)


def _nifti(file, array, zooms=(0.5, 0.75, 2.0), unit="mm"):
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.header.set_zooms(zooms[: array.ndim])
    image.header.set_xyzt_units(unit)
    nibabel.save(image, file)


def _save(file, array):
    suffix = image_suffix(file)
    if suffix == ".npy":
        np.save(file, array)
    elif suffix == ".npz":
        np.savez_compressed(file, array)
    elif suffix in (".tif", ".tiff"):
        tifffile.imwrite(file, array)
    elif suffix in (".nii", ".nii.gz"):
        _nifti(file, array)
    else:
        Image.fromarray(array).save(file)


@pytest.mark.parametrize(
    ("name", "array", "expected", "channels"),
    [
        ("grey.png", GREY, GREY, False),
        ("grey.BMP", GREY, GREY, False),
        ("one-bit.png", GREY > 99, GREY > 99, False),
        ("one-bit.bmp", GREY > 99, GREY > 99, False),
        ("16-bit.png", GREY * np.uint16(200), GREY * np.uint16(200), False),
        ("colour.png", COLOUR, COLOUR, True),
        ("alpha.png", ALPHA, COLOUR, True),
        ("colour.bmp", COLOUR, COLOUR, True),
        ("grey-alpha.png", ALPHA[..., 2:], COLOUR[..., 2], False),
        ("float.tif", GREY / np.float32(7), GREY / np.float32(7), False),
        ("double.tiff", GREY / 7, GREY / 7, False),
        ("signed.tif", GREY.astype(np.int16) - 99, GREY.astype(np.int16) - 99, False),
        ("colour.tif", COLOUR * np.uint16(9), COLOUR * np.uint16(9), True),
        ("pages.tif", np.stack([GREY, GREY + 1]), np.stack([GREY, GREY + 1]), False),
        ("pages64.tif", np.stack([GREY / 7] * 2), np.stack([GREY / 7] * 2), False),
        ("any.npy", COLOUR.astype(np.int64), COLOUR.astype(np.int64), None),
        ("swapped.npy", GREY.astype(">i4"), GREY.astype(np.int32), None),
        ("zipped.npz", GREY, GREY, None),
        ("volume.nii.gz", np.stack([GREY, GREY], -1), np.stack([GREY, GREY], -1), False),
        ("slice.nii", GREY[..., None], GREY, False),
    ],
)
def test_pixels_come_as_they_were_stored(tmp_path, name, array, expected, channels):
    _save(tmp_path / name, array)
    found = read_image(tmp_path / name)
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.pixels.dtype.isnative
    if found.pixels.dtype == bool:
        # Or JAX would not count the pixels.
        assert found.pixels.view(np.uint8).max() == 1
    assert found.channels is channels
    if name.startswith("swapped"):
        assert found.pixels.dtype == expected.dtype


def test_a_jpeg_is_close_and_a_planar_tiff_has_its_channels_last(tmp_path):
    smooth = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (16, 1))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").pixels.astype(int) - smooth).max() < 5
    # Some masks are JPEGs that are called PNG.
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").pixels.shape == smooth.shape
    planes = np.moveaxis(COLOUR / 7, -1, 0)
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "p.tif").pixels, COLOUR / 7)


def test_a_palette_is_colours_or_labels(tmp_path):
    labels = GREY % 3
    image = Image.fromarray(labels)
    image.putpalette([9, 8, 7, 1, 2, 3, 50, 60, 70])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", labels=True).pixels, labels)
    palette = np.array([[9, 8, 7], [1, 2, 3], [50, 60, 70]])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, palette[labels])


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 1e-3), ("unknown", 1)])
def test_spacing_comes_from_a_nifti_header_in_millimetres(tmp_path, unit, factor):
    _nifti(tmp_path / "a.nii", np.zeros((3, 4, 5), np.float32), unit=unit)
    assert read_image(tmp_path / "a.nii").spacing == pytest.approx(
        (0.5 * factor, 0.75 * factor, 2.0 * factor)
    )
    _save(tmp_path / "a.png", GREY)
    assert read_image(tmp_path / "a.png").spacing is None


def _chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _bomb(file):
    """A PNG of 100,000 x 100,000 pixels: a header and few bytes."""
    header = (100_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    parts = (
        _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(9))) + _chunk(b"IEND", b"")
    )
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def _promise(out):
    np.lib.format.write_array_header_1_0(
        out, {"descr": "<f4", "fortran_order": False, "shape": (100_000, 100_000)}
    )


def _huge_npy(file):
    with file.open("wb") as out:
        _promise(out)


def _huge_npz(file):
    import zipfile

    with zipfile.ZipFile(file, "w") as archive, archive.open("a.npy", "w") as out:
        _promise(out)


def _huge_nifti(file):
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 1))
    file.write_bytes(gzip.compress(header.binaryblock + bytes(4)))


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("a.png", _bomb, "bomb|100000 x 100000 pixels are more"),
        ("a.npy", _huge_npy, "mmap length"),
        ("a.npz", _huge_npz, "100000 x 100000 pixels are more"),
        ("a.nii.gz", _huge_nifti, "30000 x 30000 x 1 pixels are more"),
        ("b.npy", lambda f: np.save(f, np.array([Trap()]), allow_pickle=True), "Python objects"),
        ("b.npz", lambda f: np.savez(f, a=np.array([Trap()])), "Object arrays"),
        ("c.npy", lambda f: f.write_bytes(pickle.dumps(Trap())), "magic string"),
        ("d.npz", lambda f: np.savez(f, a=GREY, b=GREY), r"2 arrays \(a.npy, b.npy\)"),
        ("e.png", lambda f: f.write_bytes(b"\x89PNG\r\n\x1a\nabc"), "not a readable png file"),
        ("f.tif", lambda f: f.write_bytes(b"II*\0abc"), "not a readable tif file"),
        ("g.nii.gz", lambda f: f.write_bytes(b"abc"), "not a readable nii.gz file"),
        ("h.txt", lambda f: f.write_text("mine"), "PNG, JPEG, BMP, TIFF, NumPy"),
        ("i.npy", lambda f: np.save(f, np.array(["a"])), "must hold numbers, got <U1"),
        (
            "j.tif",
            lambda f: tifffile.imwrite(f, GREY / 7, compression="zlib"),
            "compressed float64; save it uncompressed",
        ),
        (
            "k.png",
            lambda f: Image.fromarray(GREY).save(
                f, save_all=True, append_images=[Image.fromarray(GREY + 1)]
            ),
            "2 pictures; one expected",
        ),
        ("missing.png", lambda f: None, "there is no such file"),
    ],
)
def test_what_is_harmful_or_damaged_is_refused_and_named(tmp_path, name, write, says):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}.*({says})"):
        read_image(tmp_path / name)


def test_the_limit_counts_the_pixels_of_all_pages(tmp_path):
    _save(tmp_path / "a.tif", np.stack([GREY, GREY]))
    assert read_image(tmp_path / "a.tif", most_pixels=2 * GREY.size).pixels.shape == (2, 5, 7)
    with pytest.raises(ValueError, match="2 x 5 x 7 pixels are more than the 69"):
        read_image(tmp_path / "a.tif", most_pixels=2 * GREY.size - 1)


def test_compressed_tiff_is_read_by_pillow_alone(tmp_path):
    """Its decoder fills a strip of known size; another would unpack whatever there is."""
    Image.fromarray(GREY).save(tmp_path / "a.tif", compression="tiff_deflate")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, GREY)
