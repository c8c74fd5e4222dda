"""The statistics, against SciPy, statsmodels' textbook case, closed forms and simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.analysis.statistics import (
    EQUIVALENCE_MARGIN,
    LEAST_SEEDS,
    bootstrap_interval,
    difference_p_value,
    equivalence_p_value,
    equivalence_power,
    holm,
    mean_interval,
    resolvable_margin,
)

BCE = np.array([0.70, 0.80, 0.75, 0.77])
DICE = np.array([0.72, 0.83, 0.76, 0.77])


def test_interval_is_scipys():
    interval = mean_interval(BCE)
    expected = stats.ttest_1samp(BCE, 0).confidence_interval(0.95)
    assert interval.mean == pytest.approx(0.755)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.n == 4


def test_interval_by_hand():
    # 1, 2, 3: deviation 1, standard error 1/√3, t(2) at 97.5 % = 4.3027.
    interval = mean_interval([1, 2, 3])
    assert interval.high - 2 == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)


def test_interval_of_one_and_of_nothing():
    assert mean_interval([0.3])[0] == 0.3
    assert np.isnan(mean_interval([0.3]).low)
    assert mean_interval([0.3, np.nan]).n == 1
    assert mean_interval([]).n == 0
    assert np.isnan(mean_interval([]).mean)


def test_p_value_is_the_paired_t_test():
    expected = stats.ttest_rel(DICE, BCE).pvalue
    assert difference_p_value(DICE - BCE) == pytest.approx(expected)
    assert difference_p_value([*(DICE - BCE), math.nan]) == pytest.approx(expected)
    # By hand: 1, 2, 3 has t = 2/(1/√3) = 3.4641 with 2 degrees of freedom, p = 0.0742.
    assert difference_p_value([1, 2, 3]) == pytest.approx(0.074180, abs=1e-6)
    assert difference_p_value([0, 0, 0]) == 1
    assert difference_p_value([0.1, 0.1]) == 0
    assert math.isnan(difference_p_value([0.1]))


def test_holm_on_a_textbook_case():
    # Four tests: 0.01 · 3 = 0.03, 0.04 · 1, 0.03 · 2 = 0.06, 0.005 · 4 = 0.02; never descending.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # A test that could not be made is not counted.
    adjusted = holm([0.01, math.nan, 0.03])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.03])
    assert math.isnan(adjusted[1])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert np.isnan(holm([math.nan])).all()


def test_equivalence_is_two_one_sided_t_tests():
    d, margin = DICE - BCE, 0.05
    below = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    above = stats.ttest_1samp(d, margin, alternative="less").pvalue
    assert equivalence_p_value(d, margin) == pytest.approx(max(below, above))
    # Equivalent at 5 % exactly where the 90 % interval lies within the margin.
    ninety = mean_interval(d, confidence=0.9)
    edge = max(-ninety.low, ninety.high)
    assert equivalence_p_value(d, edge) == pytest.approx(0.05)
    assert equivalence_p_value([0, 0], 0.1) == 0
    assert equivalence_p_value([0.2, 0.2], 0.1) == 1
    assert math.isnan(equivalence_p_value([0.2], 0.1))


def test_power_is_what_a_simulation_finds():
    generator = np.random.default_rng(1)
    draws = generator.normal(size=(40_000, LEAST_SEEDS))
    mean, error = draws.mean(axis=1), stats.sem(draws, axis=1)
    t = stats.t.ppf(0.95, LEAST_SEEDS - 1)
    for margin in (2.0, 3.3, 5.0):
        ends = margin / math.sqrt(LEAST_SEEDS)
        found = np.mean((mean - t * error > -ends) & (mean + t * error < ends))
        assert equivalence_power(margin, LEAST_SEEDS) == pytest.approx(found, abs=0.01)


def test_the_protocols_margin_is_what_its_pilot_resolves():
    margin = resolvable_margin(0.022, LEAST_SEEDS)
    # Rounded up to a hundredth it is the protocol's.
    assert math.ceil(margin * 100) / 100 == EQUIVALENCE_MARGIN
    assert resolvable_margin(0.022, 28) < margin / 2
    assert resolvable_margin(0.044, LEAST_SEEDS) == pytest.approx(2 * margin)
    assert math.isnan(resolvable_margin(0.022, 1))


def test_bootstrap_covers_the_truth():
    """Seeds and images both vary: an interval that forgot either would cover far less."""
    generator = np.random.default_rng(3)
    hits, flat_hits, studies = 0, 0, 200
    for study in range(studies):
        level = generator.normal(0.8, 0.05, size=(12, 1))
        scores = level + generator.normal(0, 0.1, size=(12, 10))
        interval = bootstrap_interval(list(scores), resamples=200, seed=study)
        hits += interval.low <= 0.8 <= interval.high
        flat = mean_interval(scores.ravel())
        flat_hits += flat.low <= 0.8 <= flat.high
    # Percentiles over 12 seeds are a little narrow; pooling images as if independent is much so.
    assert 0.88 <= hits / studies <= 0.99
    assert flat_hits / studies < 0.85


def test_bootstrap_of_images_that_all_seeds_share():
    """A hard image is hard in every seed: drawn with it or without it, all means move together."""
    generator = np.random.default_rng(5)
    images = [(str(i), str(i)) for i in range(20)]
    hits, nested_hits, studies = 0, 0, 200
    for study in range(studies):
        difficulty = generator.normal(0, 0.1, size=20)
        scores = list(0.8 + difficulty + generator.normal(0, 0.01, size=(8, 20)))
        interval = bootstrap_interval(scores, [images] * 8, resamples=200, seed=study)
        hits += interval.low <= 0.8 <= interval.high
        nested = bootstrap_interval(scores, resamples=200, seed=study)
        nested_hits += nested.low <= 0.8 <= nested.high
    assert 0.88 <= hits / studies <= 0.99
    assert nested_hits / studies < 0.85
    # An image without a score in one seed is out of that seed; a seed without any is out.
    holed = [[0.5, math.nan, 0.7], [0.5, 0.9, 0.7], [math.nan] * 3]
    interval = bootstrap_interval(holed, [images[:3]] * 3)
    assert interval.n == 2
    assert interval.mean == pytest.approx((0.6 + 0.7) / 2)
    assert 0.5 <= interval.low < interval.high <= 0.9


def _grouped(generator, seeds=6, groups=12, size=4, folds=None):
    """Scores whose groups differ; and the images of each seed, in folds of whole groups."""
    level = generator.normal(0, 0.1, groups)
    names = [(f"g{g}", f"g{g}_{i}") for g in range(groups) for i in range(size)]
    scores, images = [], []
    for seed in range(seeds):
        tested = [n for n in names if folds is None or int(n[0][1:]) % folds == seed % folds]
        scores.append([0.7 + level[int(g[1:])] + generator.normal(0, 0.01) for g, _ in tested])
        images.append(tested)
    return scores, images


@pytest.mark.parametrize("folds", [None, 3])
def test_bootstrap_of_groups(folds):
    """The images of a patient are alike: to draw them one by one claims too much."""
    generator = np.random.default_rng(7)
    hits, blind_hits, studies = 0, 0, 200
    for study in range(studies):
        scores, images = _grouped(generator, folds=folds)
        interval = bootstrap_interval(scores, images, resamples=200, seed=study)
        hits += interval.low <= 0.7 <= interval.high
        alone = [[(name, name) for _, name in of_seed] for of_seed in images]
        blind = bootstrap_interval(scores, alone, resamples=200, seed=study)
        blind_hits += blind.low <= 0.7 <= blind.high
    # With folds, a seed that is drawn brings its groups along, which makes up for some.
    assert 0.86 <= hits / studies <= 0.99
    assert blind_hits < hits - 10


@pytest.mark.parametrize("images", [None, [[(name, name) for name in "abcd"]] * 3])
def test_bootstrap_draws_images_too(images):
    # All seeds have one mean: whatever width there is comes from the images.
    interval = bootstrap_interval([[0.0, 1.0, 0.0, 1.0]] * 3, images)
    assert interval.mean == 0.5
    assert interval.high - interval.low > 0.2


def test_bootstrap_of_equal_images_and_of_nothing():
    interval = bootstrap_interval([[0.5, 0.5], [0.5, math.nan]])
    assert interval[:3] == (0.5, 0.5, 0.5)
    assert interval.n == 2
    assert bootstrap_interval([[math.nan], []]).n == 0
    assert math.isnan(bootstrap_interval([[0.1, 0.2]]).low)
    # The mean of the seeds' means, whatever the number of images.
    assert bootstrap_interval([[1.0], [0.0, 0.0, 0.0]]).mean == 0.5


def test_bootstrap_is_the_same_every_time():
    scores = np.random.default_rng(0).uniform(size=(5, 20))
    assert bootstrap_interval(list(scores)) == bootstrap_interval(list(scores))
