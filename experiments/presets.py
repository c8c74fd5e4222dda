"""Presets: studies that have a name, and the changes that a user makes to them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.config import DATA_MEASURED, DATA_OPTIONS, REST, StudyConfig
from experiments.errors import ConfigError, unknown_name
from experiments.images.measured import measured
from experiments.learning.arms import canonical_name
from experiments.learning.class_arms import CLASS_ARMS, class_name
from experiments.learning.models import MODELS

__all__ = ["MEASURED", "PRESETS", "resolve", "study_configs"]

# Small models are solved to rest on a fixed set of images; they have no learning rate.
_SOLVED: dict[str, Any] = {
    "optimiser": REST,
    "steps": 200,
    "train_images": 64,
    "batch_size": 64,
    "learning_rates": (1.0,),
}
_BIAS = StudyConfig(model="bias", **_SOLVED)
_LINEAR = StudyConfig(model="linear", **_SOLVED)

# The protocol's losses.
_ARMS = (
    "bce", "balanced_bce", "focal", "dice", "squared_dice", "jaccard", "tversky", "focal_tversky",
    "generalized_dice", "dice+bce",
)  # fmt: skip
_PRIMARY = ("bce", "dice", "dice+bce")

# standard settles whether Dice beats BCE on a U-Net, and compares all losses on the small models.
# The pilot's paired differences scatter by at most 0.0094: with 20 seeds, a margin of 0.0064 would
# do for equivalence with a power of 80 %.
_STANDARD: dict[str, Any] = {
    "margin": 0.01,
    "losses": _PRIMARY,
    "seeds": 20,
    "validation_images": 128,
    "test_images": 512,
    "logged_steps": 100,
}
_STANDARD_UNET = StudyConfig(
    **_STANDARD,
    steps=500,
    batch_size=16,
    learning_rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    extend_grid=True,
)
_CHEAP: dict[str, Any] = {**_STANDARD, "losses": _ARMS, "seeds": 10}

# The first 80 steps of a training of 500, in which a U-Net collapses if it does. Each arm has its
# own learning rate and changes one thing.
_COLLAPSE = StudyConfig(
    losses=(
        *(
            f"{loss},rate={rate}{clip}"
            for loss in ("dice", "dice,smooth=1", "dice+bce", "bce")
            for rate in (0.033, 0.01)
            for clip in ("", ",clip=1")
        ),
        *(
            f"dice,rate=0.033,{change}"
            for change in ("beta2=0.99", "beta2=0.9", "warmup=5", "start=prior")
        ),
    ),
    fractions=(0.003,),
    seeds=40,
    steps=500,
    stop_after=80,
    logged_steps=80,
    batch_size=16,
    learning_rates=(0.033,),
    validation_images=64,
    test_images=64,
)
_SMOOTHED = tuple(
    f"dice,rate={rate}{smooth}" for rate in (0.033, 0.01) for smooth in ("", ",smooth=1")
)

# full is for a GPU or TPU: the images are so large that the smallest fraction has 12 pixels.
_FULL: dict[str, Any] = {
    "losses": _ARMS,
    "fractions": (0.2, 0.05, 0.02, 0.01, 0.003, 0.001, 0.0005),
    "image_size": 160,
    "seeds": 10,
    "validation_images": 128,
    "test_images": 512,
    "logged_steps": 100,
}

# Each full-… preset changes one thing, with the primary losses at three fractions.
_ABLATION: dict[str, Any] = {
    "losses": ("bce", "dice", "squared_dice", "dice+bce"),
    "fractions": (0.05, 0.01, 0.003),
}


def _full(**changes: Any) -> dict[str, StudyConfig]:
    settings = {**_FULL, **changes}
    return {
        "bias": dataclasses.replace(_BIAS, **settings),
        "linear": dataclasses.replace(_LINEAR, **settings),
        "unet": dataclasses.replace(
            StudyConfig(
                steps=1000,
                batch_size=16,
                learning_rates=(3e-4, 1e-3, 3e-3, 1e-2),
                extend_grid=True,
            ),
            **settings,
        ),
    }


PRESETS: dict[str, dict[str, StudyConfig]] = {
    "quick": {
        "bias": _BIAS,
        "linear": _LINEAR,
        "unet": StudyConfig(tuning_seeds=1),
    },
    "standard": {
        "bias": dataclasses.replace(_BIAS, **_CHEAP),
        "linear": dataclasses.replace(_LINEAR, **_CHEAP),
        "unet": _STANDARD_UNET,
    },
    # Three times the budget, at the fraction where a loss has most to learn.
    "standard-long": {
        "unet": dataclasses.replace(
            _STANDARD_UNET,
            steps=1500,
            seeds=10,
            fractions=(0.003,),
            learning_rates=(1e-3, 3e-3, 1e-2, 3e-2),
        )
    },
    # How far paired differences scatter, on seeds of its own: it decides the margin of equivalence
    # and the number of seeds of standard.
    "pilot": {
        "unet": dataclasses.replace(
            _STANDARD_UNET,
            losses=("bce", "dice"),
            seeds=4,
            first_seed=500_000,
            learning_rates=(1e-2,),
        )
    },
    "collapse": {"unet": _COLLAPSE},
    "collapse-1": {
        "unet": dataclasses.replace(
            _COLLAPSE, losses=("dice,rate=0.033", "bce,rate=0.033"), fractions=(0.01,)
        )
    },
    # Two images in a batch; and the same with a batch in two that has no foreground.
    "collapse-small": {"unet": dataclasses.replace(_COLLAPSE, losses=_SMOOTHED, batch_size=2)},
    "collapse-empty": {
        "unet": dataclasses.replace(_COLLAPSE, losses=_SMOOTHED, batch_size=2, empty_share=0.75)
    },
    # For a user's images; the folders and their options are in a file (`sets`).
    "real": {
        "unet": StudyConfig(
            losses=_PRIMARY,
            seeds=10,
            steps=300,
            learning_rates=(1e-3, 3e-3, 1e-2),
            extend_grid=True,
        )
    },
    "full": _full(),
    "full-disks": _full(**_ABLATION, shape="disk"),
    "full-tubes": _full(**_ABLATION, shape="tube"),
    "full-blobs": _full(**_ABLATION, shape="blob"),
    "full-posterior": _full(**_ABLATION, shape="posterior"),
    "full-5-objects": _full(**_ABLATION, objects=5),
    "full-20-objects": _full(**_ABLATION | {"fractions": (0.2, 0.05, 0.01)}, objects=20),
    # 20, 4 and 1 objects.
    "full-fixed-size": _full(**_ABLATION | {"fractions": (0.05, 0.01, 0.0025)}, object_pixels=64),
    "full-empty": _full(**_ABLATION, empty_share=0.5),
    "full-empty-per-sample": _full(**_ABLATION, empty_share=0.5, pooling="sample"),
    "full-label-noise": _full(**_ABLATION, label_noise=1.0),
    "full-annotator": _full(**_ABLATION, annotator_bias=1.0),
    "full-per-sample": _full(**_ABLATION, pooling="sample"),
    "full-smooth": _full(**_ABLATION, smooth=1.0),
    "full-prior": _full(**_ABLATION, initial_bias="prior"),
    # Dice's gradient is up to 1/(2π) times BCE's (theory: C12), so the shared grid must be wide.
    "full-sgd": _full(
        **_ABLATION,
        optimiser="sgd",
        learning_rates=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        extend_grid=True,
    ),
}


# What --data measures, and what it does not use.
MEASURED = (
    "fractions", "image_size", "image_width", "train_images", "validation_images", "test_images",
    *DATA_MEASURED,
)  # fmt: skip
_SYNTHETIC = ("shape", "objects", "object_pixels", "empty_share", "reference_dice")

# Presets that do not run every model unless one is named.
_MODELS_OF_PRESET = {"quick": ("unet",)}


def study_configs(
    preset: str = "quick",
    model: str | None = None,
    *,
    earlier: Sequence[StudyConfig] = (),
    **changes: Any,
) -> tuple[StudyConfig, ...]:
    """Take a preset's models and apply the same changes to each of them.

    Args:
        preset: a name in `PRESETS`.
        model: bias, linear or unet; ``None``: those that the preset runs.
        earlier: the study that is to go on, if there is one: its split of a user's images stays.
        **changes: fields of `StudyConfig`; ``None`` leaves a field as the preset has it.

    Returns:
        One `StudyConfig` per model, the cheapest model first.

    Raises:
        ConfigError: if a name is unknown or the result cannot be run.
    """
    models = (
        _MODELS_OF_PRESET.get(preset, tuple(PRESETS.get(preset, MODELS)))
        if model is None
        else (model,)
    )
    return tuple(resolve(preset, name, earlier=earlier, **changes) for name in models)


def resolve(
    preset: str = "quick",
    model: str = "unet",
    *,
    data: str | Path | None = None,
    earlier: Sequence[StudyConfig] = (),
    **changes: Any,
) -> StudyConfig:
    """Take one model of a preset and change what was asked for; see `study_configs`."""
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    models = PRESETS[preset]
    if model not in models:
        raise unknown_name("model", model, models)
    given = {k: v for k, v in changes.items() if v is not None}
    known = [field.name for field in dataclasses.fields(StudyConfig)]
    for name in given:
        if name not in known:
            raise unknown_name("setting", name, known)
    if "losses" in given:
        written = class_name if given.get("classes") else canonical_name
        given["losses"] = tuple(map(written, given["losses"]))
    if data is not None:
        given = _of_folder(Path(data), models[model], given, earlier)
    return dataclasses.replace(models[model], **given)


def _of_folder(
    path: Path, preset: StudyConfig, given: dict[str, Any], earlier: Sequence[StudyConfig]
) -> dict[str, Any]:
    for names, why in ((MEASURED, "is measured"), (_SYNTHETIC, "is for synthetic images")):
        for name in names:
            if name in given:
                raise ConfigError(f"{name} {why}: leave it out beside data {path}")
    data = os.path.normpath(path)
    compared = {"losses": CLASS_ARMS} if given.get("classes") else {}
    options = {name: given[name] for name in DATA_OPTIONS if name in given}
    asked = dataclasses.replace(StudyConfig(), data=data, **compared, **options)
    found = measured(asked.source, asked.splitting, asked.tile, _stored_split(asked, earlier))
    # A preset's batch is meant for the preset's many images.
    whole = preset.optimiser == REST
    batch = found["train_images"] if whole else min(preset.batch_size, found["train_images"])
    turns = {} if asked.folds is None else {"seeds": asked.folds}
    synthetic = {
        field.name: field.default
        for field in dataclasses.fields(StudyConfig)
        if field.name in _SYNTHETIC
    }
    return {"batch_size": batch, **turns, **compared, **given, **synthetic, **found, "data": data}


def _stored_split(asked: StudyConfig, earlier: Sequence[StudyConfig]) -> tuple[str, str] | None:
    """Find the split that a study began with, unless the user names the parts."""
    names = ("data", *DATA_OPTIONS)
    for config in earlier:
        same = all(getattr(config, name) == getattr(asked, name) for name in names)
        if same and config.data_digest and asked.split_file is None:
            return config.data_digest, config.split
    return None
