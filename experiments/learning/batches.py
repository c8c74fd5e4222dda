"""Where a training's batches come from: a fixed set of images, or new images in every step."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import numpy as np
from jax.typing import ArrayLike

from experiments.images.labels import deformed
from experiments.images.masks import make_images

__all__ = ["Batches", "Pool", "Stream"]

Array = jax.Array | np.ndarray
# Images and masks, [B, H, W] each.
Pair = tuple[jax.Array, jax.Array]


class Batches(Protocol):
    """A pytree of arrays that gives every step its batch."""

    def at(self, step: jax.Array | int) -> Pair:
        """Return the images and the masks of a step; traced."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pool:
    """A fixed set of images, visited in a given order.

    Args:
        images: [N, H, W].
        masks: [N, H, W], boolean.
        order: [steps, B] integer, the images of each step.
    """

    images: jax.Array
    masks: jax.Array
    order: Array

    def at(self, step: jax.Array | int) -> Pair:
        """Return the images and the masks of a step."""
        chosen = self.order[step]
        return self.images[chosen], self.masks[chosen]


def _static() -> Any:
    return dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stream:
    """New synthetic images in every step: no image is seen twice.

    The fields are the arguments of `masks.make_images` and of `labels.deformed`.

    Args:
        seed: [] integer; with the step, it decides the images.
        fraction: [] floating, π.
        noise: [] floating.
        batch_size: images in a step.
        size: their height and width.
        objects: in each image that is not empty.
        shape: a name in `shapes.SHAPES`.
        empty_share: share of images without an object.
        label_noise: random displacement of the boundaries, in pixels.
        annotator_bias: systematic displacement of the boundaries, in pixels.
    """

    seed: ArrayLike
    fraction: ArrayLike
    noise: ArrayLike
    batch_size: int = _static()
    size: tuple[int, int] = _static()
    objects: int = _static()
    shape: str = _static()
    empty_share: float = _static()
    label_noise: float = _static()
    annotator_bias: float = _static()

    def at(self, step: jax.Array | int) -> Pair:
        """Draw the images and the masks of a step."""
        # 3: validation and test images use the seed's key itself, their labels fold in 2.
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), 3), step)
        images, masks, _ = make_images(
            key,
            self.fraction,
            self.noise,
            count=self.batch_size,
            size=self.size,
            objects=self.objects,
            shape=self.shape,
            empty_share=self.empty_share,
        )
        if self.label_noise or self.annotator_bias:
            key = jax.random.fold_in(key, 2)
            masks = deformed(key, masks, self.label_noise, self.annotator_bias)
        return images, masks
