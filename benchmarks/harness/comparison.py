"""The arithmetic of `--against`: paired ratios of two versions, and when a row counts as slower."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LIMIT", "Comparison", "compare"]

# A row is slower if its ratio is above this.
LIMIT = 1.05
# How often the lower bound may lie above the true median.
_ERROR = 0.025


@dataclass(frozen=True)
class Comparison:
    """How long the new version takes, as a multiple of the old one's time.

    Args:
        ratio: the median over the turns.
        quartiles: the first and the third quartile over the turns.
        at_least: a lower bound of the true median, with 97.5 % confidence; 0 where there are too
            few turns to give one.
    """

    ratio: float
    quartiles: tuple[float, float]
    at_least: float

    @property
    def slower(self) -> bool:
        """Whether the new version seems to be more than 5 % slower."""
        return self.ratio > LIMIT

    @property
    def surely_slower(self) -> bool:
        """Whether it is more than 5 % slower even at the lower bound."""
        return self.at_least > LIMIT


def compare(old: Sequence[float], new: Sequence[float]) -> Comparison:
    """Compare the times of two versions turn by turn.

    The two times of one turn were measured right after one another. A disturbance that lasts longer
    than a turn cancels in their ratio.

    Args:
        old: the old version's shortest time in each turn; two turns or more.
        new: the new version's, in the same turns.

    Returns:
        The comparison.
    """
    ratios = sorted(n / o for o, n in zip(old, new, strict=True))
    first, middle, third = statistics.quantiles(ratios, n=4, method="inclusive")
    return Comparison(ratio=middle, quartiles=(first, third), at_least=_lower_bound(ratios))


def _lower_bound(ordered: Sequence[float]) -> float:
    """The order statistic that bounds the median from below, as in the sign test.

    The k-th smallest of n ratios lies above the true median only if fewer than k ratios lie below
    the median. Each of them does so with probability 1/2, whatever their distribution is. So this
    happens as often as n tosses of a coin give fewer than k heads.
    """
    n = len(ordered)
    bound, probability = 0.0, 0.0
    for heads, ratio in enumerate(ordered):
        probability += math.comb(n, heads) / 2**n
        if probability > _ERROR:
            return bound
        bound = ratio
    return bound
