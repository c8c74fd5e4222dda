"""Presets: studies that have a name, and the changes that a user makes to them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.config import DATA_MEASURED, DATA_OPTIONS, StudyConfig
from experiments.errors import ConfigError, unknown_name
from experiments.images.measured import measured
from experiments.learning.arms import canonical_name
from experiments.learning.models import MODELS

__all__ = ["MEASURED", "PRESETS", "resolve", "study_configs"]

# The bias-only and the linear model need no grid of learning rates. With Dice, the bias has to move
# far, hence 0.2. At rate 0.1, a linear BCE run is far from rest after 300 steps (foreground share
# 0.13 at π = 0.003, not ½).
_BIAS = StudyConfig(model="bias", steps=300, learning_rates=(0.2,), batch_size=32)
_LINEAR = StudyConfig(model="linear", steps=300, learning_rates=(1.0,), batch_size=16)

# The protocol's losses.
_ARMS = (
    "bce", "balanced_bce", "focal", "dice", "squared_dice", "jaccard", "tversky", "focal_tversky",
    "generalized_dice", "dice+bce",
)  # fmt: skip

# standard is the protocol's two-hour design: all losses on the cheap models, four on the U-Net.
_STANDARD: dict[str, Any] = {
    "losses": ("bce", "dice", "squared_dice", "dice+bce"),
    "seeds": 7,
    "test_images": 512,
    "logged_steps": 100,
}

# p = ½ to 0.003 is a long way for one parameter: in 300 steps at rate 0.2, BCE reaches 0.006.
_CHEAP: dict[str, Any] = {
    **_STANDARD,
    "losses": _ARMS,
    "steps": 600,
}

# full is for a GPU or TPU: the images are so large that the smallest fraction has 12 pixels.
_FULL: dict[str, Any] = {
    "losses": _ARMS,
    "fractions": (0.2, 0.05, 0.02, 0.01, 0.003, 0.001, 0.0005),
    "image_size": 160,
    "seeds": 10,
    "train_images": 512,
    "validation_images": 128,
    "test_images": 512,
    "logged_steps": 100,
}

# Each full-… preset changes one thing, with the primary losses at three fractions.
_ABLATION: dict[str, Any] = {
    "losses": _STANDARD["losses"],
    "fractions": (0.05, 0.01, 0.003),
}


def _full(**changes: Any) -> dict[str, StudyConfig]:
    settings = {**_FULL, **changes}
    # p = ½ to 0.0005 is a long way: it takes more and longer steps than in the other presets.
    far: dict[str, Any] = {"steps": 600, "learning_rates": (0.5,)} | settings
    return {
        "bias": dataclasses.replace(_BIAS, **far),
        "linear": dataclasses.replace(_LINEAR, **far),
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
        "unet": StudyConfig(),
    },
    "standard": {
        "bias": dataclasses.replace(_BIAS, **_CHEAP | {"learning_rates": (0.5,)}),
        "linear": dataclasses.replace(_LINEAR, **_CHEAP),
        "unet": StudyConfig(
            **_STANDARD,
            steps=500,
            batch_size=16,
            learning_rates=(1e-3, 3e-3, 1e-2),
            extend_grid=True,
        ),
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
    models = _MODELS_OF_PRESET.get(preset, tuple(MODELS)) if model is None else (model,)
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
        given["losses"] = tuple(map(canonical_name, given["losses"]))
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
    asked = dataclasses.replace(
        StudyConfig(), data=data, **{name: given[name] for name in DATA_OPTIONS if name in given}
    )
    found = measured(asked.source, asked.splitting, asked.tile, _stored_split(asked, earlier))
    # A preset's batch is meant for the preset's many images.
    batch = min(preset.batch_size, found["train_images"])
    turns = {} if asked.folds is None else {"seeds": asked.folds}
    synthetic = {
        field.name: field.default
        for field in dataclasses.fields(StudyConfig)
        if field.name in _SYNTHETIC
    }
    return {"batch_size": batch, **turns, **given, **synthetic, **found, "data": data}


def _stored_split(asked: StudyConfig, earlier: Sequence[StudyConfig]) -> tuple[str, str] | None:
    """Find the split that a study began with, unless the user names the parts."""
    names = ("data", *DATA_OPTIONS)
    for config in earlier:
        same = all(getattr(config, name) == getattr(asked, name) for name in names)
        if same and config.data_digest and asked.split_file is None:
            return config.data_digest, config.split
    return None
