"""A study's directory as its readers see it: per model, its settings and its runs."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis.summary import runs_table
from experiments.config import StudyConfig
from experiments.runs.directory import load_runs, load_tiers, load_tuning

__all__ = ["Tier", "read_tiers"]

# The richest model first: it is what a study's findings are about.
_ORDER = ("unet", "linear", "bias")


@dataclasses.dataclass(frozen=True)
class Tier:
    """One model's part of a study.

    Args:
        config: its settings.
        results: its finished runs, as they were written.
        tuning_results: the runs that chose its learning rates.
        directory: where the study lies.
    """

    config: StudyConfig
    results: list[dict[str, Any]]
    tuning_results: list[dict[str, Any]]
    directory: Path = Path()

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The finished runs as a table."""
        return runs_table(self.results)

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """The tuning runs as a table."""
        return runs_table(self.tuning_results)

    @property
    def fractions(self) -> list[float]:
        """The foreground fractions, the largest first."""
        return sorted(self.config.fractions, reverse=True)

    def cell(self, loss: str, fraction: float) -> list[dict[str, Any]]:
        """The finished runs of one loss at one fraction."""
        wanted = loss, fraction
        return [r for r in self.results if (r["loss"], r["foreground_fraction"]) == wanted]

    def scores(self, loss: str, fraction: float, metric: str) -> np.ndarray:
        """One metric of a cell, a number per seed; NaN where a run has none."""
        values = [r["metrics"].get(metric) for r in self.cell(loss, fraction)]
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

    def image_scores(self, loss: str, fraction: float, metric: str) -> list[np.ndarray]:
        """One metric of a cell, per seed a number for each test image."""
        found = [r.get("per_image", {}).get(metric) for r in self.cell(loss, fraction)]
        return [
            np.array([np.nan if v is None else v for v in values], dtype=np.float64)
            for values in found
            if values is not None
        ]

    def has(self, metric: str) -> bool:
        """Whether any run has a number for a metric."""
        return any(r["metrics"].get(metric) is not None for r in self.results)


def read_tiers(directory: Path) -> list[Tier]:
    """Read a study's directory.

    Args:
        directory: of the study.

    Returns:
        Its models that have a finished run, the richest first.

    Raises:
        ConfigError: if the directory holds no study, or a file of it is torn.
    """
    tiers = [
        Tier(
            config,
            load_runs(directory, config.model),
            load_tuning(directory, config.model),
            directory,
        )
        for config in sorted(load_tiers(directory), key=lambda config: _ORDER.index(config.model))
    ]
    return [tier for tier in tiers if tier.results]
