"""The tables: a row per cell with its intervals; differences are paired."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.analysis.tables import paired_differences, runs_table, summary_table

BCE = [0.70, 0.80, 0.75]
DICE = [0.72, 0.83, 0.76]


def _run(loss, fraction, seed, dice, status="finished"):
    return {
        "loss": loss,
        "model": "unet",
        "foreground_fraction": fraction,
        "seed": seed,
        "learning_rate": 1e-3,
        "status": status,
        "seconds": 1.0,
        "metrics": {"dice": dice, "foreground_fraction_test": fraction * 1.1},
    }


@pytest.fixture
def runs():
    # The seeds of Dice come in another order: pairing goes by seed, not by position.
    rows = [_run("bce", 0.05, seed, dice) for seed, dice in enumerate(BCE)]
    rows += [_run("dice", 0.05, seed, DICE[seed]) for seed in (2, 0, 1)]
    rows += [_run("dice", 0.01, 0, None, "diverged"), _run("dice", 0.01, 1, 0.5, "collapsed")]
    return runs_table(rows)


def test_summary(runs):
    table = summary_table(runs)
    assert table[["loss", "foreground_fraction", "model"]].to_numpy().tolist() == [
        ["bce", 0.05, "unet"],
        ["dice", 0.05, "unet"],
        ["dice", 0.01, "unet"],
    ]
    expected = stats.ttest_1samp(DICE, 0).confidence_interval(0.95)
    row = table.iloc[1]
    assert row["dice_mean"] == pytest.approx(np.mean(DICE))
    assert row["dice_ci_low"] == pytest.approx(expected.low)
    assert row["dice_ci_high"] == pytest.approx(expected.high)
    assert row["foreground_fraction_achieved"] == pytest.approx(0.055)
    bad = table.iloc[2]
    assert (bad["runs"], bad["finished"], bad["collapsed"], bad["diverged"]) == (2, 0, 1, 1)
    assert bad["dice_mean"] == 0.5
    assert np.isnan(bad["dice_ci_low"])


def test_difference_is_paired_by_seed(runs):
    differences = paired_differences(runs, ("dice", "dice"), ("bce", "dice"), 0.05)
    assert sorted(differences) == pytest.approx(sorted(np.subtract(DICE, BCE)))
    # Seeds that only one arm has do not count.
    assert len(paired_differences(runs, ("dice", "dice"), ("bce", "dice"), 0.01)) == 0


def test_models_are_kept_apart():
    one, other = _run("bce", 0.05, 0, 0.2), _run("bce", 0.05, 0, 0.6) | {"model": "linear"}
    table = summary_table(runs_table([one, other]))
    assert table[["model", "runs", "dice_mean"]].to_numpy().tolist() == [
        ["unet", 1, 0.2],
        ["linear", 1, 0.6],
    ]


def test_null_is_not_a_number(runs):
    assert pd.isna(runs_table([_run("bce", 0.1, 0, None)])["dice"].iloc[0])
