"""The data of a run: a function of the study, the fraction and the seed, never of the arm."""

from __future__ import annotations

import functools

import jax
import numpy as np

from experiments.config import StudyConfig
from experiments.masks import Images, calibrated_noise, make_images

__all__ = ["noise_level", "splits"]


@functools.lru_cache(maxsize=1)
def splits(config: StudyConfig, fraction: float, seed: int) -> tuple[Images, Images, Images]:
    """Make the training, validation and test images of a seed.

    Args:
        config: the study.
        fraction: π.
        seed: of the images; no image is shared between seeds or between splits.

    Returns:
        The three sets.
    """
    counts = (config.train_images, config.validation_images, config.test_images)
    # Drawn at once and cut: one program makes all images of a study.
    drawn = make_images(
        jax.random.key(seed),
        fraction,
        noise_level(config, fraction),
        count=sum(counts),
        size=config.image_size,
        objects=config.objects,
    )
    ends = np.cumsum(counts)
    first, second, third = (
        Images(drawn.images[end - count : end], drawn.masks[end - count : end])
        for end, count in zip(ends.tolist(), counts, strict=True)
    )
    return first, second, third


def noise_level(config: StudyConfig, fraction: float) -> float:
    """Find the noise of a study's images at a fraction.

    Args:
        config: the study.
        fraction: π.

    Returns:
        The standard deviation of the noise, in units of the contrast.
    """
    return calibrated_noise(
        fraction,
        config.reference_dice,
        count=config.train_images + config.validation_images + config.test_images,
        size=config.image_size,
        objects=config.objects,
    )
