"""The data of a run: a function of the study, the fraction and the seed, never of the loss."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import StudyConfig
from experiments.errors import ConfigError
from experiments.images.calibration import calibrated_noise
from experiments.images.folder import SPLITS, read_folder
from experiments.images.labels import deformed
from experiments.images.masks import Images, make_images

__all__ = ["noise_level", "splits"]


@functools.lru_cache(maxsize=1)
def splits(config: StudyConfig, fraction: float, seed: int) -> tuple[Images, Images, Images]:
    """Make the training, validation and test images of a seed.

    No image is shared between seeds or between splits. A user's own images are the same for every
    seed, which then only decides the labels' noise. Test images have their posterior where it is
    known.

    Raises:
        ConfigError: if the user's images have changed since the study began.
    """
    key = jax.random.key(seed)
    training, validation, test = (
        _drawn(config, fraction, key) if config.data is None else _read(config)
    )
    if config.label_noise or config.annotator_bias:
        labels = deformed(
            jax.random.fold_in(key, 2),
            jnp.concatenate([training.masks, validation.masks]),
            config.label_noise,
            config.annotator_bias,
        )
        training = training._replace(masks=labels[: len(training.masks)])
        validation = validation._replace(masks=labels[len(training.masks) :])
    return training, validation, test


def _drawn(config: StudyConfig, fraction: float, key: jax.Array) -> tuple[Images, Images, Images]:
    counts = (config.train_images, config.validation_images, config.test_images)
    # Drawn together and then split: one program makes all images of a study.
    drawn = make_images(
        key,
        fraction,
        noise_level(config, fraction),
        count=sum(counts),
        size=config.image_shape,
        objects=config.objects_at(fraction),
        shape=config.shape,
        empty_share=config.empty_share,
    )
    ends = (0, counts[0], sum(counts[:2]), sum(counts))
    training, validation, test = (
        jax.tree.map(lambda x, first=first, end=end: x[first:end], drawn)
        for first, end in itertools.pairwise(ends)
    )
    return training._replace(posterior=None), validation._replace(posterior=None), test


def _read(config: StudyConfig) -> tuple[Images, Images, Images]:
    assert config.data is not None
    folder = read_folder(Path(config.data))
    if folder.digest != config.data_digest:
        raise ConfigError(
            f"{config.data} no longer holds the images that the study began with: restore them, or "
            "choose another --out"
        )
    chosen = [folder.split(split) for split in SPLITS]
    # All splits are scaled by the training images.
    seen = folder.images[chosen[0]]
    mean, deviation = seen.mean(dtype=float), seen.std(dtype=float)
    scaled = ((folder.images - mean) / (deviation or 1.0)).astype(np.float32)
    training, validation, test = (
        Images(jnp.asarray(scaled[rows]), jnp.asarray(folder.masks[rows])) for rows in chosen
    )
    return training, validation, test


def noise_level(config: StudyConfig, fraction: float) -> float:
    """Find the noise of a study's images at a fraction, in units of the contrast.

    For the shape "posterior" it is the softness of the objects; NaN for a user's own images.
    """
    if config.data is not None:
        return math.nan
    return calibrated_noise(
        # The images with an object are as hard as they would be without empty images.
        fraction / (1 - config.empty_share),
        config.reference_dice,
        count=config.train_images + config.validation_images + config.test_images,
        size=config.image_shape,
        objects=config.objects_at(fraction),
        shape=config.shape,
    )
