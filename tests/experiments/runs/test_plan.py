"""The plan of a study: its runs, and the learning rates that are chosen for them."""

import dataclasses
from collections import Counter

import pytest

from experiments.config import ConfigError, StudyConfig
from experiments.presets import PRESETS, resolve, study_configs
from experiments.runs.plan import (
    chosen_rates,
    final_runs,
    run_groups,
    step_cost,
    tuning_extension,
    tuning_runs,
)


def test_plan_is_a_full_grid_of_fresh_paired_seeds():
    config = resolve("quick")
    runs = final_runs(
        config, {(c.loss, c.foreground_fraction, 0): 0.5 for c in tuning_runs(config)}
    )
    assert len({run.name for run in runs}) == len(runs)
    cells = Counter((run.loss, run.foreground_fraction) for run in runs)
    assert set(cells.values()) == {config.seeds}
    assert len(cells) == len(config.losses) * len(config.fractions)
    # Whole seeds first; none of them was used to choose a learning rate.
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert not {run.seed for run in runs} & {run.seed for run in tuning_runs(config)}
    assert {run.learning_rate for run in runs} == {0.5}


def _scored(config, best):
    """Scores that are best at a learning rate of each loss."""
    return {
        spec: 0.9 if spec.learning_rate == best[spec.loss] else 0.1 for spec in tuning_runs(config)
    }


def test_learning_rates_are_chosen_by_score_and_extended_at_an_edge():
    config = StudyConfig(
        losses=("bce", "dice"),
        fractions=(0.05,),
        learning_rates=(1e-3, 3e-3, 1e-2),
        extend_grid=True,
    )
    scores = _scored(config, {"bce": 1e-2, "dice": 3e-3})
    assert chosen_rates(config, scores) == {("bce", 0.05, 0): 1e-2, ("dice", 0.05, 0): 3e-3}
    extra = tuning_extension(config, scores)
    assert {(spec.loss, spec.learning_rate) for spec in extra} == {("bce", 0.033)}
    assert len({spec.seed for spec in extra}) == len(extra) == config.tuning_seeds
    scores |= dict.fromkeys(extra, 0.95)
    assert chosen_rates(config, scores)["bce", 0.05, 0] == 0.033
    # The new rate is the best and at the edge: there is another one, until the best is interior.
    further = tuning_extension(config, scores)
    assert {spec.learning_rate for spec in further} == {0.11}
    assert tuning_extension(config, scores | dict.fromkeys(further, 0.2)) == []
    low = tuning_extension(config, _scored(config, {"bce": 1e-3, "dice": 3e-3}))
    assert {spec.learning_rate for spec in low} == {0.00033}


def test_a_loss_that_never_learns_is_not_extended_for_ever():
    config = StudyConfig(
        losses=("dice",), fractions=(0.05,), learning_rates=(1e-3, 1e-2), extend_grid=True
    )
    scores = dict.fromkeys(tuning_runs(config), 0.0)
    rounds = 0
    while extra := tuning_extension(config, scores):
        scores |= dict.fromkeys(extra, 0.0)
        rounds += 1
    assert rounds == 6
    assert {spec.learning_rate < 1e-3 for spec in set(scores) - set(tuning_runs(config))} == {True}


def test_the_mean_over_seeds_decides_and_a_collapse_counts():
    config = StudyConfig(losses=("dice",), fractions=(0.05,), learning_rates=(1e-3, 1e-2))
    assert config.tuning_seeds == 3
    # The larger rate is better in two seeds of three, and collapses in the third.
    scores = {
        spec: {1e-3: (0.7, 0.7, 0.7), 1e-2: (0.8, 0.8, 0.1)}[spec.learning_rate][spec.seed % 10]
        for spec in tuning_runs(config)
    }
    assert chosen_rates(config, scores)["dice", 0.05, 0] == 1e-3


def test_an_arm_with_its_own_rate_is_not_tuned():
    config = StudyConfig(losses=("bce", "dice,rate=0.033"), fractions=(0.05,))
    assert {spec.loss for spec in tuning_runs(config)} == {"bce"}
    scores = {spec: spec.learning_rate for spec in tuning_runs(config)}
    assert chosen_rates(config, scores) == {
        ("bce", 0.05, 0): 1e-2,
        ("dice,rate=0.033", 0.05, 0): 0.033,
    }


