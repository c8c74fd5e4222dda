"""The metrics of a run: thresholds are tuned on validation images, numbers are from test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

import dice_jax as dj

__all__ = [
    "SURFACE_TOLERANCE",
    "Evaluation",
    "average_precision",
    "best_threshold",
    "evaluate",
    "predict",
]

# Logits from p = 1e-6 to 1 − 1e-6 in steps of 0.1; p = ½ is among them.
_THRESHOLD_LOGITS = np.arange(-140, 141) / 10
_IMAGES_A_PASS, _PIXELS_A_PASS = 64, 2**22
# In pixels: a surface within this distance counts as correct.
SURFACE_TOLERANCE = 1.0
_RELIABILITY_BINS = 15


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
    (logits,) = _in_passes(lambda part: (_logits(graph, parameters, part),), images)
    return logits.astype(np.float64)


def _in_passes(compute: Callable[[Any], tuple[jax.Array, ...]], images: Any) -> list[np.ndarray]:
    """Compute arrays that lead with the images, a bounded number of images at a time."""
    leaves = jax.tree.leaves(images)
    count = len(leaves[0])
    size = min(count, _IMAGES_A_PASS, max(1, _PIXELS_A_PASS * count // leaves[0].size))
    passes: list[tuple[np.ndarray, ...]] = []
    for first in range(0, count, size):
        # The last pass overlaps the one before, so that all have one shape and compile once.
        start = min(first, count - size)
        part = jax.tree.map(lambda x, start=start: x[start : start + size], images)
        out = jax.device_get(compute(part))
        passes.append(tuple(x[first - start :] for x in out))
    return [np.concatenate(parts) for parts in zip(*passes, strict=True)]


class Counts(NamedTuple):
    """True positives, predicted pixels and true pixels of each image."""

    hit: np.ndarray
    found: np.ndarray
    there: np.ndarray

    @property
    def dice(self) -> np.ndarray:
        """Hard Dice per image; NaN where nothing is there: an empty image never lifts a mean."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.there > 0, 2 * self.hit / (self.found + self.there), np.nan)


