"""Image files as arrays: PNG, JPEG, BMP, TIFF, NumPy, NIfTI; within limits, without pickles."""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dice_jax._core.optional_imports import optional

__all__ = ["ImageFile", "image_suffix", "read_image"]

Array = np.ndarray[Any, Any]

KNOWN = "PNG, JPEG, BMP, TIFF, NumPy (.npy, .npz) or NIfTI (.nii, .nii.gz)"


class ImageFile(NamedTuple):
    """What an image file holds.

    Args:
        pixels: [H, W] or [H, W, C], of a TIFF with several pages [pages, H, W] or
            [pages, H, W, C]; of NumPy and NIfTI files, the axes of the file. Booleans (of 1-bit
            files), integers or floating, as stored.
        channels: whether the last axis holds channels, such as colours; ``None``: a NumPy file does
            not say.
        spacing: the distance of neighbours along each axis of ``pixels``, in mm; ``None`` where
            the file does not say: only NIfTI does.

    Example:
        >>> import numpy as np
        >>> from dice_jax.analysis import ImageFile
        >>> print(ImageFile(np.zeros((2, 2)), channels=False).spacing)
        None
    """

    pixels: Array
    channels: bool | None
    spacing: tuple[float, ...] | None = None


def image_suffix(path: str | Path) -> str | None:
    """Return the suffix of a file that `read_image` knows, in lower case, or ``None``.

    Args:
        path: the file; only its name is looked at.

    Returns:
        A string such as ".png" or ".nii.gz". The name without as many last characters is the
        image's.

    Example:
        >>> from dice_jax.analysis import image_suffix
        >>> print(image_suffix("scan.nii.gz"), image_suffix("scan.PNG"), image_suffix("notes.txt"))
        .nii.gz .png None
    """
    name = Path(path).name.lower()
    return next((suffix for suffix in _READERS if name.endswith(suffix)), None)


