"""Losses, fractions and numbers as a person reads them."""

import numpy as np

from experiments.analysis.statistics import Interval
from experiments.reporting.rendering import interval_text, joined, label, percent


def test_losses_have_names():
    names = [
        label(loss) for loss in ("bce", "squared_dice", "balanced_bce", "dice+bce", "focal_tversky")
    ]
    assert names == ["BCE", "Squared Dice", "Balanced BCE", "Dice + BCE", "Focal Tversky"]


def test_an_arm_is_named_with_what_it_sets_for_itself():
    assert label("dice+bce,clip=1,rate=0.033") == "Dice + BCE (clip 1, rate 0.033)"


def test_fractions_are_percentages():
    assert [percent(f) for f in (0.2, 0.003, 0.0005)] == ["20 %", "0.3 %", "0.05 %"]


def test_words_are_joined():
    assert [joined(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip


def test_numbers_are_written_with_their_interval():
    assert interval_text(Interval(0.8, 0.75, 0.85, 3)) == "0.800 [0.750, 0.850]"
    assert interval_text(Interval(-0.01, -0.02, 0.0, 3), sign=True) == "−0.010 [−0.020, 0.000]"
    # Rounded to 0, it has no sign.
    assert interval_text(Interval(-0.0001, -0.02, 0.0004, 3)) == "0.000 [−0.020, 0.000]"
    assert interval_text(Interval(0.5, np.nan, np.nan, 1)) == "0.500"
    assert interval_text(Interval(np.nan, np.nan, np.nan, 0)) == "–"
