"""Which files of a folder are images, which are their masks, and which belong together."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dice_jax.analysis import image_suffix
from experiments.errors import ConfigError
from experiments.images.faults import Faults, listed

__all__ = ["SPLIT_NAMES", "Item", "items_of"]

# What a folder or a line of a file may call a split.
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip

_PLACES = {
    "id": r"[^/]+",
    "group": r"[^/]+",
    # The longest first: "validation" is not "val" and a rest.
    "split": "|".join(sorted(SPLIT_NAMES, key=len, reverse=True)),
}


class Item(NamedTuple):
    """An image and its masks.

    Args:
        name: what the patterns' {group} and {id} stand for, joined by "/".
        image: the file.
        masks: the files; the mask is their union.
        group: what {group} stands for, or ``None``.
        split: train, validation or test, where {split} says so, or ``None``.
    """

    name: str
    image: Path
    masks: tuple[Path, ...]
    group: str | None = None
    split: str | None = None


def items_of(
    root: Path, images: str | None, masks: str | None, notes: list[str]
) -> tuple[list[Item], Faults]:
    """Find the images of a folder and pair them with their masks.

    A pattern is a path below ``root``, in which ``{id}`` is what an image and its masks have in
    common, ``*`` is any text, ``{group}`` is what must stay together (a patient), and ``{split}``
    is train, val or test. A name that ends with ``.*`` takes every kind of file that can be read.

    Args:
        root: the folder.
        images: the pattern of the images; ``None``: images/{id}.*, or {split}/images/{id}.* if
            there is a folder train.
        masks: the pattern of the masks; ``None``: the same with masks in place of images.
        notes: lines about what was skipped are added here.

    Returns:
        The pairs in the order of the images' paths, and the faults that were found so far.

    Raises:
        ConfigError: if there is no such folder, a pattern cannot be used, or no image is found.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: there is no such directory")
    split = "{split}/" if images is None and (root / "train").is_dir() else ""
    images = images or f"{split}images/{{id}}.*"
    masks = masks or f"{split}masks/{{id}}.*"
    faults = Faults(str(root))
    found = {
        what: list(_matches(root, pattern, what))
        for what, pattern in (("images", images), ("masks", masks))
    }
    mask_files = {path for path, _ in found["masks"]}
    # Masks may lie beside the images and be matched by the images' pattern too.
    found["images"] = [(p, m) for p, m in found["images"] if p not in mask_files]
    missing = {
        what: pattern for what, pattern in (("images", images), ("masks", masks)) if not found[what]
    }
    if missing:
        options = " and ".join(f"--{what}" for what in missing)
        faults.add(
            f"no file is found by {' and '.join(f'--{w} {p}' for w, p in missing.items())}",
            mend=f"{_advice(root)} as {options}, {{id}} being what an image and its masks share",
        )
    faults.check()
    notes += _skipped(root, [path for path, _ in (*found["images"], *found["masks"])])
    return _paired(root, images, found, faults), faults


def _paired(
    root: Path, pattern: str, found: dict[str, list[tuple[str, dict[str, str]]]], faults: Faults
) -> list[Item]:
    # What both patterns name is what pairs.
    common = [name for name in _PLACES if all(name in found[what][0][1] for what in found)]
    by_key: dict[tuple[str, ...], list[str]] = {}
    for path, captured in found["masks"]:
        by_key.setdefault(tuple(captured[name] for name in common), []).append(path)
    items: list[Item] = []
    seen: dict[tuple[str, ...], str] = {}
    for path, captured in found["images"]:
        key = tuple(captured[name] for name in common)
        if key in seen:
            faults.add(
                "{n} images have the {id} of another",
                f"{path} and {seen[key]}",
                mend="write --images with a pattern that matches one of them, with {group} for "
                f"a folder, or keep one; now it is {pattern}",
            )
            continue
        seen[key] = path
        if key not in by_key:
            faults.add(
                "{n} images have no mask",
                path,
                mend="write --masks (and --images) with patterns whose {id} is what an image and "
                "its mask have in common, or remove these images",
            )
            continue
        items.append(
            Item(
                "/".join(captured[k] for k in ("group", "id") if k in captured),
                root / path,
                tuple(root / mask for mask in by_key[key]),
                captured.get("group"),
                SPLIT_NAMES.get(captured.get("split", "")),
            )
        )
    alone = [files[0] for key, files in by_key.items() if key not in seen]
    for path in alone:
        faults.add(
            "{n} masks have no image",
            path,
            mend="write --images with a pattern that matches their images, or remove these masks",
        )
    return items


