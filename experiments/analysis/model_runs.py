"""A study's directory as its readers see it: for each model, its settings and its runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis.statistics import Interval, bootstrap_interval
from experiments.analysis.tables import runs_table, score_interval
from experiments.config import StudyConfig
from experiments.runs.directory import load_configs, load_runs, load_tuning
from experiments.runs.plan import RunSpec

__all__ = ["ModelRuns", "read_models", "tested_images"]

# The largest model first: a study's findings are about it.
_ORDER = ("unet", "linear", "bias")


@dataclasses.dataclass(frozen=True)
class ModelRuns:
    """One model's part of a study.

    Args:
        config: its settings.
        results: its finished runs, as they were written.
        tuning_results: the runs that chose its learning rates.
        directory: of the study.
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

    def trained(self, loss: str, fraction: float) -> list[dict[str, Any]]:
        """The runs of a cell that neither collapsed nor diverged."""
        return [r for r in self.cell(loss, fraction) if r["status"] == "finished"]

    def example(self, loss: str, fraction: float) -> np.ndarray | None:
        """The images, masks and predictions that the first seed's run saved, if it did."""
        config = self.config
        spec = RunSpec(loss, config.model, fraction, config.first_seed, config.learning_rates[0])
        path = self.directory / "examples" / f"{spec.name}.npy"
        return np.load(path, allow_pickle=False) if path.exists() else None

    def rates(self, loss: str, fraction: float) -> list[float]:
        """The learning rates of a cell's runs; several only where folds chose their own."""
        return sorted({r["learning_rate"] for r in self.cell(loss, fraction)})

    def scores(self, loss: str, fraction: float, metric: str) -> np.ndarray:
        """One metric of a cell, a number per seed; NaN where a run has none."""
        return _numbers(r["metrics"].get(metric) for r in self.cell(loss, fraction))

    def interval(self, loss: str, fraction: float, metric: str) -> Interval:
        """The mean of a metric over the runs that trained, with its 95 % interval."""
        return score_interval(self._trained_scores(loss, fraction, metric), metric)

    def median(self, loss: str, fraction: float, metric: str) -> float:
        """The median over the runs that trained and have a number; NaN where none has."""
        scores = self._trained_scores(loss, fraction, metric)
        return float("nan") if np.isnan(scores).all() else float(np.nanmedian(scores))

    def _trained_scores(self, loss: str, fraction: float, metric: str) -> np.ndarray:
        return _numbers(r["metrics"].get(metric) for r in self.trained(loss, fraction))

    def over_images(self, loss: str, fraction: float, metric: str) -> Interval:
        """The mean of a cell, with its bootstrap interval over seeds, groups and test images."""
        cell = [r for r in self.cell(loss, fraction) if metric in r.get("per_image", {})]
        images = [tested_images(run) for run in cell]
        return bootstrap_interval(
            [_numbers(run["per_image"][metric]) for run in cell],
            [found for found in images if found is not None] if all(images) else None,
        )

    def has(self, metric: str) -> bool:
        """Whether any run has a number for a metric."""
        return any(r["metrics"].get(metric) is not None for r in self.results)


def tested_images(run: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Name the group and the name of each test image of a run.

    ``None`` of synthetic images, which every seed has of its own.
    """
    if "test_images" not in run:
        return None
    return list(zip(run["test_groups"], run["test_images"], strict=True))


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def read_models(directory: Path) -> list[ModelRuns]:
    """Read the models of a study that have a finished run, the largest model first.

    Raises:
        ConfigError: if the directory holds no study, or a file of it is incomplete.
    """
    models = [
        ModelRuns(
            config,
            load_runs(directory, config.model),
            load_tuning(directory, config.model),
            directory,
        )
        for config in sorted(load_configs(directory), key=lambda c: _ORDER.index(c.model))
    ]
    return [model for model in models if model.results]
