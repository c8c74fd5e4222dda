"""The metrics of a run: thresholds are tuned on validation images, numbers are from test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

import dice_jax as dj
from experiments.learning.thresholds import PixelCounts, best_threshold, counts_at, mean_of

__all__ = [
    "SURFACE_TOLERANCE",
    "Evaluation",
    "average_precision",
    "evaluate",
    "predict",
]

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
        pixel_counts: the pixels of "validation" and "test" images by their logit.
        diverged: whether a logit was not finite; then all numbers but the sizes are NaN.
    """

    metrics: dict[str, float]
    per_image: dict[str, np.ndarray]
    reliability: dict[str, list[float]]
    size_recall: dict[str, list[float]]
    pixel_counts: dict[str, PixelCounts] = dataclasses.field(default_factory=dict)
    diverged: bool = False


def evaluate(
    validation_logits: np.ndarray,
    validation_masks: np.ndarray,
    test_logits: np.ndarray,
    test_masks: np.ndarray,
    test_posterior: np.ndarray | None = None,
    test_where: np.ndarray | None = None,
) -> Evaluation:
    """Score a run on its test images, at 0.5 and at thresholds chosen on validation images.

    The threshold of the suffix ``_tuned`` has the best mean Dice of the validation images with
    foreground; that of ``_pool_tuned`` the best Dice of all their pixels, in which false positives
    on empty images count.

    Dice and IoU are means over images with foreground. ``dice_pooled``, precision, recall and
    volume bias pool the pixels of all images, the empty ones included. ``volume_bias`` is
    (predicted − true)/true foreground, ``soft_volume_bias`` the same of Σp. ``hd95`` is the mean
    over the images with foreground and a prediction, ``hd95_images`` many; ``surface_dice``
    (tolerance 1 pixel) is the mean over those with foreground. ``empty_images`` is the number of
    images without foreground; if there are any, ``empty_false_positive_share`` is the share of
    them with any prediction. ``dice_chance`` is the mean Dice of the prediction that all pixels are
    foreground, the best that a network can do without seeing the image.

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
    counts = {
        "validation": PixelCounts.of(validation_logits, validation_masks),
        "test": PixelCounts.of(test_logits, test_masks),
    }
    tuned, validation_dice = best_threshold(counts["validation"])
    pool_tuned, validation_pooled = best_threshold(counts["validation"], pooled=True)
    z = np.clip(test_logits, -700, 700)
    probabilities = 1 / (1 + np.exp(-z))
    inside = np.ones(test_masks.shape, bool) if test_where is None else test_where
    there, empty = int(test_masks.sum()), ~test_masks.any(axis=(1, 2))
    metrics: dict[str, float] = {}
    per_image: dict[str, np.ndarray] = {"size": test_masks.sum(axis=(1, 2))}
    for suffix, level in (("", 0.0), ("_tuned", tuned), ("_pool_tuned", pool_tuned)):
        c = counts_at(test_logits, test_masks, level)
        hit, found = int(c.hit.sum()), int(c.found.sum())
        dice = c.dice
        per_image[f"dice{suffix}"] = dice
        metrics |= {
            f"dice{suffix}": mean_of(dice),
            f"dice_pooled{suffix}": float(c.pooled_dice),
            f"iou{suffix}": mean_of(dice / (2 - dice)),
            f"precision{suffix}": hit / found if found else 0.0,
            f"recall{suffix}": hit / there if there else float("nan"),
            f"volume_bias{suffix}": (found - there) / there if there else float("nan"),
        }
        if empty.any():
            metrics[f"empty_false_positive_share{suffix}"] = float((c.found[empty] > 0).mean())
    # Distances take longer than all else, so that they are computed for two thresholds only.
    for suffix, level in (("", 0.0), ("_tuned", tuned)):
        distances, shares = _surface_scores(test_logits >= level, test_masks)
        per_image |= {f"hd95{suffix}": distances, f"surface_dice{suffix}": shares}
        metrics |= {
            f"hd95{suffix}": mean_of(distances),
            f"hd95_images{suffix}": float((~np.isnan(distances)).sum()),
            f"surface_dice{suffix}": mean_of(shares),
        }
    everything = counts_at(np.where(inside, 0.0, -1.0), test_masks, 0.0)
    bins = dj.metrics.calibration(
        probabilities[inside].astype(np.float32), test_masks[inside], bins=_RELIABILITY_BINS
    )
    pixels, claimed, true = (
        np.asarray(x, np.float64) for x in (bins.count, bins.confidence, bins.hits)
    )
    metrics |= {
        "threshold_tuned": float(1 / (1 + np.exp(-tuned))),
        "threshold_pool_tuned": float(1 / (1 + np.exp(-pool_tuned))),
        "validation_dice_tuned": validation_dice,
        "validation_dice_pooled": validation_pooled,
        "dice_chance": mean_of(everything.dice),
        "soft_dice": float(2 * probabilities[test_masks].sum() / (probabilities.sum() + there)),
        "mean_probability_foreground": float(probabilities[test_masks].mean()) if there else np.nan,
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
    evaluation = Evaluation(metrics, per_image, reliability, size_recall, counts)
    return _without_numbers(evaluation) if diverged else evaluation


def _bayes(posterior: np.ndarray | None, masks: np.ndarray) -> dict[str, float]:
    if posterior is None:
        return {}
    best = dj.analysis.dice_oracle(posterior)
    chosen = np.asarray(best.prediction)
    return {
        "bayes_dice": float(best.dice),
        "bayes_dice_scored": mean_of(counts_at(chosen, masks, 0.5).dice),
    }


def _without_numbers(evaluation: Evaluation) -> Evaluation:
    """Keep the names and the facts about the data; the numbers of a diverged run become NaN."""
    of_data = ("empty_images", "dice_chance", "bayes_dice", "bayes_dice_scored")
    return Evaluation(
        {k: v if k in of_data else float("nan") for k, v in evaluation.metrics.items()},
        {k: v if k == "size" else np.full(len(v), np.nan) for k, v in evaluation.per_image.items()},
        {name: [] for name in evaluation.reliability},
        {name: [] for name in evaluation.size_recall},
        {},
        diverged=True,
    )
