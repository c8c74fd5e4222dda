"""What a study is: frozen settings, and the checks that refuse an impossible one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.errors import ConfigError
from experiments.images.shapes import SHAPES
from experiments.learning.arms import POOLINGS, SMOOTH, known_losses, parse_arm
from experiments.learning.models import MODELS, STARTS
from experiments.learning.optimisers import OPTIMISERS

__all__ = ["ConfigError", "StudyConfig"]

# Fewer foreground pixels than this and one pixel decides the score (theory: the protocol).
LEAST_FOREGROUND_PIXELS = 12


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
        learning_rates: the optimiser's peak learning rate (it falls to 0 along half a cosine). Of
            several, every loss and fraction gets its best, by validation Dice on a seed of its own.
        extend_grid: whether a best learning rate at the grid's edge adds one beyond it.
        image_size: height of an image, in pixels, and its width unless ``image_width`` is given.
        image_width: width of an image; ``None``: square.
        shape: what an image holds: "ellipse", "disk", "tube" (thin and bent), "blob" (irregular,
            of log-normal sizes), or "posterior": a soft blob μ that is visible as it is, each
            pixel's label drawn by itself from its μ, so that the best Dice is exactly known.
        objects: objects in an image.
        object_pixels: the size of an object, where that is what stays fixed: a smaller fraction
            then has fewer objects, and ``objects`` is not used. ``None``: a smaller fraction has
            smaller ones.
        empty_share: share of the images that hold nothing but noise. The fraction π stays that of
            all pixels of all images: the objects of the others grow by 1/(1 − empty_share).
        label_noise: how far the boundary of a training or validation label strays at random, in
            pixels (standard deviation). The test labels are clean.
        annotator_bias: how far all boundaries of training and validation labels lie too far out
            (in, if negative), in pixels. The test labels are clean.
        reference_dice: the Dice that a simple reference segmenter reaches at every fraction: the
            noise is calibrated so that a smaller fraction is not also a noisier task.
        train_images: images to learn from.
        validation_images: images to tune the threshold on.
        test_images: images that every number is reported on.
        logged_steps: how many steps of a run are kept in its history.
        pooling: what a loss's sums run over: "batch", all pixels of a batch at once, or "sample",
            each image's by themselves, the losses averaged.
        smooth: s of all overlap losses, in pixels (1 is the article's; theory: C4, C6).
        initial_bias: where the model's output starts: "half", p = ½, or "prior", p = π.
        optimiser: "adam", or "sgd" (momentum 0.9).
        data: a directory of images/ and masks/ to study instead of synthetic images. What it holds
            is measured by `presets.resolve`: the fraction, the size and the counts of images.
        data_digest: of those files, so that a study is not taken up with other images.
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
    image_width: int | None = None
    shape: str = "ellipse"
    objects: int = 1
    object_pixels: int | None = None
    empty_share: float = 0.0
    label_noise: float = 0.0
    annotator_bias: float = 0.0
    reference_dice: float = 0.8
    train_images: int = 256
    validation_images: int = 64
    test_images: int = 128
    logged_steps: int = 40
    pooling: str = "batch"
    smooth: float = SMOOTH
    initial_bias: str = "half"
    optimiser: str = "adam"
    data: str | None = None
    data_digest: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run, with one line that says what to change."""
        for name in (
            "seeds", "steps", "batch_size", "image_size", "image_width", "objects",
            "object_pixels", "train_images", "validation_images", "test_images", "logged_steps",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is None and name in ("image_width", "object_pixels"):
                continue
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
        for name, known in (
            ("model", MODELS),
            ("shape", SHAPES),
            ("pooling", POOLINGS),
            ("initial_bias", STARTS),
            ("optimiser", OPTIMISERS),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f"unknown {name} {value!r}; known are {', '.join(known)}")
        for name in ("label_noise", "smooth"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be at least 0 pixels and finite, got {value:g}")
        if not math.isfinite(self.annotator_bias):
            raise ConfigError(f"annotator_bias must be finite, got {self.annotator_bias:g}")
        if not 0 <= self.empty_share < 1:
            raise ConfigError(f"empty_share must lie in [0, 1), got {self.empty_share:g}")
        divisor = MODELS[self.model].size_divisor
        for name, side in zip(("image_size", "image_width"), self.image_shape, strict=True):
            if side % divisor and self.data is not None:
                raise ConfigError(
                    f"the images of {self.data} are {self.image_shape[0]}x{self.image_shape[1]} "
                    f"pixels, the {self.model} model takes multiples of {divisor}: crop or pad them"
                )
            if side % divisor:
                raise ConfigError(
                    f"{name} must be a multiple of {divisor} for the {self.model} model, got {side}"
                )
        _check_names("fractions", self.fractions)
        for fraction in self.fractions:
            if not 0 < fraction < 1:
                raise ConfigError(f"a foreground fraction must lie in (0, 1), got {fraction:g}")
        if self.data is None:
            self._check_synthetic()

    def _check_synthetic(self) -> None:
        for name in ("train_images", "validation_images", "test_images"):
            count = getattr(self, name)
            # Of any n images in a row n · empty_share are empty, up to one.
            if self.empty_share and count * (1 - self.empty_share) < 2:
                raise ConfigError(
                    f"empty_share {self.empty_share:g} of {name} {count} leaves fewer than 2 "
                    "images with an object"
                )
        for fraction in self.fractions:
            self._check_fraction(fraction)

    def _check_fraction(self, fraction: float) -> None:
        pixels = math.prod(self.image_shape)
        objects = self.objects_at(fraction)
        least = max(LEAST_FOREGROUND_PIXELS, SHAPES[self.shape].least_object_pixels * objects)
        # Where there are empty images, the others hold their share.
        inside = fraction / (1 - self.empty_share)
        rarer = min(inside, 1 - inside)
        if rarer * pixels < least:
            divisor = MODELS[self.model].size_divisor
            size = math.ceil(math.sqrt(least / rarer)) if rarer > 0 else 0
            larger = f"write --image-size {divisor * math.ceil(size / divisor)} or more, or "
            raise ConfigError(
                f"fraction {fraction:g} leaves {max(rarer, 0) * pixels:.1f} pixels of the rarer "
                f"class in an image of {self.image_shape[0]}x{self.image_shape[1]}, fewer than the "
                f"{least} that a score needs: {larger if rarer > 0 else 'write '}a fraction of at "
                f"least {least / pixels * (1 - self.empty_share):.2g}"
            )

        self._check_labels(fraction, inside * pixels / objects)

    def _check_labels(self, fraction: float, object_pixels: float) -> None:
        shape = SHAPES[self.shape]
        if shape.posterior and (self.label_noise or self.annotator_bias):
            raise ConfigError(
                f"shape {self.shape} draws its labels pixel by pixel and has no boundary to move: "
                "leave label_noise and annotator_bias at 0"
            )
        for name, pixels in (
            ("label_noise", self.label_noise),
            ("annotator_bias", -self.annotator_bias),
        ):
            half_width = shape.half_width(object_pixels)
            if pixels > half_width:
                raise ConfigError(
                    f"{name} {getattr(self, name):g} would erase a {self.shape} of "
                    f"{object_pixels:.0f} pixels (fraction {fraction:g}): half its width is "
                    f"{half_width:.1f} pixels"
                )

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        return self.image_size, self.image_width or self.image_size

    def objects_at(self, fraction: float) -> int:
        """Say how many objects an image has (those that are not empty) at a fraction."""
        if self.object_pixels is None:
            return self.objects
        foreground = fraction / (1 - self.empty_share) * math.prod(self.image_shape)
        return max(1, round(foreground / self.object_pixels))

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
