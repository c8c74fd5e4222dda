"""Synthetic imbalanced images and masks, made on the device from a seed."""

from __future__ import annotations

import functools
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Images", "calibrated_noise", "gaussian_blur", "make_images"]


class Images(NamedTuple):
    """A set of images.

    Args:
        images: [B, H, W], floating.
        masks: [B, H, W], boolean.
    """

    images: jax.Array
    masks: jax.Array


@partial(jax.jit, static_argnames=("count", "size", "objects"))
def make_images(
    key: jax.Array,
    fraction: jax.Array | float,
    noise: jax.Array | float,
    *,
    count: int,
    size: int,
    objects: int = 1,
) -> Images:
    """Draw noisy images of ellipses that cover a foreground fraction on average.

    An image is its mask (0 or 1) plus white noise, scaled to about unit variance. A mask is the
    n pixels that lie deepest inside the ellipses, so that its size is n whatever overlaps or
    leaves the image; n is log-normal with
    mean ``fraction`` · size² and a coefficient of variation of about a quarter.

    Args:
        key: a JAX random key; the same key gives the same images, bit for bit on one platform.
        fraction: π, the share of foreground pixels on average.
        noise: the standard deviation of the noise, in units of the contrast.
        count: how many images.
        size: their height and width.
        objects: ellipses in each.

    Returns:
        The images and their masks.
    """
    # Few draws, each of many numbers: every one of them costs compile time.
    to_size, to_shape, to_noise = jax.random.split(key, 3)
    fraction, noise = jnp.float32(fraction), jnp.float32(noise)
    pixels, spread = size * size, 0.25
    deviation = jax.random.normal(to_size, (count,))
    sizes = fraction * pixels * jnp.exp(spread * deviation - spread**2 / 2)

    # One ellipse to a cell of a grid, so that many objects do not pile up.
    side = math.ceil(math.sqrt(objects))
    uniform = jax.random.uniform(to_shape, (6, count, side * side))
    cells = jnp.argsort(uniform[0], axis=-1)[:, :objects]
    rounding, place_y, place_x, turn, length = uniform[1:, :, :objects]
    cell = size / side
    radius = jnp.sqrt(sizes / (objects * jnp.pi))[:, None]
    margin = jnp.minimum(1.2 * radius, 0.45 * cell)
    y, x = (
        corner.astype(jnp.float32) * cell + margin + place * (cell - 2 * margin)
        for corner, place in ((cells // side, place_y), (cells % side, place_x))
    )
    # Rounded up or down at random: rounding to nearest would shift the mean of small masks.
    n = jnp.clip(jnp.floor(sizes + rounding[:, 0]), 1, pixels - 1)

    grid = jnp.arange(size, dtype=jnp.float32) + 0.5
    dy = grid[None, None, :, None] - y[..., None, None]
    dx = grid[None, None, None, :] - x[..., None, None]
    angle, stretch = jnp.pi * turn[..., None, None], 1 + 0.5 * length[..., None, None]
    along = dx * jnp.cos(angle) + dy * jnp.sin(angle)
    across = dy * jnp.cos(angle) - dx * jnp.sin(angle)
    distance = (along / stretch) ** 2 + (across * stretch) ** 2
    # An image of n pixels: those that are nearest to a centre, as the ellipses measure it.
    depth = distance.min(axis=1)
    masks = depth <= _level_of(depth, n)[:, None, None]
    noisy = masks.astype(jnp.float32) + noise * jax.random.normal(to_noise, (count, size, size))
    # One scale at every noise, so that one learning rate means the same at every fraction.
    return Images(noisy / jnp.sqrt(1 + noise**2), masks)


def _level_of(depth: jax.Array, n: jax.Array) -> jax.Array:
    """Find, per image, a level that n pixels do not exceed: bisection, far cheaper than a sort."""

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
    # Full precision: an accelerator's default would round the images to 8 bits.
    return jnp.einsum("hi,...ij,wj->...hw", rows, images, columns, precision="highest")


@functools.cache
def calibrated_noise(
    fraction: float, reference_dice: float, *, count: int, size: int, objects: int = 1
) -> float:
    """Find the noise at which a reference segmenter reaches a given Dice.

    Without it a smaller object would also be a harder one, and a study of imbalance a study of
    difficulty. The reference blurs the image and cuts it at a threshold, each blur and threshold
    the best of a grid for these images; it knows nothing of training or losses.

    Args:
        fraction: π.
        reference_dice: the pooled Dice that the reference is to reach.
        count: images to calibrate on.
        size: height and width of an image.
        objects: ellipses in an image.

    Returns:
        The standard deviation of the noise, in units of the contrast.
    """
    clean, masks = make_images(
        jax.random.key(20_26), fraction, 0.0, count=count, size=size, objects=objects
    )
    enough = min(count, max(16, 2**18 // size**2))
    return float(_calibrate(clean[:enough], masks[:enough], reference_dice))


@jax.jit
def _calibrate(clean: jax.Array, masks: jax.Array, reference_dice: jax.Array) -> jax.Array:
    white = jax.random.normal(jax.random.key(11), clean.shape)
    scales = jnp.array([0.5, 0.8, 1.2, 1.8, 2.7, 4.0])
    thresholds = jnp.linspace(0.1, 1.0, 37)

    def best_dice(noise: jax.Array) -> jax.Array:
        def at_scale(scale: jax.Array) -> jax.Array:
            blurred = gaussian_blur(clean + noise * white, scale)

            def at_threshold(threshold: jax.Array) -> jax.Array:
                found = blurred > threshold
                both = jnp.sum(found & masks).astype(jnp.float32)
                return 2 * both / (jnp.sum(found) + jnp.sum(masks)).astype(jnp.float32)

            return jax.lax.map(at_threshold, thresholds).max()

        return jax.lax.map(at_scale, scales).max()

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = jnp.sqrt(low * high)
        easy = best_dice(middle) > reference_dice
        return jnp.where(easy, middle, low), jnp.where(easy, high, middle)

    low, high = jax.lax.fori_loop(0, 12, halve, (jnp.float32(0.02), jnp.float32(20.0)))
    return jnp.sqrt(low * high)
