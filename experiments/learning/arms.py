"""The losses that a study compares (its arms), each a function of the same additive sums."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import dice_jax as dj

__all__ = [
    "ARM_OPTIONS",
    "LOSSES",
    "OVERLAP_SYNONYMS",
    "POOLINGS",
    "SMOOTH",
    "Arm",
    "ArmSums",
    "arm_sums",
    "canonical_name",
    "options_of",
    "parse_arm",
]

# In pixels. Not the article's 1, which reverses the gradient on a small object (theory: C6).
SMOOTH = 1e-5

# The axes of [B, H, W] that one sum runs over.
POOLINGS: dict[str, tuple[int, ...] | None] = {"batch": None, "sample": (-2, -1)}


class ArmSums(NamedTuple):
    """The additive sums that every arm is a function of. Sums that are not read cost nothing.

    Args:
        foreground: sums of p = σ(z) over the batch, pooled (or over each image).
        classes: the same task as two softmax classes (background, foreground), for losses that
            weight classes against each other.
        focal: Σ of Optax's sigmoid focal loss (α = 0.25, γ = 2: Lin et al. 2017).
    """

    foreground: dj.RegionSums
    classes: dj.RegionSums
    focal: jax.Array


def arm_sums(logits: jax.Array, masks: jax.Array, *, pooling: str = "batch") -> ArmSums:
    """Add up a batch for the arms.

    Args:
        logits: [B, H, W], floating.
        masks: [B, H, W], boolean.
        pooling: "batch", over all of its pixels, or "sample", over each image's.

    Returns:
        `ArmSums` of scalars, or of [B].
    """
    axis = POOLINGS[pooling]
    two_classes = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
    focal = optax.sigmoid_focal_loss(logits, masks.astype(logits.dtype), alpha=0.25, gamma=2.0)
    return ArmSums(
        foreground=dj.sigmoid_region_sums(logits, masks, axis=axis),
        classes=dj.softmax_region_sums(two_classes, masks.astype(jnp.int32), axis=axis),
        focal=focal.sum(axis),
    )


# A function of the sums and of s, in pixels, with one number per pooled region.
Loss = Callable[[ArmSums, float], jax.Array]


def _balanced_bce(sums: ArmSums, smooth: float) -> jax.Array:
    del smooth
    # Each class's mean cross-entropy weighs ½. A batch may lack a class, hence max(·, 1).
    s = sums.foreground
    foreground = s.foreground_cross_entropy / jnp.maximum(s.target, 1)
    background = s.background_cross_entropy / jnp.maximum(s.count - s.target, 1)
    return (foreground + background) / 2


LOSSES: dict[str, Loss] = {
    "bce": lambda s, _: dj.binary_cross_entropy_loss(s.foreground),
    "balanced_bce": _balanced_bce,
    "focal": lambda s, _: s.focal / s.foreground.count,
    "dice": lambda s, smooth: dj.dice_loss(s.foreground, smooth=smooth),
    "squared_dice": lambda s, smooth: dj.squared_dice_loss(s.foreground, smooth=smooth),
    # With half the smoothing, its gradient is exactly parallel to Dice's (C3): a negative control.
    "jaccard": lambda s, smooth: dj.jaccard_loss(s.foreground, smooth=smooth / 2),
    "tversky": lambda s, smooth: dj.tversky_loss(s.foreground, alpha=0.3, beta=0.7, smooth=smooth),
    "focal_tversky": lambda s, smooth: dj.focal_tversky_loss(
        s.foreground, alpha=0.3, beta=0.7, gamma=0.75, smooth=smooth
    ),
    "generalized_dice": lambda s, smooth: dj.generalized_dice_loss(s.classes, smooth=smooth),
    "log_dice": lambda s, smooth: dj.log_dice_loss(s.foreground, smooth=smooth),
    "log_cosh_dice": lambda s, smooth: dj.log_cosh_dice_loss(s.foreground, smooth=smooth),
}


# What an arm may set for itself: the option, the field of `StudyConfig` that it replaces, and how
# its value is read.
ARM_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "rate": ("learning_rates", lambda text: (float(text),)),
    "smooth": ("smooth", float),
    "pooling": ("pooling", str),
    "start": ("initial_bias", str),
    "optimiser": ("optimiser", str),
    "clip": ("clip_norm", float),
    "beta2": ("beta2", float),
    "epsilon": ("epsilon", float),
    "warmup": ("warmup_steps", int),
}


# Other names of the overlap losses, without spaces, hyphens and underscores.
OVERLAP_SYNONYMS = {
    "softdice": "dice",
    "sorensendice": "dice",
    "vnetdice": "squared_dice",
    "iou": "jaccard",
    "softiou": "jaccard",
    "softjaccard": "jaccard",
    "gdl": "generalized_dice",
    "generaliseddice": "generalized_dice",
}
# With one foreground class, cross-entropy is binary cross-entropy.
_BINARY = {
    "ce": "bce",
    "crossentropy": "bce",
    "binarycrossentropy": "bce",
    "balancedce": "balanced_bce",
    "dicece": "dice+bce",
    "dicebce": "dice+bce",
}


def canonical_name(
    name: str, known: Iterable[str] = LOSSES, entropies: Mapping[str, str] = _BINARY
) -> str:
    """Write an arm's name as ``known`` does: "Dice + CE" and "DiceCELoss" are "dice+bce".

    Args:
        name: of one or several losses, in any case, with or without options.
        known: names of losses.
        entropies: other names of cross-entropy and of its sums.

    Returns:
        The name. A part that is not known stays as it is, in lower case.
    """
    losses, comma, options = name.lower().partition(",")
    names = {_letters(loss): loss for loss in known} | OVERLAP_SYNONYMS | dict(entropies)
    parts = [names.get(_letters(part), part.strip()) for part in losses.split("+")]
    return "+".join(parts) + comma + options


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).removesuffix("loss")


def options_of(name: str) -> tuple[str, dict[str, str]]:
    """Split an arm's name into its losses and what it sets for itself.

    ``"dice+bce,clip=1,rate=0.033"`` has the losses ``"dice+bce"``, and the options clip and rate.
    """
    losses, *options = name.split(",")
    pairs = (option.partition("=") for option in options)
    return losses, {key: value for key, _, value in pairs}


@dataclasses.dataclass(frozen=True)
class Arm:
    """A loss, and what its sums run over: ``arm(arm.sums(logits, masks))`` is a scalar.

    Args:
        losses: names in `LOSSES`, added with weight 1.
        pooling: a name in `POOLINGS`; per sample, the losses of the images are averaged.
        smooth: s of the overlap losses, in pixels.
    """

    losses: tuple[str, ...]
    pooling: str = "batch"
    smooth: float = SMOOTH

    def sums(self, logits: jax.Array, masks: jax.Array) -> ArmSums:
        """Add up a batch as this arm pools it; see `arm_sums`."""
        return arm_sums(logits, masks, pooling=self.pooling)

    def __call__(self, sums: ArmSums) -> jax.Array:
        """Compute the loss, a scalar, from sums of this arm's pooling."""
        parts = [LOSSES[name](sums, self.smooth) for name in self.losses]
        total = parts[0] if len(parts) == 1 else jnp.stack(parts).sum(axis=0)
        return total.mean()


@functools.cache
def parse_arm(name: str, pooling: str = "batch", smooth: float = SMOOTH) -> Arm:
    """Return the arm of a name: the same object every time, so that it compiles once.

    Args:
        name: a loss, or several joined by ``+``, each with weight 1, without options.
        pooling: a name in `POOLINGS`.
        smooth: s of the overlap losses, in pixels.

    Returns:
        The `Arm`.

    Raises:
        KeyError: with the part of the name, or the pooling, that is not known.
    """
    names = tuple(name.split("+"))
    for part in names:
        LOSSES[part]
    POOLINGS[pooling]
    return Arm(names, pooling, smooth)
