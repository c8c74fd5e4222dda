"""The optimisers of a study: a gradient becomes a direction, which the learning rate scales."""

from __future__ import annotations

import optax

__all__ = ["OPTIMISERS"]

# A step is parameters − rate · direction; the rate follows `training.schedule`.
OPTIMISERS: dict[str, optax.GradientTransformation] = {
    "adam": optax.scale_by_adam(),
    # Heavy ball at 0.9: a direction is up to ten gradients long.
    "sgd": optax.trace(decay=0.9),
}
