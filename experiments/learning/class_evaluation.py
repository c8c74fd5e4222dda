"""The scores of a run of several classes: of each class, and their means."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.learning.thresholds import Counts

__all__ = ["ClassEvaluation", "confusions", "evaluate_classes"]


@dataclasses.dataclass(frozen=True)
class ClassEvaluation:
    """What a run scores.

    Args:
        metrics: numbers by name; NaN where one is not defined.
        per_image: by name, one number per test image.
        status: finished, collapsed (one class everywhere) or diverged.
    """

    metrics: dict[str, float]
    per_image: dict[str, np.ndarray]
    status: str


def confusions(prediction: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of every image by true and predicted class.

    Args:
        prediction: [B, H, W], classes.
        labels: [B, H, W], classes; negative where there is no image.
        classes: K.

    Returns:
        [B, K, K]: true class, predicted class.
    """
    found = []
    for chosen, true in zip(prediction, labels, strict=True):
        inside = true >= 0
        pairs = true[inside].astype(np.int64) * classes + chosen[inside]
        found.append(np.bincount(pairs, minlength=classes**2).reshape(classes, classes))
    return np.stack(found)


def _dice(counts: np.ndarray) -> np.ndarray:
    """Dice of every class, [..., K]; NaN where the truth lacks the class."""
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    return Counts(hit, counts.sum(axis=-2), counts.sum(axis=-1)).dice


def _mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of what is defined; NaN where nothing is."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there, values, 0).sum(axis) / there.sum(axis)


def evaluate_classes(
    validation_logits: np.ndarray,
    validation_labels: np.ndarray,
    test_logits: np.ndarray,
    test_labels: np.ndarray,
    values: Sequence[float],
) -> ClassEvaluation:
    """Score the class with the largest logit on the test images.

    ``dice`` is the mean over the foreground classes of ``dice_VALUE``, which is the mean over the
    test images that have the class. ``dice_with_background`` is the mean over all classes, and
    ``dice_pooled`` pools the pixels of all images. ``validation_dice_tuned`` is ``dice`` of the
    validation images, and chooses the learning rate.

    Args:
        validation_logits: [V, H, W, K].
        validation_labels: [V, H, W], classes; negative where there is no image.
        test_logits: [T, H, W, K].
        test_labels: [T, H, W], as the validation labels.
        values: the masks' values, by class.

    Returns:
        A `ClassEvaluation`.
    """
    classes = len(values)
    finite = np.isfinite(test_logits).all() and np.isfinite(validation_logits).all()
    counts = confusions(test_logits.argmax(-1), test_labels, classes)
    validation = _dice(confusions(validation_logits.argmax(-1), validation_labels, classes))
    by_image, pooled = _dice(counts), counts.sum(axis=0)
    by_class, pooled_dice = _mean(by_image, axis=0), _dice(pooled)
    hit, there, found = np.diagonal(pooled), pooled.sum(axis=1), pooled.sum(axis=0)
    metrics = {
        "dice": _mean(by_class[1:]),
        "dice_with_background": _mean(by_class),
        "dice_pooled": _mean(pooled_dice[1:]),
        "accuracy": hit.sum() / pooled.sum(),
        "validation_dice_tuned": _mean(_mean(validation, axis=0)[1:]),
        "foreground_fraction_test": 1 - there[0] / there.sum(),
    }
    for k, value in enumerate(values):
        metrics |= {
            f"dice_{value:g}": by_class[k],
            f"dice_pooled_{value:g}": pooled_dice[k],
            f"precision_{value:g}": hit[k] / found[k] if found[k] else np.nan,
            f"recall_{value:g}": hit[k] / there[k] if there[k] else np.nan,
            f"share_{value:g}": there[k] / there.sum(),
        }
    per_image = {"dice": _mean(by_image[:, 1:], axis=1)}
    per_image |= {f"dice_{value:g}": by_image[:, k] for k, value in enumerate(values)}
    status = "collapsed" if np.count_nonzero(found) == 1 else "finished"
    if not finite:
        status = "diverged"
        of_data = ("share_", "foreground_fraction_test")
        metrics = {k: v if k.startswith(of_data) else np.nan for k, v in metrics.items()}
        per_image = {name: np.full(len(x), np.nan) for name, x in per_image.items()}
    return ClassEvaluation({k: float(v) for k, v in metrics.items()}, per_image, status)
