"""The study as function calls, for a notebook; the command line uses the same functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.analysis.contrasts import contrast_table
from experiments.analysis.contrasts import contrasts as contrasts_of
from experiments.analysis.model_runs import read_models
from experiments.analysis.tables import runs_table, summary_table
from experiments.config import StudyConfig
from experiments.presets import study_configs
from experiments.reporting.rendering import MODEL_NAMES
from experiments.reporting.sentences import answer, theory_findings
from experiments.reporting.sentences import findings as findings_of
from experiments.reporting.theory_checks import Check
from experiments.reporting.theory_checks import predictions as predictions_of
from experiments.reporting.writer import draw, write_report
from experiments.runs.directory import earlier_configs, load_runs
from experiments.runs.distributed import Alone, Processes
from experiments.runs.notices import notices
from experiments.runs.progress import Progress, for_this_terminal
from experiments.runs.study import run_study

__all__ = ["compare", "contrasts", "figures", "findings", "predictions", "run", "summary"]


def run(
    configs: Sequence[StudyConfig],
    out: Path,
    progress: Progress,
    *,
    processes: Processes | None = None,
    **how: Any,
) -> int:
    """Train what is missing of a study, write its report, and return how many runs were trained.

    Args:
        configs: the study, one `StudyConfig` per model.
        out: its directory.
        progress: is told of every step and run.
        processes: that train together; ``None``: this one alone.
        **how: further arguments of `study.run_study`.
    """
    processes = processes or Alone()
    for line in processes.decide(lambda: notices(configs)):
        progress.note(line)
    trained = run_study(configs, out, progress, processes=processes, **how)
    progress.note("drawing the figures and the report")
    processes.decide(lambda: write_report(out))
    return trained


def compare(
    *,
    out: str | Path = "runs/quick",
    preset: str = "quick",
    losses: Iterable[str] | None = None,
    model: str | None = None,
    fractions: Iterable[float] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Train, evaluate and report a study, and return its summary.

    Finished runs in ``out`` stay: calling it again trains only what is missing.

    Args:
        out: the study's directory.
        preset: a name in `presets.PRESETS`.
        losses: what to compare, for example ``["bce", "dice", "dice+bce"]``.
        model: bias, linear or unet; ``None``: those that the preset runs.
        fractions: foreground fractions.
        progress: shows the progress; ``None``: a bar or lines.
        **settings: further fields of `config.StudyConfig`: ``seeds``, ``steps``, ``image_size``…

    Returns:
        One row per loss, fraction and model, with means and 95 % intervals over seeds.

    Raises:
        ConfigError: if the study cannot be run, or ``out`` holds another one.
    """
    settings["losses"] = None if losses is None else tuple(losses)
    settings["fractions"] = None if fractions is None else tuple(fractions)
    configs = study_configs(preset, model, earlier=earlier_configs(Path(out)), **settings)
    run(configs, Path(out), for_this_terminal() if progress is None else progress)
    return summary(out)


def summary(out: str | Path = "runs/quick") -> pd.DataFrame:
    """Return the summary of a study's directory: one row per loss, fraction and model."""
    return summary_table(runs_table(load_runs(Path(out))))


def contrasts(out: str | Path = "runs/quick") -> pd.DataFrame:
    """Say who won, by how much and how sure, at the learning rates that were chosen.

    Args:
        out: the study's directory.

    Returns:
        One row per pair of losses, pair of thresholds and fraction: the paired difference in test
        Dice where neither run collapsed or diverged, a verdict, how often each loss's runs failed,
        and the smallest margin within which the two are equivalent.
    """
    return contrast_table(c for model in read_models(Path(out)) for c in contrasts_of(model))


def findings(out: str | Path = "runs/quick") -> dict[str, list[str]]:
    """Say what a study found.

    Args:
        out: the study's directory.

    Returns:
        Sentences by model, the largest model first, and under "theory" how many of theory's
        predictions agree.
    """
    models = read_models(Path(out))
    found = {
        MODEL_NAMES[model.config.model]: answer(model) + findings_of(model) for model in models
    }
    checks = [check for model in models for check in predictions_of(model)]
    return found | ({"theory": [theory_findings(checks)]} if checks else {})


def predictions(out: str | Path = "runs/quick") -> pd.DataFrame:
    """Compare what theory predicts with what a study observed.

    Args:
        out: the study's directory.

    Returns:
        One row per check: its claim, model, loss and fraction, theory's number, the observed one
        with its 95 % interval, and whether they agree (``None``: undecided).
    """
    checks = [check for model in read_models(Path(out)) for check in predictions_of(model)]
    return pd.DataFrame(checks, columns=list(Check._fields))


def figures(out: str | Path = "runs/quick") -> dict[str, Figure]:
    """Draw a study's figures: Matplotlib figures by name."""
    return draw(Path(out))
