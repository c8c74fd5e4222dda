"""What the numbers in a file mean: masks, labels of classes, objects, or probabilities."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["Class", "Meaning", "choose_classes", "parse_classes", "predicted_labels", "true_labels"]

Array = np.ndarray[Any, Any]

# More labels than this are objects, not classes.
_MOST_CLASSES = 64


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What the user says of the files.

    Args:
        threshold: a pixel whose probability is larger is foreground.
        probabilities: whether integers in the predictions are probabilities, scaled to 255 or
            65,535.
        truth_threshold: a pixel of the truth that is larger is foreground; ``None``: the truth
            holds labels.
        ignore: the label in the truth of pixels that do not count.
        instances: whether the numbers in the truth are objects of one class.
        classes: labels by the name of their class; ``None``: each label of the truth is a class.
    """

    threshold: float = 0.5
    probabilities: bool = False
    truth_threshold: float | None = None
    ignore: int | None = None
    instances: bool = False
    classes: dict[str, tuple[int, ...]] | None = None


@dataclasses.dataclass(frozen=True)
class Class:
    """A class, as the labels that belong to it.

    Args:
        name: in the tables.
        labels: of the truth and of the prediction; ``None``: every label but 0.
    """

    name: str
    labels: tuple[int, ...] | None = None

    def mask(self, numbers: Array) -> Array:
        """Return which pixels belong to the class."""
        return numbers != 0 if self.labels is None else np.isin(numbers, self.labels)


