"""What a study is: frozen settings, and the checks that refuse an impossible one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError, unknown_name
from experiments.images.folder import Source
from experiments.images.shapes import SHAPES
from experiments.images.splitting import MOST_FOLDS, Splitting
from experiments.learning.arms import ARM_OPTIONS, LOSSES, POOLINGS, SMOOTH, options_of
from experiments.learning.class_arms import CLASS_LOSSES
from experiments.learning.models import MODELS, STARTS
from experiments.learning.optimisers import OPTIMISERS, Optimiser

__all__ = ["DATA_MEASURED", "DATA_OPTIONS", "FIRST_TUNING_SEED", "ConfigError", "StudyConfig"]

# What a user says about a folder of images.
DATA_OPTIONS = (
    "images", "masks", "mask_threshold", "foreground", "classes", "tile", "group", "split_file",
    "folds", "gap",
)  # fmt: skip
# What is measured of it, and is no option.
DATA_MEASURED = ("data_digest", "split", "channels", "class_values")

# From here on, seeds choose learning rates: a rate must not be chosen on the data it is scored on.
FIRST_TUNING_SEED = 1_000_000
# With fewer foreground pixels than this, one pixel decides the score (theory: the protocol).
LEAST_FOREGROUND_PIXELS = 12

# The optimiser that minimises a loss over all training images, to its optimum; and the models that
# are small enough for it.
REST = "rest"
_SOLVED = ("bias", "linear")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Everything that decides a study's numbers. The command line's options are made from it.

    Args:
        losses: what to compare: bce, balanced_bce, focal, dice, squared_dice, jaccard, tversky,
            focal_tversky, generalized_dice, log_dice, log_cosh_dice, and sums such as dice+bce.
            Names may be in any case, and common synonyms such as CE, IoU and DiceCE are
            understood. A loss may set options for itself, such as dice,smooth=1 or
            dice,clip=1,rate=0.03: rate, smooth, pooling, start, optimiser, clip, beta2, epsilon and
            warmup.
        model: bias, linear or unet.
        fractions: foreground fractions π of the synthetic images, between 0 and 1.
        seeds: how many seeds. Losses are paired by seed: same data, initialisation and order.
        first_seed: the first of them. A pilot has other seeds than the study that it plans.
        steps: optimiser steps of one run.
        stop_after: stop a run after so many steps of its schedule, to look at the start of a longer
            training.
        batch_size: images in one step.
        learning_rates: the optimiser's peak learning rate, which falls to 0 along half a cosine.
            Given several, every loss and fraction gets the one with the best validation Dice, as
            the mean over seeds of their own. A run that collapses counts with its score, one that
            diverges as 0.
        tuning_seeds: how many seeds choose the learning rate.
        extend_grid: while the best learning rate is at the grid's edge, try one more beyond it.
        warmup_steps: steps over which the learning rate rises; not set: a tenth of the steps.
        image_size: height of an image in pixels, and its width unless image_width is given.
        image_width: width of an image in pixels.
        shape: ellipse, disk, tube (thin and bent), blob (irregular, of log-normal sizes), or
            posterior. A posterior image shows the foreground probability μ of each pixel, and each
            label is drawn from μ, so that the best possible Dice is known exactly.
        objects: objects in an image.
        object_pixels: a fixed size for every object. A smaller fraction then has fewer objects
            instead of smaller ones, and objects is not used.
        empty_share: share of the images without foreground. The fraction is that of all pixels of
            all images: the objects in the other images grow by 1/(1 − empty_share).
        label_noise: random displacement of the boundaries of training and validation labels, as a
            standard deviation in pixels. Test labels are clean.
        annotator_bias: systematic displacement of those boundaries, in pixels: outwards if
            positive, inwards if negative. Test labels are clean.
        reference_dice: the Dice of a simple reference segmenter. The noise of the images is set so
            that it reaches this Dice at every fraction: a smaller fraction is not a noisier task.
        train_images: images to learn from, again and again; not set: new images in every step.
        validation_images: images to tune the threshold on.
        test_images: images that every number is reported on.
        logged_steps: how many steps of a run are kept in its history.
        pooling: batch (a loss sums over all pixels of a batch) or sample (over each image; the
            images' losses are averaged).
        smooth: s of the overlap losses, in pixels (the article uses 1; theory: C4, C6).
        initial_bias: the probability at which training starts: half (p = ½) or prior (p = π).
        optimiser: adam, sgd (with momentum 0.9), or rest: a quasi-Newton method on all training
            images at once, to the optimum; for the bias and the linear model.
        clip_norm: a gradient that is longer is scaled down to this norm; not set: no clipping.
        beta2: Adam's decay of the second moment.
        epsilon: Adam's ε.
        margin: a difference in Dice below which two losses count as equivalent; fixed before a
            study.
        data: a directory of your own images and masks (PNG, JPEG, TIFF, BMP, NumPy, NIfTI) to study
            instead of synthetic images. The fraction, the size and the counts of images are
            measured.
        images: which files of data are images: a path with {id} for what an image and its masks
            have in common, such as scans/{id}.jpg. It may have * for any text, {group} for a
            folder whose images belong together, and {split} for the folders train, val and test.
            Not set: images/{id}.*, or {split}/images/{id}.* if there is a folder train.
        masks: which files of data are masks, such as scans/{id}_mask.png. Several masks of one
            image are joined. Not set: masks/{id}.*, or {split}/masks/{id}.*.
        mask_threshold: a mask is foreground above this value.
        foreground: the values of a mask that are foreground. All others are background.
        classes: take every value of the masks as a class, the smallest as the background, and
            compare losses of softmax outputs: ce, dice, foreground_dice (without the background),
            generalized_dice, focal, and sums such as foreground_dice+ce.
        tile: learn from square tiles of this height and width in pixels. Images may then have any
            size. They are evaluated whole: tile by tile, and stitched.
        group: a regular expression. Images in whose names it finds the same text stay together in
            training, validation or test, such as those of one patient: '^[^_]+'.
        split_file: a CSV file with lines such as scan_07,train that names the part of every image:
            train, validation or test.
        folds: cut the images into this many parts. Seed s is tested on part s, tunes its threshold
            on the next part, and learns from the others. Every part has a learning rate that was
            chosen without its images, so tuning_seeds seeds are spent on each.
        gap: the images are the sections of one volume, or the frames of one film, in the order of
            their names. Training, validation and test are blocks, and this many sections
            between two blocks are left out.
        data_digest: a digest of those files. A study is not resumed with other images.
        split: the part of every image, a letter each, as it was when the study began.
        channels: of the images.
        class_values: the values of the masks, by class.
    """

    losses: tuple[str, ...] = ("bce", "dice")
    model: str = "unet"
    fractions: tuple[float, ...] = (0.05, 0.01, 0.003)
    seeds: int = 3
    first_seed: int = 0
    steps: int = 200
    stop_after: int | None = None
    batch_size: int = 8
    learning_rates: tuple[float, ...] = (3e-3, 1e-2)
    tuning_seeds: int = 3
    extend_grid: bool = False
    warmup_steps: int | None = None
    image_size: int = 64
    image_width: int | None = None
    shape: str = "ellipse"
    objects: int = 1
    object_pixels: int | None = None
    empty_share: float = 0.0
    label_noise: float = 0.0
    annotator_bias: float = 0.0
    reference_dice: float = 0.8
    train_images: int | None = None
    validation_images: int = 64
    test_images: int = 128
    logged_steps: int = 40
    pooling: str = "batch"
    smooth: float = SMOOTH
    initial_bias: str = "half"
    optimiser: str = "adam"
    clip_norm: float | None = None
    beta2: float = 0.999
    epsilon: float = 1e-8
    margin: float = 0.03
    data: str | None = None
    images: str | None = None
    masks: str | None = None
    mask_threshold: float | None = None
    foreground: tuple[float, ...] = ()
    classes: bool = False
    tile: int | None = None
    group: str | None = None
    split_file: str | None = None
    folds: int | None = None
    gap: int | None = None
    data_digest: str | None = None
    split: str = ""
    channels: int = 1
    class_values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be run, with one line that says what to change."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            whole = field.type == "int" or (field.type == "int | None" and value is not None)
            least = 0 if field.name == "first_seed" else 1
            if whole and (not isinstance(value, int) or value < least):
                raise ConfigError(
                    f"{field.name} must be a whole number of at least {least}, got {value}"
                )
        for name in ("learning_rates", "losses", "fractions"):
            _check_distinct(name, getattr(self, name))
        known_losses = CLASS_LOSSES if self.classes else LOSSES
        for name, values, known in (
            ("model", (self.model,), MODELS),
            ("shape", (self.shape,), SHAPES),
            ("pooling", (self.pooling,), POOLINGS),
            ("initial_bias", (self.initial_bias,), STARTS),
            ("optimiser", (self.optimiser,), (*OPTIMISERS, REST)),
            ("loss", "+".join(options_of(arm)[0] for arm in self.losses).split("+"), known_losses),
            (
                "option of a loss",
                [o for arm in self.losses for o in options_of(arm)[1]],
                ARM_OPTIONS,
            ),
        ):
            for value in values:
                if value not in known:
                    more = ", and sums such as dice+bce" if name == "loss" else ""
                    raise unknown_name(name, value, known, more)
        for rate in self.learning_rates:
            if not (math.isfinite(rate) and rate > 0):
                raise ConfigError(f"a learning rate must be positive and finite, got {rate:g}")
        if list(self.learning_rates) != sorted(self.learning_rates):
            raise ConfigError("learning_rates must ascend")
        for fraction in self.fractions:
            if not 0 < fraction < 1:
                raise ConfigError(f"a foreground fraction must lie in (0, 1), got {fraction:g}")
        if not 0 < self.reference_dice < 1:
            raise ConfigError(f"reference_dice must lie in (0, 1), got {self.reference_dice}")
        if self.train_images is not None and self.batch_size > self.train_images:
            raise ConfigError(
                f"batch_size {self.batch_size} exceeds train_images {self.train_images}"
            )
        if self.stop_after is not None and self.stop_after > self.steps:
            raise ConfigError(f"stop_after {self.stop_after} exceeds steps {self.steps}")
        for name in ("label_noise", "smooth"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be at least 0 pixels and finite, got {value:g}")
        for name in ("clip_norm", "epsilon", "margin"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be positive and finite, got {value:g}")
        if not 0 <= self.beta2 < 1:
            raise ConfigError(f"beta2 must lie in [0, 1), got {self.beta2:g}")
        if self.first_seed + self.seeds > FIRST_TUNING_SEED:
            raise ConfigError(
                f"first_seed {self.first_seed} with {self.seeds} seeds exceeds "
                f"{FIRST_TUNING_SEED:,}, where the seeds that choose learning rates begin"
            )
        self._check_rest()
        for arm in self.losses:
            if options_of(arm)[1]:
                self.of_arm(arm)
        if not math.isfinite(self.annotator_bias):
            raise ConfigError(f"annotator_bias must be finite, got {self.annotator_bias:g}")
        if not 0 <= self.empty_share < 1:
            raise ConfigError(f"empty_share must lie in [0, 1), got {self.empty_share:g}")
        self._check_image_size()
        if self.data is None:
            self._check_synthetic()
        self._check_data()

    def _check_data(self) -> None:
        given = [
            field.name
            for field in dataclasses.fields(self)
            if field.name in DATA_OPTIONS and getattr(self, field.name) != field.default
        ]
        if given and self.data is None:
            raise ConfigError(f"{given[0]} is for your own images: write --data with their folder")
        if self.mask_threshold is not None and self.foreground:
            raise ConfigError(
                "mask_threshold and foreground both say what is foreground: leave out one of them"
            )
        if self.classes and (self.mask_threshold is not None or self.foreground):
            raise ConfigError(
                "classes takes every value of the masks: leave out mask_threshold and foreground"
            )
        if self.classes and self.optimiser == REST:
            raise ConfigError(
                f"optimiser {REST} is for one foreground: write --optimiser adam beside --classes"
            )
        if self.classes and (
            self.label_noise
            or self.annotator_bias
            or self.initial_bias != "half"
            or self.pooling != "batch"
        ):
            raise ConfigError(
                "label_noise, annotator_bias, initial_bias prior and pooling sample are for one "
                "foreground: leave them out beside classes"
            )
        if self.folds is not None and not 3 <= self.folds <= MOST_FOLDS:
            raise ConfigError(
                f"folds must be a number from 3 (for training, validation and test) to "
                f"{MOST_FOLDS}, got {self.folds}"
            )
        if self.tile is not None and (self.label_noise or self.annotator_bias):
            raise ConfigError(
                "label_noise and annotator_bias need images of one size: leave out --tile"
            )

    @property
    def source(self) -> Source:
        """Where the user's own images lie."""
        assert self.data is not None
        return Source(
            Path(self.data),
            self.images,
            self.masks,
            self.mask_threshold,
            self.foreground,
            self.classes,
            one_size=self.tile is None,
        )

    @property
    def outputs(self) -> int:
        """Logits of a pixel: 1, or one for each class."""
        return len(self.class_values) or 1

    @property
    def splitting(self) -> Splitting:
        """How the user's own images are split."""
        return Splitting(self.group, self.split_file, self.folds, self.gap)

    def _check_rest(self) -> None:
        if self.optimiser != REST:
            return
        if self.model not in _SOLVED:
            raise ConfigError(
                f"optimiser {REST} solves the models {' and '.join(_SOLVED)}: write "
                "--model linear, or --optimiser adam"
            )
        if self.train_images != self.batch_size:
            raise ConfigError(
                f"optimiser {REST} needs all training images in one batch: write --train-images "
                f"and --batch-size with the same number, got {self.train_images} and "
                f"{self.batch_size}"
            )

    def _check_image_size(self) -> None:
        divisor = MODELS[self.model].size_divisor
        for name, side in zip(("image_size", "image_width"), self.image_shape, strict=True):
            if side % divisor and self.data is not None and self.tile is None:
                raise ConfigError(
                    f"the images of {self.data} are {self.image_shape[0]}x{self.image_shape[1]} "
                    f"pixels, the {self.model} model takes multiples of {divisor}: write --tile "
                    f"{_tile_for(self.image_shape, divisor)}, or another multiple"
                )
            if side % divisor:
                what = "tile" if self.tile else name
                raise ConfigError(
                    f"{what} must be a multiple of {divisor} for the {self.model} model, got {side}"
                )

    def _check_synthetic(self) -> None:
        for name in ("train_images", "validation_images", "test_images"):
            count = getattr(self, name)
            # Of any n consecutive images, n · empty_share are empty, give or take one.
            if count is not None and self.empty_share and count * (1 - self.empty_share) < 2:
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
        # The images that are not empty hold the foreground of all.
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
                f"shape {self.shape} draws each pixel's label on its own and has no boundary to "
                "move: leave label_noise and annotator_bias at 0"
            )
        half_width = shape.half_width(object_pixels)
        for name, eroded in (
            ("label_noise", self.label_noise),
            ("annotator_bias", -self.annotator_bias),
        ):
            if eroded > half_width:
                raise ConfigError(
                    f"{name} {getattr(self, name):g} would erase a {self.shape} of "
                    f"{object_pixels:.0f} pixels (fraction {fraction:g}): half its width is "
                    f"{half_width:.1f} pixels"
                )

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        return self.image_size, self.image_width or self.image_size

    @property
    def trained_steps(self) -> int:
        """Steps that a run takes."""
        return self.steps if self.stop_after is None else self.stop_after

    @property
    def optimiser_settings(self) -> Optimiser:
        """The optimiser with its settings."""
        return Optimiser(self.optimiser, self.clip_norm, self.beta2, self.epsilon)

    def of_arm(self, arm: str) -> StudyConfig:
        """The settings of one arm: the study's, but for what the arm sets for itself.

        Raises:
            ConfigError: if an option of the arm has no such value.
        """
        loss, options = options_of(arm)
        changes: dict[str, Any] = {"losses": (loss,)}
        for option, text in options.items():
            name, read = ARM_OPTIONS[option]
            try:
                changes[name] = read(text)
            except ValueError:
                raise ConfigError(
                    f"{arm} gives {option} the value {text!r}: write a number, as in "
                    f"{loss},{option}=1"
                ) from None
        return dataclasses.replace(self, **changes)

    def objects_at(self, fraction: float) -> int:
        """Count the objects in an image that is not empty."""
        if self.object_pixels is None:
            return self.objects
        foreground = fraction / (1 - self.empty_share) * math.prod(self.image_shape)
        return max(1, round(foreground / self.object_pixels))

    def fold_of(self, seed: int) -> int:
        """Choose the fold that a seed is tested on: the folds take turns."""
        return seed % self.folds if self.folds else 0

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> StudyConfig:
        """Read settings that were written with ``dataclasses.asdict``. JSON has no tuples."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()
        }
        return cls(**fields)


def _tile_for(shape: tuple[int, int], divisor: int) -> int:
    """A usual tile that fits into an image."""
    return min(128, max(min(shape) // divisor, 1) * divisor)


def _check_distinct(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise ConfigError(f"{name} is empty: name at least one")
    twice = {value for value in values if list(values).count(value) > 1}
    if twice:
        raise ConfigError(f"{name} names {', '.join(map(str, sorted(twice)))} twice")
