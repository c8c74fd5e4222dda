"""The primary contrast: verdicts where the answer is known, and silence where seeds are few."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.analysis.contrasts import (
    baseline_contrasts,
    contrast_table,
    contrasts,
    primary_loss,
    rate_contrasts,
)
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


def _collapsing(seeds, fails):
    """Dice leads BCE by 0.02, but for the seeds of ``fails``, a status by loss and seed."""
    config = study(seeds=seeds, margin=0.01)
    model = made_model(config, {})
    for loss, lead in (("bce", 0.0), ("dice", 0.02)):
        for seed in range(seeds):
            status = fails.get((loss, seed), "finished")
            score = 0.0 if status == "collapsed" else 0.8 + lead + 0.001 * (seed % 3)
            wiggle = 0.0005 * ((seed * 7) % 5) * (loss == "dice") * bool(score)
            model.results.append(
                made_run(config, loss, 0.05, seed, status=status, dice=score + wiggle,
                         dice_tuned=score + wiggle)
            )  # fmt: skip
    return model


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["bce", "dice"]), st.integers(0, 11)),
        st.sampled_from(["collapsed", "diverged"]),
        max_size=14,
    )
)
def test_collapses_change_their_own_numbers_and_never_the_difference(fails):
    for contrast in contrasts(_collapsing(12, fails)):
        kept = [s for s in range(12) if not {("bce", s), ("dice", s)} & set(fails)]
        assert (contrast.difference.n, contrast.lost) == (len(kept), 12 - len(kept))
        # Whoever collapses, the runs that trained differ by 0.02 and a little.
        assert not kept or 0.02 <= contrast.difference.mean <= 0.0225
        for loss, share in (("dice", contrast.collapse), ("bce", contrast.baseline_collapse)):
            count = sum(key[0] == loss for key in fails)
            assert share.mean == pytest.approx(count / 12)
            assert 0 <= share.low <= share.mean <= share.high <= 1
        assert contrast.blind.n == 12
        # A collapsed run of Dice costs a blind user about 0.82 / 12, and one of BCE gives 0.8 / 12.
        lost = [sum(key == (loss, s) for s in range(12) for key in fails) for loss in
                ("dice", "bce")]  # fmt: skip
        expected = 0.022 + (0.8 * lost[1] - 0.822 * lost[0]) / 12
        assert contrast.blind.mean == pytest.approx(expected, abs=0.003)
        assert contrast.verdict == ("higher" if len(kept) >= 7 else "untested")


def test_all_thresholds_are_compared_with_collapses_apart():
    model = made_model(study(), {"bce": (BCE - 0.3, BCE), "dice": (BCE + 0.1, BCE + 0.2)})
    found = {c.thresholds: c.difference.mean for c in contrasts(model)}
    assert found == {
        ("half", "tuned"): pytest.approx(0.1),
        ("tuned", "tuned"): pytest.approx(0.2),
        ("half", "half"): pytest.approx(0.4),
    }
    assert contrasts(made_model(study(model="bias"), {"bce": (BCE, BCE), "dice": (BCE, BCE)})) == []


def test_every_loss_meets_the_baseline_and_the_primary_loss():
    arms = ("bce", "focal", "dice", "dice+bce")
    model = made_model(study(losses=arms), dict.fromkeys(arms, (BCE, BCE)))
    pairs = list(dict.fromkeys((c.loss, c.baseline) for c in contrasts(model)))
    assert pairs == [
        ("dice", "bce"), ("focal", "bce"), ("dice+bce", "bce"), ("focal", "dice"),
        ("dice+bce", "dice"),
    ]  # fmt: skip


def test_differences_at_every_rate_that_both_were_tried_with():
    config = study(learning_rates=(1e-3, 1e-2, 1e-1), seeds=3)
    made, lead = made_model(config, {}), {1e-3: -0.1, 1e-2: 0.05, 1e-1: 0.3}
    for rate, more in lead.items():
        for loss in config.losses:
            for seed in range(1_000_000, 1_000_003):
                if (rate, loss, seed) != (1e-1, "dice", 1_000_001):
                    score = 0.5 + more * (loss == "dice")
                    made.tuning_results.append(
                        made_run(config, loss, 0.05, seed, dice=score, dice_tuned=score)
                        | {"learning_rate": rate}
                    )
    # The final runs of both have one rate: they are pairs of it too.
    for loss in config.losses:
        for seed in range(3):
            score = 0.5 + 0.05 * (loss == "dice")
            made.results.append(
                made_run(config, loss, 0.05, seed, dice=score, dice_tuned=score)
                | {"learning_rate": 1e-2}
            )
    found = [c for c in rate_contrasts(made) if c.thresholds == ("tuned", "tuned")]
    assert [(c.rate, c.difference.n) for c in found] == [(1e-3, 3), (1e-2, 6), (1e-1, 2)]
    assert [c.difference.mean for c in found] == pytest.approx(list(lead.values()))
    table = contrast_table([*contrasts(made), *found])
    assert table["learning_rate"].tolist() == ["chosen"] * 3 + [1e-3, 1e-2, 1e-1]


def _shared(lead, images=8, **changes):
    """A folder whose images all seeds share: Dice leads by ``lead`` of each image."""
    config = study(data="somewhere", split="0" * images, **changes)
    model = made_model(config, {})
    names = [f"scan_{i}" for i in range(images)]
    for loss in config.losses:
        for seed in range(7):
            run = made_run(
                config, loss, 0.05, seed, extra={"test_images": names, "test_groups": names}
            )
            scores = np.full(images, 0.5) + 1e-4 * seed**2 * (loss == "dice")
            scores = scores + np.asarray(lead) * (loss == "dice")
            run["per_image"] = dict.fromkeys(("dice", "dice_tuned"), scores.tolist())
            run["metrics"] |= dict.fromkeys(("dice", "dice_tuned"), scores.mean())
            model.results.append(run)
    return model


def test_seeds_that_share_their_images_are_not_sure_of_other_images():
    steady = contrasts(_shared(0.1))[0]
    assert (steady.verdict, steady.over_images.n) == ("higher", 7)
    assert steady.shown == steady.over_images
    # The same mean over seeds, all from one image of eight: Dice is lower on the others.
    lucky = contrasts(_shared([0.87] + [-0.01] * 7))[0]
    assert lucky.difference.mean == pytest.approx(steady.difference.mean)
    assert lucky.p_value == pytest.approx(steady.p_value)
    assert lucky.over_images.low < 0 < 0.2 < lucky.over_images.high
    assert lucky.verdict == "undecided"
    assert lucky.smallest_margin == pytest.approx(lucky.over_images.high)
    assert steady.smallest_margin > steady.over_images.high
    # Equivalence needs the images too.
    near = contrasts(_shared([0.04] + [0.0] * 7, margin=0.01))[0]
    assert near.equivalence_p_value < 0.05
    assert not near.small
    # Every seed with images of its own needs no second interval.
    own = contrasts(_against(BCE))[0]
    assert own.over_images.n == 0
    assert own.shown == own.difference
