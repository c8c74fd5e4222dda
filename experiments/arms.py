"""The arms of a study: named losses, each a function of the same additive sums."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import dice_jax as dj

__all__ = ["LOSSES", "SMOOTH", "Arm", "ArmSums", "arm_sums", "known_losses", "parse_arm"]

# In pixels. Not the article's 1: on a small object that turns the push round (theory: C6).
SMOOTH = 1e-5


class ArmSums(NamedTuple):
    """The additive sums that every arm is a function of; one that no arm reads costs nothing.

    Args:
        foreground: sums of p = σ(z) over the batch, pooled.
        classes: the same task as two softmax classes (background, foreground), for losses that
            weight classes against each other.
        focal: Σ of Optax's sigmoid focal loss (α = 0.25, γ = 2: Lin et al. 2017).
    """

    foreground: dj.RegionSums
    classes: dj.RegionSums
    focal: jax.Array


Arm = Callable[[ArmSums], jax.Array]


def arm_sums(logits: jax.Array, masks: jax.Array) -> ArmSums:
    """Add up a batch for the arms, pooled over all of its pixels.

    Args:
        logits: [...], floating.
        masks: [...], boolean.

    Returns:
        `ArmSums` of scalars.
    """
    two_classes = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
    focal = optax.sigmoid_focal_loss(logits, masks.astype(logits.dtype), alpha=0.25, gamma=2.0)
    return ArmSums(
        foreground=dj.sigmoid_region_sums(logits, masks),
        classes=dj.softmax_region_sums(two_classes, masks.astype(jnp.int32)),
        focal=focal.sum(),
    )


def _balanced_bce(sums: ArmSums) -> jax.Array:
    # Each class's mean cross-entropy weighs ½; max(·, 1): a batch may lack a class.
    s = sums.foreground
    foreground = s.foreground_cross_entropy / jnp.maximum(s.target, 1)
    background = s.background_cross_entropy / jnp.maximum(s.count - s.target, 1)
    return (foreground + background) / 2


LOSSES: dict[str, Arm] = {
    "bce": lambda s: dj.binary_cross_entropy_loss(s.foreground),
    "balanced_bce": _balanced_bce,
    "focal": lambda s: s.focal / s.foreground.count,
    "dice": lambda s: dj.dice_loss(s.foreground, smooth=SMOOTH),
    "squared_dice": lambda s: dj.squared_dice_loss(s.foreground, smooth=SMOOTH),
    # Half the smoothing: then it pulls in Dice's direction exactly (C3), the negative control.
    "jaccard": lambda s: dj.jaccard_loss(s.foreground, smooth=SMOOTH / 2),
    "tversky": lambda s: dj.tversky_loss(s.foreground, alpha=0.3, beta=0.7, smooth=SMOOTH),
    "focal_tversky": lambda s: dj.focal_tversky_loss(
        s.foreground, alpha=0.3, beta=0.7, gamma=0.75, smooth=SMOOTH
    ),
    "generalized_dice": lambda s: dj.generalized_dice_loss(s.classes, smooth=SMOOTH),
    "log_dice": lambda s: dj.log_dice_loss(s.foreground, smooth=SMOOTH),
    "log_cosh_dice": lambda s: dj.log_cosh_dice_loss(s.foreground, smooth=SMOOTH),
}


def known_losses() -> tuple[str, ...]:
    """Return the names that `parse_arm` takes (and takes sums of)."""
    return tuple(LOSSES)


@functools.cache
def parse_arm(name: str) -> Arm:
    """Find the arm of a name; the same object every time, so that it compiles once.

    Args:
        name: a loss, or several joined by ``+``, each with weight 1.

    Returns:
        A function of `ArmSums` to a scalar.

    Raises:
        KeyError: with the part of the name that is not known.
    """
    losses = [LOSSES[part] for part in name.split("+")]
    if len(losses) == 1:
        return losses[0]

    def total(sums: ArmSums) -> jax.Array:
        return jnp.stack([loss(sums) for loss in losses]).sum()

    return total
