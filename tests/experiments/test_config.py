"""The settings: what they expand to, and what they refuse."""

import json

import pytest

from experiments.config import PRESETS, ConfigError, StudyConfig, resolve
from experiments.plan import plan, tuning_plan


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
