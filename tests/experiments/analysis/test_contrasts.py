"""The primary contrast: verdicts where the answer is known, and silence where seeds are few."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.analysis.contrasts import baseline_contrasts, primary_loss
from experiments.analysis.statistics import (
    EQUIVALENCE_MARGIN,
    equivalence_p_value,
    resolvable_margin,
)
from tests.experiments.made import SPREAD, made_model, made_run, study

BCE = 0.8 + 0.01 * SPREAD


def _against(dice, seeds=7, **changes):
    config = study(seeds=seeds, **changes)
    return made_model(config, {"bce": (np.full(seeds, 0.1), BCE[:seeds]), "dice": (dice, dice)})


@pytest.mark.parametrize(
    ("lead", "spread", "verdict", "small"),
    [
        (0.1, 0.005, "higher", False),
        (0.01, 0.001, "higher", True),
        (-0.1, 0.005, "lower", False),
        (0.0, 0.002, "equivalent", True),
        (0.0, 0.05, "undecided", False),
    ],
)
def test_verdict(lead, spread, verdict, small):
    # A spread of their own: the seeds' pairing must not make the differences constant.
    noise = spread * np.array([1, -1, 2, -2, 0.5, -0.5, 0])
    (contrast,) = baseline_contrasts(_against(BCE + lead + noise), "dice")
    assert contrast.verdict == verdict
    assert contrast.small is small
    expected = stats.ttest_rel(BCE + lead + noise, BCE)
    assert contrast.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert contrast.difference[:3] == pytest.approx((lead, interval.low, interval.high))
    assert contrast.resolvable == pytest.approx(resolvable_margin(noise.std(ddof=1), 7))


def test_p_values_are_adjusted_over_the_fractions():
    noise = 0.01 * np.array([1, -1, 2, -2, 0.5, -0.5, 0])
    leads = {0.05: 0.008, 0.02: 0.02}
    config = study(fractions=tuple(leads))
    results = [
        made_run(config, loss, fraction, seed, dice=dice[seed], dice_tuned=dice[seed])
        for fraction, lead in leads.items()
        for loss, dice in (("bce", BCE), ("dice", BCE + lead + noise))
        for seed in range(7)
    ]
    model = made_model(config, {})
    model.results.extend(results)
    first, second = baseline_contrasts(model, "dice")
    raw = [stats.ttest_1samp(lead + noise, 0).pvalue for lead in leads.values()]
    assert raw[1] < raw[0]
    assert (second.p_value, first.p_value) == pytest.approx((2 * raw[1], max(raw[0], 2 * raw[1])))


def test_equivalence_is_adjusted_over_the_fractions_too():
    noise = 0.01 * np.array([1, -1, 2, -2, 0.5, -0.5, 0])
    leads = {0.05: 0.002, 0.02: 0.01}
    model = made_model(study(fractions=tuple(leads)), {})
    for fraction, lead in leads.items():
        for loss, dice in (("bce", BCE), ("dice", BCE + lead + noise)):
            model.results.extend(
                made_run(model.config, loss, fraction, seed, dice=dice[seed], dice_tuned=dice[seed])
                for seed in range(7)
            )
    first, second = baseline_contrasts(model, "dice")
    raw = [equivalence_p_value(lead + noise, EQUIVALENCE_MARGIN) for lead in leads.values()]
    assert raw[0] < raw[1]
    expected = (2 * raw[0], max(2 * raw[0], raw[1]))
    assert (first.equivalence_p_value, second.equivalence_p_value) == pytest.approx(expected)


def test_the_loss_is_scored_at_a_half_and_the_baseline_at_its_tuned_threshold():
    config = study()
    scores = {"bce": (BCE - 0.3, BCE), "dice": (BCE + 0.1 * SPREAD, BCE + 0.2)}
    (contrast,) = baseline_contrasts(made_model(config, scores), "dice")
    assert contrast.difference.mean == pytest.approx(0.1 * SPREAD.mean())
    expected = stats.ttest_rel(BCE + 0.1 * SPREAD, BCE)
    assert contrast.p_value == pytest.approx(expected.pvalue)


def test_the_interval_over_images_is_of_the_same_difference_at_the_same_thresholds():
    """Both models see the same images, so what makes an image hard cancels."""
    names = [str(k) for k in range(12)]
    scores = {"bce": (BCE - 0.3, BCE), "dice": (BCE + 0.1, BCE + 0.2)}
    model = made_model(study(), scores, extra={"test_groups": names, "test_images": names})
    (contrast,) = baseline_contrasts(model, "dice")
    assert contrast.over_images[:3] == pytest.approx([0.1] * 3)


def test_few_seeds_make_no_test():
    (contrast,) = baseline_contrasts(
        _against(BCE[:3] + np.array([0.1, 0.11, 0.12]), seeds=3), "dice"
    )
    assert contrast.verdict == "untested"
    assert math.isnan(contrast.p_value)
    assert math.isnan(contrast.equivalence_p_value)
    assert contrast.difference.mean == pytest.approx(0.11)


def test_a_diverged_or_missing_seed_is_left_out_and_counted():
    model = _against(BCE + 0.1 + 0.01 * np.array([1, -1, 2, -2, 0.5, -0.5, 0]))
    model.results[10] = made_run(model.config, "dice", 0.05, 3, status="diverged")
    (contrast,) = baseline_contrasts(model, "dice")
    assert (contrast.difference.n, contrast.lost) == (6, 1)
    assert contrast.verdict == "untested"
    del model.__dict__["runs"]
    del model.results[10]
    (contrast,) = baseline_contrasts(model, "dice")
    assert (contrast.difference.n, contrast.lost) == (6, 0)


def test_the_primary_loss_is_dice_where_there_is_one():
    assert primary_loss(study(losses=("bce", "focal", "dice"))) == "dice"
    assert primary_loss(study(losses=("bce", "focal"))) == "focal"
    assert primary_loss(study(losses=("bce",))) is None
