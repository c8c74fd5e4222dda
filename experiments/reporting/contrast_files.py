"""Writes a study's runs and comparisons as tables: anyone can recompute one from the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.analysis.contrasts import contrast_table, contrasts, rate_contrasts
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.partial import partial_table, size_table
from experiments.files import write_whole

__all__ = ["write_contrasts"]

# What a reader needs to recompute the tables, one row per run.
_COLUMNS = (
    "model", "foreground_fraction", "loss", "seed", "learning_rate", "status", "dice", "dice_tuned",
    "dice_pooled", "dice_pooled_pool_tuned", "average_precision", "dice_chance",
    "foreground_fraction_test", "validation_dice_tuned", "hd95", "hd95_images",
)  # fmt: skip


def write_contrasts(directory: Path, models: Sequence[ModelRuns]) -> None:
    """Write the tables beside the summary; one without rows is not written.

    - ``runs.csv``, ``tuning.csv``: a row per run, of those that are reported and of those that
      chose the learning rates.
    - ``contrasts.csv``, ``rate_contrasts.csv``: who won; a row per contrast, at the chosen learning
      rates and at every rate that was tried.
    - ``partial.csv``: scores that only some images have, with how many.
    - ``sizes.csv``: recall by an object's size.

    Args:
        directory: of the study.
        models: its finished runs.
    """
    tables = {
        "runs": [model.runs for model in models],
        "tuning": [model.tuning for model in models],
        "contrasts": [contrast_table(contrasts(model)) for model in models],
        "rate_contrasts": [contrast_table(rate_contrasts(model)) for model in models],
        "partial": [partial_table(models)],
        "sizes": [size_table(models)],
    }
    for name, parts in tables.items():
        filled = [part for part in parts if len(part)]
        if filled:
            table = pd.concat(filled)
            if name in ("runs", "tuning"):
                table = table[[column for column in _COLUMNS if column in table]]
            text = table.to_csv(index=False, float_format="%.6g")
            write_whole(directory / f"{name}.csv", text)
