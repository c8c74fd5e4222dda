"""The metrics of a run: the threshold is tuned on validation images, every number is from test."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

__all__ = [
    "Evaluation",
    "average_precision",
    "best_threshold",
    "evaluate",
    "expected_calibration_error",
    "predict",
]

# As logits: 0.5 is among them, and so is any probability down to 1e-6, in steps of 0.1.
_THRESHOLD_LOGITS = np.arange(-140, 141) / 10
_IMAGES_A_PASS = 64


@partial(jax.jit, static_argnums=0)
def _logits(graph: nnx.GraphDef[Any], parameters: Any, images: jax.Array) -> jax.Array:
    return nnx.merge(graph, parameters)(images)


def predict(graph: nnx.GraphDef[Any], parameters: Any, images: jax.Array) -> np.ndarray:
    """Compute a model's logits, a bounded number of images at a time.

    Args:
        graph: the model's structure.
        parameters: its parameters.
        images: [B, H, W].

    Returns:
        Logits [B, H, W], float64, on the host.
    """
    count = len(images)
    size = min(count, _IMAGES_A_PASS)
    passes = []
    for first in range(0, count, size):
        # The last pass reaches back, so that all have one shape and compile once.
        first = min(first, count - size)
        logits = np.asarray(_logits(graph, parameters, images[first : first + size]))
        passes.append((first, logits))
    out = np.empty((count, *passes[0][1].shape[1:]), np.float64)
    for first, logits in passes:
        out[first : first + size] = logits
    return out


class Counts(NamedTuple):
    """Pixels of each image that are found rightly, found in all, and there in all."""

    hit: np.ndarray
    found: np.ndarray
    there: np.ndarray

    @property
    def dice(self) -> np.ndarray:
        """Hard Dice per image; NaN where nothing is there: an empty image never lifts a mean."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.there > 0, 2 * self.hit / (self.found + self.there), np.nan)


def _counts(logits: np.ndarray, masks: np.ndarray, level: float) -> Counts:
    # p ≥ t, as logits: a tie (a constant prediction at its own threshold) is foreground.
    found = logits >= level
    return Counts((found & masks).sum(axis=(1, 2)), found.sum(axis=(1, 2)), masks.sum(axis=(1, 2)))


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def best_threshold(logits: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Find the threshold with the best mean Dice per image.

    Args:
        logits: [B, H, W] of validation images.
        masks: [B, H, W], boolean.

    Returns:
        The best of a grid of logits (a step of 0.1, from p = 1e-6 to 1 − 1e-6; 0 is among them);
        the middle one where several are equally good; and the Dice it reached.
    """
    # bin k of a pixel: it is found at the thresholds 0 … k − 1.
    bins = np.searchsorted(_THRESHOLD_LOGITS, logits.reshape(len(logits), -1), side="right")
    levels = len(_THRESHOLD_LOGITS)

    def found(weights: np.ndarray) -> np.ndarray:
        rows = [
            np.bincount(b, weights=w, minlength=levels + 1)
            for b, w in zip(bins, weights, strict=True)
        ]
        return np.cumsum(np.array(rows)[:, ::-1], axis=1)[:, ::-1][:, 1:]

    flat = masks.reshape(len(masks), -1).astype(np.float64)
    counts = Counts(found(flat), found(np.ones_like(flat)), flat.sum(axis=1, keepdims=True))
    dice = counts.dice[flat.any(axis=1)]
    score = dice.mean(axis=0) if len(dice) else np.zeros(levels)
    best = np.flatnonzero(score >= score.max() - 1e-12)
    return float(_THRESHOLD_LOGITS[best[len(best) // 2]]), float(score.max())


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the precision-recall curve, as scikit-learn defines it: Σ (Rₙ − Rₙ₋₁) Pₙ.

    Args:
        scores: any shape, the higher the more foreground.
        truth: the same shape, boolean.

    Returns:
        A number in [0, 1]; the foreground fraction for scores that tell nothing; NaN without
        foreground.
    """
    scores, truth = scores.ravel(), truth.ravel()
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    # Equal scores are one step of the curve.
    last = np.append(np.flatnonzero(np.diff(scores)), scores.size - 1)
    hits = np.cumsum(truth)[last]
    precision = hits / (last + 1)
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * precision))


def expected_calibration_error(
    probabilities: np.ndarray, truth: np.ndarray, bins: int = 15
) -> float:
    """Mean |confidence − frequency| of foreground over bins of p of equal width, by their pixels.

    Args:
        probabilities: any shape, in [0, 1].
        truth: the same shape, boolean.
        bins: how many.

    Returns:
        A number in [0, 1].
    """
    index = np.minimum((probabilities.ravel() * bins).astype(int), bins - 1)
    claimed = np.bincount(index, weights=probabilities.ravel(), minlength=bins)
    true = np.bincount(index, weights=truth.ravel().astype(np.float64), minlength=bins)
    return float(np.abs(claimed - true).sum() / truth.size)


class Evaluation(NamedTuple):
    """What a run scores.

    Args:
        metrics: numbers by name.
        per_image: by name, one number per test image: Dice at both thresholds and object size.
    """

    metrics: dict[str, float]
    per_image: dict[str, np.ndarray]


def evaluate(
    validation_logits: np.ndarray,
    validation_masks: np.ndarray,
    test_logits: np.ndarray,
    test_masks: np.ndarray,
) -> Evaluation:
    """Score a run on its test images, at 0.5 and at the threshold that validation images chose.

    Dice and IoU are means over images (those with foreground; ``dice_pooled`` pools the pixels of
    all instead), precision, recall and volume bias pool the pixels. ``volume_bias`` is
    (found − there)/there, ``soft_volume_bias`` the same of Σp.

    Args:
        validation_logits: [V, H, W].
        validation_masks: [V, H, W], boolean.
        test_logits: [T, H, W].
        test_masks: [T, H, W], boolean.

    Returns:
        An `Evaluation`; NaN where a number is not defined.
    """
    tuned, validation_dice = best_threshold(validation_logits, validation_masks)
    z = np.clip(test_logits, -700, 700)
    probabilities = 1 / (1 + np.exp(-z))
    there = int(test_masks.sum())
    metrics: dict[str, float] = {}
    per_image: dict[str, np.ndarray] = {"size": test_masks.sum(axis=(1, 2))}
    for suffix, level in (("", 0.0), ("_tuned", tuned)):
        c = _counts(test_logits, test_masks, level)
        hit, found = int(c.hit.sum()), int(c.found.sum())
        dice = c.dice
        per_image[f"dice{suffix}"] = dice
        metrics |= {
            f"dice{suffix}": _mean(dice),
            f"dice_pooled{suffix}": 2 * hit / (found + there) if found + there else 1.0,
            f"iou{suffix}": _mean(dice / (2 - dice)),
            f"precision{suffix}": hit / found if found else 0.0,
            f"recall{suffix}": hit / there if there else float("nan"),
            f"volume_bias{suffix}": (found - there) / there if there else float("nan"),
        }
    metrics |= {
        "threshold_tuned": float(1 / (1 + np.exp(-tuned))),
        "validation_dice_tuned": validation_dice,
        "average_precision": average_precision(test_logits, test_masks),
        "mean_probability": float(probabilities.mean()),
        "max_probability": float(probabilities.max()),
        "soft_volume_bias": float(probabilities.sum() / there - 1) if there else float("nan"),
        "ece": expected_calibration_error(probabilities, test_masks),
        "brier": float(((probabilities - test_masks) ** 2).mean()),
    }
    return Evaluation(metrics, per_image)
