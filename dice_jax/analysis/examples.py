"""The article's argument for one label matrix and one prediction matrix, in numbers."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax.analysis.gradient import pixel_gradient
from dice_jax.analysis.images import as_mask, as_probabilities
from dice_jax.losses.indices import dice_index
from dice_jax.losses.overlap import dice_loss
from dice_jax.sums.region import region_sums

__all__ = ["WorkedExample", "article_examples", "untrained_prediction", "worked_example"]

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class WorkedExample:
    r"""Every number of the article's argument for one image.

    Args:
        title: its name.
        target: Y, [H, W] booleans.
        prediction: Ŷ, [H, W] in [0, 1].
        smooth: the smoothing of the loss, in pixels.
        product: Y·Ŷ.
        intersection: Σyŷ.
        target_sum: Σy.
        prediction_sum: Σŷ.
        dice: the smoothed Dice index D; the loss is 1 − D.
        gradient: ∂L/∂ŷ at every pixel, by automatic differentiation.
        logit_gradient: the same with respect to the logits, gradient·ŷ(1 − ŷ).
        cross_entropy_logit_gradient: that of mean binary cross-entropy, (ŷ − y)/N.
        foreground_gradient: g₊, or ``None`` without foreground.
        background_gradient: g₋, or ``None`` without background.
        ratio: \|g₊\|/\|g₋\| = 2/D − 1; ``None`` where one of them is missing or g₋ is 0.
        chain_holds: whether Σyŷ < Σy < Σŷ, as the article has it.

    Example:
        >>> from dice_jax.analysis import worked_example
        >>> example = worked_example([[1, 0]], [[1.0, 0.5]], smooth=0.0)
        >>> print(example.gradient.round(2), example.findings[0])
        [[-0.48  0.32]] The article's chain Σyŷ < Σy < Σŷ fails here: 1 = 1 < 1.5.
    """

    title: str
    target: Array
    prediction: Array
    smooth: float
    product: Array
    intersection: float
    target_sum: float
    prediction_sum: float
    dice: float
    gradient: Array
    logit_gradient: Array
    cross_entropy_logit_gradient: Array
    foreground_gradient: float | None
    background_gradient: float | None
    ratio: float | None
    chain_holds: bool

    @property
    def findings(self) -> tuple[str, ...]:
        """What the numbers show, in sentences."""
        i, t, p = self.intersection, self.target_sum, self.prediction_sum
        if self.foreground_gradient is None:
            price = f"every pixel has the gradient {self.background_gradient:.3g}"
            if self.smooth == 0:
                price = "no pixel has a gradient"
            return (
                "There is no foreground: Σy = 0 and Σyŷ = 0, so |g₊|/|g₋| is not defined.",
                f"Only the smoothing pushes false positives down: at s = {self.smooth:g} {price}.",
            )
        if self.background_gradient is None:
            return ("There is no background: every pixel is pushed up.",)
        says: list[str] = []
        if self.chain_holds:
            says.append(f"The article's chain holds here: {i:.4g} < {t:.4g} < {p:.4g}.")
        else:
            first = "<" if i < t else "="
            second = "<" if t < p else ("=" if t == p else ">")
            says.append(
                "The article's chain Σyŷ < Σy < Σŷ fails here: "
                f"{i:.4g} {first} {t:.4g} {second} {p:.4g}."
            )
        if self.ratio is None:
            says.append(
                "Without overlap and without smoothing background pixels have no gradient, so a "
                "false positive costs nothing."
            )
        else:
            still = "" if self.chain_holds else "Still, "
            says.append(
                f"{still}|g₊|/|g₋| = {self.ratio:.4g} = 2/D − 1: a foreground pixel has the larger "
                "gradient, because 2Σyŷ ≤ Σy + Σŷ always."
                if self.ratio > 1
                else f"|g₊|/|g₋| = {self.ratio:.4g}: the prediction is perfect, and the two "
                "gradients are equal."
            )
        return tuple(says)


def worked_example(
    target: Any, prediction: Any, *, smooth: float = 1.0, title: str = "Worked example"
) -> WorkedExample:
    """Compute the article's argument for one image, in float64.

    Args:
        target: Y, [H, W], two-valued.
        prediction: Ŷ, [H, W], probabilities.
        smooth: the smoothing of the loss, in pixels; 1 in the article's code.
        title: its name on the page.

    Returns:
        A `WorkedExample`. A mask without foreground is a result that says so, not an error.

    Raises:
        ValueError: if the mask has more than two values, the prediction holds NaN or leaves [0, 1]
            (the error names the value and where it is), the shapes differ, or ``smooth`` is
            negative.

    Example:
        >>> from dice_jax.analysis import worked_example
        >>> example = worked_example([[0, 1], [0, 1]], [[0.5, 0.75], [0.25, 1.0]], smooth=0.0)
        >>> print(example.intersection, example.target_sum, example.prediction_sum)
        1.75 2.0 2.5
        >>> print(f"{example.ratio:.4f}", example.chain_holds)
        1.5714 True

    References:
        C1 and C2 of the theory page, and the article that they answer.
    """
    y, p = as_mask(target, "target"), as_probabilities(prediction)
    if y.shape != p.shape:
        raise ValueError(f"prediction must have the target's shape {y.shape}, got shape {p.shape}")
    with jax.enable_x64(True):
        sums = region_sums(jnp.asarray(p), jnp.asarray(y))
        loss = partial(dice_loss, smooth=smooth)
        gradient = np.asarray(pixel_gradient(loss, jnp.asarray(p), jnp.asarray(y)))
        dice = float(dice_index(sums, smooth=smooth))
        intersection, target_sum, prediction_sum = (
            float(x) for x in (sums.intersection, sums.target, sums.prediction)
        )
    foreground = float(gradient[y].mean()) if y.any() else None
    background = float(gradient[~y].mean()) if not y.all() else None
    ratio = -foreground / background if foreground is not None and background else None
    return WorkedExample(
        title=title,
        target=y,
        prediction=p,
        smooth=float(smooth),
        product=p * y,
        intersection=intersection,
        target_sum=target_sum,
        prediction_sum=prediction_sum,
        dice=dice,
        gradient=gradient,
        logit_gradient=gradient * p * (1 - p),
        cross_entropy_logit_gradient=(p - y) / p.size,
        foreground_gradient=foreground,
        background_gradient=background,
        ratio=ratio,
        chain_holds=intersection < target_sum < prediction_sum,
    )


def article_examples(*, smooth: float = 1.0) -> tuple[WorkedExample, WorkedExample]:
    """Two substitutes for the article's lost matrices: its chain holds in one and fails in one.

    Args:
        smooth: the smoothing of the loss, in pixels.

    Returns:
        Two worked examples on one label matrix.

    Example:
        >>> from dice_jax.analysis import article_examples
        >>> print([example.chain_holds for example in article_examples()])
        [True, False]
    """
    label = np.zeros((6, 6), bool)
    label[1, 2:4] = label[2, 1:4] = label[3, 2:4] = True
    # An over-segmenting network: certain of the middle, and positive beyond the edge.
    wide = [
        [0.1, 0.2, 0.3, 0.3, 0.1, 0.0],
        [0.2, 0.4, 0.8, 0.7, 0.3, 0.1],
        [0.3, 0.7, 0.9, 0.9, 0.4, 0.1],
        [0.2, 0.4, 0.8, 0.8, 0.3, 0.1],
        [0.1, 0.2, 0.3, 0.3, 0.2, 0.0],
        [0.0, 0.1, 0.1, 0.1, 0.0, 0.0],
    ]
    # An under-segmenting one: it sees the middle only.
    narrow = [
        [0.0, 0.0, 0.1, 0.0, 0.0, 0.0],
        [0.0, 0.1, 0.4, 0.3, 0.0, 0.0],
        [0.0, 0.3, 0.9, 0.6, 0.1, 0.0],
        [0.0, 0.1, 0.5, 0.4, 0.0, 0.0],
        [0.0, 0.0, 0.1, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
    return (
        worked_example(label, wide, smooth=smooth, title="Substitute A: the article's chain holds"),
        worked_example(
            label, narrow, smooth=smooth, title="Substitute B: the article's chain fails"
        ),
    )


def untrained_prediction(target: Any) -> Array:
    """A prediction for a mask that comes without one: ½ everywhere, as from an untrained network.

    Args:
        target: [H, W], two-valued.

    Returns:
        [H, W] float64.

    Example:
        >>> from dice_jax.analysis import untrained_prediction
        >>> print(untrained_prediction([[0, 1]]))
        [[0.5 0.5]]

    References:
        C2 of the theory page: the chain holds where the model over-segments.
    """
    return np.full(as_mask(target).shape, 0.5)
