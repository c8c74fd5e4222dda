"""Files of predictions and of truth, paired by their names."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from dice_jax.images.files import KNOWN, image_suffix

__all__ = ["Case", "Pairs", "find_pairs", "images_by_name"]

# How many names an error or a note lists.
_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Case:
    """A prediction and its truth.

    Args:
        name: what both files are called.
        prediction: a file.
        truth: a file.
    """

    name: str
    prediction: Path
    truth: Path


@dataclasses.dataclass(frozen=True)
class Pairs:
    """All cases, and the files that have no partner.

    Args:
        cases: in the order of their names.
        notes: on files that are left out, one sentence each.
    """

    cases: tuple[Case, ...]
    notes: tuple[str, ...]


def find_pairs(
    predictions: Path,
    truth: Path,
    *,
    prediction_suffix: str = "",
    truth_suffix: str = "",
    allow_missing: bool = False,
) -> Pairs:
    """Pair the files of two folders by name, or two files.

    A file's name is its path in the folder without its type: ``a/01.png`` belongs to
    ``a/01.nii.gz``. Hidden files and files of other types are left out.

    Args:
        predictions: a folder or a file.
        truth: a folder or a file, as ``predictions`` is.
        prediction_suffix: what the names of predictions end in, such as ``_pred``.
        truth_suffix: the same of the truth, such as ``_gt``.
        allow_missing: whether files of truth without a prediction are left out.

    Returns:
        The pairs.

    Raises:
        ValueError: if nothing can be paired, names are ambiguous, or predictions are missing.
    """
    for name, path in (("PREDICTIONS", predictions), ("TRUTH", truth)):
        if not path.exists():
            raise ValueError(f"{name}: {path} does not exist")
    if os.path.samefile(predictions, truth) and prediction_suffix == truth_suffix:
        raise ValueError(f"PREDICTIONS and TRUTH are the same: {truth}")
    if predictions.is_file() and truth.is_file():
        name = truth.name.removesuffix(image_suffix(truth) or truth.suffix)
        return Pairs((Case(name, predictions, truth),), ())
    if predictions.is_file() or truth.is_file():
        file, folder = sorted((predictions, truth), key=Path.is_dir)
        raise ValueError(f"{file} is a file and {folder} a folder; pass two files or two folders")
    claimed, other = images_by_name(predictions, prediction_suffix, "--prediction-suffix")
    wanted, more = images_by_name(truth, truth_suffix, "--truth-suffix")
    both = sorted(set(claimed) & set(wanted))
    if not both:
        raise ValueError(_nothing_in_common(predictions, truth, claimed, wanted))
    missing, extra = sorted(set(wanted) - set(claimed)), sorted(set(claimed) - set(wanted))
    if missing and not allow_missing:
        raise ValueError(
            f"{len(missing)} of {len(wanted)} files of truth have no prediction: {_few(missing)}; "
            "pass --allow-missing to score the others"
        )
    notes = []
    if missing:
        notes.append(f"Not scored: {len(missing)} without a prediction ({_few(missing)}).")
    if extra:
        notes.append(f"Left out: {len(extra)} predictions without a truth ({_few(extra)}).")
    if other or more:
        unread = [path.name for path in (*other, *more)]
        notes.append(f"Not read: {len(unread)} other files ({_few(unread)}).")
    cases = (Case(name, claimed[name], wanted[name]) for name in both)
    return Pairs(tuple(cases), tuple(notes))


def images_by_name(folder: Path, ending: str, option: str) -> tuple[dict[str, Path], list[Path]]:
    """Find the images of a folder and of the folders in it.

    Args:
        folder: where.
        ending: what their names end in, which is no part of the name of the case.
        option: the option that gave the ending, for the error.

    Returns:
        Files by name, and the files of other types.

    Raises:
        ValueError: if there is none, or two have the same name.
    """
    found: dict[str, Path] = {}
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in inside.parts):
            continue
        kind = image_suffix(path)
        if kind is None:
            others.append(path)
            continue
        name = inside.as_posix()[: -len(kind)]
        if not name.endswith(ending):
            continue
        name = name.removesuffix(ending)
        if name in found:
            raise ValueError(
                f"{path} and {found[name].name} are two files of the case {name}: keep one of them"
            )
        found[name] = path
    if not found:
        ends = f" whose name ends in {ending!r} ({option})" if ending else ""
        raise ValueError(f"{folder} holds no image{ends}; {KNOWN} expected")
    return found, others


def _nothing_in_common(
    predictions: Path, truth: Path, claimed: dict[str, Path], wanted: dict[str, Path]
) -> str:
    first, second = sorted(claimed), sorted(wanted)
    message = (
        f"no prediction has the name of a truth: {predictions} holds {_few(first, 3)}, {truth} "
        f"holds {_few(second, 3)}"
    )
    for option, names, others in (
        ("--prediction-suffix", first, second),
        ("--truth-suffix", second, first),
    ):
        ends = {name[len(o) :] for name in names for o in others if name.startswith(o)}
        if len(ends) == 1:
            return f"{message}; pass {option} {ends.pop()}"
    return message


def _few(names: Iterable[str], most: int = _SHOWN) -> str:
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