def test_a_diverged_learning_rate_is_never_chosen():
    config = StudyConfig(losses=("dice",), fractions=(0.05,), learning_rates=(1e-3, 1e-2))
    first, second = tuning_runs(dataclasses.replace(config, tuning_seeds=1))
    assert chosen_rates(config, {first: 0.1, second: float("nan")})["dice", 0.05, 0] == 1e-3
    assert chosen_rates(config, {first: float("nan"), second: 0.1})["dice", 0.05, 0] == 1e-2


def _in_folds(**changes):
    # A folder's settings, as they are measured; no file is read for a plan.
    settings = {"losses": ("dice",), "fractions": (0.05,), "learning_rates": (1e-3, 1e-2)}
    return StudyConfig(**settings, data="somewhere", split="01234", folds=5, **changes)


def test_every_fold_chooses_its_learning_rate_without_the_images_it_is_tested_on():
    config = _in_folds(seeds=10, tuning_seeds=2)
    tuned = tuning_runs(config)
    assert len({spec.name for spec in tuned}) == 5 * 2
    # The rate of fold 3 is the better one in its own runs, and the worse one in all others.
    scores = {
        spec: float((spec.learning_rate == 1e-2) == (config.fold_of(spec.seed) == 3))
        for spec in tuned
    }
    rates = chosen_rates(config, scores)
    assert rates == {("dice", 0.05, fold): 1e-2 if fold == 3 else 1e-3 for fold in range(5)}
    for spec in final_runs(config, rates):
        assert spec.learning_rate == (1e-2 if spec.seed % 5 == 3 else 1e-3)
    # The other folds' runs change nothing, whatever they score.
    for spec in tuned:
        changed = scores | {spec: 7.0 * (1 - scores[spec])}
        differ = {cell for cell, rate in chosen_rates(config, changed).items()
                  if rate != rates[cell]}  # fmt: skip
        assert differ <= {("dice", 0.05, config.fold_of(spec.seed))}


def test_folds_that_no_seed_is_tested_on_are_not_tuned():
    config = _in_folds(seeds=2, tuning_seeds=3)
    assert {config.fold_of(spec.seed) for spec in tuning_runs(config)} == {0, 1}
    assert len(tuning_runs(config)) == 2 * 2 * 3


def test_without_a_choice_nothing_is_tuned():
    config = resolve("quick", "bias")
    assert tuning_runs(config) == []
    assert set(chosen_rates(config, {}).values()) == {1.0}


def test_standard_runs_three_models_and_all_arms_on_the_cheap_ones():
    asked = study_configs("standard")
    assert [config.model for config in asked] == ["bias", "linear", "unet"]
    assert [len(config.losses) for config in asked] == [10, 10, 3]
    assert asked[2] == resolve("standard", "unet")
    # Cheapest first, and each step of the next is more work.
    costs = [step_cost(config) / config.batch_size for config in asked]
    assert costs == sorted(costs)


def test_quick_is_the_unet_alone_and_a_named_model_is_alone():
    assert study_configs("quick") == (resolve("quick", "unet"),)
    assert study_configs("standard", "linear") == (resolve("standard", "linear"),)
    assert {config.steps for config in study_configs("standard", steps=7)} == {7}
    with pytest.raises(ConfigError, match="unknown preset 'nonsense'"):
        study_configs("nonsense")


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_groups_hold_every_run_once_and_are_of_one_size(preset):
    for config in study_configs(preset):
        for specs in (tuning_runs(config), final_runs(config)):
            groups = run_groups(config, specs)
            assert {spec for group in groups for spec in group} == set(specs)
            # Filled up with repetitions of a group's last run, never with another group's.
            assert sum(len(dict.fromkeys(group)) for group in groups) == len(specs)
            assert all(len({spec.loss for spec in group}) == 1 for group in groups)
        sizes = {
            len(group) for p in (tuning_runs, final_runs) for group in run_groups(config, p(config))
        }
        assert len(sizes) == 1
        (size,) = sizes
        pixels = config.image_size**2 * config.batch_size
        assert size == 1 or size * pixels <= 2**22
        assert size <= 32
