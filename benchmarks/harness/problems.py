"""The logits and labels that every contender of a row is given."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """Random logits and labels of a size.

    Args:
        pixels: the shape of the pixels, batch first.
        classes: the size of the last axis of the logits; ``None`` for a binary problem, whose
            logits have no class axis.
    """

    pixels: tuple[int, ...]
    classes: int | None

    @property
    def logits_shape(self) -> tuple[int, ...]:
        """The shape of the logits, classes last."""
        return self.pixels if self.classes is None else (*self.pixels, self.classes)

    @property
    def words(self) -> str:
        """The size, for a table."""
        size = "×".join(map(str, self.pixels))
        return size if self.classes is None else f"{size}, C={self.classes}"

    def least_bytes(self, *, logit_bytes: int = 4, label_bytes: int = 4) -> int:
        """Count the bytes that must move if no probabilities are stored.

        Args:
            logit_bytes: of one logit, and of one entry of the gradient.
            label_bytes: of one label.

        Returns:
            Bytes: logits and labels read twice (forwards and backwards), the gradient written once.
        """
        logits, labels = math.prod(self.logits_shape), math.prod(self.pixels)
        return 3 * logits * logit_bytes + 2 * labels * label_bytes

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Make the logits (float32) and the labels (int32), always the same ones.

        Returns:
            Logits [..., C] or [...], labels [...].
        """
        return _arrays(self)


# Only the last problem is kept: the largest take gigabytes.
@functools.lru_cache(maxsize=1)
def _arrays(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(problem.logits_shape, dtype=np.float32)
    logits *= np.float32(2)
    if problem.classes is None:
        labels = (rng.random(problem.pixels, dtype=np.float32) < 0.1).astype(np.int32)
    else:
        labels = rng.integers(problem.classes, size=problem.pixels, dtype=np.int32)
    return logits, labels
