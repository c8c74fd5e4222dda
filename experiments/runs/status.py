"""Judges a run: finished, collapsed or diverged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.learning.models import MODELS

__all__ = ["status_of"]


def status_of(model: str, diverged: bool, metrics: Mapping[str, Any]) -> str:
    """Judge a run by what a network could do without seeing the image.

    A run has collapsed if its ranking of the pixels is hardly better than chance, or if no
    threshold makes its Dice better than that of a mask that is all foreground. Dice at 0.5 would
    only judge its threshold.
    """
    if diverged:
        return "diverged"
    if not MODELS[model].sees_pixels:
        # A model that sees no pixels cannot rank them, so it cannot collapse.
        return "finished"
    chance, precision = metrics["foreground_fraction_test"], metrics["average_precision"]
    # Chance is the foreground fraction π. The limit is 2π, or a tenth of the way from π to a
    # perfect ranking where that is less.
    blind = precision < chance + min(chance, 0.1 * (1 - chance))
    # Probabilities below 1e-6 are dead, whatever their order: no threshold reaches them. Early
    # studies did not keep the Dice of chance.
    dead = metrics.get("dice_chance") is not None and not (
        (metrics.get("dice_tuned") or 0.0) > metrics["dice_chance"]
    )
    return "collapsed" if blind or dead else "finished"
