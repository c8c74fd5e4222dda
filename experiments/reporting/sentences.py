"""The sentences of a report: the numbers are computed here, the words are in ``templates/``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.analysis.contrasts import baseline_contrasts, baseline_of, primary_loss
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import DIFFERENCE, Interval, mean_interval
from experiments.analysis.tables import paired_differences
from experiments.learning.models import MODELS
from experiments.reporting.rendering import joined, label, sentences
from experiments.reporting.theory_checks import STATEMENTS, Check, counts_by_kind

__all__ = ["findings", "lead", "limits", "mean_of", "methods", "theory_findings", "title"]


def mean_of(model: ModelRuns) -> Callable[[str, float, str], Interval]:
    """Return the function from a loss, a fraction and a metric to the mean over seeds."""
    return model.interval


def title(models: Sequence[ModelRuns]) -> str:
    """Name a study, for example ``"BCE and Dice on imbalanced masks"``."""
    names = [label(loss) for loss in models[0].config.losses]
    return f"{joined(names) if len(names) <= 4 else f'{len(names)} losses'} on imbalanced masks"


def lead(models: Sequence[ModelRuns]) -> str:
    """Say in one line what was compared."""
    return sentences("lead.txt.j2", models=models)[0]


def findings(model: ModelRuns) -> list[str]:
    """Say what one model's runs show, the main comparison first."""
    config = model.config
    baseline, primary = baseline_of(config), primary_loss(config)
    fractions = model.fractions

    statuses = {
        loss: model.runs["status"][model.runs["loss"] == loss].tolist() for loss in config.losses
    }

    def difference(first: tuple[str, str], second: tuple[str, str], fraction: float) -> Interval:
        return mean_interval(paired_differences(model.runs, first, second, fraction), DIFFERENCE)

    return sentences(
        "findings.txt.j2",
        config=config,
        fractions=fractions,
        baseline=baseline,
        primary=primary,
        contrasts=baseline_contrasts(model, primary) if primary else [],
        others={
            loss: {
                fraction: difference((loss, "dice"), (baseline, "dice_tuned"), fraction)
                for fraction in fractions
            }
            for loss in config.losses
            if loss not in (primary, baseline)
        },
        difference=difference,
        mean=mean_of(model),
        has_empty_images=model.has("empty_false_positive_share"),
        statuses=statuses,
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
