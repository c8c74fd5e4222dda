"""The sentences of a report: the numbers are computed here, the words are in ``templates/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.analysis.contrasts import (
    Contrast,
    baseline_of,
    contrasts,
    primary_loss,
    thresholds_of,
)
from experiments.analysis.estimands import blind_run, given_neither_collapsed
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import DIFFERENCE, Interval, mean_interval
from experiments.learning.arms import options_of
from experiments.learning.models import MODELS
from experiments.reporting.rendering import joined, label, sentences
from experiments.reporting.theory_checks import STATEMENTS, Check, counts_by_kind

__all__ = [
    "against_baseline",
    "answer",
    "findings",
    "lead",
    "limits",
    "methods",
    "theory_findings",
    "title",
]


def against_baseline(model: ModelRuns) -> list[Contrast]:
    """Compare every loss with the baseline, the primary thresholds first."""
    baseline = baseline_of(model.config)
    found = [c for c in contrasts(model) if c.baseline == baseline]
    order = thresholds_of(model.config)
    return sorted(found, key=lambda c: order.index(c.thresholds))


def _bases(model: ModelRuns) -> list[str]:
    """Name a study's losses without their options."""
    return [label(loss) for loss in dict.fromkeys(options_of(x)[0] for x in model.config.losses)]


def title(models: Sequence[ModelRuns]) -> str:
    """Name a study, for example ``"BCE and Dice on imbalanced masks"``."""
    bases, data = _bases(models[0]), models[0].config.data
    task = "imbalanced masks" if data is None else Path(data).name
    return f"{joined(bases) if len(bases) <= 4 else f'{len(bases)} losses'} on {task}"


def lead(models: Sequence[ModelRuns]) -> str:
    """Say what was compared, on what, and how often."""
    many, bases = len(models[0].config.losses), len(_bases(models[0]))
    losses = f"{bases} {'loss' if bases == 1 else 'losses'}"
    count = losses if many == bases else f"{many} variants of {losses}"
    return sentences("lead.txt.j2", models=models, count=count)[0]


def _statuses(model: ModelRuns) -> dict[str, list[str]]:
    runs = model.runs
    return {loss: runs["status"][runs["loss"] == loss].tolist() for loss in model.config.losses}


def answer(model: ModelRuns) -> list[str]:
    """Say who won, and how many runs failed."""
    config = model.config
    primary = thresholds_of(config)[0]
    by_loss: dict[str, list[Contrast]] = {}
    for contrast in against_baseline(model):
        if contrast.thresholds == primary:
            by_loss.setdefault(contrast.loss, []).append(contrast)
    return sentences(
        "answer.txt.j2",
        config=config,
        fractions=model.fractions,
        baseline=baseline_of(config),
        by_loss=by_loss,
        mean=model.interval,
        statuses=_statuses(model),
    )


def findings(model: ModelRuns) -> list[str]:
    """Say what else one model's runs show."""
    config = model.config
    primary, statuses = primary_loss(config), _statuses(model)
    found = [c for c in against_baseline(model) if c.loss == primary]
    metric = thresholds_of(config)[0].metrics[1]

    def difference(first: tuple[str, str], second: tuple[str, str], fraction: float) -> Interval:
        return mean_interval(
            given_neither_collapsed(model.runs, first, second, fraction), DIFFERENCE
        )

    return sentences(
        "findings.txt.j2",
        config=config,
        fractions=model.fractions,
        baseline=baseline_of(config),
        primary=primary,
        contrasts=[c for c in found if c.thresholds == thresholds_of(config)[0]],
        difference=difference,
        blind=lambda loss, fraction: blind_run(model.scores(loss, fraction, metric)),
        mean=model.interval,
        has_empty_images=model.has("empty_false_positive_share"),
        collapsed=[loss for loss, found in statuses.items() if "collapsed" in found],
        diverged=[loss for loss, found in statuses.items() if "diverged" in found],
    )


def theory_findings(checks: Sequence[Check]) -> str:
    """Count the checks of theory that agree, and name those that do not."""
    claims = sorted({check.claim for check in checks}, key=list(STATEMENTS).index)
    return sentences("theory.txt.j2", checks=checks, claims=claims, counts=counts_by_kind(checks))[
        0
    ]


def methods(models: Sequence[ModelRuns]) -> list[str]:
    """Say what was run, on what and for how long."""
    results = [r for model in models for r in model.results]
    tuning = [r for model in models for r in model.tuning_results]
    machines = {(r["environment"]["device"], r["environment"]["devices"]) for r in results + tuning}
    noises = {r["foreground_fraction"]: r["metrics"].get("noise") for r in models[0].results}
    return sentences(
        "methods.txt.j2",
        models=models,
        config=models[0].config,
        noises={f: noises[f] for f in models[0].fractions if noises.get(f)},
        descriptions={
            name: (model.__doc__ or "").splitlines()[0].split(".")[0]
            for name, model in MODELS.items()
        },
        runs=len(results),
        planned=sum(
            m.config.seeds * len(m.config.fractions) * len(m.config.losses) for m in models
        ),
        tuning=len(tuning),
        seconds=sum(r["seconds"] for r in results + tuning),
        machine=results[0]["environment"],
        several_machines=len(machines) > 1,
    )


def limits(models: Sequence[ModelRuns]) -> list[str]:
    """Say what the study cannot show."""
    return sentences("limits.txt.j2", models=models, config=models[0].config)