def parse_classes(texts: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    """Read classes as ``3``, ``liver=3`` or ``tumour=1,2,4``.

    Args:
        texts: one for each class; ``None`` for none.

    Returns:
        Labels by the name of their class.

    Raises:
        ValueError: if one cannot be read, or a name comes twice.
    """
    if texts is None:
        return None
    classes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, labels = text.rpartition("=")
        try:
            numbers = tuple(int(label) for label in labels.split(","))
        except ValueError:
            raise ValueError(
                f"--classes must be labels such as 3, liver=3 or tumour=1,2,4, got {text!r}"
            ) from None
        name = name or labels
        if name in classes:
            raise ValueError(f"--classes names {name!r} twice")
        classes[name] = numbers
    return classes


def true_labels(pixels: Array, meaning: Meaning) -> Array:
    """Turn what a file of truth holds into labels.

    Args:
        pixels: [...], as in the file.
        meaning: what the user says of the files.

    Returns:
        Integers [...].

    Raises:
        ValueError: if it holds no labels.
    """
    _check_finite(pixels)
    if meaning.truth_threshold is not None:
        return (pixels > meaning.truth_threshold).astype(np.int32)
    whole = _whole(pixels)
    if whole is None:
        value = _first(pixels, _no_label(pixels))
        raise ValueError(
            f"the truth must hold labels, got {value}; pass --truth-threshold 0.5 if it is a soft "
            "mask (the order of the arguments is PREDICTIONS TRUTH)"
        )
    return whole


def predicted_labels(pixels: Array, meaning: Meaning, shape: tuple[int, ...]) -> Array:
    """Turn what a file of predictions holds into labels.

    Args:
        pixels: as in the file: labels or probabilities of the truth's shape, or probabilities with
            one more axis, for classes, that is the last one or the first.
        meaning: what the user says of the files.
        shape: of the truth.

    Returns:
        Integers of the truth's shape.

    Raises:
        ValueError: if the shape does not fit, or floating numbers are neither labels nor
            probabilities.
    """
    _check_finite(pixels)
    if pixels.ndim == len(shape) + 1 and pixels.dtype.kind == "f":
        for axis in (-1, 0):
            if np.delete(pixels.shape, axis).tolist() == list(shape):
                return pixels.argmax(axis).astype(np.int32)
    if pixels.shape != shape:
        raise ValueError(
            f"the prediction is {size(pixels.shape)} and the truth {size(shape)}; resample the "
            "prediction to the pixels of the truth first"
        )
    if pixels.dtype.kind in "ui" and meaning.probabilities:
        largest = {1: 255, 2: 65535}.get(pixels.dtype.itemsize, 1)
        return (pixels / np.float64(largest) > meaning.threshold).astype(np.int32)
    if pixels.dtype.kind == "f" and pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= 1:
        return (pixels > meaning.threshold).astype(np.int32)
    whole = _whole(pixels)
    if whole is None:
        value = _first(pixels, (pixels < 0) | (pixels > 1))
        raise ValueError(
            f"a floating prediction must hold probabilities in [0, 1], got {value}; if these are "
            "logits, save jax.nn.sigmoid(logits) or logits.argmax(-1)"
        )
    return whole


def choose_classes(
    truth: set[int], prediction: set[int], meaning: Meaning
) -> tuple[list[Class], list[str]]:
    """Choose the classes, and say what a reader of the table should know of the labels.

    Args:
        truth: all labels that the files of truth hold.
        prediction: the same of the predictions.
        meaning: what the user says of the files.

    Returns:
        The classes; notes, one sentence each.

    Raises:
        ValueError: if the labels of both do not fit together.
    """
    true = sorted(truth - {0, meaning.ignore})
    predicted = sorted(prediction - {0})
    if meaning.classes is not None:
        classes = [Class(name, labels) for name, labels in meaning.classes.items()]
        for one in classes:
            if not set(one.labels or ()) & (truth | prediction):
                raise ValueError(
                    f"--classes: no file holds label {_listed(one.labels or ())} (class "
                    f"{one.name}); the truth holds {_listed(sorted(truth))}"
                )
        return classes, []
    if not true:
        raise ValueError(
            "no file of truth holds anything but 0"
            + ("" if meaning.ignore is None else f" and the ignored label {meaning.ignore}")
        )
    if meaning.instances:
        return [Class("foreground")], []
    if len(true) == 1 and len(predicted) <= 1:
        notes = []
        if predicted and predicted != true:
            notes = [
                f"The truth holds {true[0]} and the predictions {predicted[0]}: both are read as "
                "foreground."
            ]
        return [Class("foreground")], notes
    if len(true) > _MOST_CLASSES:
        raise ValueError(
            f"the truth holds {len(true)} labels; pass --instances if they number objects, or "
            "--classes to name those to score"
        )
    unknown = sorted(set(predicted) - set(true))
    if len(true) == 1 and unknown:
        raise ValueError(
            f"the truth holds one label, {true[0]}, and the predictions {_listed(predicted)}; pass "
            "--probabilities if the predictions are probabilities scaled to 255 or 65,535, or "
            f"--classes {true[0]} if they are labels"
        )
    if predicted and not set(true) & set(predicted):
        raise ValueError(
            f"the truth holds {_listed(true)} and the predictions {_listed(predicted)}: no label "
            "is in both; save the predictions with the labels of the truth"
        )
    notes = []
    if unknown:
        notes = [
            f"The predictions hold {_listed(unknown)}, which no truth does: not scored as classes."
        ]
    return [Class(str(label), (label,)) for label in true], notes


def size(shape: tuple[int, ...]) -> str:
    """Write a shape for people: 512 × 512."""
    return " × ".join(map(str, shape)) or "one number"


def _whole(pixels: Array) -> Array | None:
    """The same as integers, or ``None`` if they are none."""
    if pixels.dtype.kind == "f":
        if _no_label(pixels).any():
            return None
        return pixels.astype(np.int32)
    return pixels.astype(np.int32) if pixels.dtype.kind == "b" else pixels


def _no_label(pixels: Array) -> Array:
    """Where floating numbers are no labels: fractions, and what 32 bits do not hold."""
    return (pixels != np.round(pixels)) | (np.abs(pixels) >= 2**31)


def _check_finite(pixels: Array) -> None:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ValueError(f"it holds {_first(pixels, ~np.isfinite(pixels))}")


def _first(pixels: Array, bad: Array) -> str:
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"{pixels[place]:g} at {list(place)}"


def _listed(labels: Any) -> str:
    shown = [str(label) for label in labels]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:7], "…", shown[-1]])
