"""A user's own images and masks: read with limits, checked, paired, split by name and cached."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.errors import ConfigError
from experiments.files import write_whole

__all__ = ["SPLITS", "Folder", "measured", "read_folder", "split_of"]

Array = np.ndarray[Any, Any]

# The ranges of a name's hash, from 0 to 1. A new file never moves an old one to another split.
SPLITS = {"train": 0.7, "validation": 0.85, "test": 1.0}

_KNOWN = "PNG, TIFF or NumPy (.npy)"
# A file with more pixels is a mistake, or a decompression bomb.
_MOST_PIXELS = 2**26
# As float32 images and masks: 8 GiB.
_MOST_PIXELS_IN_ALL = 2**30


class Folder(NamedTuple):
    """Images and masks, in the order of their names.

    Args:
        names: the files' stems.
        images: [N, H, W], float32, grey, as in the files.
        masks: [N, H, W], boolean.
        digest: of names and contents.
    """

    names: tuple[str, ...]
    images: Array
    masks: Array
    digest: str

    def split(self, name: str) -> Array:
        """Return the indices of the images of a split."""
        return np.flatnonzero([split_of(stem) == name for stem in self.names])


def split_of(stem: str) -> str:
    """Choose the split of a name from the name alone: 70, 15 and 15 in a hundred."""
    place = int.from_bytes(hashlib.sha256(stem.encode()).digest()[:8]) / 2**64
    return next(name for name, end in SPLITS.items() if place < end)


def measured(folder: Folder, path: Path) -> dict[str, Any]:
    """Measure the fields of `config.StudyConfig` that a folder of images decides.

    Raises:
        ConfigError: if a split has no image, or none with foreground; it names ``path``.
    """
    counts = {}
    for split in SPLITS:
        chosen = folder.split(split)
        counts[f"{split}_images"] = len(chosen)
        why = "no image at all" if not len(chosen) else ""
        if not why and not folder.masks[chosen].any():
            why = "no image with foreground"
        if why:
            raise ConfigError(
                f"{path}: of {len(folder.names)} images the {split} split gets {why} (an image's "
                "name decides where it belongs: 70 % train, 15 % validation, 15 % test); add images"
            )
    height, width = folder.images.shape[1:]
    fraction = float(folder.masks.mean())
    if fraction == 1:
        raise ConfigError(f"{path}: no mask has any background")
    return {
        # Few digits: the fraction is part of every run's name.
        "fractions": (float(f"{fraction:.4g}"),),
        "image_size": height,
        "image_width": None if width == height else width,
        **counts,
        "data_digest": folder.digest,
    }


def read_folder(path: Path) -> Folder:
    """Read the images and masks of a directory, or take them from its cache.

    ``images/`` and ``masks/`` hold PNG, TIFF or NumPy files (``.npy``), a mask under its image's
    name (its suffix may be another). Images are grey, or colour that becomes grey (0.299 R +
    0.587 G + 0.114 B; an alpha channel is left out, of 16-bit colour the upper 8 bits count). Masks
    have two values, the same in all of them; the larger is foreground. Nothing is resized. What
    was read is cached in ``.cache/`` beside them, if possible, until a file changes.

    Args:
        path: the directory.

    Returns:
        The `Folder`.

    Raises:
        ConfigError: if a file cannot be read or does not fit the others; it is named.
    """
    pairs = _pairs(path)
    stamp = hashlib.sha256()
    for file in (file for pair in pairs.values() for file in pair):
        status = file.stat()
        stamp.update(f"{file.relative_to(path)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return _read(path, stamp.hexdigest()[:16])


@functools.lru_cache(maxsize=1)
def _read(path: Path, stamp: str) -> Folder:
    pairs = _pairs(path)
    cache = path / ".cache" / f"pairs_{stamp}.npy"
    both = _cached(cache, len(pairs))
    if both is None:
        both = _load(path, pairs)
        _keep(cache, both)
    names, images, masks = tuple(pairs), both[0], both[1] > 0
    digest = hashlib.sha256("\0".join(names).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.packbits(masks).data)
    return Folder(names, images, masks, digest.hexdigest()[:16])


def _cached(cache: Path, count: int) -> Array | None:
    # If the cache is damaged, the images are read again. It is a plain array: neither a pickle nor
    # an archive that unpacks to something larger.
    with contextlib.suppress(OSError, ValueError, EOFError):
        both = np.load(cache, allow_pickle=False)
        if isinstance(both, np.ndarray) and both.ndim == 4 and both.shape[:2] == (2, count):
            return both.astype(np.float32, copy=False)
    return None


def _keep(cache: Path, both: Array) -> None:
    buffer = io.BytesIO()
    np.save(buffer, both, allow_pickle=False)
    # The disk may be read-only or full.
    with contextlib.suppress(OSError):
        for old in cache.parent.glob("pairs_*.npy"):
            old.unlink()
        write_whole(cache, buffer.getvalue())


def _pairs(path: Path) -> dict[str, tuple[Path, Path]]:
    if not path.is_dir():
        raise ConfigError(f"{path}: there is no such directory")
    images, masks = (_by_stem(path / name) for name in ("images", "masks"))
    for here, there, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = [here[stem] for stem in here if stem not in there]
        if alone:
            more = f" (nor have {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise ConfigError(f"{alone[0]} has no {what} of the same name{more}")
    return {stem: (images[stem], masks[stem]) for stem in images}


def _by_stem(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        raise ConfigError(f"{directory}: there is no such directory; images/ and masks/ expected")
    files: dict[str, Path] = {}
    for file in sorted(directory.iterdir()):
        if file.name.startswith("."):
            continue
        if file.suffix.lower() not in _READERS or not file.is_file():
            raise ConfigError(f"{file}: not a file that can be read here; {_KNOWN} expected")
        if file.stem in files:
            raise ConfigError(f"{file} and {files[file.stem].name} have the same name: keep one")
        files[file.stem] = file
    if not files:
        raise ConfigError(f"{directory} holds no image; {_KNOWN} expected")
    return files


def _load(path: Path, pairs: dict[str, tuple[Path, Path]]) -> Array:
    """[2, N, H, W]: the images, and the masks as 0 and 1."""
    both: Array | None = None
    levels: dict[float, Path] = {}
    first = next(iter(pairs.values()))[0]
    for row, (image_file, mask_file) in enumerate(pairs.values()):
        image = _grey(_open(image_file), image_file)
        mask = _plane(_open(mask_file, labels=True), mask_file)
        if both is None:
            if len(pairs) * image.size > _MOST_PIXELS_IN_ALL:
                raise ConfigError(
                    f"{path}: {len(pairs)} images of {_size(image)} pixels are more than the "
                    f"{_MOST_PIXELS_IN_ALL:,} pixels that are read at once; cut or scale them down"
                )
            both = np.empty((2, len(pairs), *image.shape), np.float32)
        for file, array in ((image_file, image), (mask_file, mask)):
            if array.shape != both.shape[2:]:
                raise ConfigError(
                    f"{file} is {_size(array)}, {first} is {_size(both[0, 0])}: all images and "
                    "masks must have one size"
                )
        for value in np.unique(mask)[:3].tolist():
            levels.setdefault(value, mask_file)
        if len(levels) > 2:
            values = ", ".join(f"{value:g} in {levels[value].name}" for value in sorted(levels))
            raise ConfigError(
                f"{mask_file} is not binary: the masks must have two values in all, got {values}"
            )
        both[0, row], both[1, row] = image, mask
    assert both is not None
    low, high = min(levels), max(levels)
    if low == high == 0:
        raise ConfigError(f"{path / 'masks'}: no mask has any foreground (all are 0)")
    if low == high:
        raise ConfigError(f"{path / 'masks'}: no mask has any background (all are {low:g})")
    both[1] = both[1] == high
    return both


def _size(array: Array) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"


def _open(file: Path, labels: bool = False) -> Array:
    try:
        with warnings.catch_warnings():
            # Pillow only warns about some decompression bombs.
            warnings.simplefilter("error")
            array = _READERS[file.suffix.lower()](file, labels)
    except ConfigError:
        raise
    except Exception as error:
        # Each reader has its own errors for a file of another format.
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{file}: not a readable {file.suffix[1:]} file ({why})") from None
    if array.dtype.kind not in "buif":
        raise ConfigError(f"{file}: must hold numbers, got {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ConfigError(f"{file}: holds a value that is not finite")
    return array


def _check_pixels(file: Path, shape: Sequence[int]) -> None:
    pixels = math.prod(shape)
    if pixels > _MOST_PIXELS:
        raise ConfigError(
            f"{file}: {' x '.join(map(str, shape))} numbers are more than the {_MOST_PIXELS:,} "
            "that one file may hold"
        )


def _read_npy(file: Path, labels: bool) -> Array:
    del labels
    # Mapped first: if the header promises more than the file holds, this fails without allocating.
    # It reads arrays only, where `np.load` would open archives too.
    array = np.lib.format.open_memmap(file, mode="r")
    _check_pixels(file, array.shape)
    return np.array(array)


def _read_pillow(file: Path, labels: bool, kind: str) -> Array:
    from PIL import Image

    with Image.open(file, formats=(kind,)) as image:
        # Before any pixel is decoded.
        _check_pixels(file, (image.height, image.width))
        if getattr(image, "n_frames", 1) > 1:
            raise ValueError(f"{getattr(image, 'n_frames', 1)} pictures; one expected")
        if labels and image.mode == "P":
            return np.asarray(image)
        known = ("1", "L", "LA", "RGB", "RGBA", "I", "F")
        wanted = image.mode in known or image.mode.startswith("I;16")
        return np.asarray(image if wanted else image.convert("RGB"))


def _read_tiff(file: Path, labels: bool) -> Array:
    from PIL import UnidentifiedImageError

    try:
        return _read_pillow(file, labels, "TIFF")
    except UnidentifiedImageError:
        # Types that Pillow does not have, such as float64. Compressed files are refused: a strip
        # may unpack to more than its tags say.
        import tifffile

        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            if len(tiff.pages) > 1:
                raise ValueError(f"{len(tiff.pages)} pictures; one expected") from None
            if page.compression != 1:
                raise ValueError(f"compressed {page.dtype}; save it uncompressed") from None
            _check_pixels(file, page.shape)
            return page.asarray()


def _read_png(file: Path, labels: bool) -> Array:
    return _read_pillow(file, labels, "PNG")


# Functions of a file and of whether it holds labels, whose palette is ignored.
_READERS: dict[str, Callable[[Path, bool], Array]] = {
    ".npy": _read_npy,
    ".png": _read_png,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
}


def _channels(array: Array, file: Path) -> Array:
    """[H, W, 1] or [H, W, 3], without an alpha channel."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 2, 3, 4) or not array.size:
        raise ConfigError(
            f"{file}: a picture of height and width (and 1 to 4 channels, last) expected, got "
            f"shape {array.shape}"
        )
    return array[..., : 3 if array.shape[-1] > 2 else 1]


def _grey(array: Array, file: Path) -> Array:
    channels = _channels(array, file).astype(np.float32)
    if channels.shape[-1] == 1:
        return channels[..., 0]
    # ITU-R BT.601, as Pillow's.
    return channels @ np.array([0.299, 0.587, 0.114], np.float32)


def _plane(array: Array, file: Path) -> Array:
    channels = _channels(array, file)
    if (channels != channels[..., :1]).any():
        raise ConfigError(f"{file}: a mask must be grey, but its channels differ")
    return channels[..., 0]
