"""The study as function calls, for a notebook; the command line stands on the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.analysis.summary import runs_table, summary_table
from experiments.analysis.tiers import read_tiers
from experiments.config import StudyConfig
from experiments.reporting.findings import findings as findings_of
from experiments.reporting.findings import theory_findings
from experiments.reporting.predictions import Check
from experiments.reporting.predictions import predictions as theory_checks
from experiments.reporting.report import draw, write_report
from experiments.reporting.words import MODEL_NAMES
from experiments.runs.directory import load_config, load_runs
from experiments.runs.distributed import Alone, Processes
from experiments.runs.plan import tiers
from experiments.runs.progress import Progress, for_this_terminal
from experiments.runs.study import run_study

__all__ = ["compare", "figures", "findings", "predictions", "run", "summary"]


def run(
    tiers: Sequence[StudyConfig],
    out: Path,
    progress: Progress,
    *,
    processes: Processes | None = None,
    **how: Any,
) -> int:
    """Train what is missing of a study and write its report.

    Args:
        tiers: the study, one `StudyConfig` per model.
        out: its directory.
        progress: is told of every step and run.
        processes: that train together; ``None``: this one alone.
        **how: further arguments of `study.run_study`.

    Returns:
        How many runs were trained.
    """
    processes = processes or Alone()
    trained = run_study(tiers, out, progress, processes=processes, **how)
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

    Finished runs in ``out`` are kept: calling it again trains only what is missing.

    Args:
        out: the study's directory.
        preset: a name in `presets.PRESETS`.
        losses: the arms, e.g. ``["bce", "dice", "dice+bce"]``.
        model: bias, linear or unet; ``None``: those that the preset runs.
        fractions: foreground fractions.
        progress: where to tell how far it is; ``None``: a bar or lines.
        **settings: further fields of `config.StudyConfig`: ``seeds``, ``steps``, ``image_size``…

    Returns:
        One row per loss, fraction and model, with means and 95 % intervals over seeds.

    Raises:
        ConfigError: if the study cannot be run, or ``out`` holds another one.
    """
    asked = tiers(
        preset,
        model,
        losses=None if losses is None else tuple(losses),
        fractions=None if fractions is None else tuple(fractions),
        **settings,
    )
    run(asked, Path(out), for_this_terminal() if progress is None else progress)
    return summary(out)


def summary(out: str | Path = "runs/quick") -> pd.DataFrame:
    """Return the summary of a study's directory.

    Args:
        out: the directory.

    Returns:
        One row per loss, fraction and model.
    """
    load_config(Path(out))
    return summary_table(runs_table(load_runs(Path(out))))


def findings(out: str | Path = "runs/quick") -> dict[str, list[str]]:
    """Say what a study found, in sentences.

    Args:
        out: the directory.

    Returns:
        Sentences by model, the richest first, and under "theory" how its predictions fared.
    """
    studied = read_tiers(Path(out))
    found = {MODEL_NAMES[tier.config.model]: findings_of(tier) for tier in studied}
    checks = [check for tier in studied for check in theory_checks(tier)]
    return found | ({"theory": [theory_findings(checks)]} if checks else {})


def predictions(out: str | Path = "runs/quick") -> pd.DataFrame:
    """Put what theory predicts beside what a study saw.

    Args:
        out: the directory.

    Returns:
        One row per check: its claim, model, loss and fraction, theory's number, what was seen with
        its 95 % interval, and whether they agree (``None``: nothing can be said).
    """
    checks = [check for tier in read_tiers(Path(out)) for check in theory_checks(tier)]
    return pd.DataFrame(checks, columns=list(Check._fields))


def figures(out: str | Path = "runs/quick") -> dict[str, Figure]:
    """Draw a study's figures.

    Args:
        out: the directory.

    Returns:
        Matplotlib figures by name.
    """
    return draw(Path(out))
