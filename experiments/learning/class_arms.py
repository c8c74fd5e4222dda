"""The losses that a study of several classes compares: functions of softmax outputs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import dice_jax as dj
from experiments.learning.arms import canonical_name

__all__ = [
    "CLASS_ARMS",
    "CLASS_LOSSES",
    "ClassArm",
    "class_name",
    "diagnose_classes",
    "parse_class",
]

# What a study of classes compares unless its losses are named.
CLASS_ARMS = ("ce", "dice+ce", "foreground_dice+ce", "generalized_dice", "focal")


class ClassSums(NamedTuple):
    """The sums that the losses of classes are functions of.

    Args:
        regions: of every class, pooled over the batch.
        focal: Σ of the softmax focal loss (γ = 2) over the pixels.
    """

    regions: dj.RegionSums
    focal: jax.Array


def _class_dice(sums: ClassSums, smooth: float, first: int) -> jax.Array:
    regions = jax.tree.map(lambda x: x[first:], sums.regions)
    # A class that the batch lacks has nothing to overlap with.
    return dj.safe_mean(dj.dice_loss(regions, smooth=smooth), where=regions.target > 0)


CLASS_LOSSES: dict[str, Callable[[ClassSums, float], jax.Array]] = {
    "ce": lambda s, _: dj.cross_entropy_loss(s.regions),
    "dice": lambda s, smooth: _class_dice(s, smooth, first=0),
    "foreground_dice": lambda s, smooth: _class_dice(s, smooth, first=1),
    "generalized_dice": lambda s, smooth: dj.generalized_dice_loss(s.regions, smooth=smooth),
    "focal": lambda s, _: s.focal / s.regions.count[0],
}


_ENTROPIES = {"bce": "ce", "crossentropy": "ce", "dicece": "dice+ce", "dicebce": "dice+ce"}


def class_name(name: str) -> str:
    """Write a loss of classes as `CLASS_LOSSES` does: "Dice + BCE" is "dice+ce"."""
    return canonical_name(name, CLASS_LOSSES, _ENTROPIES)


@dataclasses.dataclass(frozen=True)
class ClassArm:
    """A loss of softmax outputs: ``arm(arm.sums(logits, labels))`` is a scalar.

    Args:
        losses: names in `CLASS_LOSSES`, added with weight 1.
        smooth: s of the overlap losses, in pixels.
    """

    losses: tuple[str, ...]
    smooth: float

    def sums(self, logits: jax.Array, labels: jax.Array) -> ClassSums:
        """Add up a batch: logits [B, H, W, K], labels [B, H, W]."""
        labels = labels.astype(jnp.int32)
        return ClassSums(
            dj.softmax_region_sums(logits, labels),
            dj.softmax_focal_loss(logits, labels, gamma=2.0).sum(),
        )

    def __call__(self, sums: ClassSums) -> jax.Array:
        """Compute the loss, a scalar."""
        return jnp.stack([CLASS_LOSSES[name](sums, self.smooth) for name in self.losses]).sum()


@functools.cache
def parse_class(name: str, smooth: float) -> ClassArm:
    """Return the arm of a name: the same object every time, so that it compiles once."""
    return ClassArm(tuple(name.split("+")), smooth)


def diagnose_classes(
    arm: ClassArm, logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """Compute a batch's gradient at the logits, and measure the step, as `training.diagnose` does.

    Args:
        arm: the loss.
        logits: [B, H, W, K].
        labels: [B, H, W].

    Returns:
        The gradient of the loss with respect to the logits, and scalars by name. ``dice`` and
        ``soft_dice`` are means over the classes of the batch but the background.
    """
    loss, gradient = jax.value_and_grad(lambda z: arm(arm.sums(z, labels)))(logits)
    labels = labels.astype(jnp.int32)
    soft = dj.softmax_region_sums(logits, labels)
    chosen = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=logits.dtype)
    truth = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    hard = dj.region_sums(chosen, truth, axis=(0, 1, 2))
    present = soft.target[1:] > 0
    return gradient, {
        "loss": loss,
        "dice": dj.safe_mean(dj.dice_index(hard)[1:], where=present),
        "soft_dice": dj.safe_mean(dj.dice_index(soft)[1:], where=present),
        "foreground_fraction": 1 - soft.target[0] / soft.count[0],
    }
