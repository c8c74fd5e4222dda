"""How a study's losses, models and numbers are written for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.analysis.statistics import Interval

__all__ = ["MODEL_NAMES", "joined", "label", "percent", "written"]

MODEL_NAMES = {"unet": "U-Net", "linear": "linear model", "bias": "bias-only model"}
_NAMES = {"bce": "BCE", "balanced_bce": "balanced BCE"}


def label(loss: str) -> str:
    """Write a loss's name for people.

    Args:
        loss: as on the command line.

    Returns:
        For example ``"Squared Dice + BCE"``.
    """
    parts = [
        _NAMES.get(p, p.replace("_", " ").replace("dice", "Dice").replace("tversky", "Tversky"))
        for p in loss.split("+")
    ]
    words = " + ".join(parts)
    return words[0].upper() + words[1:]


def percent(fraction: float) -> str:
    """Write a fraction as a percentage: 0.003 is 0.3 %.

    Args:
        fraction: between 0 and 1.

    Returns:
        The words.
    """
    return f"{100 * fraction:.3g} %"


def joined(words: Sequence[str]) -> str:
    """Join words as a sentence does: a, b and c.

    Args:
        words: in their order.

    Returns:
        One string.
    """
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def written(interval: Interval, sign: bool = False, digits: int = 3) -> str:
    """Write a mean and its interval: 0.81 [0.79, 0.83].

    Args:
        interval: of `statistics`.
        sign: whether a positive number shows its plus.
        digits: behind the point.

    Returns:
        The words; only the mean where there is no interval.
    """
    form = f"{{:{'+' if sign else ''}.{digits}f}}"
    if not interval.n:
        return "–"
    mean, low, high = (form.format(x).replace("-", "−") for x in interval[:3])
    return mean if np.isnan(interval.low) else f"{mean} [{low}, {high}]"
