"""Which of a user's images train, validate and test: by rank, in groups, in blocks, in folds."""

from __future__ import annotations

import csv
import hashlib
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.errors import ConfigError
from experiments.images.faults import Faults, listed
from experiments.images.folder import Folder
from experiments.images.layout import SPLIT_NAMES

__all__ = ["MOST_FOLDS", "SPLITS", "Splitting", "groups_of", "parts_of", "split_folder"]

Array = np.ndarray[Any, Any]

# Their shares of the images.
SPLITS = {"train": 0.7, "validation": 0.15, "test": 0.15}
# A split is written with one letter for each image: the letter of its part, or of its fold.
_LETTERS = {"train": "t", "validation": "v", "test": "e"}
_LEFT_OUT = "-"
_FOLDS = string.digits + string.ascii_lowercase
MOST_FOLDS = len(_FOLDS)

# Where names have a part in common, and how a user would write it: the first part, all but the last
# part, all up to the last digit.
_USUAL_GROUPS = {
    r"^[^_\-. ]+(?=[_\-. ])": r"^[^_\-. ]+",
    r"^.*(?=[_\-. ])": r"^.*(?=[_\-. ])",
    r"^.*\d(?=\D+$)": r"^.*\d",
}


class Splitting(NamedTuple):
    """How a user wants a folder to be split.

    Args:
        group: a regular expression; what it finds in a name stays in one part.
        split_file: a file with a line for every image: its name and its part.
        folds: how many parts take turns in being the test images.
        gap: the images are consecutive sections of one volume; so many between two parts are left
            out.
    """

    group: str | None = None
    split_file: str | None = None
    folds: int | None = None
    gap: int | None = None


def groups_of(folder: Folder, pattern: str | None) -> list[str]:
    """Name the group of every image: what must not be divided.

    Args:
        folder: the images.
        pattern: a regular expression; its first group, or all of what it finds, names the group.
            ``None``: the groups that the folder has, or every image alone.

    Raises:
        ConfigError: if the pattern is none, or is not found in a name.
    """
    if pattern is None:
        pairs = zip(folder.names, folder.groups, strict=True)
        return [name if group is None else group for name, group in pairs]
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--group {pattern}: not a regular expression ({error})") from None
    found = [wanted.search(name) for name in folder.names]
    without = [name for name, match in zip(folder.names, found, strict=True) if match is None]
    if without:
        raise ConfigError(
            f"--group {pattern} is not found in {len(without)} of {len(found)} names: "
            f"{listed(without)}"
        )
    return [match[1 if wanted.groups else 0] for match in found if match is not None]


def split_folder(folder: Folder, path: Path, wish: Splitting, notes: list[str]) -> str:
    """Decide the part of every image.

    Args:
        folder: the images.
        path: of the folder, for errors.
        wish: what the user asked for.
        notes: what a user should know is added here.

    Returns:
        A letter for every image, which `parts_of` reads.

    Raises:
        ConfigError: if the images cannot be split as asked; it says why.
    """
    given = wish.split_file is not None or any(folder.given)
    asked = [
        name
        for name, is_asked in (
            ("split-file" if wish.split_file else "{split} in a pattern", given),
            ("folds", wish.folds is not None),
            ("gap", wish.gap is not None),
        )
        if is_asked
    ]
    if given and len(asked) > 1:
        raise ConfigError(f"{path}: the split is given by {asked[0]}: leave out --{asked[1]}")
    if wish.gap is not None and (wish.group is not None or len(set(_volumes(folder))) > 1):
        raise ConfigError(
            f"{path}: --gap is for the sections of one volume; of several, each stays whole: write "
            "--group without --gap"
        )
    groups = groups_of(folder, wish.group)
    if given:
        letters = _given(folder, path, wish.split_file)
        _check_whole(groups, letters, path)
    elif wish.gap is not None:
        letters = _in_blocks(folder.names, path, wish.gap, wish.folds)
    else:
        letters = _by_rank(folder, groups, path, wish.folds, grouped=groups != [*folder.names])
        if wish.group is None and not any(folder.groups):
            notes += _suspicion(folder.names)
    _check_foreground(folder, letters, path, wish)
    return letters


def _volumes(folder: Folder) -> list[str]:
    return [group for group in folder.groups if group is not None]


