"""The sentences say what the numbers say: made-up runs whose answer is known."""

import dataclasses

import numpy as np
import pytest

from experiments.reporting.sentences import findings, limits, theory_findings
from experiments.reporting.theory_checks import Check
from tests.experiments.made import SPREAD, made_model, made_run, study

BCE = 0.8 + 0.01 * SPREAD
NOISE = np.array([1, -1, 2, -2, 0.5, -0.5, 0])


def _model(dice, *, seeds=7, **changes):
    scores = {"bce": (BCE[:seeds] - 0.65, BCE[:seeds]), "dice": (dice, dice)}
    return made_model(study(seeds=seeds, **changes), scores)


@pytest.mark.parametrize(
    ("dice", "words"),
    [
        (BCE + 0.1 + 0.005 * NOISE, "Dice scored higher at 5 % foreground. The tests"),
        (BCE + 0.01 + 0.001 * NOISE, "Dice scored higher at 5 % foreground (by less than 0.03)"),
        (BCE - 0.1 + 0.005 * NOISE, "BCE scored higher at 5 % foreground"),
        (BCE + 0.002 * NOISE, "The two were equivalent within ± 0.03 at 5 % foreground"),
        (BCE + 0.05 * NOISE, "Neither a difference nor equivalence within ± 0.03 was shown"),
    ],
)
def test_the_first_finding_follows_the_numbers(dice, words):
    first, control, last = findings(_model(dice))
    assert words in first
    for other in ("scored higher", "were equivalent", "Neither"):
        assert (other in first) == (other in words)
    lead = np.mean(dice) - 0.8
    assert f"The difference in test Dice is {lead:+.3f} [".replace("-", "−") in first
    assert "over 7 paired seeds" in first
    # The control: tuning alone brought BCE from 0.15 to 0.80.
    assert "changed its test Dice by +0.650 [+0.650, +0.650] at 5 % foreground" in control
    assert f"goes from {lead + 0.65:+.3f} to {lead:+.3f} at 5 %".replace("-", "−") in control
    assert last == "None of the 14 runs collapsed or diverged."


def test_fractions_that_differ_are_told_apart():
    config = study(fractions=(0.05, 0.02))
    model = made_model(config, {})
    for fraction, lead in ((0.05, -0.1), (0.02, 0.1)):
        for seed in range(7):
            dice = BCE[seed] + lead + 0.005 * NOISE[seed]
            model.results.append(made_run(config, "bce", fraction, seed, dice_tuned=BCE[seed]))
            model.results.append(made_run(config, "dice", fraction, seed, dice=dice))
    first = findings(model)[0]
    assert "Dice scored higher at 2 % foreground. BCE scored higher at 5 % foreground" in first


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (3, "3 seeds are fewer than 7, so there are intervals and no test."),
        (1, "one seed has no interval, so nothing can be concluded."),
    ],
)
def test_few_seeds_have_intervals_and_no_verdict(seeds, words):
    first = findings(_model(BCE[:seeds] + 0.1 + 0.005 * NOISE[:seeds], seeds=seeds))[0]
    assert words in first
    assert "scored higher" not in first
    assert ("[" in first) == (seeds > 1)


def test_collapsed_and_diverged_runs_are_counted():
    model = _model(BCE + 0.1 + 0.01 * NOISE)
    model.results[8] = made_run(model.config, "dice", 0.05, 1, status="collapsed", dice=0.0)
    model.results[9] = made_run(model.config, "dice", 0.05, 2, status="diverged")
    said = findings(model)
    assert said[-1].startswith("1 of 7 Dice runs collapsed and 1 of 7 Dice runs diverged.")
    assert "Collapsed runs are in every mean" in said[-1]
    assert "flatters its loss" in said[-1]
    assert "(over 5 of 7 seeds: 2 collapsed or diverged)" in said[0]
    assert "5 seeds are fewer than 7" in said[0]


def test_missing_seeds_are_said_to_be_missing():
    model = _model(BCE + 0.1 + 0.005 * NOISE)
    del model.results[-2:]
    first = findings(model)[0]
    assert "(over 5 of 7 seeds)" in first
    assert "diverged" not in first


