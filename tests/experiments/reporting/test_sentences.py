"""The sentences say what the numbers say: made-up runs whose answer is known."""

import dataclasses
import re

import numpy as np
import pytest

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
    (control,) = findings(model)
    # Tuning alone brought BCE from 0.15 to 0.80.
    assert control == (
        "A threshold chosen on validation images, without further training, changes the test Dice "
        "of BCE by +0.650 [+0.650, +0.650] at 5 %."
    )


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
    model.results[8] = made_run(
        model.config, "dice", 0.05, 1, status="collapsed", dice=0.0, dice_tuned=0.0
    )
    model.results[9] = made_run(model.config, "dice", 0.05, 2, status="diverged")
    dice = np.delete(BCE + 0.1 + 0.01 * NOISE, [1, 2]).sum() / 7
    (counted,) = re.findall("and Dice (.*) .0", answer(model)[-1])
    assert counted == f"{dice:.3f}"
    assert answer(model)[-1].startswith(
        "2 of 14 runs collapsed or diverged: 2 of 7 with Dice. With them, a single run with a "
        f"tuned threshold scores on average at 5 %: BCE {BCE.mean():.3f} ["
    )
    assert "A run has collapsed if" in " ".join(findings(model))


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.66, "undecided"),
        (0.85, "higher"),
        (0.0, "lower"),
    ],
)
def test_a_verdict_says_whether_it_holds_with_the_runs_that_collapsed(score, words):
    config = study(seeds=14, losses=("bce", "dice", "dice+bce"), fractions=(0.05, 0.02))
    bce, noise = np.tile(BCE, 2), 0.005 * np.tile(NOISE, 2)
    scores = {"bce": (bce, bce), "dice": (bce + 0.1 + noise,) * 2, "dice+bce": (bce, bce + noise)}
    model = made_model(config, scores)
    for place, run in enumerate(model.results):
        cell = run["loss"], run["foreground_fraction"]
        if cell == ("dice", 0.02) and run["seed"] in (0, 1, 2, 3, 4, 5):
            model.results[place] = made_run(
                config, *cell, run["seed"], status="collapsed", dice=score, dice_tuned=score
            )
    dice, both, failed = answer(model)
    holds = f"(at 2 % without the collapsed runs: with them, {words})."
    assert dice == f"Dice scored higher than BCE at 5 % and 2 % foreground {holds}"
    # The two losses with Dice are compared too.
    assert " Against Dice: lower at 5 % and 2 % (at 2 % without the collapsed runs: " in both
    assert failed.startswith("6 of 84 runs collapsed: 6 of 14 with Dice at 2 %. With them, a")
    assert "at 2 %: BCE 0.800 [" in failed


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
    failed = made_model(config, scores)
    failed.results[-1]["status"] = "collapsed"
    assert answer(failed)[0].endswith("too few runs (Tversky), all without the collapsed runs.")


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
        "This model is one number for all pixels: p, the predicted probability of foreground. Each "
        "loss drives p to a value of its own, at 5 % and 2 % foreground: BCE 0.25, 0.25; Dice "
        "0.25, 0.25."
    )


def _check(agrees, claim="C6"):
    return Check(claim, "bias", "dice", 0.05, "at rest", "", "1", "0.5", agrees)


def test_theory_is_counted_and_disagreements_are_named():
    said = theory_findings([_check(True), _check(True, "C5"), _check(False), _check(None, "C7")])
    assert said.startswith("Of 4 predictions of theory (C5, C6, C7), 2 agree")
    assert (
        "1 disagree. Those about a model trained to its optimum: 2 of 4 agree. 1 is undecided:"
        in said
    )
    assert said.endswith("Disagreeing: C6 (bias-only model, Dice, 5 %).")
    assert "Disagreeing" not in theory_findings([_check(True)])
    assert "and 2 more." in theory_findings([_check(False)] * 7)


def test_limits_speak_of_this_study():
    few = " ".join(limits([made_model(study(seeds=3), {})]))
    assert "3 seeds have wide intervals" in few
    assert "best of 0.003, 0.01" in few
    assert "The grid was not extended" in few
    wide = made_model(study(extend_grid=True), {})
    assert "No best was at the edge of these." in " ".join(limits([wide]))
    for loss in wide.config.losses:
        wide.tuning_results.append(
            made_run(wide.config, loss, 0.05, 1, extra={"learning_rate": 0.33})
        )
    assert "were tried: 0.33 for BCE at 5 %; 0.33 for Dice at 5 %." in " ".join(limits([wide]))
    own = dataclasses.replace(study(), data="folder", data_digest="digest")
    assert "say nothing of other images" in " ".join(limits([made_model(own, {})]))
    enough = " ".join(limits([made_model(study(learning_rates=(0.1,)), {})]))
    assert "wide intervals" not in enough
    assert "U-Net: every loss was trained at one learning rate (0.1)" in enough
