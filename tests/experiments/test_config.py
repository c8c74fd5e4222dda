"""The settings: what they expand to, and what they refuse."""

import json
from collections import Counter

import pytest

from experiments.config import (
    PRESETS,
    ConfigError,
    StudyConfig,
    chosen_rates,
    plan,
    resolve,
    tuning_extension,
    tuning_plan,
)


def test_standard_is_the_protocols_two_hour_design():
    config = resolve("standard")
    assert config.losses == ("bce", "dice", "squared_dice", "dice+bce")
    assert config.fractions == (0.05, 0.01, 0.003)
    assert config.learning_rates == (1e-3, 3e-3, 1e-2)
    assert (config.steps, config.batch_size, config.image_size) == (500, 16, 64)
    assert (config.seeds, config.test_images) == (7, 512)
    assert config.extend_grid
    assert len(tuning_plan(config)) == 4 * 3 * 3
    assert len(plan(config)) == 4 * 3 * 7


def test_plan_is_a_full_grid_of_fresh_paired_seeds():
    config = resolve("quick")
    runs = plan(config, {(c.loss, c.foreground_fraction): 0.5 for c in tuning_plan(config)})
    assert len({run.name for run in runs}) == len(runs)
    cells = Counter((run.loss, run.foreground_fraction) for run in runs)
    assert set(cells.values()) == {config.seeds}
    assert len(cells) == len(config.losses) * len(config.fractions)
    # Whole seeds first; none of them was used to choose a learning rate.
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert not {run.seed for run in runs} & {run.seed for run in tuning_plan(config)}
    assert {run.learning_rate for run in runs} == {0.5}


def _scored(config, best):
    """Scores that are best at a learning rate of each loss."""
    return {
        spec: 0.9 if spec.learning_rate == best[spec.loss] else 0.1 for spec in tuning_plan(config)
    }


def test_learning_rates_are_chosen_by_score_and_extended_at_an_edge():
    config = StudyConfig(
        losses=("bce", "dice"),
        fractions=(0.05,),
        learning_rates=(1e-3, 3e-3, 1e-2),
        extend_grid=True,
    )
    scores = _scored(config, {"bce": 1e-2, "dice": 3e-3})
    assert chosen_rates(config, scores) == {("bce", 0.05): 1e-2, ("dice", 0.05): 3e-3}
    (extra,) = tuning_extension(config, scores)
    assert (extra.loss, extra.learning_rate) == ("bce", 0.033)
    assert chosen_rates(config, {**scores, extra: 0.95})["bce", 0.05] == 0.033
    (low,) = tuning_extension(config, _scored(config, {"bce": 1e-3, "dice": 3e-3}))
    assert low.learning_rate == 0.00033


def test_a_diverged_learning_rate_is_never_chosen():
    config = StudyConfig(losses=("dice",), fractions=(0.05,), learning_rates=(1e-3, 1e-2))
    first, second = tuning_plan(config)
    assert chosen_rates(config, {first: 0.0, second: float("nan")})["dice", 0.05] == 1e-3
    assert chosen_rates(config, {first: float("nan"), second: 0.0})["dice", 0.05] == 1e-2


def test_without_a_choice_nothing_is_tuned():
    config = resolve("quick", "bias")
    assert tuning_plan(config) == []
    assert set(chosen_rates(config, {}).values()) == {0.2}


def test_settings_survive_json():
    for models in PRESETS.values():
        for config in models.values():
            assert StudyConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"losses": ("nonsense",)}, ["'nonsense'", "squared_dice", "bce", "dice+bce"]),
        ({"losses": ("dice+nonsense",)}, ["'nonsense'"]),
        ({"losses": ("dice", "dice")}, ["dice", "twice"]),
        ({"losses": ()}, ["losses", "empty"]),
        ({"model": "nonsense"}, ["'nonsense'", "bias", "linear", "unet"]),
        ({"preset": "nonsense"}, ["'nonsense'", "quick", "standard"]),
        ({"fractions": (0.0,)}, ["(0, 1)", "0"]),
        ({"fractions": (1.0,)}, ["(0, 1)", "1"]),
        ({"fractions": (-0.1,)}, ["(0, 1)", "-0.1"]),
        ({"fractions": (float("nan"),)}, ["(0, 1)", "nan"]),
        ({"fractions": (0.001,)}, ["4.1 pixels", "--image-size 112", "0.0029"]),
        ({"fractions": (0.999,)}, ["4.1 pixels"]),
        ({"fractions": (0.005,), "objects": 5}, ["20.5 pixels", "25"]),
        ({"seeds": 0}, ["seeds", "0"]),
        ({"steps": -1}, ["steps", "-1"]),
        ({"image_size": 30}, ["image_size", "multiple of 4"]),
        ({"learning_rates": (0.0,)}, ["learning rate", "positive"]),
        ({"learning_rates": (0.1, 0.01)}, ["ascend"]),
        ({"batch_size": 1000}, ["batch_size", "train_images"]),
        ({"nonsense": 3}, ["nonsense"]),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(changes, words):
    with pytest.raises(ConfigError) as caught:
        resolve(**changes)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_the_size_that_an_error_names_is_enough():
    resolve(fractions=(0.001,), image_size=112)
    resolve(fractions=(0.003,))