def test_an_arm_that_only_diverged_has_no_number():
    config = study()
    model = made_model(config, {"bce": (BCE, BCE)})
    model.results.extend(made_run(config, "dice", 0.05, s, status="diverged") for s in range(7))
    words = findings(model)[0]
    assert (
        "The difference in test Dice is – at 5 % (over 0 of 7 seeds: 7 collapsed or diverged)"
        in words
    )
    assert "nothing can be concluded" in words


def test_other_losses_have_intervals_only():
    config = study(losses=("bce", "dice", "jaccard"))
    same = BCE + 0.1 + 0.005 * NOISE
    model = made_model(config, dict.fromkeys(config.losses, (same, same)) | {"bce": (BCE, BCE)})
    said = findings(model)
    assert said[2].startswith("The same difference for the other losses (intervals only, no test)")
    assert "Jaccard +0.100 [" in said[2]


def test_of_many_other_losses_only_the_sides_are_told():
    config = study(losses=("bce", "dice", "focal", "jaccard", "tversky"))
    noise = 0.005 * NOISE
    scores = {
        "bce": (BCE, BCE),
        "dice": (BCE, BCE),
        "focal": (BCE - 0.1 + noise, BCE),
        "jaccard": (BCE + 0.1 + noise, BCE),
        "tversky": (BCE + noise, BCE),
    }
    said = findings(made_model(config, scores))[2]
    assert said.endswith(
        "the interval lies above 0 for Jaccard (5 %); the interval lies below 0 for Focal (5 %); "
        "all other intervals contain 0."
    )


def test_one_loss_is_compared_with_nothing():
    model = made_model(study(losses=("dice",)), {"dice": (BCE, BCE)})
    assert findings(model) == ["None of the 7 runs collapsed or diverged."]


def test_empty_images_stand_apart():
    config = study(empty_share=0.25)
    model = made_model(
        config, dict.fromkeys(config.losses, (BCE, BCE)), empty_false_positive_share=0.4
    )
    (said,) = [s for s in findings(model) if "mpty images" in s]
    assert "BCE 40 % at 5 %; Dice 40 % at 5 %" in said


def test_empty_images_of_many_losses_are_told_of_two():
    config = study(losses=("bce", "focal", "dice", "jaccard", "tversky"), empty_share=0.25)
    model = made_model(
        config, dict.fromkeys(config.losses, (BCE, BCE)), empty_false_positive_share=0.4
    )
    (said,) = [s for s in findings(model) if "mpty images" in s]
    assert said.endswith("at threshold 0.5: BCE 40 % at 5 %; Dice 40 % at 5 %.")


def test_a_bias_only_model_tells_where_it_went():
    config = study(model="bias", fractions=(0.05, 0.02))
    model = made_model(config, dict.fromkeys(config.losses, (BCE, BCE)), mean_probability=0.25)
    assert findings(model)[0] == (
        "Each loss drives the constant p to this value, at 5 %, 2 % foreground: BCE 0.25, 0.25; "
        "Dice 0.25, 0.25."
    )


def _check(agrees, claim="C6"):
    return Check(claim, "bias", "dice", 0.05, "at rest", "", "1", "0.5", agrees)


def test_theory_is_counted_and_disagreements_are_named():
    said = theory_findings([_check(True), _check(True, "C5"), _check(False), _check(None, "C7")])
    assert said.startswith("Of 4 predictions of theory (C5, C6, C7), 2 agree")
    assert "1 disagree. Predictions for models at rest: 2 of 4 agree. 1 is undecided:" in said
    assert said.endswith("Disagreeing: C6 (bias-only model, Dice, 5 %).")
    assert "Disagreeing" not in theory_findings([_check(True)])
    assert "and 2 more." in theory_findings([_check(False)] * 7)


def test_limits_speak_of_this_study():
    few = " ".join(limits([made_model(study(seeds=3), {})]))
    assert "3 seeds have wide intervals" in few
    assert "best of 0.003, 0.01" in few
    own = dataclasses.replace(study(), data="folder", data_digest="digest")
    assert "say nothing of other images" in " ".join(limits([made_model(own, {})]))
    enough = " ".join(limits([made_model(study(learning_rates=(0.1,)), {})]))
    assert "wide intervals" not in enough
    assert "U-Net: every loss was trained at one learning rate (0.1)" in enough
