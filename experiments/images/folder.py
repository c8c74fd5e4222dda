"""A user's own images and masks: found, read within limits, and checked, all faults at once."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dice_jax.analysis import ImageFile, image_suffix, read_image
from experiments.errors import ConfigError
from experiments.images.faults import Faults
from experiments.images.layout import Item, items_of

__all__ = ["Folder", "Source", "read_folder"]

Array = np.ndarray[Any, Any]

# A file with more pixels is a mistake, or a decompression bomb.
_MOST_PIXELS = 2**28
# Of all images together, whatever their type.
_MOST_NUMBERS_IN_ALL = 2**31
# More values than this are no labels but grey levels.
_MOST_VALUES = 64
# The last axis of a NumPy array up to this length holds channels.
_MOST_CHANNELS = 16


@dataclasses.dataclass(frozen=True)
class Source:
    """Where images and masks lie, and what the values of a mask mean.

    Args:
        path: the folder.
        images: the pattern of the images, as `layout.items_of` has it.
        masks: the pattern of the masks.
        mask_threshold: foreground is what lies above it.
        foreground: the values that are foreground.
        classes: every value is a class; the smallest is the background.
        one_size: the images must have one size.
    """

    path: Path
    images: str | None = None
    masks: str | None = None
    mask_threshold: float | None = None
    foreground: tuple[float, ...] = ()
    classes: bool = False
    one_size: bool = False


class Folder(NamedTuple):
    """Images and masks, in the order of their paths.

    Args:
        names: what the patterns' {group} and {id} stand for; of a volume, with the section.
        groups: what must stay together where the folder says so, or ``None``.
        given: the split where the folder says so, or ``None``.
        images: [H, W] or [H, W, C] each, as in the files.
        masks: [H, W] each, boolean, or the index of a class.
        values: the masks' values, by class; empty if there are two classes.
        digest: of names and contents.
        notes: what a user should know.
    """

    names: tuple[str, ...]
    groups: tuple[str | None, ...]
    given: tuple[str | None, ...]
    images: tuple[Array, ...]
    masks: tuple[Array, ...]
    values: tuple[float, ...]
    digest: str
    notes: tuple[str, ...]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths, each once."""
        return sorted({(mask.shape[0], mask.shape[1]) for mask in self.masks})

    @property
    def foreground(self) -> Array:
        """The share of foreground of every image."""
        return np.array([np.count_nonzero(mask) / mask.size for mask in self.masks])


def read_folder(source: Source) -> Folder:
    """Read the images and masks of a folder, or take them from memory until a file changes.

    Nothing is scaled or resized. Colour stays unless all channels of all images are equal. The
    mask of an image is the union of its files. Without options, masks have two values, the same in
    all of them, and the larger is foreground. The sections of a volume (NIfTI, or a TIFF with
    several pages) are images of one group.

    Args:
        source: the folder and its options.

    Returns:
        The `Folder`.

    Raises:
        ConfigError: with all that is wrong, and the options that would mend it.
    """
    notes: list[str] = []
    items, faults = items_of(source.path, source.images, source.masks, notes)
    stamp = hashlib.sha256("\n".join(notes).encode())
    for file in (file for item in items for file in (item.image, *item.masks)):
        status = file.stat()
        stamp.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    if faults:
        # What can be read is read, so that its faults are told too.
        _Reader(source, faults).read(items)
        faults.check()
    return _read(source, stamp.hexdigest())


@functools.lru_cache(maxsize=1)
def _read(source: Source, stamp: str) -> Folder:
    notes: list[str] = []
    items, faults = items_of(source.path, source.images, source.masks, notes)
    reader = _Reader(source, faults)
    reader.read(items)
    faults.check()
    return reader.folder(notes)


class _Section(NamedTuple):
    """An image, and its mask as far as it is known before all masks are read.

    Args:
        level: the largest of the masks' numbers, or ``None`` where all masks are boolean.
        inside: where a boolean mask, or one of two values by an option, is foreground.
    """

    name: str
    item: Item
    image: Array
    level: Array | None
    inside: Array | None


