"""The data of a run: a function of the study, the fraction and the seed, never of the arm."""

from __future__ import annotations

import functools

import jax

from experiments.calibration import calibrated_noise
from experiments.config import StudyConfig
from experiments.labels import deformed
from experiments.masks import Images, make_images

__all__ = ["noise_level", "splits"]


@functools.lru_cache(maxsize=1)
def splits(config: StudyConfig, fraction: float, seed: int) -> tuple[Images, Images, Images]:
    """Make the training, validation and test images of a seed.

    Args:
        config: the study.
        fraction: π.
        seed: of the images; no image is shared between seeds or between splits.

    Returns:
        The three sets; of the test images with the posterior, where it is exactly known.
    """
    counts = (config.train_images, config.validation_images, config.test_images)
    key = jax.random.key(seed)
    # Drawn at once and cut: one program makes all images of a study.
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
    tested = sum(counts[:2])
    labels = drawn.masks[:tested]
    if config.label_noise or config.annotator_bias:
        labels = deformed(
            jax.random.fold_in(key, 2), labels, config.label_noise, config.annotator_bias
        )
    learnt, chosen = counts[0], slice(counts[0], tested)
    return (
        Images(drawn.images[:learnt], labels[:learnt]),
        Images(drawn.images[chosen], labels[chosen]),
        jax.tree.map(lambda x: x[tested:], drawn),
    )


def noise_level(config: StudyConfig, fraction: float) -> float:
    """Find the noise of a study's images at a fraction.

    Args:
        config: the study.
        fraction: π.

    Returns:
        The standard deviation of the noise, in units of the contrast; of the shape "posterior"
        the softness of its objects.
    """
    return calibrated_noise(
        # The task is as hard as without empty images, once there is something to find.
        fraction / (1 - config.empty_share),
        config.reference_dice,
        count=config.train_images + config.validation_images + config.test_images,
        size=config.image_shape,
        objects=config.objects_at(fraction),
        shape=config.shape,
    )