def _matches(root: Path, pattern: str, what: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The files that match, relative to the root, and what the places stand for."""
    unknown = [name for name in re.findall(r"{(.*?)}", pattern) if name not in _PLACES]
    if unknown or "{id}" not in pattern:
        raise ConfigError(
            f"--{what} {pattern}: a pattern needs {{id}}, may have {{group}} and {{split}}, and "
            f"knows no others{f'; got {{{unknown[0]}}}' if unknown else ''}"
        )
    wanted = re.compile(_expression(pattern))
    paths = glob.glob(re.sub(r"{\w+}", "*", pattern), root_dir=root, recursive="**" in pattern)
    for path in sorted(paths, key=lambda path: Path(path)):
        written = path.replace(os.sep, "/")
        match = wanted.fullmatch(written)
        if match and image_suffix(path) and (root / path).is_file():
            yield written, match.groupdict()


def _expression(pattern: str) -> str:
    """Write a pattern as a regular expression with the places as named groups."""
    any_suffix = pattern.endswith(".*")
    parts = re.split(r"({\w+}|\*\*/|\*|\?)", pattern[:-2] if any_suffix else pattern)
    seen: set[str] = set()
    written = []
    for part in parts:
        name = part[1:-1] if part.startswith("{") else ""
        if name and name in seen:
            written.append(f"(?P={name})")
        elif name:
            seen.add(name)
            written.append(f"(?P<{name}>{_PLACES[name]})")
        else:
            wild = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
            written.append(wild.get(part, re.escape(part)))
    return "".join(written) + (r"(?:\.nii\.gz|(?<!\.nii)\.\w+)" if any_suffix else "")


def _skipped(root: Path, used: list[str]) -> list[str]:
    """Name the files that lie beside the images and masks and cannot be read."""
    folders = {os.path.dirname(path) for path in used}
    junk = sorted(
        os.path.join(folder, name)
        for folder in folders
        for name in os.listdir(root / folder)
        if not name.startswith(".")
        and image_suffix(name) is None
        and (root / folder / name).is_file()
    )
    return [f"skipped, as they are no images: {listed(junk)}"] if junk else []


# A folder with more folders than this has one for every image, or for every patient.
_MANY_FOLDERS = 3
_MOST_FILES_LOOKED_AT = 20_000


def _advice(root: Path) -> str:
    """Say what lies in a folder, as patterns that a user can write."""
    kinds: Counter[str] = Counter()
    waiting = [(root, "")]
    while waiting and kinds.total() < _MOST_FILES_LOOKED_AT:
        folder, written = waiting.pop()
        there = sorted(os.scandir(folder), key=lambda entry: entry.name)
        there = [entry for entry in there if not entry.name.startswith(".")]
        folders = [entry for entry in there if entry.is_dir()]
        many = len(folders) > _MANY_FOLDERS
        name = "*" if "{id}" in written else "{id}"
        for entry in folders:
            waiting.append((Path(entry.path), f"{written}{name if many else entry.name}/"))
        kinds.update(
            f"{written}{name}{suffix}"
            for suffix in (image_suffix(entry.name) for entry in there if entry.is_file())
            if suffix
        )
    if not kinds:
        return "there is no PNG, JPEG, BMP, TIFF, NumPy or NIfTI file: check the folder, write"
    found = ", ".join(f"'{pattern}' ({n} files)" for pattern, n in kinds.most_common(6))
    return f"there are {found}: write one of these"
