"""The statements hold, and each of them falls when the loss it speaks of is broken."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj
from dice_jax import analysis
from dice_jax.__main__ import main
from dice_jax.theory.checks import CHECKS, dynamics, gradient, optima, pooling, variants

# One worker runs the module: all statements are tested once, which takes half a minute.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("claims")]

IDS = [s.id for s in analysis.STATEMENTS]


@pytest.fixture(scope="session")
def results():
    """All statements, tested once for the whole session."""
    return {r.id: r for r in analysis.verify_claims(trials=16)}


def test_there_is_one_result_per_statement_in_order(results):
    assert [f"C{i}" for i in range(1, len(IDS) + 1)] == IDS
    assert list(results) == list(CHECKS) == IDS


def test_every_check_stands_in_the_table_once():
    written = [
        getattr(m, name)
        for m in (dynamics, gradient, optima, pooling, variants)
        for name in m.__all__
    ]
    assert sorted(CHECKS.values(), key=id) == sorted(written, key=id)


@pytest.mark.parametrize("name", IDS)
def test_a_statement_holds(results, name):
    result = results[name]
    assert result.verified, [c for c in result.checks if not c.passed]
    assert math.isfinite(result.worst_error)
    assert result.worst_error >= 0
    assert result.seconds > 0
    assert result.statement
    assert result.condition
    assert result.source
    # Where the words say that it ends, there is a place with numbers; and the other way round.
    outside = next(s.outside for s in analysis.STATEMENTS if s.id == name)
    assert (result.counterexample is not None) == bool(outside)
    if result.counterexample is not None:
        assert set(result.counterexample) > {"what"}
    json.dumps(result.counterexample)


@pytest.mark.parametrize("name", IDS)
def test_no_tolerance_is_larger_than_it_must_be(results, name):
    """Exact statements hold to 1e-9; a limit, near its limit, to five times the distance."""
    for check in results[name].checks:
        assert check.tolerance <= max(1e-9, 5 * check.error), check


def test_float64_is_switched_on_inside_only(results):
    assert not jax.config.jax_enable_x64
    assert jnp.zeros(()).dtype == jnp.float32
    # Rounding of float32 would show: the closed forms agree to far better than 1e-7.
    assert results["C1"].worst_error < 1e-12


def _dice(sums, *, smooth=1.0, smooth_denominator=None, factor=2.0, sign=-1.0):
    below = smooth if smooth_denominator is None else smooth_denominator
    index = (factor * sums.intersection + smooth) / (sums.prediction + sums.target + below)
    return 1 + sign * jnp.where(sums.count == 0, 0, index)


def _squared(sums, *, smooth=1.0, smooth_denominator=None, factor=2.0):
    below = smooth if smooth_denominator is None else smooth_denominator
    size = sums.prediction_squared + sums.target_squared + below
    return 1 - (factor * sums.intersection + smooth) / jnp.where(size == 0, 1, size)


def _without_smoothing(loss):
    return lambda sums, *, smooth=1.0, smooth_denominator=None, **rest: loss(
        sums, smooth=0.0, **rest
    )


def _scaled(loss, factor):
    return lambda *args, **options: factor * loss(*args, **options)


def _shifted(loss, option, by):
    return lambda *args, **options: loss(*args, **{**options, option: options[option] + by})


# Bound before a test puts something else in its place.
_tversky_loss = dj.tversky_loss


def _swapped(sums, *, alpha, beta, **options):
    return _tversky_loss(sums, alpha=beta, beta=alpha, **options)


def _uncapped(sums, *, smooth=1.0, smooth_denominator=None):
    w = 1 / jnp.square(sums.target + 1e-6)
    above, below = 2 * w * sums.intersection, w * (sums.prediction + sums.target)
    return 1 - (above.sum(-1) + smooth) / (below.sum(-1) + smooth)


def _regional_cross_entropy(sums):
    return jnp.square(dj.binary_cross_entropy_loss(sums))


def _hinge_of_dice(logits, targets, *, axis=None, where=None):
    sums = dj.sigmoid_region_sums(logits, targets, axis=axis, where=where)
    return dj.dice_loss(sums, smooth=0.0)


def _boundary_of_dice(probabilities, distances, *, axis=None, where=None):
    targets = distances < 0
    return dj.dice_loss(dj.region_sums(probabilities, targets, axis=axis, where=where))


# What is broken, how, which statements fall, and which have nothing to do with it.
BREAKAGES = {
    "dice: wrong sign": (
        {"dice_loss": lambda s, **o: _dice(s, sign=1.0, **o)},
        ["C1", "C7", "C14"],
        ["C18"],
    ),
    "dice: wrong factor": (
        {"dice_loss": lambda s, **o: _dice(s, factor=1.0, **o)},
        ["C2", "C5", "C8", "C11", "C13", "C21", "C22"],
        ["C18"],
    ),
    "dice: no smoothing": (
        {"dice_loss": _without_smoothing(dj.dice_loss)},
        ["C4", "C8", "C13", "C16"],
        ["C1"],
    ),
    "dice: smoothing below only": (
        {
            "dice_loss": lambda s, *, smooth=1.0, smooth_denominator=None: dj.dice_loss(
                s, smooth=0.0, smooth_denominator=smooth
            )
        },
        ["C8", "C16"],
        ["C1"],
    ),
    "squared dice: wrong factor": (
        {"squared_dice_loss": lambda s, **o: _squared(s, factor=1.9, **o)},
        ["C8", "C9", "C10", "C14", "C15"],
        ["C5"],
    ),
    "squared dice: no squares": (
        {"squared_dice_loss": dj.dice_loss},
        ["C10"],
        ["C18"],
    ),
    "squared dice: no smoothing": (
        {"squared_dice_loss": _without_smoothing(dj.squared_dice_loss)},
        ["C6"],
        ["C10"],
    ),
    "jaccard: wrong sign": (
        {"jaccard_loss": _scaled(dj.jaccard_loss, -1.0)},
        ["C1", "C27"],
        ["C8"],
    ),
    "cross-entropy: a sum, not a mean": (
        {"binary_cross_entropy_loss": lambda s: s.count * dj.binary_cross_entropy_loss(s)},
        ["C12"],
        ["C7"],
    ),
    "cross-entropy: regional": (
        {"binary_cross_entropy_loss": _regional_cross_entropy},
        ["C22"],
        ["C8"],
    ),
    "generalised dice: weights not capped": (
        {"generalized_dice_loss": _uncapped},
        ["C17"],
        ["C8"],
    ),
    "generalised dice: all classes alike": (
        {"generalized_dice_loss": lambda s, **o: dj.dice_loss(s, **o).mean(-1)},
        ["C17"],
        ["C8"],
    ),
    # The functions of one statement each, all at once.
    "the catalogue": (
        {
            "tversky_loss": _swapped,
            "log_cosh_dice_loss": _scaled(dj.log_cosh_dice_loss, 1.01),
            "self_adjusting_dice_loss": _shifted(dj.self_adjusting_dice_loss, "alpha", 0.1),
            "dice_plus_plus_loss": _shifted(dj.dice_plus_plus_loss, "gamma", 0.1),
            "dice_semimetric_loss": dj.dice_loss,
        },
        ["C9", "C14", "C18", "C19", "C20"],
        ["C1"],
    ),
    "focal tversky: exponent turned over": (
        {
            "focal_tversky_loss": lambda s, *, gamma, **o: dj.focal_tversky_loss(
                s, gamma=1 / gamma, **o
            )
        },
        ["C19"],
        [],
    ),
    "log: wrong factor": ({"log_dice_loss": _scaled(dj.log_dice_loss, 1.01)}, ["C19"], []),
    "Lovász and boundary: functions of Dice": (
        {"lovasz_hinge_loss": _hinge_of_dice, "boundary_loss": _boundary_of_dice},
        ["C3"],
        [],
    ),
    "dice: its logarithm": (
        {"dice_loss": dj.log_dice_loss},
        ["C23", "C24", "C25", "C26", "C28", "C29", "C30"],
        ["C18"],
    ),
    "jaccard: the smoothing of Dice": (
        {"jaccard_loss": lambda s, *, smooth=1.0: dj.jaccard_loss(s, smooth=2 * smooth)},
        ["C6"],
        [],
    ),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_a_broken_loss_makes_the_right_statements_fall(what):
    losses, fall, hold = BREAKAGES[what]
    results = analysis.verify_claims(trials=8, only=fall + hold, losses=losses)
    assert {r.id: r.verified for r in results} == {
        n: n in hold for n in sorted(fall + hold, key=IDS.index)
    }
    for result in results:
        assert math.isfinite(result.worst_error)


def test_every_statement_falls_for_some_breakage():
    assert {name for _, fall, _ in BREAKAGES.values() for name in fall} == set(IDS)


def test_a_loss_replaced_in_the_package_is_the_one_tested(monkeypatch):
    monkeypatch.setattr(dj, "dice_loss", lambda s, **o: _dice(s, factor=1.5, **o))
    (result,) = analysis.verify_claims(trials=8, only=["C8"])
    assert not result.verified


def test_nan_is_reported_as_a_finite_error():
    nan = {"dice_loss": _scaled(dj.dice_loss, jnp.nan)}
    (result,) = analysis.verify_claims(trials=8, only="C8", losses=nan)
    assert not result.verified
    assert math.isfinite(result.worst_error)


def test_another_key_gives_other_problems_and_the_same_one_the_same():
    def errors(key):
        (result,) = analysis.verify_claims(key=key, trials=8, only=["C18"])
        assert result.verified
        return [c.error for c in result.checks]

    assert errors(jax.random.key(1)) == errors(jax.random.key(1))
    assert errors(jax.random.key(1)) != errors(jax.random.key(2))
    assert errors(jax.random.PRNGKey(1)) == errors(jax.random.key(1))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"only": ["C99"]}, ValueError, "C99"),
        ({"trials": 0}, ValueError, "at least 8"),
        ({"trials": 2.5}, TypeError, "integer"),
        ({"losses": {"dise_loss": dj.dice_loss}}, ValueError, "dise_loss"),
    ],
)
def test_a_wrong_request_is_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        analysis.verify_claims(**arguments)


def test_the_command_prints_a_table(capsys):
    assert main(["claims", "--only", "C8", "c18", "--trials", "8"]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 statements hold" in out
    assert "C18" in out
    assert "C9" not in out


def test_the_command_prints_json(capsys):
    assert main(["claims", "--only", "C18", "--json", "--trials", "8"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert {"id", "statement", "condition", "source", "verified", "worst_error"} <= set(result)
    assert {"counterexample", "seconds"} <= set(result)
    assert result["verified"] is True


def test_the_command_fails_when_a_statement_falls(monkeypatch, capsys):
    monkeypatch.setattr(dj, "tversky_loss", _swapped)
    assert main(["claims", "--only", "C18", "--trials", "8"]) == 1
    out = capsys.readouterr().out
    assert "FALLS" in out
    assert "C18 falls at: the two values" in out


def test_the_command_refuses_an_unknown_statement(capsys):
    assert main(["claims", "--only", "C99"]) == 2
    captured = capsys.readouterr()
    assert "C99" in captured.err
    assert IDS[-1] in captured.err
    assert captured.err.count("\n") == 1


def test_the_theory_page_is_made_of_the_same_statements():
    page = analysis.theory_markdown()
    for statement in analysis.STATEMENTS:
        assert statement.statement in page
        assert f"### {statement.id}. " in page
    for myth in analysis.MYTHS:
        assert myth.text in page
        assert set(myth.claims) <= set(IDS)


def test_the_adversary_finds_what_random_problems_do_not():
    """The optimiser climbs: it reaches a corner that random points stay away from."""
    from dice_jax.theory.problems import Problems

    problems = Problems([0], 8, {})
    height = lambda cube: -np.abs(cube - 0.125).max(1)  # noqa: E731
    assert height(problems.rng.random((32, 10))).max() < -0.2
    assert height(problems.worst_case(height, 10, steps=400)).max() > -0.05
