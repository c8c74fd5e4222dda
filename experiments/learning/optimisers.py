"""The optimisers of a study: each turns a gradient into a direction."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import optax

__all__ = ["OPTIMISERS", "Optimiser"]


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """An optimiser with its settings. A step is parameters − rate · direction.

    Args:
        name: a name in `OPTIMISERS`.
        clip_norm: a longer gradient is scaled down to this norm first; ``None``: no clipping.
        beta2: Adam's decay of the second moment.
        epsilon: Adam's ε.
    """

    name: str = "adam"
    clip_norm: float | None = None
    beta2: float = 0.999
    epsilon: float = 1e-8

    @property
    def transformation(self) -> optax.GradientTransformation:
        """The same settings as a transformation of Optax, from gradients to directions."""
        return _made(self)


OPTIMISERS: dict[str, Callable[[Optimiser], optax.GradientTransformation]] = {
    "adam": lambda how: optax.scale_by_adam(b2=how.beta2, eps=how.epsilon),
    # Momentum 0.9: a direction is up to ten times as long as a gradient.
    "sgd": lambda how: optax.trace(decay=0.9),
}


@functools.cache
def _made(how: Optimiser) -> optax.GradientTransformation:
    own = OPTIMISERS[how.name](how)
    if how.clip_norm is None:
        return own
    return optax.chain(optax.clip_by_global_norm(how.clip_norm), own)