class _Reader:
    """Reads items one by one and collects faults instead of stopping at the first."""

    def __init__(self, source: Source, faults: Faults) -> None:
        self._source, self._faults = source, faults
        self._sections: list[_Section] = []
        # A value of the masks, and the first file that has it.
        self._values: dict[float, Path] = {}
        self._numbers = 0

    def read(self, items: Sequence[Item]) -> None:
        for item in items:
            image = self._open(item.image)
            masks = [(file, self._open(file, labels=True)) for file in item.masks]
            if image is None or any(sections is None for _, sections in masks):
                continue
            if self._source.classes and len(masks) > 1:
                self._faults.add(
                    "{n} images have several masks, which give classes no order",
                    f"{item.name} has {len(masks)}",
                    mend="leave out --classes: the masks of an image are then joined, or write "
                    "--masks with a pattern that matches one of them",
                )
                continue
            for place, pixels in enumerate(image):
                name = item.name if len(image) == 1 else f"{item.name}/{place:03d}"
                self._add(name, item, pixels, [(f, s) for f, s in masks if s is not None], place)
        self._check_values()
        self._check_sizes()

    def _check_sizes(self) -> None:
        sizes = sorted({section.image.shape[:2] for section in self._sections})
        if self._source.one_size and len(sizes) > 1:
            shown = ", ".join(f"{height}x{width}" for height, width in sizes[:3])
            self._faults.add(
                f"the images have {len(sizes)} sizes",
                f"{shown}, …" if len(sizes) > 3 else shown,
                mend="write --tile 128 (or another number) to learn from tiles; the images are "
                "then evaluated whole",
            )

    def _add(
        self,
        name: str,
        item: Item,
        image: Array,
        masks: list[tuple[Path, list[Array]]],
        place: int,
    ) -> None:
        level = inside = None
        for file, sections in masks:
            if len(sections) <= place or sections[place].shape[:2] != image.shape[:2]:
                there = _size(sections[min(place, len(sections) - 1)])
                turned = there == _size(image.swapaxes(0, 1)) and there != _size(image)
                self._faults.add(
                    "{n} masks have another size than their image",
                    f"{file.name} is {there}, {item.image.name} is {_size(image)}",
                    mend="save image and mask again with one size"
                    + (": one of them is turned" if turned else ""),
                )
                return
            mask = self._plane(sections[place], file)
            if mask is None:
                return
            found = self._foreground(mask)
            if found is not None:
                inside = found if inside is None else inside | found
            else:
                self._note_values(mask, file)
                level = mask if level is None else np.maximum(level, mask)
        self._numbers += image.size
        if self._numbers > _MOST_NUMBERS_IN_ALL:
            raise ConfigError(
                f"{self._source.path}: the images hold more than {_MOST_NUMBERS_IN_ALL:,} numbers "
                "in all, which are kept in memory: write --images with a pattern that matches "
                "fewer of them, or scale them down"
            )
        self._sections.append(_Section(name, item, image, level, inside))

    def _foreground(self, mask: Array) -> Array | None:
        """The foreground of a mask that options or its type decide, or ``None``."""
        source = self._source
        if source.mask_threshold is not None:
            # A mask of 1 bit has its threshold behind it.
            return mask if mask.dtype.kind == "b" else mask > source.mask_threshold
        if source.foreground:
            return np.isin(mask, source.foreground)
        return mask if mask.dtype.kind == "b" and not source.classes else None

    def _note_values(self, mask: Array, file: Path) -> None:
        values = _distinct(mask)
        # The first values, and always the smallest and the largest.
        for value in (*values[: _MOST_VALUES + 1], values[-1]):
            if len(self._values) <= _MOST_VALUES or value in (values[0], values[-1]):
                self._values.setdefault(value, file)

    def _check_values(self) -> None:
        values, source = sorted(self._values), self._source
        if not values:
            return
        shown = ", ".join(f"{value:g}" for value in values[:9])
        shown += ", …" if len(values) > 9 else ""
        where = f"{shown} (the last in {self._values[values[-1]].name})"
        middle = f"{int((values[0] + values[-1]) / 2)}" if values[-1] > 1 else "0.5"
        if source.classes and len(values) > _MOST_VALUES:
            self._faults.add(
                f"the masks hold more than {_MOST_VALUES} values, too many for classes",
                where,
                mend=f"their edges are soft: write --mask-threshold {middle} instead of --classes",
            )
        elif source.classes and len(values) < 2:
            self._faults.add("the masks hold one value only", where, mend="leave out --classes")
        elif not source.classes and len(values) > 2:
            self._faults.add(
                "the masks hold more than two values",
                where,
                mend=f"if their edges are soft, write --mask-threshold {middle}; if they are "
                f"labels, write --foreground {values[-1]:g} (or other values)",
            )

    def _open(self, file: Path, labels: bool = False) -> list[Array] | None:
        """The sections of a file, [H, W] or [H, W, C] each."""
        try:
            found = read_image(file, labels=labels, most_pixels=_MOST_PIXELS)
        except ImportError as error:
            raise ConfigError(str(error)) from None
        except ValueError as error:
            why = str(error).removeprefix(f"{file}: ")
            self._faults.add(
                "{n} files cannot be read",
                f"{file.name}: {why}",
                mend="save them again, or remove them with what belongs to them",
            )
            return None
        sections = _sections(found, image_suffix(file) or "")
        if not sections or not found.pixels.size:
            self._faults.add(
                "{n} files hold no image of height and width",
                f"{file.name} has the shape {found.pixels.shape}",
                mend="save [H, W], or [H, W, channels] with at most "
                f"{_MOST_CHANNELS} channels, in each NumPy file",
            )
            return None
        if found.pixels.dtype.kind == "f" and not np.isfinite(found.pixels).all():
            self._faults.add(
                "{n} files hold values that are not finite",
                file.name,
                mend="replace NaN and infinity in them",
            )
            return None
        return sections

    def _plane(self, mask: Array, file: Path) -> Array | None:
        if mask.ndim == 2:
            return mask
        if (mask == mask[..., :1]).all():
            return mask[..., 0]
        self._faults.add(
            "{n} masks are coloured, and their channels differ",
            file.name,
            mend="save masks with one number per pixel: 0, 1, 2, … for their colours",
        )
        return None

    def folder(self, notes: Sequence[str]) -> Folder:
        """Make the folder of what was read; raise the faults that only all images together have."""
        sections, values = self._sections, sorted(self._values)
        if self._source.classes:
            masks = [
                np.searchsorted(np.array(values), s.level.astype(np.float64)).astype(np.uint8)
                for s in sections
                if s.level is not None
            ]
        else:
            high = max(values, default=0)
            # All masks with one number: 0 is background, anything else foreground.
            masks = [_joined(s, high if high else None) for s in sections]
        self._check_foreground(masks)
        images = self._of_equal_channels([s.image for s in sections])
        self._faults.check()
        several = any("/" in s.name and s.name != s.item.name for s in sections)
        return Folder(
            tuple(s.name for s in sections),
            tuple(
                s.item.name if several and s.item.group is None else s.item.group for s in sections
            ),
            tuple(s.item.split for s in sections),
            tuple(images),
            tuple(masks),
            tuple(values) if self._source.classes else (),
            _digest([s.name for s in sections], images, masks),
            tuple(notes),
        )

    def _check_foreground(self, masks: Sequence[Array]) -> None:
        source = self._source
        options = {
            "mask_threshold": "--mask-threshold with a number between the masks' values",
            "foreground": "--foreground with a value that the masks have",
        }
        given = next(
            (words for name, words in options.items() if getattr(source, name) not in (None, ())),
            None,
        )
        mend = f"write {given}" if given else "check the masks, or the pattern --masks"
        if not any(mask.any() for mask in masks):
            self._faults.add("no mask has any foreground", mend=mend)
        elif all(mask.all() for mask in masks) and not source.classes:
            self._faults.add("no mask has any background", mend=mend)

    def _of_equal_channels(self, images: list[Array]) -> list[Array]:
        """Grey images [H, W] if no image has colour, else all of them [H, W, C]."""
        grey = [image.ndim == 2 or bool((image == image[..., :1]).all()) for image in images]
        if all(grey):
            return [image if image.ndim == 2 else image[..., 0] for image in images]
        counts = {image.shape[2] for image in images if image.ndim == 3}
        if len(counts) > 1:
            self._faults.add(
                f"the images have {', '.join(map(str, sorted(counts)))} channels",
                mend="save all of them with as many channels",
            )
            return images
        (count,) = counts
        return [
            image if image.ndim == 3 else np.repeat(image[..., None], count, axis=2)
            for image in images
        ]


