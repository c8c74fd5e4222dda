"""Which pictures a study has, in their order, with their titles and captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from matplotlib.figure import Figure

from experiments.analysis.tiers import Tier
from experiments.reporting import plots

__all__ = ["Picture", "pictures"]


class Picture(NamedTuple):
    """A figure of a study.

    Args:
        name: of its file.
        title: in words.
        caption: what it shows.
        figure: drawn.
    """

    name: str
    title: str
    caption: str
    figure: Figure


class _Entry(NamedTuple):
    draw: Callable[[Tier], Figure | None]
    title: str
    caption: str
    # The models whose pictures it is among where they are not the study's richest.
    also: tuple[str, ...] = ()


# A bias-only model has one number: scores of its pixels say nothing.
_OF_BIAS = ("constants", "gradient_share")

_ENTRIES: dict[str, _Entry] = {
    "constants": _Entry(
        plots.constants,
        "The best constant prediction",
        "Where a model that is one number ends, with 95 % t intervals over seeds. Lines are what "
        "C6 says; dashed, where theory has no closed form, the minimum of the loss by search.",
    ),
    "dice_against_fraction": _Entry(
        plots.dice_against_fraction,
        "Dice against the foreground fraction",
        "Mean over test images, then over seeds, with 95 % t intervals; faint dots are seeds, "
        "bands the hierarchical bootstrap over seeds and images. Left, every loss at the threshold "
        "0.5; right, at the one that was best on validation images. The axis shows the range there "
        "is, and need not start at 0. Where the posterior is known, "
        "the dashed line is the prediction that no other can beat in expectation.",
        also=("linear",),
    ),
    "differences": _Entry(
        plots.differences,
        "Differences, seed by seed",
        "Each loss at the threshold 0.5 minus the baseline at its tuned threshold, in test Dice: "
        "mean over seeds and 95 % t interval; faint dots are seeds.",
        also=("linear",),
    ),
    "learning_rates": _Entry(
        plots.learning_rates,
        "How much the learning rate matters",
        "Validation Dice at the tuned threshold on one further seed; the ring marks the rate that "
        "the runs were trained with.",
    ),
    "learning_curves": _Entry(
        plots.learning_curves,
        "Learning curves",
        "Dice at 0.5 of each logged training batch: mean over seeds, and their range.",
    ),
    "gradient_share": _Entry(
        plots.gradient_share,
        "The foreground's share of the gradient",
        "M₊/(M₊ + M₋), the share of Σ|gradient| that falls on foreground pixels: mean over seeds, "
        "and their range. Above in probability space, with C5's share of Dice computed from the "
        "batch's mean p alone (dotted); below at the logits, where the network is pulled, with "
        "the ½ where C7 puts every loss at rest, so that ½ at the end is no sign of balance. "
        "Diamonds are C5 at the start, where all pixels have one p.",
        also=("linear",),
    ),
    "gradient_ratio": _Entry(
        plots.gradient_ratio,
        "One foreground pixel against one background pixel",
        "Every logged step of every run. For Dice the ratio is 2/D − 1 exactly, whatever the "
        "network: large while Dice is small, and 1 once it is right.",
    ),
    "trajectories": _Entry(
        plots.trajectories,
        "Where training takes p",
        "Mean p of the background (to the right) and of the foreground (upwards) over training: "
        "mean over seeds, from the ring to the mark. Contours are the soft Dice that these two "
        "means give.",
    ),
    "examples": _Entry(
        plots.examples,
        "Predictions and the gradient at every pixel",
        "Test images of the first seed, the mask's outline in orange. p after training, and the "
        "gradient of each loss at the logits of these images: at p = ½, where training starts, "
        "and after it. Blue pulls a pixel towards foreground, red towards background; the scale of "
        "each map stands below it.",
    ),
    "reliability": _Entry(
        plots.reliability,
        "Reliability",
        "How often a test pixel is foreground, against the p that it was given: bins of p, the "
        "pixels of all seeds together. Below the diagonal p claims too much.",
        also=("linear",),
    ),
    "volume_bias": _Entry(
        plots.volume_bias,
        "Volume bias",
        "(found − there)/there over all test pixels, with 95 % t intervals; the axis is "
        "logarithmic beyond ± 0.1. Left, of the pixels with p ≥ ½; right, of the sum of p.",
        also=("linear",),
    ),
    "size_recall": _Entry(
        plots.size_recall,
        "Recall by size",
        "Share of an object's pixels that were found at 0.5, against its size: objects of all "
        "test images and seeds, in octaves of pixels.",
    ),
    "surfaces": _Entry(
        plots.surfaces,
        "Surfaces",
        "At the threshold 0.5, with 95 % t intervals. Left, the distance that 95 % of the surface "
        "points keep (images in which something was found); right, the share of the surface that "
        "lies within a pixel of the other.",
    ),
    "empties": _Entry(
        plots.empties,
        "Empty images",
        "Share of the test images without foreground in which any was found, with 95 % t "
        "intervals. They are in no Dice above.",
    ),
}


def pictures(tier: Tier, *, richest: bool = True) -> Iterator[Picture]:
    """Draw one model's figures.

    Args:
        tier: the study's.
        richest: whether it is the study's richest model, which has all figures; of the others
            there are those that they are there for, with the model's name in theirs.

    Yields:
        One `Picture` after the other, where there is something to draw.
    """
    model = tier.config.model
    for name, entry in _ENTRIES.items():
        wanted = name in _OF_BIAS if model == "bias" else richest or model in entry.also
        figure = entry.draw(tier) if wanted else None
        if figure is not None:
            full = name if richest else f"{model}_{name}"
            yield Picture(full, entry.title, entry.caption, figure)
