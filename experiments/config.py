"""What a study is: frozen settings, presets, and the checks that refuse an impossible one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.arms import known_losses, parse_arm
from experiments.models import MODELS

__all__ = [
    "PRESETS",
    "ConfigError",
    "StudyConfig",
    "resolve",
]

# Fewer foreground pixels than this and one pixel decides the score (theory: the protocol).
LEAST_FOREGROUND_PIXELS = 12
LEAST_OBJECT_PIXELS = 5


class ConfigError(ValueError):
    """A study that cannot be run as asked; the message is one line that says what to change."""


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Everything that decides a study's numbers; what it does not hold cannot change them.

    Args:
        losses: the arms, by name.
        model: bias, linear or unet.
        fractions: foreground fractions π of the synthetic images.
        seeds: how many seeds; arms are paired by seed (same data, initialisation, order).
        steps: optimiser steps of one run.
        batch_size: images of one step.
        learning_rates: Adam's peak learning rate (it falls to 0 along half a cosine). Of several,
            every loss and fraction gets its best, by validation Dice on a seed of its own.
        extend_grid: whether a best learning rate at the grid's edge adds one beyond it.
        image_size: height and width of an image, in pixels.
        objects: ellipses in an image.
        reference_dice: the Dice that a simple reference segmenter reaches at every fraction: the
            noise is calibrated so that a smaller fraction is not also a noisier task.
        train_images: images to learn from.
        validation_images: images to tune the threshold on.
        test_images: images that every number is reported on.
        logged_steps: how many steps of a run are kept in its history.
    """

    losses: tuple[str, ...] = ("bce", "dice")
    model: str = "unet"
    fractions: tuple[float, ...] = (0.05, 0.01, 0.003)
    seeds: int = 3
    steps: int = 200
    batch_size: int = 8
    learning_rates: tuple[float, ...] = (3e-3, 1e-2)
    extend_grid: bool = False
    image_size: int = 64
    objects: int = 1
    reference_dice: float = 0.8
    train_images: int = 256
    validation_images: int = 64
    test_images: int = 128
    logged_steps: int = 40

    def __post_init__(self) -> None:
        """Refuse what cannot be run, with one line that says what to change."""
        for name in (
            "seeds", "steps", "batch_size", "image_size", "objects", "train_images",
            "validation_images", "test_images", "logged_steps",
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, got {value}")
        _check_names("learning_rates", self.learning_rates)
        for rate in self.learning_rates:
            if not (math.isfinite(rate) and rate > 0):
                raise ConfigError(f"a learning rate must be positive and finite, got {rate:g}")
        if list(self.learning_rates) != sorted(self.learning_rates):
            raise ConfigError("learning_rates must ascend")
        if not 0 < self.reference_dice < 1:
            raise ConfigError(f"reference_dice must lie in (0, 1), got {self.reference_dice}")
        if self.batch_size > self.train_images:
            raise ConfigError(
                f"batch_size {self.batch_size} exceeds train_images {self.train_images}"
            )
        _check_names("losses", self.losses)
        for loss in self.losses:
            try:
                parse_arm(loss)
            except KeyError as error:
                raise ConfigError(
                    f"unknown loss {error.args[0]!r}; known are {', '.join(known_losses())}, and "
                    "sums such as dice+bce"
                ) from None
        if self.model not in MODELS:
            raise ConfigError(f"unknown model {self.model!r}; known are {', '.join(MODELS)}")
        divisor = MODELS[self.model].size_divisor
        if self.image_size % divisor:
            raise ConfigError(
                f"image_size must be a multiple of {divisor} for the {self.model} model, "
                f"got {self.image_size}"
            )
        _check_names("fractions", self.fractions)
        for fraction in self.fractions:
            self._check_fraction(fraction)

    def _check_fraction(self, fraction: float) -> None:
        if not 0 < fraction < 1:
            raise ConfigError(f"a foreground fraction must lie in (0, 1), got {fraction:g}")
        pixels = self.image_size**2
        least = max(LEAST_FOREGROUND_PIXELS, LEAST_OBJECT_PIXELS * self.objects)
        rarer = min(fraction, 1 - fraction)
        if rarer * pixels < least:
            size = math.ceil(math.sqrt(least / rarer))
            divisor = MODELS[self.model].size_divisor
            raise ConfigError(
                f"fraction {fraction:g} leaves {rarer * pixels:.1f} pixels of the rarer class in "
                f"an image of {self.image_size}x{self.image_size}, fewer than the {least} that a "
                f"score needs: write --image-size {divisor * math.ceil(size / divisor)} or more, "
                f"or a fraction of at least {least / pixels:.2g}"
            )

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> StudyConfig:
        """Rebuild the settings that `as_json` gave."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()
        }
        return cls(**fields)


def _check_names(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise ConfigError(f"{name} is empty: name at least one")
    twice = {value for value in values if list(values).count(value) > 1}
    if twice:
        raise ConfigError(f"{name} names {', '.join(map(str, sorted(twice)))} twice")


# A bias-only Dice run has to walk far out, a linear one is convex enough: no grid needed.
_BIAS = StudyConfig(model="bias", steps=300, learning_rates=(0.2,), batch_size=32)
_LINEAR = StudyConfig(model="linear", steps=300, learning_rates=(0.1,), batch_size=16)

# standard is the protocol's two-hour design.
_STANDARD: dict[str, Any] = {
    "losses": ("bce", "dice", "squared_dice", "dice+bce"),
    "seeds": 7,
    "test_images": 512,
    "logged_steps": 100,
}

PRESETS: dict[str, dict[str, StudyConfig]] = {
    "quick": {
        "bias": _BIAS,
        "linear": _LINEAR,
        "unet": StudyConfig(),
    },
    "standard": {
        "bias": dataclasses.replace(_BIAS, **_STANDARD),
        "linear": dataclasses.replace(_LINEAR, **_STANDARD),
        "unet": StudyConfig(
            **_STANDARD,
            steps=500,
            batch_size=16,
            learning_rates=(1e-3, 3e-3, 1e-2),
            extend_grid=True,
        ),
    },
}


def resolve(preset: str = "quick", model: str | None = None, **changes: Any) -> StudyConfig:
    """Take a preset and change what was asked for.

    Args:
        preset: a name in `PRESETS`.
        model: bias, linear or unet; ``None``: the U-Net.
        **changes: fields of `StudyConfig`; ``None`` leaves a field as the preset has it.

    Returns:
        The settings.

    Raises:
        ConfigError: if a name is unknown or the result cannot be run.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; known are {', '.join(PRESETS)}")
    models = PRESETS[preset]
    model = "unet" if model is None else model
    if model not in models:
        raise ConfigError(f"unknown model {model!r}; known are {', '.join(models)}")
    given = {k: v for k, v in changes.items() if v is not None}
    unknown = set(given) - {field.name for field in dataclasses.fields(StudyConfig)}
    if unknown:
        raise ConfigError(f"unknown setting {', '.join(sorted(unknown))}")
    return dataclasses.replace(models[model], **given)
