"""All cases: read twice, first to find every fault and the labels, then to score."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dice_jax.evaluation.labels import (
    Class,
    Meaning,
    choose_classes,
    predicted_labels,
    size,
    true_labels,
)
from dice_jax.evaluation.measures import Boxes, Score, measure
from dice_jax.evaluation.pairs import Case
from dice_jax.images.components import label_components
from dice_jax.images.files import read_image

__all__ = ["Evaluation", "Progress", "evaluate", "group_cases", "read_case"]

Array = np.ndarray[Any, Any]
T = TypeVar("T")
R = TypeVar("R")
# Is told what is done now, how many of how many are done.
Progress = Callable[[str, int, int], None]

# Faults that one error lists.
_SHOWN = 12
# Pixels that are worked on at once, so that many threads do not need much memory.
_AT_ONCE = 2**26


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came out, and what it was made with.

    Args:
        scores: of every case and class.
        classes: the classes.
        cases: the cases.
        meaning: what the numbers in the files mean.
        unit: of lengths: "mm", "px", or "" if only the user knows.
        axes: of an image.
        tolerance: of surface Dice, in this unit.
        notes: what a reader of the table should know.
    """

    scores: tuple[Score, ...]
    classes: tuple[Class, ...]
    cases: tuple[Case, ...]
    meaning: Meaning
    unit: str
    axes: int
    tolerance: float
    notes: tuple[str, ...]


class _Facts(NamedTuple):
    shape: tuple[int, ...]
    truth: set[int]
    prediction: set[int]
    spacing: tuple[float, ...] | None


