"""Synthetic imbalanced images and masks, made on the device from a seed."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.images.posterior import LOGIT_SCALE, posterior_logits
from experiments.images.shapes import SHAPES, draw_depth

__all__ = ["Images", "WholeImages", "gaussian_blur", "grey", "make_images", "pixels_of"]


class Images(NamedTuple):
    """A set of images.

    Args:
        images: [B, H, W], floating; [B, H, W, C] if they have channels.
        masks: [B, H, W], boolean.
        posterior: [B, H, W], P(y = 1) of each pixel, where it is exactly known.
    """

    images: jax.Array
    masks: jax.Array
    posterior: jax.Array | None = None


class WholeImages(NamedTuple):
    """Images to evaluate on, which may have several sizes.

    Args:
        images: as in `Images`, with zeros below and to the right of a smaller image.
        masks: as in `Images`.
        posterior: as in `Images`.
        where: [B, H, W], boolean: which pixels are an image's; ``None``: all.
    """

    images: jax.Array
    masks: jax.Array
    posterior: jax.Array | None = None
    where: jax.Array | None = None


def grey(images: Images | WholeImages) -> np.ndarray:
    """Show images in grey, [B, H, W]: the mean of their channels."""
    pixels = np.asarray(images.images)
    return pixels if pixels.ndim == 3 else pixels.mean(axis=-1)


def pixels_of(images: Images | WholeImages) -> int:
    """Count the pixels of all images, without what fills up their array."""
    where = images.where if isinstance(images, WholeImages) else None
    return images.masks.size if where is None else int(where.sum())


@partial(jax.jit, static_argnames=("count", "size", "objects", "shape"))
def make_images(
    key: jax.Array,
    fraction: jax.Array | float,
    noise: jax.Array | float,
    *,
    count: int,
    size: int | tuple[int, int],
    objects: int = 1,
    shape: str = "ellipse",
    empty_share: jax.Array | float = 0.0,
) -> Images:
    """Draw noisy images of objects that cover a foreground fraction on average.

    An image is its mask (0 or 1) plus white noise, scaled to about unit variance. A mask is the
    n pixels that lie deepest inside the objects, so that its size is n whatever overlaps or
    leaves the image; n is log-normal with a mean of ``fraction`` · H · W (of the images that are
    not empty: over 1 − ``empty_share``) and a coefficient of variation of about a quarter, for
    blobs a half.

    For the shape "posterior" the image is logit μ over 5 instead, and the mask is drawn from μ,
    pixel by pixel; Σμ takes the place of n.

    Args:
        key: a JAX random key; the same key gives the same images, bit for bit on one platform.
        fraction: π, the share of foreground pixels on average.
        noise: the standard deviation of the noise, in units of the contrast; for the shape
            "posterior" the softness of its objects.
        count: how many images.
        size: their height and width.
        objects: in each image that is not empty.
        shape: a name in `shapes.SHAPES`.
        empty_share: share of images without an object; of any m in a row, m · empty_share up to
            one are.

    Returns:
        The images and their masks.
    """
    kind, (height, width) = SHAPES[shape], (size, size) if isinstance(size, int) else size
    to_size, to_shape, to_noise = jax.random.split(key, 3)
    fraction, noise, empty = map(jnp.float32, (fraction, noise, empty_share))
    pixels = height * width
    deviation = jax.random.normal(to_size, (count,))
    inside = fraction / (1 - empty)
    sizes = inside * pixels * jnp.exp(kind.spread * deviation - kind.spread**2 / 2)
    depth, rounding = draw_depth(to_shape, kind, sizes, size=(height, width), objects=objects)
    present = _present(jax.random.fold_in(key, 1), count, empty)[:, None, None]
    if kind.posterior:
        logits = posterior_logits(depth, jnp.clip(sizes, 1, 0.9 * pixels), jnp.float32(noise))
        logits = jnp.where(present, logits, logits.min())
        posterior = jax.nn.sigmoid(logits)
        masks = jax.random.uniform(to_noise, logits.shape) < posterior
        return Images(logits / LOGIT_SCALE, masks, posterior)
    # Rounded up or down at random: rounding to the nearest would shift the mean of small masks.
    n = jnp.clip(jnp.floor(sizes + rounding), 1, pixels - 1)
    masks = (depth <= _level_of(depth, n)[:, None, None]) & present
    noisy = masks.astype(jnp.float32) + noise * jax.random.normal(to_noise, masks.shape)
    # The same scale at every noise, so that a learning rate means the same at every fraction.
    return Images(noisy / jnp.sqrt(1 + noise**2), masks)


def _present(key: jax.Array, count: int, empty_share: jax.Array) -> jax.Array:
    """Choose which images have an object, spread as evenly as possible."""
    images = jnp.arange(count + 1, dtype=empty_share.dtype)
    before = images * (1 - empty_share) + jax.random.uniform(key)
    # If none is to be empty, rounding must not make one so.
    return (jnp.diff(jnp.floor(before)) > 0) | (empty_share == 0)


def _level_of(depth: jax.Array, n: jax.Array) -> jax.Array:
    """Find, per image, a level that n pixels do not exceed, by bisection: cheaper than a sort."""

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) / 2
        inside = (depth <= middle[:, None, None]).sum(axis=(1, 2)).astype(n.dtype)
        return jnp.where(inside < n, middle, low), jnp.where(inside < n, high, middle)

    high = depth.max(axis=(1, 2))
    _, level = jax.lax.fori_loop(0, 40, halve, (jnp.zeros_like(high), high))
    return level


def gaussian_blur(images: jax.Array, scale: jax.Array | float) -> jax.Array:
    """Blur images with a Gaussian, as two matrix products; weights are renormalised at the border.

    Args:
        images: [..., H, W].
        scale: the Gaussian's standard deviation, in pixels.

    Returns:
        The blurred images, of the same shape.
    """

    def matrix(length: int) -> jax.Array:
        position = jnp.arange(length, dtype=images.dtype)
        exponent = (position[:, None] - position[None, :]) / jnp.asarray(scale, images.dtype)
        weights = jnp.exp(-(exponent**2) / 2)
        return weights / weights.sum(axis=1, keepdims=True)

    rows, columns = matrix(images.shape[-2]), matrix(images.shape[-1])
    # Full precision: an accelerator's default would round the images to 8 bits of mantissa.
    return jnp.einsum("hi,...ij,wj->...hw", rows, images, columns, precision="highest")
