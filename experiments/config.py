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
    "Rates",
    "RunSpec",
    "StudyConfig",
    "best_runs",
    "chosen_rates",
    "plan",
    "resolve",
    "tuning_extension",
    "tuning_plan",
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


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One training: what is paired across arms is everything but the loss.

    Args:
        loss: the arm's name.
        model: the model's name.
        foreground_fraction: π, as requested.
        seed: of the data, the initialisation and the order.
        learning_rate: Adam's peak learning rate.
    """

    loss: str
    model: str
    foreground_fraction: float
    seed: int
    learning_rate: float

    @property
    def name(self) -> str:
        """The run's file name, without its suffix; a study has one learning rate to a name."""
        return f"{self.model}_{self.loss}_{self.foreground_fraction!r}_seed{self.seed}"

    @property
    def is_tuning(self) -> bool:
        """Whether the run only helps to choose a learning rate."""
        return self.seed == _TUNING_SEED


# A seed that no final run has: choosing a learning rate must not see the data it is scored on.
_TUNING_SEED = 1_000_000

# The learning rate of a loss at a fraction.
Rates = Mapping[tuple[str, float], float]


def plan(config: StudyConfig, rates: Rates | None = None) -> list[RunSpec]:
    """List a study's runs: whole paired seeds first, so that a cut-off study is still paired.

    Args:
        config: the study.
        rates: the learning rate of each cell; ``None``: the grid's first, where it is only the
            names that matter.

    Returns:
        One `RunSpec` per seed, fraction and loss, the loss running fastest.
    """
    rates = dict.fromkeys(_cells(config), config.learning_rates[0]) if rates is None else rates
    return [
        RunSpec(loss, config.model, fraction, seed, rates[loss, fraction])
        for seed in range(config.seeds)
        for loss, fraction in _cells(config)
    ]


def _cells(config: StudyConfig) -> list[tuple[str, float]]:
    return [(loss, fraction) for fraction in config.fractions for loss in config.losses]


def tuning_plan(config: StudyConfig) -> list[RunSpec]:
    """List the runs that choose the learning rates: none where there is no choice.

    Args:
        config: the study.

    Returns:
        One `RunSpec` per loss, fraction and learning rate.
    """
    if len(config.learning_rates) == 1:
        return []
    return [
        RunSpec(loss, config.model, fraction, _TUNING_SEED, rate)
        for loss, fraction in _cells(config)
        for rate in config.learning_rates
    ]


def tuning_extension(config: StudyConfig, scores: Mapping[RunSpec, float]) -> list[RunSpec]:
    """List the runs one step beyond the grid, where the best learning rate is at its edge.

    Args:
        config: the study.
        scores: of every run of `tuning_plan`.

    Returns:
        At most one `RunSpec` per loss and fraction.
    """
    grid = config.learning_rates
    if not config.extend_grid or len(grid) == 1:
        return []
    beyond = {grid[0]: grid[0] ** 2 / grid[1], grid[-1]: grid[-1] ** 2 / grid[-2]}
    best = best_runs(scores)
    return [
        # Rounded: 1e-2 · (1e-2 / 3e-3) has too many digits to read.
        dataclasses.replace(spec, learning_rate=float(f"{beyond[spec.learning_rate]:.2g}"))
        for spec in best
        if spec.learning_rate in beyond
    ]


def best_runs(scores: Mapping[RunSpec, float]) -> list[RunSpec]:
    """Choose the best run of every loss and fraction.

    Args:
        scores: validation Dice at the tuned threshold; NaN (diverged) is worst.

    Returns:
        One `RunSpec` per loss and fraction; of equals the one with the smaller learning rate.
    """
    best: dict[tuple[str, float], RunSpec] = {}
    for spec in sorted(scores, key=lambda spec: spec.learning_rate):
        cell = spec.loss, spec.foreground_fraction
        if cell not in best or _worth(scores[spec]) > _worth(scores[best[cell]]):
            best[cell] = spec
    return list(best.values())


def _worth(score: float) -> float:
    return -math.inf if math.isnan(score) else score


def chosen_rates(config: StudyConfig, scores: Mapping[RunSpec, float]) -> Rates:
    """Choose the learning rate of every loss and fraction.

    Args:
        config: the study.
        scores: of every tuning run, the extension's too; empty where there is no choice.

    Returns:
        Learning rates by loss and fraction.
    """
    if not scores:
        return dict.fromkeys(_cells(config), config.learning_rates[0])
    chosen = best_runs(scores)
    return {(spec.loss, spec.foreground_fraction): spec.learning_rate for spec in chosen}


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
