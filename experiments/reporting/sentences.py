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
    "all_contrasts",
    "answer",
    "findings",
    "headline",
    "lead",
    "limits",
    "methods",
    "theory_findings",
    "title",
]

# The first sentences name so many losses; of more they count verdicts.
_FEW_LOSSES = 4


def all_contrasts(model: ModelRuns) -> list[Contrast]:
    """Compare the losses, the primary thresholds first."""
    order = thresholds_of(model.config)
    return sorted(contrasts(model), key=lambda c: order.index(c.thresholds))


def headline(model: ModelRuns) -> list[Contrast]:
    """Choose the contrasts that come first: with the baseline, and with Dice.

    With the baseline at the primary thresholds and at thresholds of one kind; with Dice, if the
    losses are few, only at the latter.
    """
    config, thresholds = model.config, thresholds_of(model.config)
    same_kind = next(one for one in thresholds if one.loss == one.baseline)
    wanted = {(baseline_of(config), thresholds[0]), (baseline_of(config), same_kind)}
    if len(config.losses) <= _FEW_LOSSES:
        wanted.add(("dice", same_kind))
    return [c for c in all_contrasts(model) if (c.baseline, c.thresholds) in wanted]


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
    config = models[0].config
    # The protocol fixes Dice against the baseline. Any other pair was not planned.
    planned = primary_loss(config) == "dice" and MODELS[config.model].sees_pixels
    return sentences(
        "lead.txt.j2",
        models=models,
        count=count,
        planned=planned,
        baseline=baseline_of(config),
        thresholds=thresholds_of(config)[0],
    )[0]


def _statuses(model: ModelRuns) -> dict[tuple[str, float], list[str]]:
    return {
        (loss, fraction): [run["status"] for run in model.cell(loss, fraction)]
        for loss in model.config.losses
        for fraction in model.fractions
    }


def answer(model: ModelRuns) -> list[str]:
    """Say who won, and how many runs failed."""
    config = model.config
    baseline, thresholds = baseline_of(config), thresholds_of(config)[0]
    first = [c for c in headline(model) if c.baseline != baseline or c.thresholds == thresholds]
    by_loss: dict[str, dict[str, list[Contrast]]] = {}
    for c in first:
        by_loss.setdefault(c.loss, {}).setdefault(c.baseline, []).append(c)
    return sentences(
        "answer.txt.j2",
        config=config,
        fractions=model.fractions,
        baseline=baseline,
        few=_FEW_LOSSES,
        by_loss=by_loss,
        first=first,
        blind=lambda loss, fraction: blind_run(model.scores(loss, fraction, thresholds.metrics[1])),
        mean=model.interval,
        statuses=_statuses(model),
    )


def findings(model: ModelRuns) -> list[str]:
    """Say what else one model's runs show."""
    config, baseline = model.config, baseline_of(model.config)

    def gain_of_tuning(fraction: float) -> Interval:
        both = (baseline, "dice_tuned"), (baseline, "dice")
        return mean_interval(given_neither_collapsed(model.runs, *both, fraction), DIFFERENCE)

    return sentences(
        "findings.txt.j2",
        config=config,
        fractions=model.fractions,
        baseline=baseline,
        primary=primary_loss(config),
        gain_of_tuning=gain_of_tuning,
        mean=model.interval,
        has_empty_images=model.has("empty_false_positive_share"),
        collapsed="collapsed" in set(model.runs["status"]),
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
    return sentences(
        "limits.txt.j2",
        models=models,
        config=models[0].config,
        beyond={model.config.model: _beyond_the_grid(model) for model in models},
    )


def _beyond_the_grid(model: ModelRuns) -> list[tuple[str, float, float]]:
    """List the losses, fractions and learning rates by which the grid was extended."""
    keys = "loss", "foreground_fraction", "learning_rate"
    tried = {tuple(run[key] for key in keys) for run in model.tuning_results}
    return sorted(x for x in tried if x[2] not in model.config.of_arm(x[0]).learning_rates)
