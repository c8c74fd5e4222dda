"""The noise that makes a task equally hard at every fraction, found by bisection."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

import dice_jax as dj
from experiments.images.masks import gaussian_blur, make_images
from experiments.images.shapes import SHAPES

__all__ = ["calibrated_noise"]


@functools.cache
def calibrated_noise(
    fraction: float,
    reference_dice: float,
    *,
    count: int,
    size: int | tuple[int, int],
    objects: int = 1,
    shape: str = "ellipse",
) -> float:
    """Find the noise at which a reference segmenter reaches a given Dice.

    Without it, smaller objects would also be harder to find, and a study of imbalance would be a
    study of difficulty. The reference blurs the image and applies a threshold, both the best of a
    grid for these images; it knows nothing of training or losses. For the shape "posterior" the
    softness is set so that D*, the best possible Dice, has the given value.

    Args:
        fraction: π, of images that are not empty.
        reference_dice: the pooled Dice that the reference is to reach.
        count: images to calibrate on.
        size: height and width of an image.
        objects: in an image.
        shape: a name in `shapes.SHAPES`.

    Returns:
        The standard deviation of the noise, in units of the contrast; for the shape "posterior"
        the softness of its objects.
    """
    key, size = jax.random.key(20_26), (size, size) if isinstance(size, int) else size
    enough = min(count, max(16, 2**18 // math.prod(size)))
    draw = partial(make_images, key, fraction, count=count, size=size, objects=objects, shape=shape)
    if SHAPES[shape].posterior:
        return _calibrate_softness(
            lambda softness: draw(softness).posterior, enough, reference_dice
        )
    clean, masks, _ = draw(0.0)
    return float(_calibrate(clean[:enough], masks[:enough], reference_dice))


def _calibrate_softness(
    posterior: Callable[[float], jax.Array | None], enough: int, reference_dice: float
) -> float:
    low, high = 0.01, 2.0
    for _ in range(12):
        middle = math.sqrt(low * high)
        mu = posterior(middle)
        assert mu is not None
        easy = float(dj.analysis.dice_oracle(mu[:enough]).dice) > reference_dice
        low, high = (middle, high) if easy else (low, middle)
    return math.sqrt(low * high)


@jax.jit
def _calibrate(clean: jax.Array, masks: jax.Array, reference_dice: jax.Array) -> jax.Array:
    white = jax.random.normal(jax.random.key(11), clean.shape)
    scales = jnp.array([0.5, 0.8, 1.2, 1.8, 2.7, 4.0])
    thresholds = jnp.linspace(0.1, 1.0, 37)

    def best_dice(noise: jax.Array) -> jax.Array:
        def at_scale(scale: jax.Array) -> jax.Array:
            blurred = gaussian_blur(clean + noise * white, scale)

            # Pixels by how many thresholds they exceed: the sums give what each threshold finds.
            exceeded, length = jnp.searchsorted(thresholds, blurred).ravel(), len(thresholds) + 1
            pixels = jnp.bincount(exceeded, length=length)
            true = jnp.bincount(exceeded, masks.ravel().astype(pixels.dtype), length=length)
            found, both = (n.sum() - jnp.cumsum(n)[:-1] for n in (pixels, true))
            return (2 * both.astype(jnp.float32) / (found + true.sum()).astype(jnp.float32)).max()

        return jax.lax.map(at_scale, scales).max()

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = jnp.sqrt(low * high)
        easy = best_dice(middle) > reference_dice
        return jnp.where(easy, middle, low), jnp.where(easy, high, middle)

    low, high = jax.lax.fori_loop(0, 12, halve, (jnp.float32(0.02), jnp.float32(20.0)))
    return jnp.sqrt(low * high)
