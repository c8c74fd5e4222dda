"""Pixels counted by their logit, image by image: enough for any score at any threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["THRESHOLD_LOGITS", "Counts", "PixelCounts", "best_threshold", "counts_at", "mean_of"]

# Logits from p = 1e-6 to 1 − 1e-6 in steps of 0.1; p = ½ is among them.
THRESHOLD_LOGITS = np.arange(-140, 141) / 10


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

    @property
    def pooled_dice(self) -> np.ndarray:
        """Hard Dice of all pixels of all images (the leading axis), the empty ones included."""
        hit, size = self.hit.sum(axis=0), self.found.sum(axis=0) + self.there.sum(axis=0)
        return np.where(size > 0, 2 * hit / np.maximum(size, 1), 1.0)


def counts_at(logits: np.ndarray, masks: np.ndarray, level: float) -> Counts:
    """Count the pixels of images [B, H, W] at a threshold, as a logit.

    A tie (a constant prediction at its own threshold) is foreground.
    """
    found = logits >= level
    return Counts((found & masks).sum(axis=(1, 2)), found.sum(axis=(1, 2)), masks.sum(axis=(1, 2)))


def mean_of(values: np.ndarray) -> float:
    """Average the numbers that are there; NaN where there are none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


class PixelCounts(NamedTuple):
    """How many pixels of each image have a logit between two thresholds of `THRESHOLD_LOGITS`.

    Every score at every threshold of the grid follows from these counts, without the images and
    without the network.

    Args:
        background: [B, L + 1]: pixels of the background below the first threshold, between it and
            the second, and so on.
        foreground: [B, L + 1], the same of the foreground.
    """

    background: np.ndarray
    foreground: np.ndarray

    @classmethod
    def of(cls, logits: np.ndarray, masks: np.ndarray) -> PixelCounts:
        """Count the pixels of images [B, H, W]."""
        bins = np.searchsorted(THRESHOLD_LOGITS, logits.reshape(len(logits), -1), side="right")
        size = len(THRESHOLD_LOGITS) + 1
        flat = masks.reshape(len(masks), -1)

        def counted(wanted: np.ndarray) -> np.ndarray:
            return np.stack(
                [np.bincount(b[w], minlength=size) for b, w in zip(bins, wanted, strict=True)]
            )

        return cls(counted(~flat), counted(flat))

    @property
    def at_thresholds(self) -> Counts:
        """The `Counts` at all thresholds, [B, L] each; ``there`` is [B, 1]."""

        def above(counts: np.ndarray) -> np.ndarray:
            # A pixel in bin k is foreground at the thresholds 0 … k − 1.
            return np.cumsum(counts[:, ::-1].astype(np.int64), axis=1)[:, ::-1][:, 1:]

        hit = above(self.foreground)
        there = self.foreground.sum(axis=1, keepdims=True, dtype=np.int64)
        return Counts(hit, hit + above(self.background), there)

    def packed(self) -> PixelCounts:
        """The same counts in the smallest type that holds them, for a file."""
        most = max(int(self.background.max(initial=0)), int(self.foreground.max(initial=0)))
        kind = np.min_scalar_type(most)
        return PixelCounts(self.background.astype(kind), self.foreground.astype(kind))


def best_threshold(counts: PixelCounts, *, pooled: bool = False) -> tuple[float, float]:
    """Find the threshold with the best Dice.

    Args:
        counts: of validation images.
        pooled: whether the Dice of all pixels of all images decides, the images without foreground
            included; otherwise the mean Dice of the images with foreground does. The latter does
            not mind false positives on empty images.

    Returns:
        The best of `THRESHOLD_LOGITS`, the middle one where several are equally good; and the Dice
        it reached.
    """
    at_all = counts.at_thresholds
    if pooled:
        score = at_all.pooled_dice
    else:
        dice = at_all.dice[at_all.there[:, 0] > 0]
        score = dice.mean(axis=0) if len(dice) else np.zeros(len(THRESHOLD_LOGITS))
    best = np.flatnonzero(score >= score.max() - 1e-12)
    return float(THRESHOLD_LOGITS[best[len(best) // 2]]), float(score.max())
