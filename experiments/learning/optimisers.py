"""The optimisers of a study: each turns a gradient into a direction."""

from __future__ import annotations

import optax

__all__ = ["OPTIMISERS"]

# A step is parameters − rate · direction, where the rate follows `training.schedule`.
OPTIMISERS: dict[str, optax.GradientTransformation] = {
    "adam": optax.scale_by_adam(),
    # Momentum 0.9: a direction is up to ten times as long as a gradient.
    "sgd": optax.trace(decay=0.9),
}
