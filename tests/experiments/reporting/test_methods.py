"""What was run is said as it was, and the command is one that runs it."""

import dataclasses
import shlex

import pytest

from experiments import __main__ as command_line
from experiments.presets import study_configs
from experiments.reporting.command import shortest_command
from experiments.reporting.sentences import lead, methods, title
from tests.experiments.made import SPREAD, made_model, study

SCORES = dict.fromkeys(("bce", "dice"), (0.8 + 0 * SPREAD, 0.8 + 0 * SPREAD))


def _asked(line, monkeypatch):
    """Run the command line up to where the study would start, and return its settings."""
    got = {}

    def no_run(asked, *where, **how):
        got["configs"] = tuple(asked)
        return 0

    monkeypatch.setattr(command_line, "run", no_run)
    monkeypatch.setattr("sys.argv", shlex.split(line)[2:])
    assert command_line.main() == 0
    return got["configs"]


@pytest.mark.parametrize(
    ("preset", "model", "changes"),
    [
        ("quick", None, {}),
        ("quick", "linear", {}),
        ("standard", None, {}),
        ("quick", None, {"losses": ("bce", "dice", "dice+bce"), "seeds": 7, "fractions": (0.1,)}),
        ("quick", "bias", {"smooth": 1.0, "pooling": "sample", "learning_rates": (0.1, 0.3)}),
    ],
)
def test_the_command_runs_the_same_study(preset, model, changes, monkeypatch, capsys):
    configs = study_configs(preset, model, **changes)
    assert _asked(shortest_command(configs), monkeypatch) == configs


def test_the_command_is_short():
    assert shortest_command(study_configs("quick")) == "python -m experiments compare"
    assert (
        shortest_command(study_configs("standard"))
        == "python -m experiments compare --preset standard"
    )
    assert (
        shortest_command(study_configs("quick", seeds=7))
        == "python -m experiments compare --seeds 7"
    )


def test_a_study_that_no_command_runs_has_none():
    bias, linear, unet = study_configs("standard")
    assert (
        shortest_command((bias, dataclasses.replace(linear, steps=linear.steps + 1), unet)) is None
    )


def test_a_study_is_named_by_its_losses():
    assert title([made_model(study(), {})]) == "BCE and Dice on imbalanced masks"
    many = ("bce", "dice", "focal", "jaccard", "tversky")
    assert title([made_model(study(losses=many), {})]) == "5 losses on imbalanced masks"
    variants = ("dice", "dice,clip=1", "dice,clip=2", "bce")
    assert title([made_model(study(losses=variants), {})]) == "Dice and BCE on imbalanced masks"
    own = dataclasses.replace(study(), data="some/nuclei", data_digest="digest")
    assert title([made_model(own, {})]) == "BCE and Dice on nuclei"


def test_the_first_sentence_says_what_was_compared_on_what():
    many = made_model(study(fractions=(0.05, 0.02)), {})
    assert lead([many, made_model(study(model="linear", seeds=1), {})]) == (
        "A U-Net was trained with each of 2 losses, for 200 steps, on synthetic images of 64×64 "
        "pixels, of which 5 % or 2 % are foreground. 7 runs of each loss and fraction, paired: the "
        "same images, initial weights and order for every loss. Each loss has its own learning "
        "rate at each fraction, chosen on 3 other seeds. Only the comparison of Dice with BCE "
        "(threshold 0.5 against tuned) was fixed before the study. Further models: a linear model "
        "(2 losses, 1 run of each)."
    )
    variants = made_model(study(losses=("dice", "dice,clip=1")), {})
    assert "each of 2 variants of 1 loss," in lead([variants])
    others = made_model(study(losses=("bce", "focal")), {})
    assert "was fixed before" not in lead([others])
    own = dataclasses.replace(study(), data="nuclei", data_digest="digest")
    assert "on the images in nuclei (5 % of the pixels are foreground)" in lead(
        [made_model(own, {})]
    )


def test_what_was_run_is_said():
    said = " ".join(methods([made_model(study(), SCORES)]))
    assert "Images of 64×64 pixels with 1 ellipse in white noise" in said
    assert "14 of 14 runs are done. Training took 14 s, the sum over all runs" in said
    assert "on 1 cpu device (2 cores)" in said
    assert "200 Adam steps of 8 images, starting at a predicted probability of ½" in said
    assert "pools the whole batch" in said
    assert "smoothed by 1e-05 pixels" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": "tube", "objects": 2}, "2 tubes in white noise"),
        ({"object_pixels": 50}, "ellipses of about 50 pixels each"),
        ({"shape": "posterior"}, "its label is drawn from μ independently"),
        ({"empty_share": 0.25}, "25 % of the images hold nothing but noise"),
        (
            {"label_noise": 1.0, "annotator_bias": -2.0},
            "are displaced at random by 1 pixels and lie 2 pixels too far in. Test",
        ),
        (
            {"label_noise": 1.5},
            "validation labels are displaced at random by 1.5 pixels. Test labels are clean",
        ),
        ({"pooling": "sample"}, "pools each image on its own"),
        (
            {"initial_bias": "prior"},
            "starting at a predicted probability of the foreground fraction",
        ),
        ({"optimiser": "sgd"}, "SGD (momentum 0.9) steps"),
        ({}, "and new training images in every step"),
        ({"train_images": 96}, "Per seed 96 training, 64 validation and 128 test images. All"),
        ({"steps": 500, "stop_after": 80}, "80 Adam steps of 8 images"),
        (
            {"model": "linear", "optimiser": "rest", "train_images": 8},
            "trained to its optimum by BFGS on all 8 training images",
        ),
    ],
)
def test_settings_are_told(changes, words):
    assert words in " ".join(methods([made_model(study(**changes), SCORES)]))


def test_several_models_are_counted_together():
    models = [made_model(study(model=m), SCORES) for m in ("unet", "linear")]
    said = " ".join(methods(models))
    assert "28 of 28 runs" in said
    assert "Linear model (a logistic regression" in said


def test_a_users_own_images_are_named_and_the_command_points_to_them(monkeypatch):
    measured = {
        "fractions": (0.03461,), "image_size": 32, "image_width": 40, "train_images": 22,
        "validation_images": 10, "test_images": 8, "data": "my images", "data_digest": "fed667",
    }  # fmt: skip
    config = dataclasses.replace(study(), **measured, batch_size=4, tuning_seeds=1)
    said = " ".join(methods([made_model(config, SCORES)]))
    assert "The images in my images, 32×40 pixels." in said
    assert "22 training, 10 validation and 8 test images, split as split.csv lists them" in said
    assert "noise" not in said
    line = shortest_command((dataclasses.replace(config, seeds=3),))
    assert line == "python -m experiments compare --batch-size 4 --data 'my images'"
