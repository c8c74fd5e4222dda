"""The batches of a run: new images in every step, or epochs of the training images."""

from __future__ import annotations

import math

import numpy as np

from experiments.config import StudyConfig
from experiments.learning.batches import Batches, Pool, Stream
from experiments.runs.data import noise_level, splits

__all__ = ["batch_order", "batches_of"]


def batches_of(config: StudyConfig, fraction: float, seed: int) -> Batches:
    """Give a run its batches, which depend on the fraction and the seed, never on the loss."""
    if config.train_images is not None:
        training = splits(config, fraction, seed)[0]
        return Pool(training.images, training.masks, batch_order(config, seed))
    return Stream(
        seed=np.int32(seed),
        fraction=np.float32(fraction),
        noise=np.float32(noise_level(config, fraction)),
        batch_size=config.batch_size,
        size=config.image_shape,
        objects=config.objects_at(fraction),
        shape=config.shape,
        empty_share=config.empty_share,
        label_noise=config.label_noise,
        annotator_bias=config.annotator_bias,
    )


def batch_order(config: StudyConfig, seed: int) -> np.ndarray:
    """Shuffle the training images, epoch by epoch: indices [steps, batch_size]."""
    assert config.train_images is not None
    generator = np.random.default_rng([seed, 1])
    wanted = config.trained_steps * config.batch_size
    epochs = math.ceil(wanted / config.train_images)
    order = np.concatenate([generator.permutation(config.train_images) for _ in range(epochs)])
    return order[:wanted].reshape(config.trained_steps, config.batch_size).astype(np.int32)