def _distinct(mask: Array) -> list[float]:
    if mask.dtype.itemsize == 1 and mask.dtype.kind != "i":
        # Faster than sorting; a nuclei data set has thousands of masks.
        return np.flatnonzero(np.bincount(mask.ravel())).astype(float).tolist()
    return np.unique(mask).astype(float).tolist()


def _sections(found: ImageFile, suffix: str) -> list[Array]:
    """The images of a file; empty where its shape is not that of images."""
    pixels = found.pixels
    if found.channels is None:
        channels = pixels.ndim == 3 and pixels.shape[-1] <= _MOST_CHANNELS
        if channels and pixels.shape[-1] == 1:
            return [pixels[..., 0]]
        return [pixels] if pixels.ndim == 2 or channels else []
    if pixels.ndim == 3 + found.channels:
        # nibabel's last axis runs through the sections, a TIFF's first through its pages.
        return list(np.moveaxis(pixels, -1, 0) if suffix.startswith(".nii") else pixels)
    return [pixels] if pixels.ndim == 2 + found.channels else []


def _joined(section: _Section, high: float | None) -> Array:
    inside = section.inside
    if section.level is not None and high is not None:
        found = section.level == high
        inside = found if inside is None else inside | found
    if inside is None:
        return np.zeros(section.image.shape[:2], bool)
    return inside


def _digest(names: Sequence[str], images: Sequence[Array], masks: Sequence[Array]) -> str:
    digest = hashlib.sha256("\0".join(names).encode())
    for image in images:
        digest.update(np.ascontiguousarray(image, np.float32).data)
    if masks and masks[0].dtype == bool:
        digest.update(np.packbits(np.concatenate([mask.ravel() for mask in masks])).data)
    else:
        for mask in masks:
            digest.update(np.ascontiguousarray(mask).data)
    return digest.hexdigest()[:16]


def _size(array: Array) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
