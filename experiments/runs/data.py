"""The data of a run: a function of the study, the fraction and the seed, never of the loss."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import StudyConfig
from experiments.errors import ConfigError
from experiments.images.calibration import calibrated_noise
from experiments.images.folder import Source, read_folder
from experiments.images.labels import deformed
from experiments.images.masks import Images, WholeImages, make_images
from experiments.images.splitting import Splitting, groups_of, parts_of
from experiments.images.tiles import cut, stacked

__all__ = ["noise_level", "splits", "tested"]


@functools.lru_cache(maxsize=1)
def splits(
    config: StudyConfig, fraction: float, seed: int
) -> tuple[Images, WholeImages, WholeImages]:
    """Make the training, validation and test images of a seed.

    No image is shared between seeds or between splits. A user's own images are the same for every
    seed, which then only decides the labels' noise. Test images have their posterior where it is
    known.

    Raises:
        ConfigError: if the user's images have changed since the study began.
    """
    key = jax.random.key(seed)
    training, validation, test = (
        _drawn(config, fraction, key) if config.data is None else _read(config, seed)
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


def _drawn(
    config: StudyConfig, fraction: float, key: jax.Array
) -> tuple[Images, WholeImages, WholeImages]:
    # Where every step has new images, there is no training set to draw.
    counts = (config.train_images or 0, config.validation_images, config.test_images)
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
    return (
        training._replace(posterior=None),
        WholeImages(*validation[:2]),
        WholeImages(*test),
    )


def _read(config: StudyConfig, seed: int) -> tuple[Images, WholeImages, WholeImages]:
    # Every time: the files may have changed since the last run.
    if read_folder(config.source).digest != config.data_digest:
        raise ConfigError(
            f"{config.data} no longer holds the images that the study began with: restore them, or "
            "choose another --out"
        )
    # Only what decides the images, so that the losses of a study share them in memory.
    return _parts(
        config.source,
        config.splitting,
        config.data_digest,
        config.split,
        config.tile,
        config.train_images,
        config.fold_of(seed),
    )


@functools.lru_cache(maxsize=1)
def _parts(
    source: Source,
    splitting: Splitting,
    digest: str | None,
    split: str,
    tile: int | None,
    train_images: int,
    fold: int,
) -> tuple[Images, WholeImages, WholeImages]:
    folder = read_folder(source)
    parts = parts_of(split, folder.names, splitting, fold)
    # All parts are scaled by the training images.
    channels = [folder.images[i].reshape(-1, *folder.images[i].shape[2:]) for i in parts["train"]]
    seen = np.concatenate(channels)
    mean, deviation = seen.mean(axis=0, dtype=float), seen.std(axis=0, dtype=float)
    deviation = np.where(deviation > 0, deviation, 1.0)
    scaled = [((image - mean) / deviation).astype(np.float32) for image in folder.images]
    images, masks = (
        np.concatenate([x[i][None] if tile is None else cut(x[i], tile) for i in parts["train"]])
        for x in (scaled, folder.masks)
    )
    # In folds, as many as the smallest training part has, so that all runs are alike.
    kept = np.linspace(0, len(images) - 1, train_images).round().astype(int)
    validation, test = (
        _whole([scaled[i] for i in parts[name]], [folder.masks[i] for i in parts[name]])
        for name in ("validation", "test")
    )
    return Images(jnp.asarray(images[kept]), jnp.asarray(masks[kept])), validation, test


def _whole(images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> WholeImages:
    (pixels, where), (labels, _) = stacked(images), stacked(masks)
    inside = None if where is None else jnp.asarray(where)
    return WholeImages(jnp.asarray(pixels), jnp.asarray(labels), where=inside)


def tested(config: StudyConfig, seed: int) -> dict[str, list[str]]:
    """Name the test images of a seed and their groups; empty for synthetic images."""
    if config.data is None:
        return {}
    folder = read_folder(config.source)
    rows = parts_of(config.split, folder.names, config.splitting, config.fold_of(seed))["test"]
    groups = groups_of(folder, config.group)
    return {
        "test_images": [folder.names[i] for i in rows],
        "test_groups": [groups[i] for i in rows],
    }


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
        count=(config.train_images or 0) + config.validation_images + config.test_images,
        size=config.image_shape,
        objects=config.objects_at(fraction),
        shape=config.shape,
    )
