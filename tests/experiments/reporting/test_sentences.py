"""The sentences say what the numbers say: made-up runs whose answer is known."""

import dataclasses

import numpy as np
import pytest

from experiments.analysis.estimands import smallest_equivalence_margin
from experiments.reporting.sentences import answer, findings, limits, theory_findings
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
        (BCE + 0.1 + 0.005 * NOISE, "Dice scored higher than BCE at 5 % foreground."),
        (BCE + 0.01 + 0.001 * NOISE,
         "Dice scored higher than BCE at 5 % foreground (by less than 0.03)."),
        (BCE - 0.1 + 0.005 * NOISE, "Dice scored lower than BCE at 5 % foreground."),
        (BCE + 0.002 * NOISE, "Dice was equivalent to BCE within 0.03 at 5 % foreground."),
        (BCE + 0.05 * NOISE,
         "Dice was neither shown to differ from BCE nor to be equivalent within 0.03 at 5 % "
         "foreground."),
    ],
)  # fmt: skip
def test_the_answer_follows_the_numbers(dice, words):
    model = _model(dice)
    assert answer(model) == [words, "None of the 14 runs collapsed or diverged."]
    control, margin = findings(model)
    # Tuning alone brought BCE from 0.15 to 0.80.
    assert control == (
        "A threshold chosen on validation images, without further training, changes the test Dice "
        "of BCE by +0.650 [+0.650, +0.650] at 5 %."
    )
    smallest = smallest_equivalence_margin(dice - BCE)
    assert margin.startswith("Dice and BCE (0.5 against tuned) are shown to be equivalent within")
    assert f"any margin above {smallest:.2g} at 5 %" in margin


def test_fractions_that_differ_are_told_apart():
    config = study(fractions=(0.05, 0.02))
    model = made_model(config, {})
    for fraction, lead in ((0.05, -0.1), (0.02, 0.1)):
        for seed in range(7):
            dice = BCE[seed] + lead + 0.005 * NOISE[seed]
            model.results.append(made_run(config, "bce", fraction, seed, dice_tuned=BCE[seed]))
            model.results.append(made_run(config, "dice", fraction, seed, dice=dice))
    assert answer(model)[0] == (
        "Dice scored higher than BCE at 2 % foreground. It scored lower than BCE at 5 % foreground."
    )


@pytest.mark.parametrize(("seeds", "there"), [(3, "there are 3"), (1, "there is 1")])
def test_few_seeds_have_no_verdict(seeds, there):
    first = answer(_model(BCE[:seeds] + 0.1 + 0.005 * NOISE[:seeds], seeds=seeds))[0]
    assert first.startswith(
        f"Nothing was tested: a test needs 7 pairs of runs that trained, and {there}."
    )
    assert "scored higher" not in first


def test_failed_runs_are_counted_and_explained():
    model = _model(BCE + 0.1 + 0.01 * NOISE)
    model.results[8] = made_run(model.config, "dice", 0.05, 1, status="collapsed", dice=0.0)
    model.results[9] = made_run(model.config, "dice", 0.05, 2, status="diverged")
    assert answer(model)[-1] == "2 of 14 runs collapsed or diverged: 2 of 7 with Dice."
    said = " ".join(findings(model))
    assert "One run that nobody looks at scores this" in said
    assert "A run has collapsed if" in said
    assert "A run has diverged if" in said


def test_a_failed_run_is_in_no_mean():
    model = _model(BCE)
    model.results[3] = made_run(
        model.config, "bce", 0.05, 3, status="collapsed", dice=0.0, dice_tuned=0.0,
        threshold_tuned=0.9,
    )  # fmt: skip
    assert "of BCE by +0.650 [+0.650, +0.650] at 5 %." in findings(model)[0]
    trained = np.delete(BCE, 3)
    assert model.interval("bce", 0.05, "dice_tuned").mean == pytest.approx(trained.mean())
    model.results[:6] = [r | {"status": "collapsed"} for r in model.results[:6]]
    assert model.median("bce", 0.05, "threshold_tuned") == 0.4
    assert model.interval("bce", 0.05, "dice_tuned").n == 1


def test_failures_of_many_losses_are_told_of_the_worst():
    losses = ("bce", "dice", "jaccard", "focal", "tversky")
    model = made_model(study(losses=losses), dict.fromkeys(losses, (BCE, BCE)))
    for failed, loss in enumerate(losses):
        for seed in range(failed):
            place = losses.index(loss) * 7 + seed
            model.results[place] = made_run(model.config, loss, 0.05, seed, status="collapsed")
    assert answer(model)[-1] == (
        "10 of 35 runs collapsed: 4 of 7 with Tversky; 3 of 7 with Focal; 2 of 7 with Jaccard; "
        "at most 1 with each of 1 more."
    )


def test_an_arm_that_only_diverged_has_no_number():
    config = study()
    model = made_model(config, {"bce": (BCE, BCE)})
    model.results.extend(made_run(config, "dice", 0.05, s, status="diverged") for s in range(7))
    assert "and there are none" in answer(model)[0]


def test_of_many_losses_the_verdicts_are_counted():
    config = study(losses=("bce", "dice", "focal", "jaccard", "tversky"))
    noise = 0.005 * NOISE
    scores = {
        "bce": (BCE, BCE),
        "dice": (BCE, BCE),
        "focal": (BCE - 0.1 + noise, BCE),
        "jaccard": (BCE + 0.1 + noise, BCE),
        "tversky": (BCE + 10 * noise, BCE),
    }
    assert answer(made_model(config, scores))[0] == (
        "1 of 4 others scored higher than BCE (Jaccard); 1 of 4 scored lower than it (Focal); "
        "1 of 4 were equivalent to it within 0.03 (Dice); 1 of 4 neither differ from it nor are "
        "equivalent, as far as was shown (Tversky)."
    )


def test_variants_of_one_loss_are_compared_at_the_same_thresholds():
    config = study(losses=("dice", "dice,clip=1"))
    half = BCE - 0.1
    model = made_model(config, {"dice": (half, BCE), "dice,clip=1": (half, BCE)})
    assert answer(model)[0] == (
        "Dice (clip 1) was equivalent to Dice within 0.03 at 5 % foreground."
    )


def test_one_loss_is_compared_with_nothing():
    model = made_model(study(losses=("dice",)), {"dice": (BCE, BCE)})
    assert answer(model) == ["None of the 7 runs collapsed or diverged."]
    assert findings(model) == []


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
    assert answer(model)[0] == (
        "This model is one number p for all pixels. Each loss drives p to a value of its own, at "
        "5 % and 2 % foreground: BCE 0.25, 0.25; Dice 0.25, 0.25."
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