def parts_of(
    letters: str, names: Sequence[str], wish: Splitting, fold: int = 0
) -> dict[str, Array]:
    """Read a split: the indices of the images of each part.

    Args:
        letters: of `split_folder`; empty in studies of early versions, which split by a hash.
        names: of the images.
        wish: as it was split.
        fold: the test images are those of this fold, the validation images those of the next.

    Returns:
        Indices by the name of the part, in the order of the images.
    """
    there = np.array(list(letters or _by_hash(names)))
    if wish.folds is None:
        chosen = {name: there == letter for name, letter in _LETTERS.items()}
    else:
        test = there == _FOLDS[fold % wish.folds]
        validation = there == _FOLDS[(fold + 1) % wish.folds]
        chosen = {"train": ~(test | validation), "validation": validation, "test": test}
    if wish.gap:
        train, validation, test = (chosen[name] for name in SPLITS)
        place = np.argsort(_natural_order(names))
        chosen["validation"] = validation & ~_near(test, place, wish.gap)
        chosen["train"] = train & ~_near(validation | test, place, wish.gap)
    return {name: np.flatnonzero(chosen[name]) for name in SPLITS}


def _near(chosen: Array, place: Array, gap: int) -> Array:
    """Which images lie at most ``gap`` sections from one that is chosen."""
    distance = np.abs(place[:, None] - place[chosen][None, :])
    return np.asarray((distance <= gap).any(axis=1))


def _natural_order(names: Sequence[str]) -> list[int]:
    """The order in which 2 comes before 10."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", name)
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

    return sorted(range(len(names)), key=lambda i: key(names[i]))


def _by_hash(names: Sequence[str]) -> str:
    """The split of early versions: 70, 15 and 15 in a hundred, by the name's hash alone."""
    places = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64 for name in names]
    return "".join("t" if place < 0.7 else "v" if place < 0.85 else "e" for place in places)


