"""What a pilot says of the study that follows: how small a margin so many seeds can show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from scipy import stats

from experiments.analysis.contrasts import contrasts
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import LEVEL, resolvable_margin

__all__ = ["planned_margins"]


def _cautious(deviation: float, count: int) -> float:
    """The upper end of the one-sided 80 % interval of a normal standard deviation (Browne 1995)."""
    # The deviation of a few pairs is often too small by chance.
    return deviation * math.sqrt((count - 1) / float(stats.chi2.ppf(0.2, count - 1)))


def planned_margins(models: Sequence[ModelRuns], seeds: int, power: float = 0.8) -> pd.DataFrame:
    """Compute the margin of equivalence that a study with more seeds would show.

    Args:
        models: of a pilot.
        seeds: of the study.
        power: how often two equal losses are to be found equivalent.

    Returns:
        One row per contrast of two pairs or more: their number, their standard deviation, the
        upper end of its one-sided 80 % interval, and three margins. ``margin`` holds for one test
        with the pilot's deviation; ``margin_adjusted`` at the smallest level that Holm's method may
        ask for, 5 % divided by the number of fractions; ``margin_cautious`` also for the upper
        deviation.
    """
    rows = []
    for model in models:
        level = LEVEL / len(model.fractions)
        for contrast in contrasts(model):
            count, deviation = contrast.difference.n, contrast.deviation
            if count < 2:
                continue
            upper = _cautious(deviation, count)

            def margin(spread: float, level: float) -> float:
                return resolvable_margin(spread, seeds, power=power, level=level)

            rows.append(
                {
                    "model": contrast.model,
                    "loss": contrast.loss,
                    "baseline": contrast.baseline,
                    "thresholds": " - ".join(contrast.thresholds),
                    "fraction": contrast.fraction,
                    "pairs": count,
                    "deviation": deviation,
                    "deviation_upper": upper,
                    "margin": margin(deviation, LEVEL),
                    "margin_adjusted": margin(deviation, level),
                    "margin_cautious": margin(upper, level),
                }
            )
    return pd.DataFrame(rows)