def evaluate(
    cases: Sequence[Case],
    meaning: Meaning,
    *,
    spacing: Sequence[float] | None = None,
    tolerance: float = 1.0,
    progress: Progress = lambda phase, done, of: None,
) -> Evaluation:
    """Score every class of every case.

    Args:
        cases: from `find_pairs`.
        meaning: what the numbers in the files mean.
        spacing: the size of a pixel along each axis, or one number for all axes; ``None``: as the
            header says, and 1 where it says nothing.
        tolerance: of surface Dice, in units of the spacing.
        progress: is told of every case that was read or scored.

    Returns:
        The scores, and what they were made with.

    Raises:
        ValueError: if files cannot be read or do not fit together; it lists all of them.
    """
    facts = _facts(cases, meaning, progress)
    steps, unit = _spacings(cases, facts, spacing)
    true = {label for fact in facts for label in fact.truth}
    predicted = {label for fact in facts for label in fact.prediction}
    classes, notes = choose_classes(true, predicted, meaning)
    if meaning.instances:
        # One number for all predicted foreground: a mask, whose objects are its components.
        numbered = len(predicted - {0}) > 1
        what = "numbers" if numbered else "connected components"
        notes.append(f"Objects: numbers in the truth, {what} in the predictions.")
    else:
        numbered = False
    boxes = Boxes(np.max([f.shape for f in facts], axis=0).tolist())

    def score(k: int) -> list[Score]:
        prediction, truth = read_case(cases[k], meaning)[:2]
        where = None if meaning.ignore is None else truth != meaning.ignore
        scores = []
        for one in classes:
            claimed, there = one.mask(prediction), one.mask(truth)
            if where is not None:
                there &= where
            objects = None
            if meaning.instances:
                found = prediction if numbered else label_components(claimed)
                objects = found, truth * there
            scores.append(
                measure(
                    claimed,
                    there,
                    case=cases[k].name,
                    name=one.name,
                    spacing=steps[k],
                    tolerance=tolerance,
                    boxes=boxes,
                    where=where,
                    objects=objects,
                )
            )
        return scores

    largest = max(math.prod(f.shape) for f in facts)
    scores = _map(score, range(len(cases)), "scoring", progress, threads=_AT_ONCE // largest)
    return Evaluation(
        scores=tuple(score for rows in scores for score in rows),
        classes=tuple(classes),
        cases=tuple(cases),
        meaning=meaning,
        unit=unit,
        axes=len(facts[0].shape),
        tolerance=tolerance,
        notes=tuple(notes),
    )


def read_case(case: Case, meaning: Meaning) -> tuple[Array, Array, tuple[float, ...] | None]:
    """Read the labels of a prediction and of its truth, and the spacing of a pixel.

    Args:
        case: two files.
        meaning: what their numbers mean.

    Returns:
        Two integer arrays of one shape; the spacing, ``None`` if no header has one.

    Raises:
        ValueError: if a file cannot be read or does not fit; it names the file.
    """
    true, truth_steps = _read(case.truth, lambda x: true_labels(x, meaning))
    predicted, steps = _read(case.prediction, lambda x: predicted_labels(x, meaning, true.shape))
    # A header holds float32.
    if steps and truth_steps and not np.allclose(steps[: true.ndim], truth_steps, rtol=1e-3):
        raise ValueError(
            f"{case.prediction}: its pixels are {size(steps)} mm and those of the truth "
            f"{size(truth_steps)} mm; resample the prediction, or pass --spacing"
        )
    return predicted, true, truth_steps or (steps[: true.ndim] if steps else None)


def _read(path: Path, meaning: Callable[[Array], Array]) -> tuple[Array, Any]:
    image = read_image(path, labels=True)
    pixels = image.pixels
    if image.channels:
        if (pixels != pixels[..., :1]).any():
            raise ValueError(f"{path}: it is a colour picture; one channel of labels expected")
        pixels = pixels[..., 0]
    try:
        if not pixels.size or not pixels.ndim:
            raise ValueError("it holds no pixels")
        return meaning(pixels), image.spacing
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def group_cases(cases: Sequence[Case], pattern: str | None) -> dict[str, str] | None:
    """Group cases by what a regular expression finds in their names.

    Args:
        cases: from `find_pairs`.
        pattern: such as ``^[^_]+`` for all up to the first underscore; ``None``: no groups.

    Returns:
        The group of each case, by its name.

    Raises:
        ValueError: if the pattern is none, or finds nothing in a name.
    """
    if pattern is None:
        return None
    try:
        found = {case.name: re.search(pattern, case.name) for case in cases}
    except re.error as error:
        raise ValueError(f"--group {pattern!r} is no regular expression: {error}") from None
    for name, match in found.items():
        if match is None:
            raise ValueError(f"--group {pattern!r} finds nothing in the name {name}")
    return {name: match.group() for name, match in found.items() if match}


def _facts(cases: Sequence[Case], meaning: Meaning, progress: Progress) -> list[_Facts]:
    """What all files hold, or one error with every fault."""

    def fact(case: Case) -> _Facts | str:
        try:
            prediction, truth, spacing = read_case(case, meaning)
        except ValueError as error:
            return str(error)
        if meaning.instances:
            # Which numbers there are says nothing; whether there are several does.
            some = np.unique(prediction)[:3]
            return _Facts(truth.shape, {0, int(truth.any())}, set(some.tolist()), spacing)
        true, predicted = (set(np.unique(x).tolist()) for x in (truth, prediction))
        return _Facts(truth.shape, true, predicted, spacing)

    facts = list(_map(fact, cases, "reading", progress))
    faults = [fact for fact in facts if isinstance(fact, str)]
    good = [fact for fact in facts if not isinstance(fact, str)]
    if good and not faults:
        axes = {len(fact.shape) for fact in good}
        if len(axes) > 1:
            few = ((c.truth, f.shape) for c, f in zip(cases, good, strict=True))
            examples = {len(shape): f"{path} is {size(shape)}" for path, shape in few}
            faults = [f"all files must have as many axes: {', '.join(examples.values())}"]
    if len(faults) == 1:
        raise ValueError(faults[0])
    if faults:
        more = f"\n  … and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        listed = "\n  ".join(faults[:_SHOWN])
        raise ValueError(f"{len(faults)} of {len(cases)} cases do not fit:\n  {listed}{more}")
    return good


def _spacings(
    cases: Sequence[Case], facts: Sequence[_Facts], spacing: Sequence[float] | None
) -> tuple[list[tuple[float, ...]], str]:
    """The spacing of every case, and its unit."""
    axes = len(facts[0].shape)
    if spacing is not None:
        steps = tuple(spacing) * (axes if len(spacing) == 1 else 1)
        if len(steps) != axes or not all(math.isfinite(s) and s > 0 for s in steps):
            raise ValueError(
                f"--spacing must be one positive number, or one for each of {axes} axes, got "
                f"{' '.join(f'{s:g}' for s in spacing)}"
            )
        return [steps] * len(cases), ""
    told = defaultdict(list)
    for case, fact in zip(cases, facts, strict=True):
        told[fact.spacing is not None].append(case.truth)
    if len(told) > 1:
        raise ValueError(
            f"{told[True][0]} says how large its pixels are, {told[False][0]} does not; pass "
            "--spacing"
        )
    return [fact.spacing or (1.0,) * axes for fact in facts], "mm" if told[True] else "px"


def _map(
    function: Callable[[T], R],
    items: Sequence[T],
    phase: str,
    progress: Progress,
    *,
    threads: int = 64,
) -> Iterator[R]:
    """Map in threads, in order: decoders, NumPy and compiled programs release Python's lock."""
    progress(phase, 0, len(items))
    with ThreadPoolExecutor(max(1, min(threads, os.cpu_count() or 1))) as pool:
        for done, result in enumerate(pool.map(function, items), 1):
            progress(phase, done, len(items))
            yield result
