"""The losses that are timed, as each library writes them: pooled over the batch, smoothing 1."""

# The peers need not be installed.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import dice_jax as dj

__all__ = [
    "OBJECTIVES",
    "SIGMOID_DICE",
    "SIGMOID_DICE_BCE",
    "SOFTMAX_DICE",
    "SOFTMAX_DICE_CE",
    "Objective",
]


@dataclass(frozen=True)
class Objective:
    """One loss in every library.

    Args:
        name: for names of rows.
        title: for the table.
        sums: dice_jax's sums of logits and labels.
        loss: dice_jax's scalar loss of those sums.
        optax: Optax's scalar loss of logits and labels.
        optax_note: how Optax was made to compute the same.
        monai: makes MONAI's loss module.
        activation: the loss's own, which alone is the yardstick; a function of the logits.
    """

    name: str
    title: str
    sums: Callable[[jax.Array, jax.Array], dj.RegionSums]
    loss: Callable[[dj.RegionSums], jax.Array]
    optax: Callable[[jax.Array, jax.Array], jax.Array]
    optax_note: str
    monai: Callable[[], Any]
    activation: Callable[[jax.Array], jax.Array]

    def dice_jax(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Compute dice_jax's loss of logits and labels."""
        return self.loss(self.sums(logits, labels))


# Optax adds its smoothing to half of the sums that dice_jax adds it to: 0.5 there is 1 here.
_OPTAX_SMOOTH = 0.5
_OPTAX_DICE_NOTE = (
    "optax: losses.dice_loss over all pixel axes with smooth=0.5, which is 1 in the usual form; it "
    "takes one-hot targets, made inside the timed call"
)


def _optax_softmax_dice(logits: jax.Array, labels: jax.Array) -> jax.Array:
    import optax

    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    # Optax annotates a single axis, but the code takes several.
    pixels: Any = tuple(range(labels.ndim))
    return optax.losses.dice_loss(logits, targets, smooth=_OPTAX_SMOOTH, axis=pixels)


def _optax_softmax_dice_ce(logits: jax.Array, labels: jax.Array) -> jax.Array:
    import optax

    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return _optax_softmax_dice(logits, labels) + jnp.mean(entropy)


def _optax_sigmoid_dice(logits: jax.Array, targets: jax.Array) -> jax.Array:
    import optax

    pixels: Any = tuple(range(targets.ndim))
    return optax.losses.dice_loss(
        logits[..., None],
        targets[..., None].astype(logits.dtype),
        smooth=_OPTAX_SMOOTH,
        axis=pixels,
    )


def _optax_sigmoid_dice_bce(logits: jax.Array, targets: jax.Array) -> jax.Array:
    import optax

    entropy = optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype))
    return _optax_sigmoid_dice(logits, targets) + jnp.mean(entropy)


_MONAI = {"batch": True, "smooth_nr": 1.0, "smooth_dr": 1.0}


def _monai_softmax_dice() -> Any:
    from monai.losses.dice import DiceLoss

    return DiceLoss(softmax=True, to_onehot_y=True, **_MONAI)


def _monai_softmax_dice_ce() -> Any:
    from monai.losses.dice import DiceCELoss

    return DiceCELoss(softmax=True, to_onehot_y=True, **_MONAI)


def _monai_sigmoid_dice() -> Any:
    from monai.losses.dice import DiceLoss

    return DiceLoss(sigmoid=True, **_MONAI)


def _monai_sigmoid_dice_bce() -> Any:
    from monai.losses.dice import DiceCELoss

    return DiceCELoss(sigmoid=True, **_MONAI)


def _mean_dice(sums: dj.RegionSums) -> jax.Array:
    return dj.dice_loss(sums).mean()


SOFTMAX_DICE = Objective(
    name="dice",
    title="softmax Dice",
    sums=dj.softmax_region_sums,
    loss=_mean_dice,
    optax=_optax_softmax_dice,
    optax_note=_OPTAX_DICE_NOTE,
    monai=_monai_softmax_dice,
    activation=jax.nn.softmax,
)
SOFTMAX_DICE_CE = Objective(
    name="dice-ce",
    title="softmax Dice + CE",
    sums=dj.softmax_region_sums,
    loss=lambda sums: _mean_dice(sums) + dj.cross_entropy_loss(sums),
    optax=_optax_softmax_dice_ce,
    optax_note=f"{_OPTAX_DICE_NOTE}; cross-entropy by softmax_cross_entropy_with_integer_labels",
    monai=_monai_softmax_dice_ce,
    activation=jax.nn.softmax,
)
SIGMOID_DICE = Objective(
    name="dice-binary",
    title="sigmoid Dice",
    sums=dj.sigmoid_region_sums,
    loss=_mean_dice,
    optax=_optax_sigmoid_dice,
    optax_note="optax: losses.dice_loss of [..., 1] over all pixel axes with smooth=0.5",
    monai=_monai_sigmoid_dice,
    activation=jax.nn.sigmoid,
)
SIGMOID_DICE_BCE = Objective(
    name="dice-bce",
    title="sigmoid Dice + BCE",
    sums=dj.sigmoid_region_sums,
    loss=lambda sums: _mean_dice(sums) + dj.binary_cross_entropy_loss(sums),
    optax=_optax_sigmoid_dice_bce,
    optax_note="optax: losses.dice_loss of [..., 1] over all pixel axes with smooth=0.5, plus "
    "sigmoid_binary_cross_entropy",
    monai=_monai_sigmoid_dice_bce,
    activation=jax.nn.sigmoid,
)

OBJECTIVES = {o.name: o for o in (SOFTMAX_DICE, SOFTMAX_DICE_CE, SIGMOID_DICE, SIGMOID_DICE_BCE)}
