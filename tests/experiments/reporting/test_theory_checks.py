"""Theory beside what was seen: agreement, disagreement and neither, on made-up runs."""

import numpy as np
import pytest

from experiments.analysis.theory import Region, best_constant, foreground_share
from experiments.reporting.theory_checks import predictions
from tests.experiments.conftest import TINY
from tests.experiments.made import SPREAD, made_entry, made_model, made_run, study

EQUAL = np.full(7, 0.8)


def _found(model, claim):
    return [check for check in predictions(model) if check.claim == claim]


def _history(shares, **changes):
    region = Region(0.05, 0.5, 0.5, 8 * 64 * 64)
    _, dice = foreground_share("dice", region, 1e-5)
    first = made_entry(0, foreground_share_probability=dice, gradient_ratio=21.0)
    return [first, *(made_entry(i + 1, foreground_share_logit=s, **changes) for i, s in
                     enumerate(shares))]  # fmt: skip


def _model(history, losses=("dice",), **changes):
    config = study(losses=losses, **changes)
    return made_model(config, dict.fromkeys(losses, (EQUAL, EQUAL)), history=history)


def test_a_real_study_agrees(finished):
    from experiments.analysis.model_runs import read_models

    (model,) = read_models(finished)
    checks = predictions(model)
    assert {check.claim for check in checks} == {"C1", "C5", "C7", "C15"}
    sure = [check for check in checks if check.claim in ("C1", "C5")]
    assert len(sure) == len(TINY.fractions) * 3
    assert all(check.agrees for check in sure), sure
    assert all(check.agrees is not False for check in checks), checks


def test_a_wrong_ratio_in_one_step_is_marked():
    good = _history([0.5] * 10)
    (check,) = _found(_model(good), "C1")
    assert check.agrees is True
    good[4]["gradient_ratio"] = 20.0
    (check,) = _found(_model(good), "C1")
    assert check.agrees is False
    assert "77 steps" in check.seen
    # Means over several regions have another ratio (C3): nothing is checked.
    assert not _found(_model(good, pooling="sample"), "C1")
    assert not _found(_model(good, losses=("tversky",)), "C1")


@pytest.mark.parametrize(("share", "agrees"), [(None, True), (0.3, False)])
def test_first_share(share, agrees):
    history = _history([0.5])
    if share:
        history[0]["foreground_share_probability"] = share
    (check,) = _found(_model(history), "C5")
    assert check.agrees is agrees
    assert check.theory == f"{(1 + 2 / 19) / (2 + 2 / 19):.3f}"


def test_squared_dice_starts_at_one_p():
    history = [made_entry(0, foreground_share_probability=0.3684)]
    (check,) = _found(_model(history, losses=("squared_dice",)), "C5")
    assert check.agrees is True
    assert not _found(_model(history, losses=("squared_dice",), smooth=1.0), "C5")


def _bias(loss, values, track=(0.5, 0.5), **changes):
    history = [made_entry(i, mean_probability_background=p) for i, p in enumerate(track)]
    config = study(losses=(loss,), model="bias", **changes)
    model = made_model(config, {})
    model.results.extend(
        made_run(config, loss, 0.05, s, mean_probability=v, history=history)
        for s, v in enumerate(values)
    )
    return model


@pytest.mark.parametrize(
    ("loss", "values", "agrees"),
    [
        ("bce", 0.05 + 1e-4 * SPREAD, True),
        ("bce", 0.06 + 1e-4 * SPREAD, False),
        ("bce", 0.05 + 1e-2 * SPREAD, None),
        ("squared_dice", 0.2236 + 1e-4 * SPREAD, True),
        ("squared_dice", 0.05 + 1e-4 * SPREAD, False),
        ("balanced_bce", 0.5 + 0 * SPREAD, True),
    ],
)
def test_best_constant(loss, values, agrees):
    (check,) = _found(_bias(loss, values), "C6")
    assert check.agrees is agrees


