"""Theory beside what was seen: agreement, disagreement and neither, on made-up runs."""

import numpy as np
import pytest

from experiments.analysis.theory import Region, best_constant, foreground_share
from experiments.reporting.theory_checks import KINDS, counts_by_kind, predictions
from tests.experiments.conftest import TINY
from tests.experiments.made import SPREAD, made_entry, made_model, made_rest, made_run, study

EQUAL = np.full(7, 0.8)
SMALL = {"image_size": 32, "validation_images": 2, "test_images": 2}


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
    # A network that is not at rest has nothing to say of C7 and C15.
    assert {check.claim for check in checks} == {"C1", "C5"}
    assert len(checks) == len(TINY.fractions) * 3
    assert all(check.agrees for check in checks), checks


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


def _bias(loss, values, history=None, **changes):
    config = study(losses=(loss,), model="bias", **changes)
    model = made_model(config, {})
    model.results.extend(
        made_run(config, loss, 0.05, s, mean_probability=v, history=history or made_rest())
        for s, v in enumerate(values)
    )
    return model


@pytest.mark.parametrize(
    ("loss", "values", "agrees"),
    [
        ("bce", 0.05 + 1e-5 * SPREAD, True),
        ("bce", 0.06 + 1e-5 * SPREAD, False),
        # Inside and outside of the tolerance: the interval reaches over its end.
        ("bce", 0.05 + 1e-3 * SPREAD, None),
        ("squared_dice", 0.2236 + 1e-4 * SPREAD, True),
        ("squared_dice", 0.05 + 1e-4 * SPREAD, False),
        ("balanced_bce", 0.5 + 0 * SPREAD, True),
        # At infinity.
        ("dice", 1 - 1e-4 * (SPREAD + 3), True),
        ("dice", 0.6 + 0 * SPREAD, False),
        # One run has no interval.
        ("bce", [0.05], None),
    ],
)
def test_best_constant(loss, values, agrees):
    (check,) = _found(_bias(loss, values), "C6")
    assert (check.agrees, check.kind) == (agrees, "at rest")


def test_best_constant_at_infinity():
    (check,) = _found(_bias("dice", 1 + 0 * SPREAD), "C6")
    assert check.note == "→ 1: no finite bias attains it"
    # The article's smoothing on one small object: everything is background.
    one = {"pooling": "sample", "smooth": 30.0}
    (check,) = _found(_bias("dice", 1e-4 * (SPREAD + 3), **one), "C6")
    assert (check.agrees, check.theory) == (True, "0.0000")


def test_search_stands_where_theory_has_no_closed_form():
    best = best_constant("dice+bce", 0.05, 8 * 64 * 64, 1e-5)
    (check,) = _found(_bias("dice+bce", best.prediction + 1e-5 * SPREAD), "C6")
    assert (check.agrees, check.note) == (True, "minimum of the loss, by search")
    assert not _found(_bias("generalized_dice", EQUAL), "C6")


def test_a_run_that_still_moves_is_not_judged_as_if_it_weremade_rest():
    moving = [made_entry(0), made_entry(1, foreground_share_logit=0.3, gradient_norm=1e-3)]
    of_before = [made_entry(0), made_entry(1, foreground_share_logit=0.3)]
    for history in (moving, of_before):
        model = _bias("bce", 0.3 + 1e-3 * SPREAD, history)
        assert not _found(model, "C6")
        assert not _found(model, "C7")
        linear = _model(history, losses=("bce",), model="linear")
        assert not _found(linear, "C7")
        assert not _found(linear, "C15")


@pytest.mark.parametrize("model", ["linear", "bias"])
@pytest.mark.parametrize(("end", "agrees"), [(0.5, True), (0.3, False)])
def test_sharemade_rest(model, end, agrees):
    (check,) = _found(_model(made_rest(end), losses=("bce",), model=model), "C7")
    assert (check.agrees, check.kind, check.theory) == (agrees, "at rest", "0.500")


def test_hard_losses_rest_at_infinity():
    omega = 0.05 / 0.95
    share = (1 + omega) / (2 + omega)
    (check,) = _found(_model(made_rest(share), model="bias"), "C7")
    assert (check.agrees, check.theory) == (True, f"{share:.3f}")
    # A model that sees pixels has no closed form there.
    assert not _found(_model(made_rest(share), model="linear"), "C7")


def test_jaccard_is_dices_control():
    config = study(losses=("dice", "jaccard"))
    for lead, spread, agrees in ((0.01, 0.005, True), (0.1, 0.005, False), (0.0, 0.05, None)):
        scores = {"dice": (EQUAL, EQUAL), "jaccard": (EQUAL + lead + spread * SPREAD, EQUAL)}
        (check,) = _found(made_model(config, scores), "C3")
        assert (check.agrees, check.kind) == (agrees, "outcome")
        assert check.seen.startswith(f"{lead:+.3f} [" if lead else "0.000 [")
    # Without seeds there is no interval to judge.
    (lone,) = [made_model(study(losses=("dice", "jaccard"), seeds=1), scores)]
    assert not _found(lone, "C3")


def _volumes(bias, history, **changes):
    config = study(losses=("bce",), **changes)
    model = made_model(config, {})
    model.results.extend(
        made_run(config, "bce", 0.05, s, soft_volume_bias=bias + 0.01 * v, history=history)
        for s, v in enumerate(SPREAD)
    )
    return model


@pytest.mark.parametrize(("bias", "agrees"), [(0.0, True), (0.4, False), (0.05, None)])
def test_bce_is_unbiased_at_its_optimum(bias, agrees):
    (check,) = _found(_volumes(bias, made_rest(), model="linear"), "C15")
    assert (check.agrees, check.kind) == (agrees, "at rest")
    # A U-Net that reads the posterior off its images can find the optimum, and can miss it.
    (check,) = _found(_volumes(bias, [made_entry(0)], shape="posterior", **SMALL), "C15")
    assert (check.agrees, check.kind) == (agrees, "outcome")
    assert not _found(_volumes(bias, [made_entry(0)]), "C15")


def test_every_kind_is_counted_and_every_check_can_fail():
    """One model whose every check fails: no prediction is safe by construction."""
    wrong = [
        made_entry(0, foreground_share_probability=0.9, gradient_ratio=3.0),
        *made_rest(0.3)[1:],
    ]
    config = study(losses=("dice", "jaccard", "bce"), model="linear")
    far = (EQUAL + 0.1 + 0.001 * SPREAD, EQUAL)
    scores = {"dice": (EQUAL, EQUAL), "jaccard": far, "bce": (EQUAL, EQUAL)}
    scored = made_model(config, scores, history=wrong)
    for run in scored.results:
        run["metrics"]["soft_volume_bias"] = 0.4 + 0.001 * run["seed"]
    checks = predictions(scored) + predictions(_bias("bce", 0.3 + 1e-3 * SPREAD, wrong))
    assert {check.claim for check in checks} == {"C1", "C3", "C5", "C6", "C7", "C15"}
    assert all(check.agrees is False for check in checks), checks
    counts = {count.kind: count for count in counts_by_kind(checks)}
    assert list(counts) == list(KINDS)
    assert all(count.disagree and not count.agree for count in counts.values())
    assert sum(count.disagree for count in counts.values()) == len(checks)


def test_runs_that_diverged_are_not_judged():
    config = study(losses=("dice",))
    model = made_model(config, {})
    model.results.extend(made_run(config, "dice", 0.05, s, status="diverged") for s in range(7))
    assert predictions(model) == []