def _by_rank(
    folder: Folder, groups: Sequence[str], path: Path, folds: int | None, *, grouped: bool
) -> str:
    """Deal groups in the order of their foreground, so that all parts have their share of it."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    shares = list(SPLITS.values()) if folds is None else [1 / folds] * folds
    letters = list(_LETTERS.values()) if folds is None else list(_FOLDS[:folds])
    # One image is too few to choose a threshold or to test on; one patient may have many.
    least = 1 if grouped else 2
    fractions = folder.foreground
    foreground = {group: float(fractions[rows].mean()) for group, rows in members.items()}
    present = sum(value > 0 for value in foreground.values())
    if present < least * len(shares):
        what = "groups" if grouped else "images"
        more = " write a --group that divides them further," if grouped else ""
        raise ConfigError(
            f"{path}: {present} {what} with foreground are too few: each of {len(shares)} "
            f"{'parts' if folds is None else 'folds'} needs {least} or more. Add images,{more} or "
            "name the parts with --split-file; sections of one volume can be split with --gap 1"
        )
    dealt = _dealt({g: len(rows) for g, rows in members.items()}, foreground, shares, least)
    return "".join(letters[dealt[group]] for group in groups)


def _dealt(
    sizes: dict[str, int], foreground: dict[str, float], shares: Sequence[float], least: int
) -> dict[str, int]:
    """Give each group to the part that lacks most of its share of the images so far."""
    tie = {group: hashlib.sha256(group.encode()).digest() for group in sizes}
    order = sorted(sizes, key=lambda group: (-foreground[group], tie[group]))
    images, with_foreground = [0] * len(shares), [0] * len(shares)
    left = sum(foreground[group] > 0 for group in order)
    dealt = {}
    for group in order:
        seen = sum(images) + sizes[group]
        lacking = [max(0, least - count) for count in with_foreground]
        # What is left is kept for the parts that have too little foreground.
        reserved = 0 < left <= sum(lacking)
        parts = [part for part in range(len(shares)) if lacking[part] or not reserved]
        chosen = max(parts, key=lambda part: shares[part] * seen - images[part])
        dealt[group] = chosen
        images[chosen] += sizes[group]
        if foreground[group] > 0:
            with_foreground[chosen] += 1
            left -= 1
    return dealt


def _in_blocks(names: Sequence[str], path: Path, gap: int, folds: int | None) -> str:
    count = len(names)
    if folds is None:
        test = max(2, round(SPLITS["test"] * count))
        validation = max(2, round(SPLITS["validation"] * count)) + gap
        sizes = [count - validation - test, validation, test]
        letters, least = "tve", 2 + gap
    else:
        sizes = [len(part) for part in np.array_split(np.arange(count), folds)]
        letters, least = _FOLDS[:folds], 2 + 2 * gap
    if min(sizes) < least:
        raise ConfigError(
            f"{path}: {count} sections are too few for {len(sizes)} blocks with gaps of {gap}: "
            "write a smaller --gap, fewer --folds, or --split-file"
        )
    written = [""] * count
    blocks = "".join(letter * size for letter, size in zip(letters, sizes, strict=True))
    for index, letter in zip(_natural_order(names), blocks, strict=True):
        written[index] = letter
    return "".join(written)


def _given(folder: Folder, path: Path, split_file: str | None) -> str:
    if split_file is None:
        return "".join(_LETTERS[name] if name else _LEFT_OUT for name in folder.given)
    named = _read_split(Path(split_file))
    known = {form: name for name in folder.names for form in (name, name.rsplit("/", 1)[-1])}
    strange = [name for name in named if name not in known]
    if strange:
        raise ConfigError(
            f"{split_file} names {len(strange)} images that {path} does not have: "
            f"{listed(strange)}; its images are {listed([*folder.names])}"
        )
    part = {known[name]: split for name, split in named.items()}
    return "".join(_LETTERS[part[n]] if n in part else _LEFT_OUT for n in folder.names)


def _read_split(file: Path) -> dict[str, str]:
    try:
        rows = [row for row in csv.reader(file.read_text().splitlines()) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--split-file {file} cannot be read: {error}") from None
    named: dict[str, str] = {}
    for number, row in enumerate(rows):
        split = SPLIT_NAMES.get(row[-1].strip().lower())
        if split is None and number == 0:
            # A line of headings.
            continue
        if split is None or len(row) < 2:
            raise ConfigError(
                f"{file}, line {number + 1}: a name and train, validation or test expected, such "
                f"as scan_07,train; got {','.join(row)}"
            )
        named[row[0].strip()] = split
    return named


def _check_whole(groups: Sequence[str], letters: str, path: Path) -> None:
    parts: dict[str, set[str]] = {}
    for group, letter in zip(groups, letters, strict=True):
        if letter != _LEFT_OUT:
            parts.setdefault(group, set()).add(letter)
    divided = [group for group, found in parts.items() if len(found) > 1]
    if divided:
        raise ConfigError(
            f"{path}: the given split divides {len(divided)} groups: {listed(divided)}; give all "
            "images of a group one part"
        )


def _check_foreground(folder: Folder, letters: str, path: Path, wish: Splitting) -> None:
    fractions, faults = folder.foreground, Faults(str(path))
    for fold in range(wish.folds or 1):
        of_fold = f" of fold {fold}" if wish.folds else ""
        for name, rows in parts_of(letters, folder.names, wish, fold).items():
            why = "no image" if not len(rows) else ""
            if len(rows) and not fractions[rows].any():
                why = "no image with foreground"
            if why:
                faults.add(
                    f"the {name} part{of_fold} has {why}",
                    mend="name the parts with --split-file, or add images",
                )
    faults.check()


def _suspicion(names: Sequence[str]) -> list[str]:
    """Say that the names look grouped, if they do."""
    for pattern, written in _USUAL_GROUPS.items():
        found = [re.search(pattern, name) for name in names]
        if all(found):
            groups = {match[0] for match in found if match is not None}
            if 2 <= len(groups) <= 0.7 * len(names):
                return [
                    f"the {len(names)} names look like {len(groups)} groups "
                    f"({listed(sorted(groups))}); if images of one group show one patient, one "
                    f"scene or one sample, write --group '{written}', or the test "
                    "images are no new ones"
                ]
    numbers = sorted(int(name) for name in names if name.isdigit())
    if len(numbers) == len(names) and np.diff(numbers).max(initial=0) == 1:
        return [
            "the names are consecutive numbers; if the images are sections of one volume or frames "
            "of one film, write --gap 1, or the test images have neighbours in training"
        ]
    return []