def read_image(path: str | Path, *, labels: bool = False, most_pixels: int = 2**28) -> ImageFile:
    """Read an image, a mask or a volume from a file.

    Values stay as they are stored: nothing is scaled, turned or resized. An alpha channel is left
    out. Palettes, CMYK and YCbCr become RGB; 16-bit colours in a PNG or a compressed TIFF become
    8-bit. A NIfTI file gives the array that nibabel gives, without the last axes of length 1.

    Args:
        path: a PNG, JPEG, BMP, TIFF, NumPy (.npy, or .npz with one array) or NIfTI file.
        labels: keep the indices of a palette instead of its colours.
        most_pixels: an image with more pixels is refused before it is decoded. Pillow, which reads
            PNG, JPEG, BMP and compressed TIFF, itself refuses more than twice its
            ``PIL.Image.MAX_IMAGE_PIXELS`` (178,956,970 pixels, unless you change it).

    Returns:
        An `ImageFile`.

    Raises:
        ValueError: if the file is not there, is of another kind, is damaged, holds no numbers, or
            has more pixels than the limit: the error names it.
        ImportError: if the library that reads it is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from dice_jax.analysis import read_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "scan.npy")
        ...     np.save(path, np.array([[1, 2, 3]], np.int16))
        ...     print(read_image(path).pixels)
        [[1 2 3]]
    """
    path, suffix = Path(path), image_suffix(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if suffix is None:
        raise ValueError(f"{path}: not an image that can be read here; {KNOWN} expected")
    try:
        found = _READERS[suffix](path, _Wish(labels, most_pixels))
    except ImportError:
        raise
    except Exception as error:
        # Each library has its own errors for a file that is not what its name says.
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a readable {suffix[1:]} file ({why})") from error
    pixels = found.pixels
    if pixels.dtype.kind not in "buif":
        raise ValueError(f"{path}: must hold numbers, got {pixels.dtype}")
    if pixels.dtype.kind == "b":
        # Pillow writes true as 255, which JAX sums as −1.
        pixels = pixels.view(np.uint8) != 0
    # JAX takes no array of the other byte order.
    return found._replace(pixels=pixels.astype(pixels.dtype.newbyteorder("="), copy=False))


class _Wish(NamedTuple):
    labels: bool
    most_pixels: int

    def library(self, module: str, kind: str) -> Any:
        return optional(module, user=f"reading {kind}", extra="images")

    def check(self, shape: Sequence[int]) -> None:
        if math.prod(shape) > self.most_pixels:
            raise ValueError(
                f"{' x '.join(map(str, shape))} pixels are more than the {self.most_pixels:,} that "
                "one file may hold: cut it or scale it down"
            )


def _read_picture(path: Path, wish: _Wish) -> ImageFile:
    image_module = wish.library("PIL.Image", "images")
    with warnings.catch_warnings():
        # Pillow warns of half the size that it refuses, and of broken metadata beside good pixels.
        warnings.simplefilter("ignore")
        with image_module.open(path, formats=("PNG", "JPEG", "BMP", "TIFF")) as image:
            # A JPEG's further pictures are previews.
            pages = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
            if pages > 1 and image.format != "TIFF":
                raise ValueError(f"{pages} pictures; one expected")
            # Before any pixel is decoded.
            wish.check((pages, image.height, image.width)[pages == 1 :])
            if pages == 1:
                decoded = [_decoded(image, wish.labels)]
            else:
                decoded = []
                for page in range(pages):
                    image.seek(page)
                    if page and image.size != (decoded[0].shape[1], decoded[0].shape[0]):
                        raise ValueError(f"its {pages} pages have different sizes")
                    decoded.append(_decoded(image, wish.labels))
    colour = decoded[0].ndim == 3
    return ImageFile(decoded[0] if pages == 1 else np.stack(decoded), colour)


def _decoded(image: Any, labels: bool) -> Array:
    kept = ("1", "L", "LA", "RGB", "RGBA", "I", "F")
    if not (image.mode in kept or image.mode.startswith("I;16") or (labels and image.mode == "P")):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return {"LA": pixels[..., 0], "RGBA": pixels[..., :3]}.get(image.mode, pixels)


# Of TIFF's ways to store colours, those where the values are what is seen.
_MIN_IS_BLACK, _RGB = 1, 2


def _read_tiff(path: Path, wish: _Wish) -> ImageFile:
    with wish.library("tifffile", "TIFF").TiffFile(path) as tiff:
        page, pages = tiff.pages.first, len(tiff.pages)
        if page.compression == 1 and page.photometric in (_MIN_IS_BLACK, _RGB):
            wish.check((pages, page.imagelength, page.imagewidth)[pages == 1 :])
            pixels = page.asarray() if pages == 1 else tiff.asarray(key=slice(None))
            colour = page.samplesperpixel > 1
            if colour and page.axes.startswith("S"):
                pixels = np.moveaxis(pixels, -3, -1)
            # What follows the third colour is an alpha channel.
            return ImageFile(pixels[..., :3] if colour else pixels, colour)
        kind = f"{page.dtype}"
    # Pillow's decoders fill a strip of known size; tifffile's unpack whatever there is.
    try:
        return _read_picture(path, wish)
    except wish.library("PIL", "TIFF").UnidentifiedImageError:
        raise ValueError(f"compressed {kind}; save it uncompressed") from None


def _read_npy(path: Path, wish: _Wish) -> ImageFile:
    # Mapped first: if the header promises more than the file holds, this fails without allocating.
    # It reads arrays only, where `np.load` would open pickles and archives too.
    pixels = np.lib.format.open_memmap(path, mode="r")
    wish.check(pixels.shape)
    return ImageFile(np.array(pixels), None)


def _read_npz(path: Path, wish: _Wish) -> ImageFile:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise ValueError(f"{len(names)} arrays ({', '.join(names[:4])}); one expected")
        with archive.open(names[0]) as file:
            # Before anything is unpacked beyond the header.
            version = np.lib.format.read_magic(file)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            wish.check(header(file)[0])
        with archive.open(names[0]) as file:
            return ImageFile(np.lib.format.read_array(file, allow_pickle=False), None)


def _read_nifti(path: Path, wish: _Wish) -> ImageFile:
    nibabel = wish.library("nibabel", "NIfTI")
    # Only the header is read here.
    image = nibabel.load(path)
    wish.check(image.shape)
    # Integers stay integers unless the header scales them.
    pixels = np.asanyarray(image.dataobj)
    axes = pixels.ndim
    while axes > 2 and pixels.shape[axes - 1] == 1:
        axes -= 1
    unit = {"meter": 1e3, "micron": 1e-3}.get(image.header.get_xyzt_units()[0], 1.0)
    zooms = image.header.get_zooms()[:axes]
    spacing = tuple(float(zoom) * unit for zoom in zooms)
    return ImageFile(pixels.reshape(pixels.shape[:axes]), False, spacing)


_READERS: dict[str, Callable[[Path, _Wish], ImageFile]] = {
    ".png": _read_picture,
    ".jpg": _read_picture,
    ".jpeg": _read_picture,
    ".bmp": _read_picture,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
}
