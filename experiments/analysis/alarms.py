"""When the monitor's alarm ``COLLAPSE`` fires in runs with Dice, from the means that steps logged.

``python -m experiments.analysis.alarms DIRECTORY`` prints the table of a study as CSV.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.runs.directory import load_runs

__all__ = ["alarm_table"]

# A run that ends with a soft Dice below this has lost the foreground.
_LOST = 0.05
# Adam's steps stop near this logit: the gradient is below its ε (C23).
_DEAD = float(np.exp(-19))


def alarm_table(results: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """List the steps of the alarm and of the collapse, for every run with Dice alone.

    Args:
        results: runs as they were written, with every step logged.

    Returns:
        One row a run, by loss and seed. ``lost``: the first step from which soft Dice stays low.
        ``alarm``: the first step of the alarm. ``dead``: the first step with a mean probability
        over the foreground below that of a logit of −19. −1 for a step that does not come.
    """
    rows = []
    for run in results:
        if run["loss"].split(",")[0] != "dice":
            continue
        step, fraction, p, q, dice = (
            np.array([entry[name] for entry in run["history"]])
            for name in (
                "step",
                "foreground_fraction",
                "mean_probability_foreground",
                "mean_probability_background",
                "soft_dice",
            )
        )
        # C12: the pull on the foreground is p̄₊·2UN/S² of cross-entropy's, while p is small.
        i = p * fraction
        s = i + q * (1 - fraction) + fraction
        pull = p * 2 * (s - i) / s**2
        # Looked at backwards: whether soft Dice is low here and at every later step.
        lost = np.minimum.accumulate(dice[::-1] < _LOST)[::-1]
        row = {"loss": run["loss"], "seed": run["seed"]}
        for name, when in {
            "lost": lost, "alarm": (p < 0.01) & (pull < 0.1), "dead": p < _DEAD
        }.items():  # fmt: skip
            row[name] = int(step[when][0]) if when.any() else -1
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["loss", "seed"], ignore_index=True)


if __name__ == "__main__":
    alarm_table(load_runs(Path(sys.argv[1]))).to_csv(sys.stdout, index=False)