def test_best_constant_at_infinity_must_be_near_and_still_moving():
    near = 0.97 + 1e-3 * SPREAD
    (check,) = _found(_bias("dice", near, track=(0.5, 0.8, 0.9, 0.97)), "C6")
    assert check.agrees is True
    assert check.note == "→ 1: no finite bias attains it"
    (check,) = _found(_bias("dice", near, track=(0.5, 0.97, 0.99, 0.97)), "C6")
    assert check.agrees is False
    (check,) = _found(_bias("dice", 0.6 + 0 * SPREAD, track=(0.5, 0.5, 0.55, 0.6)), "C6")
    assert check.agrees is False
    # The article's smoothing on one small object: everything is background.
    one = {"pooling": "sample", "smooth": 30.0}
    (check,) = _found(_bias("dice", 0.02 + 0 * SPREAD, track=(0.5, 0.3, 0.1, 0.02), **one), "C6")
    assert (check.agrees, check.theory) == (True, "0.0000")


def test_search_stands_where_theory_has_no_closed_form():
    best = best_constant("dice+bce", 0.05, 8 * 64 * 64, 1e-5)
    (check,) = _found(_bias("dice+bce", best.prediction + 1e-5 * SPREAD), "C6")
    assert (check.agrees, check.note) == (True, "minimum of the loss, by search")
    assert not _found(_bias("generalized_dice", EQUAL), "C6")


@pytest.mark.parametrize(
    ("model", "end", "agrees"),
    [("unet", 0.5, True), ("unet", 0.3, None), ("bias", 0.5, True), ("bias", 0.3, False)],
)
def test_share_at_the_end(model, end, agrees):
    (check,) = _found(_model(_history([0.1] * 18 + [end] * 2), losses=("bce",), model=model), "C7")
    assert check.agrees is agrees
    assert check.theory == "0.500"


def test_share_of_a_bias_only_dice_is_not_a_half():
    omega = 0.05 / 0.95
    share = (1 + omega) / (2 + omega)
    (check,) = _found(_model(_history([share] * 20), model="bias"), "C7")
    assert (check.agrees, check.theory) == (True, f"{share:.3f}")


def test_jaccard_is_dices_control():
    config = study(losses=("dice", "jaccard"))
    for lead, spread, agrees in ((0.01, 0.01, True), (0.2, 0.01, False), (0.0, 0.2, None)):
        scores = {"dice": (EQUAL, EQUAL), "jaccard": (EQUAL + lead + spread * SPREAD, EQUAL)}
        (check,) = _found(made_model(config, scores), "C3")
        assert check.agrees is agrees
        assert check.seen.startswith(f"{lead:+.3f} [")
    # Without seeds there is no interval to judge.
    (lone,) = [made_model(study(losses=("dice", "jaccard"), seeds=1), scores)]
    assert not _found(lone, "C3")


@pytest.mark.parametrize(
    ("model", "bias", "end", "agrees"),
    [
        ("linear", 0.0, 0.5, True),
        ("linear", 0.4, 0.5, False),
        # Not at rest: not at its optimum.
        ("linear", 0.4, 0.3, None),
        ("unet", 0.4, 0.5, None),
    ],
)
def test_bce_is_unbiased_at_its_optimum(model, bias, end, agrees):
    config = study(losses=("bce",), model=model)
    model = made_model(config, {})
    model.results.extend(
        made_run(config, "bce", 0.05, s, soft_volume_bias=bias + 0.01 * v,
                 history=_history([end] * 20))
        for s, v in enumerate(SPREAD)
    )  # fmt: skip
    (check,) = _found(model, "C15")
    assert check.agrees is agrees


def test_runs_that_diverged_are_not_judged():
    config = study(losses=("dice",))
    model = made_model(config, {})
    model.results.extend(made_run(config, "dice", 0.05, s, status="diverged") for s in range(7))
    assert predictions(model) == []
