"""What was run, on what, for how long, and the command that does it again."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.analysis.tiers import Tier
from experiments.config import StudyConfig
from experiments.learning.models import MODELS
from experiments.presets import PRESETS
from experiments.reporting.words import MODEL_NAMES, joined, label, percent
from experiments.runs.plan import tiers as tiers_of
from experiments.runs.progress import duration

__all__ = ["account", "command", "lead", "title"]

# What `--data` measures of a directory, and the command line does not ask for.
_MEASURED = ("fractions", "image_size", "image_width", "train_images", "validation_images",
             "test_images", "data_digest")  # fmt: skip


def title(tiers: Sequence[Tier]) -> str:
    """Name a study.

    Args:
        tiers: its models, the richest first.

    Returns:
        For example ``"BCE and Dice on imbalanced masks"``.
    """
    names = [label(loss) for loss in tiers[0].config.losses]
    many = joined(names) if len(names) <= 4 else f"{len(names)} losses"
    return f"{many} on imbalanced masks"


def lead(tiers: Sequence[Tier]) -> str:
    """Say in a line what was compared.

    Args:
        tiers: its models, the richest first.

    Returns:
        A sentence.
    """
    parts = []
    for tier in tiers:
        config = tier.config
        fractions = joined([percent(f) for f in tier.fractions])
        losses = "loss" if len(config.losses) == 1 else "losses"
        seeds = "seed" if config.seeds == 1 else "paired seeds"
        parts.append(
            f"{MODEL_NAMES[config.model]}: {len(config.losses)} {losses}, {fractions} foreground, "
            f"{config.seeds} {seeds}, {config.steps} steps"
        )
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def command(configs: Sequence[StudyConfig]) -> str | None:
    """Find the shortest command that runs a study.

    Args:
        configs: its models' settings, in the order in which they run.

    Returns:
        A line; ``None`` where the command line cannot say it.
    """
    models = [config.model for config in configs]
    found: list[tuple[int, str]] = []
    for preset in PRESETS:
        named = (None, *(models if len(models) == 1 else ()))
        for model in named:
            base = tiers_of(preset, model)
            if [config.model for config in base] != models:
                continue
            changes = _changes(base, configs)
            if changes is not None:
                words = ["python", "-m", "experiments", "compare"]
                words += ["--preset", preset] * (preset != "quick")
                words += ["--model", model] if model else []
                words += [word for name, value in changes.items() for word in _option(name, value)]
                found.append((len(words), shlex.join(words)))
    return min(found)[1] if found else None


def _changes(base: Sequence[StudyConfig], wanted: Sequence[StudyConfig]) -> dict[str, Any] | None:
    """Find what differs from a preset; None where a change is not one for all models."""
    changes: dict[str, Any] = {}
    measured = _MEASURED if wanted[0].data is not None else ()
    for field in dataclasses.fields(StudyConfig):
        if field.name in measured:
            continue
        pairs = [(getattr(a, field.name), getattr(b, field.name)) for a, b in
                 zip(base, wanted, strict=True)]  # fmt: skip
        if any(was != now for was, now in pairs):
            asked = {now for _, now in pairs}
            if len(asked) > 1:
                return None
            changes[field.name] = asked.pop()
    return changes


def _option(name: str, value: Any) -> list[str]:
    option = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [option if value else "--no-" + option[2:]]
    values = value if isinstance(value, tuple) else (value,)
    return [option, *(f"{x:g}" if isinstance(x, float) else str(x) for x in values)]


def account(tiers: Sequence[Tier]) -> list[str]:
    """Say what was run, on what and for how long.

    Args:
        tiers: the study's models, the richest first.

    Returns:
        Sentences.
    """
    config = tiers[0].config
    results = [r for tier in tiers for r in tier.results]
    tuning = [r for tier in tiers for r in tier.tuning_results]
    return [
        _images(tiers[0]),
        _pairing(config),
        *(_training(tier) for tier in tiers),
        "Thresholds are tuned on validation images for the best mean Dice per image; every "
        "number above is from test images.",
        _machine(tiers, results, tuning),
    ]


def _pairing(config: StudyConfig) -> str:
    counts = (
        f"{config.train_images} training, {config.validation_images} validation and "
        f"{config.test_images} test images"
    )
    if config.data is not None:
        return (
            f"{counts}, split by their names, the same for all seeds. All losses of a seed share "
            "initial parameters and order."
        )
    return f"Per seed {counts}. All losses of a seed share images, initial parameters and order."


def _images(tier: Tier) -> str:
    config = tier.config
    height, width = config.image_shape
    size = f"{height}×{width} pixels"
    if config.data is not None:
        return f"The images in {config.data}, {size}."
    noises = {r["foreground_fraction"]: r["metrics"].get("noise") for r in tier.results}
    noise = ", ".join(f"{noises[f]:.2f} at {percent(f)}" for f in tier.fractions if noises.get(f))
    said = f"Images of {size} with {_objects(config)}"
    if config.shape == "posterior":
        said += (
            ": each pixel shows the logit of its probability μ of foreground, and its label is "
            f"drawn from μ by itself. How soft the objects are ({noise}) is set so that a Dice of "
            f"{config.reference_dice:g} is within reach at every fraction."
        )
    else:
        said += (
            f" in white noise; the noise ({noise}, in units of the contrast) is set so that a "
            "reference segmenter, a blur and a cut, reaches a Dice of "
            f"{config.reference_dice:g} at every fraction: a smaller foreground is not also a "
            "noisier one."
        )
    if config.empty_share:
        said += f" {percent(config.empty_share)} of the images hold nothing but noise."
    wrong = [f"stray by {config.label_noise:g} pixels"] * bool(config.label_noise)
    if config.annotator_bias:
        side = "out" if config.annotator_bias > 0 else "in"
        wrong.append(f"lie {abs(config.annotator_bias):g} pixels too far {side}")
    if wrong:
        said += (
            f" The boundaries of training and validation labels {joined(wrong)}; test labels are "
            "clean."
        )
    return said


def _objects(config: StudyConfig) -> str:
    name = {"ellipse": "ellipse", "disk": "disk", "tube": "tube", "blob": "blob",
            "posterior": "soft ellipse"}.get(config.shape, config.shape)  # fmt: skip
    if config.object_pixels is not None:
        return f"{name}s of about {config.object_pixels} pixels each"
    return f"{config.objects} {name}{'s' * (config.objects > 1)}"


def _training(tier: Tier) -> str:
    config = tier.config
    name = MODEL_NAMES[config.model]
    described = (MODELS[config.model].__doc__ or "").splitlines()[0].split(".")[0]
    optimiser = {"adam": "Adam", "sgd": "SGD (momentum 0.9)"}.get(
        config.optimiser, config.optimiser
    )
    pooled = "the whole batch" if config.pooling == "batch" else "each image by itself"
    start = "½" if config.initial_bias == "half" else "π"
    return (
        f"{name[0].upper()}{name[1:]} ({described[0].lower()}{described[1:]}): {config.steps} "
        f"{optimiser} steps of {config.batch_size} images, starting at p = {start}; the learning "
        "rate is ramped up over a tenth of them and goes down along half a cosine. Every loss "
        f"pools {pooled}; Dice-like ones are smoothed by {config.smooth:g} pixels (the article's "
        "is 1)."
    )


def _machine(
    tiers: Sequence[Tier], results: Sequence[Mapping[str, Any]], tuning: Sequence[Mapping[str, Any]]
) -> str:
    seconds = sum(r["seconds"] for r in [*results, *tuning])
    where = results[0]["environment"]
    device = f"{where['devices']} {where['device']} device{'s' * (where['devices'] > 1)}"
    cores = f" ({where['cpu_cores']} cores)" if where["platform"] == "cpu" else ""
    versions = ", ".join(f"{name} {where[name]}" for name in ("jax", "flax", "optax"))
    planned = sum(
        t.config.seeds * len(t.config.fractions) * len(t.config.losses) for t in tiers
    )  # fmt: skip
    tuned = f", {len(tuning)} further ones chose learning rates" if tuning else ""
    machines = {
        (r["environment"]["device"], r["environment"]["devices"]) for r in [*results, *tuning]
    }
    others = " (and others: the runs did not all run on one machine)" * (len(machines) > 1)
    return (
        f"{len(results)} of {planned} runs are done{tuned}; training took {duration(seconds)} in "
        f"all, on {device}{cores}{others}, with {versions}, Python {where['python']}."
    )