def _counts(logits: np.ndarray, masks: np.ndarray, level: float) -> Counts:
    # p ≥ t, as logits. A tie (a constant prediction at its own threshold) is foreground.
    found = logits >= level
    return Counts((found & masks).sum(axis=(1, 2)), found.sum(axis=(1, 2)), masks.sum(axis=(1, 2)))


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def best_threshold(logits: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Find the threshold with the best mean Dice per image.

    `dice_jax.metrics.best_threshold` finds that of the pooled Dice instead.

    Args:
        logits: [B, H, W] of validation images.
        masks: [B, H, W], boolean.

    Returns:
        The best of a grid of logits (a step of 0.1, from p = 1e-6 to 1 − 1e-6; 0 is among them);
        the middle one where several are equally good; and the Dice it reached.
    """
    # A pixel in bin k is foreground at the thresholds 0 … k − 1.
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
    """Compute the area under the precision-recall curve as scikit-learn does: Σ (Rₙ − Rₙ₋₁) Pₙ.

    In float64 on the host. In float32, as in `dice_jax.metrics.average_precision`, probabilities of
    logits beyond 17 would tie, and counts of more than 2²⁴ pixels would be rounded.

    Args:
        scores: any shape, the higher the more foreground.
        truth: the same shape, boolean.

    Returns:
        A number in [0, 1]: the foreground fraction for uninformative scores, NaN without
        foreground.
    """
    scores, truth = scores.ravel(), truth.ravel()
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    # Equal scores make one step of the curve.
    last = np.append(np.flatnonzero(np.diff(scores)), scores.size - 1)
    hits = np.cumsum(truth)[last]
    precision = hits / (last + 1)
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * precision))


@jax.jit
def _surfaces(found: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
    # In one program, so that both use the same distances.
    axis = (1, 2)
    distance = dj.metrics.hausdorff_distance(found, masks, axis=axis)
    share = dj.metrics.surface_dice(found, masks, tolerance=SURFACE_TOLERANCE, axis=axis)
    return distance.value, share.value


def _surface_scores(found: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HD95 and surface Dice per image; NaN where they are not defined."""
    distances, shares = _in_passes(lambda part: _surfaces(*part), (found, masks))
    there = masks.any(axis=(1, 2))
    # Without a prediction there is no distance; the surface Dice is then 0.
    return (
        np.where(there & found.any(axis=(1, 2)), distances, np.nan),
        np.where(there, shares, np.nan),
    )


def _size_recall(
    masks: np.ndarray, found: np.ndarray, found_tuned: np.ndarray
) -> dict[str, list[float]]:
    """Recall by an object's size, in octaves of pixels; an object is a connected component."""
    sizes: list[np.ndarray] = []
    recalls: list[np.ndarray] = []
    for mask, *claims in zip(masks, found, found_tuned, strict=True):
        if not mask.any():
            continue
        components = np.asarray(dj.label_components(mask)).ravel()
        size = np.bincount(components)[1:]
        hits = [np.bincount(components, weights=claim.ravel())[1:] for claim in claims]
        sizes.append(size)
        recalls.append(np.array(hits) / size)
    out: dict[str, list[float]] = {"size": [], "recall": [], "recall_tuned": [], "objects": []}
    if not sizes:
        return out
    size, recall = np.concatenate(sizes), np.concatenate(recalls, axis=1)
    octave = np.floor(np.log2(size)).astype(int)
    for k in np.unique(octave):
        at_half, tuned = recall[:, octave == k].mean(axis=1).tolist()
        row = {"size": 2.0**k, "recall": at_half, "recall_tuned": tuned}
        row["objects"] = int((octave == k).sum())
        for name, value in row.items():
            out[name].append(value)
    return out


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a run scores.

    Args:
        metrics: numbers by name; NaN where one is not defined.
        per_image: by name, one number per test image: Dice, HD95 and surface Dice at both
            thresholds (NaN where the image is empty), and object size.
        reliability: "claimed", "true" and "pixels" of bins of p of equal width: mean p, frequency
            of foreground (NaN in a bin without pixels), and how many pixels.
        size_recall: the mean share of an object's pixels that were found, "recall" at 0.5 and
            "recall_tuned", for "objects" many objects (connected components of the test masks) of
            at least "size" and less than twice as many pixels. No rows in the posterior family,
            whose labels hold no objects.
        diverged: whether a logit was not finite; then all numbers but the sizes are NaN.
    """

    metrics: dict[str, float]
    per_image: dict[str, np.ndarray]
    reliability: dict[str, list[float]]
    size_recall: dict[str, list[float]]
    diverged: bool = False


def evaluate(
    validation_logits: np.ndarray,
    validation_masks: np.ndarray,
    test_logits: np.ndarray,
    test_masks: np.ndarray,
    test_posterior: np.ndarray | None = None,
    test_where: np.ndarray | None = None,
) -> Evaluation:
    """Score a run on its test images, at 0.5 and at the threshold chosen on validation images.

    Dice and IoU are means over images (those with foreground; ``dice_pooled`` pools the pixels of
    all instead), precision, recall and volume bias pool the pixels. ``volume_bias`` is (predicted −
    true)/true foreground, ``soft_volume_bias`` the same of Σp. ``hd95`` is the mean over the images
    with foreground and a prediction, ``surface_dice`` (tolerance 1 pixel) over those with
    foreground. Empty images are counted separately: ``empty_images`` is their number; if there are
    any, ``empty_false_positive_share`` is the share of them with any prediction.

    Where the posterior μ is known, ``bayes_dice`` is D*, the best expected pooled Dice of
    any prediction (C15), comparable to ``dice_pooled``; ``bayes_dice_scored`` is
    the mean Dice per image of its prediction 1[μ > D*/2] on these labels, comparable to
    ``dice``.

    Args:
        validation_logits: [V, H, W].
        validation_masks: [V, H, W], boolean.
        test_logits: [T, H, W].
        test_masks: [T, H, W], boolean.
        test_posterior: [T, H, W], P(y = 1) of each pixel, where it is exactly known.
        test_where: [T, H, W], boolean: the pixels of the images; outside of them are neither
            foreground nor large logits. ``None``: all.

    Returns:
        An `Evaluation`; NaN where a number is not defined.
    """
    diverged = not (np.isfinite(test_logits).all() and np.isfinite(validation_logits).all())
    if diverged:
        test_logits, validation_logits = (
            np.zeros_like(test_logits),
            np.zeros_like(validation_logits),
        )
    tuned, validation_dice = best_threshold(validation_logits, validation_masks)
    z = np.clip(test_logits, -700, 700)
    probabilities = 1 / (1 + np.exp(-z))
    inside = np.ones(test_masks.shape, bool) if test_where is None else test_where
    there, empty = int(test_masks.sum()), ~test_masks.any(axis=(1, 2))
    metrics: dict[str, float] = {}
    per_image: dict[str, np.ndarray] = {"size": test_masks.sum(axis=(1, 2))}
    for suffix, level in (("", 0.0), ("_tuned", tuned)):
        c = _counts(test_logits, test_masks, level)
        hit, found = int(c.hit.sum()), int(c.found.sum())
        dice = c.dice
        distances, shares = _surface_scores(test_logits >= level, test_masks)
        per_image |= {
            f"dice{suffix}": dice,
            f"hd95{suffix}": distances,
            f"surface_dice{suffix}": shares,
        }
        metrics |= {
            f"dice{suffix}": _mean(dice),
            f"dice_pooled{suffix}": 2 * hit / (found + there) if found + there else 1.0,
            f"iou{suffix}": _mean(dice / (2 - dice)),
            f"precision{suffix}": hit / found if found else 0.0,
            f"recall{suffix}": hit / there if there else float("nan"),
            f"volume_bias{suffix}": (found - there) / there if there else float("nan"),
            f"hd95{suffix}": _mean(distances),
            f"surface_dice{suffix}": _mean(shares),
        }
        if empty.any():
            metrics[f"empty_false_positive_share{suffix}"] = float((c.found[empty] > 0).mean())
    bins = dj.metrics.calibration(
        probabilities[inside].astype(np.float32), test_masks[inside], bins=_RELIABILITY_BINS
    )
    pixels, claimed, true = (
        np.asarray(x, np.float64) for x in (bins.count, bins.confidence, bins.hits)
    )
    metrics |= {
        "threshold_tuned": float(1 / (1 + np.exp(-tuned))),
        "validation_dice_tuned": validation_dice,
        "average_precision": average_precision(test_logits[inside], test_masks[inside]),
        "mean_probability": float(probabilities[inside].mean()),
        "max_probability": float(probabilities.max()),
        "soft_volume_bias": float(probabilities.sum() / there - 1) if there else float("nan"),
        "ece": float(bins.expected_calibration_error),
        "brier": float(((probabilities - test_masks)[inside] ** 2).mean()),
        "empty_images": float(empty.sum()),
        **_bayes(test_posterior, test_masks),
    }
    with np.errstate(invalid="ignore"):
        reliability = {
            "claimed": (claimed / pixels).tolist(),
            "true": (true / pixels).tolist(),
            "pixels": pixels.tolist(),
        }
    # Labels drawn pixel by pixel form no objects.
    shown = slice(None) if test_posterior is None else slice(0)
    size_recall = _size_recall(
        test_masks[shown], test_logits[shown] >= 0, test_logits[shown] >= tuned
    )
    evaluation = Evaluation(metrics, per_image, reliability, size_recall)
    return _without_numbers(evaluation) if diverged else evaluation


def _bayes(posterior: np.ndarray | None, masks: np.ndarray) -> dict[str, float]:
    if posterior is None:
        return {}
    best = dj.analysis.dice_oracle(posterior)
    chosen = np.asarray(best.prediction)
    return {
        "bayes_dice": float(best.dice),
        "bayes_dice_scored": _mean(_counts(chosen, masks, 0.5).dice),
    }


def _without_numbers(evaluation: Evaluation) -> Evaluation:
    """Keep the names and the facts about the data; the numbers of a diverged run become NaN."""
    of_data = ("empty_images", "bayes_dice", "bayes_dice_scored")
    return Evaluation(
        {k: v if k in of_data else float("nan") for k, v in evaluation.metrics.items()},
        {k: v if k == "size" else np.full(len(v), np.nan) for k, v in evaluation.per_image.items()},
        {name: [] for name in evaluation.reliability},
        {name: [] for name in evaluation.size_recall},
        diverged=True,
    )
