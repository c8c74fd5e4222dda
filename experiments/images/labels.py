"""Labels with an annotator's errors: boundaries displaced at random, or always to one side."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import dice_jax as dj
from experiments.images.masks import gaussian_blur

__all__ = ["deformed"]

# Along how many pixels of a boundary an annotator errs in the same direction.
_CORRELATION = 3.0


@jax.jit
def deformed(
    key: jax.Array, masks: jax.Array, noise: jax.Array | float, bias: jax.Array | float
) -> jax.Array:
    """Move the boundaries of masks.

    A pixel is inside if its signed distance to the true boundary is at most ``bias`` plus a smooth
    Gaussian field of standard deviation ``noise``. What is thinner than that may vanish, and an
    image without an object stays without.

    Args:
        key: a JAX random key.
        masks: [B, H, W], boolean.
        noise: in pixels.
        bias: in pixels; positive: too large.

    Returns:
        [B, H, W], boolean.
    """
    white = jax.random.normal(key, masks.shape)
    # The standard deviation that blurring leaves of white noise, per row and per column.
    rows, columns = (
        jnp.linalg.norm(gaussian_blur(jnp.eye(n)[:, :, None], _CORRELATION)[..., 0], axis=1)
        for n in masks.shape[1:]
    )
    field = gaussian_blur(white, _CORRELATION) / (rows[:, None] * columns)
    distance = dj.signed_distance(masks, axis=(1, 2))
    # Between neighbours the distance jumps from −1 to 1; the boundary is half a pixel from both.
    distance = distance - 0.5 * jnp.sign(distance)
    moved = distance <= jnp.float32(bias) + jnp.float32(noise) * field
    # An image with only one class has no boundary to move.
    return jnp.where((distance == 0).all(axis=(1, 2), keepdims=True), masks, moved)
