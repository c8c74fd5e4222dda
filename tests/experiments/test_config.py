"""The settings: what they expand to, and what they refuse."""

import dataclasses
import json
import re

import pytest

from experiments.config import ConfigError, StudyConfig
from experiments.learning.arms import LOSSES
from experiments.learning.models import MODELS
from experiments.presets import PRESETS, resolve
from experiments.runs.plan import final_runs, tuning_runs


def test_standard_is_the_protocol():
    config = resolve("standard")
    assert config.losses == ("bce", "dice", "dice+bce")
    assert config.fractions == (0.05, 0.01, 0.003)
    assert config.learning_rates == (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
    assert (config.steps, config.batch_size, config.image_size) == (500, 16, 64)
    assert (config.seeds, config.tuning_seeds, config.test_images) == (20, 3, 512)
    # New images in every step, and rates beyond the grid until the best is interior.
    assert config.train_images is None
    assert config.extend_grid
    assert len(tuning_runs(config)) == 3 * 3 * 6 * 3
    assert len(final_runs(config)) == 3 * 3 * 20


def test_an_arm_sets_what_it_names_and_nothing_else():
    config = resolve("collapse")
    arm = config.of_arm("dice,smooth=1,rate=0.01,clip=1")
    changed = {
        name: value
        for name, value in dataclasses.asdict(arm).items()
        if value != getattr(config, name)
    }
    expected = {"losses": ("dice",), "learning_rates": (0.01,), "smooth": 1.0, "clip_norm": 1.0}
    assert changed == expected
    assert len(config.losses) == len({config.of_arm(arm) for arm in config.losses}) == 20
    assert config.trained_steps == 80


def test_full_is_every_arm_down_to_the_smallest_fraction_and_one_change_each():
    full = PRESETS["full"]["unet"]
    assert set(full.losses) >= set(LOSSES) - {"log_dice", "log_cosh_dice"} | {"dice+bce"}
    assert (max(full.fractions), min(full.fractions)) == (0.2, 0.0005)
    plain = dataclasses.replace(
        full, losses=("bce", "dice", "squared_dice", "dice+bce"), fractions=(0.05, 0.01, 0.003)
    )
    changed = {}
    for name, models in PRESETS.items():
        if name.startswith("full-"):
            config = dataclasses.asdict(models["unet"])
            was = dataclasses.asdict(plain)
            changed[name] = {k for k in was if was[k] != config[k]} - {"fractions"}
    touched = set.union(*changed.values())
    assert touched >= {"shape", "objects", "object_pixels", "empty_share", "label_noise"}
    assert touched >= {"annotator_bias", "pooling", "smooth", "initial_bias", "optimiser"}
    assert changed.pop("full-empty-per-sample") == {"empty_share", "pooling"}
    assert changed.pop("full-sgd") == {"optimiser", "learning_rates"}
    assert all(len(names) == 1 for names in changed.values())
    # Every one of them can be run with every model.
    assert all(set(models) == set(MODELS) for name, models in PRESETS.items() if "full" in name)


def test_a_study_of_before_is_read_as_it_was_run():
    """The settings of the first published quick study, which knew none of the later ones."""
    settings = {
        "losses": ["bce", "dice"], "model": "unet", "fractions": [0.05, 0.01, 0.003], "seeds": 3,
        "steps": 200, "batch_size": 8, "learning_rates": [0.003, 0.01], "extend_grid": False,
        "image_size": 64, "objects": 1, "reference_dice": 0.8, "train_images": 256,
        "validation_images": 64, "test_images": 128, "logged_steps": 40,
    }  # fmt: skip
    before = {"train_images": 256, "tuning_seeds": 3}
    assert StudyConfig.from_json(settings) == dataclasses.replace(
        PRESETS["quick"]["unet"], **before
    )


def test_objects_follow_from_the_fraction_where_their_size_is_fixed():
    config = resolve(object_pixels=41, fractions=(0.05, 0.01))
    assert [config.objects_at(f) for f in config.fractions] == [5, 1]
    half_empty = dataclasses.replace(config, empty_share=0.5)
    assert [half_empty.objects_at(f) for f in config.fractions] == [10, 2]
    assert resolve(objects=3, fractions=(0.05,)).objects_at(0.05) == 3


def test_settings_survive_json():
    for models in PRESETS.values():
        for config in models.values():
            assert (
                StudyConfig.from_json(json.loads(json.dumps(dataclasses.asdict(config)))) == config
            )


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
        ({"image_width": 62}, ["image_width", "multiple of 4"]),
        ({"shape": "star"}, ["shape", "'star'", "ellipse", "posterior"]),
        ({"pooling": "pixel"}, ["pooling", "'pixel'", "batch, sample"]),
        ({"initial_bias": "zero"}, ["initial_bias", "'zero'", "half, prior"]),
        ({"optimiser": "lion"}, ["optimiser", "'lion'", "adam, sgd, rest"]),
        ({"optimiser": "rest"}, ["rest", "bias and linear", "--model linear"]),
        ({"model": "linear", "batch_size": 8}, ["one batch", "64 and 8"]),
        ({"losses": ("dice,clap=1",)}, ["option", "'clap'", "did you mean 'clip'"]),
        ({"losses": ("dice,clip=x",)}, ["clip", "'x'", "dice,clip=1"]),
        ({"losses": ("dice,pooling=pixel",)}, ["pooling", "'pixel'"]),
        ({"losses": ("dice,beta2=1",)}, ["beta2", "[0, 1)"]),
        ({"clip_norm": 0.0}, ["clip_norm", "positive"]),
        ({"stop_after": 500}, ["stop_after 500", "steps 200"]),
        ({"first_seed": -1}, ["first_seed", "at least 0"]),
        ({"smooth": -1.0}, ["smooth", "at least 0 pixels", "-1"]),
        ({"smooth": float("inf")}, ["smooth", "inf"]),
        ({"label_noise": -0.5}, ["label_noise", "-0.5"]),
        ({"label_noise": 2.0}, ["label_noise 2 would erase", "ellipse of 12 pixels", "1.3 pixels"]),
        ({"annotator_bias": -2.0}, ["annotator_bias -2 would erase", "1.3 pixels"]),
        ({"annotator_bias": float("nan")}, ["annotator_bias", "finite"]),
        ({"shape": "posterior", "label_noise": 0.5}, ["posterior", "no boundary"]),
        ({"empty_share": 1.0}, ["empty_share", "[0, 1)"]),
        ({"empty_share": 0.98}, ["empty_share 0.98", "validation_images 64", "fewer than 2"]),
        ({"empty_share": 0.5, "fractions": (0.499,)}, ["8.2 pixels of the rarer class"]),
        ({"empty_share": 0.5, "fractions": (0.6,)}, ["0.0 pixels of the rarer class"]),
        ({"shape": "tube", "fractions": (0.003,)}, ["12.3 pixels", "20"]),
        ({"shape": "blob", "objects": 5, "fractions": (0.01,)}, ["41.0 pixels", "50"]),
        ({"object_pixels": 3, "fractions": (0.05,)}, ["204.8 pixels", "340"]),
        ({"object_pixels": 0}, ["object_pixels", "0"]),
        ({"learning_rates": (0.0,)}, ["learning rate", "positive"]),
        ({"learning_rates": (0.1, 0.01)}, ["ascend"]),
        ({"batch_size": 1000, "train_images": 256}, ["batch_size", "train_images"]),
        ({"nonsense": 3}, ["nonsense"]),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(changes, words):
    with pytest.raises(ConfigError) as caught:
        resolve(**changes)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_the_size_that_an_error_names_is_enough_and_the_next_smaller_is_not():
    with pytest.raises(ConfigError) as caught:
        resolve(fractions=(0.001,))
    size = int(re.search(r"--image-size (\d+)", str(caught.value))[1])
    assert size == 112
    assert resolve(fractions=(0.001,), image_size=size).image_size == size
    with pytest.raises(ConfigError, match=f"--image-size {size}"):
        resolve(fractions=(0.001,), image_size=size - 4)
