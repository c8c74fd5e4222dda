"""The margin that a pilot justifies, against statsmodels and a simulation of the planned study."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from experiments.analysis.planning import planned_margins
from experiments.analysis.statistics import equivalence_p_value
from tests.experiments.made import made_model, study

NOISE = 0.01 * np.array([1.0, -1.0, 2.0, -2.0])


@pytest.fixture
def plan():
    pilot = study(seeds=4, fractions=(0.05, 0.01))
    same = np.full(4, 0.8)
    model = made_model(pilot, {"bce": (same, same), "dice": (0.81 + NOISE, 0.81 + NOISE)})
    return planned_margins([model], seeds=20)


def test_the_spread_is_that_of_the_pairs(plan):
    assert len(plan) == 2 * 3
    deviation = DescrStatsW(NOISE, ddof=1).std
    np.testing.assert_allclose(plan["deviation"], deviation)
    # A fifth of all pilots of four find less than 1/√(3/χ²) of the truth.
    pilots = np.random.default_rng(0).normal(size=(20_000, 4)).std(axis=1, ddof=1)
    factor = (plan["deviation_upper"] / plan["deviation"]).iloc[0]
    assert np.mean(factor * pilots < 1) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("column", "level"), [("margin", 0.05), ("margin_adjusted", 0.025)])
def test_four_of_five_studies_show_the_margin(plan, column, level):
    deviation, margin = plan["deviation"].iloc[0], plan[column].iloc[0]
    draws = np.random.default_rng(1).normal(0, deviation, size=(20_000, 20))
    ends = np.abs(draws.mean(axis=1)) + stats.t.ppf(1 - level, 19) * stats.sem(draws, axis=1)
    assert np.mean(ends < margin) == pytest.approx(0.8, abs=0.01)
    # It is the study's own test that succeeds there.
    own = [equivalence_p_value(x, margin) <= level for x in draws[:50]]
    assert own == (ends[:50] < margin).tolist()


def test_doubt_about_the_spread_and_more_tests_need_wider_margins(plan):
    assert (plan["margin"] < plan["margin_adjusted"]).all()
    assert (plan["margin_adjusted"] < plan["margin_cautious"]).all()


def test_one_pair_has_no_spread():
    one = np.array([0.8])
    model = made_model(study(seeds=1), {"bce": (one, one), "dice": (one, one)})
    assert planned_margins([model], seeds=20).empty
