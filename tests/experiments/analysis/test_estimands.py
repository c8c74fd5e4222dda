"""How often an arm collapses, what it scores otherwise, and what one blind run scores."""

import numpy as np
import pytest
from scipy import stats

from experiments.analysis.estimands import (
    arm_estimands,
    blind_run,
    collapse_rate,
    estimands_table,
    given_neither_collapsed,
    smallest_equivalence_margin,
)
from experiments.analysis.statistics import equivalence_p_value
from experiments.analysis.tables import runs_table
from tests.experiments.made import made_run, study

CONFIG = study(seeds=7)


def _runs(collapsed=(3,)):
    """Dice scores 0.85 and BCE 0.8, but for the seeds at which Dice collapses."""
    results = []
    for seed in range(7):
        fails = seed in collapsed
        results.append(made_run(CONFIG, "bce", 0.05, seed, dice_tuned=0.8 + seed / 100))
        results.append(
            made_run(
                CONFIG, "dice", 0.05, seed, dice_tuned=0.0 if fails else 0.85 + seed / 100,
                status="collapsed" if fails else "finished",
            )
        )  # fmt: skip
    return runs_table(results)


def test_the_interval_of_a_share_is_clopper_and_pearsons():
    found = collapse_rate(1, 7)
    assert found.mean == pytest.approx(1 / 7)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 1, 7))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, 2, 6))
    none = collapse_rate(0, 40)
    assert (none.mean, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 40))


def test_a_collapse_is_apart_and_not_in_a_mean():
    found = arm_estimands(_runs(), "dice", 0.05, "dice_tuned")
    scores = 0.85 + np.array([0, 1, 2, 4, 5, 6]) / 100
    assert found.collapse[:1] == (pytest.approx(1 / 7),)
    assert found.trained.mean == pytest.approx(scores.mean())
    assert found.trained.n == 6
    assert found.blind.mean == pytest.approx(scores.sum() / 7)
    assert found.blind.n == 7


def test_differences_are_over_the_seeds_at_which_neither_collapsed():
    differences = given_neither_collapsed(
        _runs(), ("dice", "dice_tuned"), ("bce", "dice_tuned"), 0.05
    )
    np.testing.assert_allclose(differences, np.full(6, 0.05))


def test_no_interval_leaves_the_range_of_a_dice():
    """The old report had a Dice of 0.756 [0.448, 1.064]."""
    scores = np.array([0.87, 0.88, 0.86, 0.89, 0.88, 0.87, 0.03])
    found = blind_run(scores)
    assert scores.min() <= found.low < found.mean < found.high <= scores.max()
    # A run that diverged scores 0 and is not left out.
    assert blind_run(np.array([0.9, np.nan])).mean == pytest.approx(0.45)


def test_the_smallest_margin_is_where_the_equivalence_test_begins_to_succeed():
    differences = np.random.default_rng(0).normal(0.01, 0.02, 20)
    margin = smallest_equivalence_margin(differences)
    assert equivalence_p_value(differences, margin) == pytest.approx(0.05)
    assert equivalence_p_value(differences, 0.99 * margin) > 0.05
    assert np.isnan(smallest_equivalence_margin(differences[:1]))


def test_the_table_has_every_arm():
    table = estimands_table(_runs()).set_index("loss")
    assert table.loc["dice", "collapse"] == pytest.approx(1 / 7)
    assert table.loc["bce", "collapse"] == 0
    assert table.loc["dice", "trained_runs"] == 6
