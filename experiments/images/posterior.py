"""Images with an exactly known posterior: a visible field μ, and labels drawn from it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["LOGIT_SCALE", "posterior_logits"]

# Logit μ far from any object: one in 2,000 empty images of 64² has a stray foreground pixel.
_LEAST_LOGIT = -16.0
# An image is logit μ over this: it has about unit variance, and a linear model can give p = μ.
LOGIT_SCALE = 5.0


def posterior_logits(depth: jax.Array, foreground: jax.Array, softness: jax.Array) -> jax.Array:
    """Shape soft objects: logit μ falls linearly with the distance from an object's heart.

    logit μ = (1 − d/r)/softness, at least −16, d = √depth; r is such that Σμ is what was asked
    for. The profile scales with the object, so that its difficulty does not depend on its size.

    Args:
        depth: [B, H, W], in pixels², of `shapes.draw_depth`.
        foreground: [B], Σμ of each image.
        softness: how soft; 0 would be a hard edge.

    Returns:
        [B, H, W], logit μ.
    """
    distance = jnp.sqrt(depth)

    def logits(radius: jax.Array) -> jax.Array:
        return jnp.maximum((1 - distance / radius[:, None, None]) / softness, _LEAST_LOGIT)

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = jnp.sqrt(low * high)
        larger = jax.nn.sigmoid(logits(middle)).sum(axis=(1, 2)) < foreground
        return jnp.where(larger, middle, low), jnp.where(larger, high, middle)

    # From a hundredth of a pixel to far beyond the image: 24 halvings leave 1e-6 of the radius.
    start = jnp.full_like(foreground, 1e-2), jnp.full_like(foreground, 1e4)
    low, high = jax.lax.fori_loop(0, 24, halve, start)
    return logits(jnp.sqrt(low * high))
