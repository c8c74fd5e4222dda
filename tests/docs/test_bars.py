"""The bars of the landing page are as long as what was measured."""

import json

import pytest


def row(name, **seconds):
    contenders = [{"name": n, "median": 2 * s, "amount": 2} for n, s in seconds.items()]
    return {"name": name, "work": "Dice & CE", "contenders": contenders}


RECORD = {
    "rows": [
        row("dice-ce-c2", dice_jax=0.05, optax=0.1, copy=9.0),
        row("dice-ce-c4", dice_jax=0.002, optax=0.001),
        row("dice-ce-alone", dice_jax=0.05),
        row("sigmoid", dice_jax=0.05, optax=0.1),
    ]
}


def test_a_bar_is_as_long_as_its_time(hook, tmp_path):
    (tmp_path / "cpu.json").write_text(json.dumps(RECORD))
    page = hook("bars").insert("a <!-- bars: cpu.json dice-ce- --> b", tmp_path)
    assert page.count("<p>Dice &amp; CE</p>") == 2
    assert '<span>dice_jax</span><i style="width:50.0%"></i><b>50 ms</b>' in page
    assert '<span>Optax</span><i style="width:100.0%"></i><b>100 ms</b>' in page
    # Where it is slower, it says so.
    assert '<span>dice_jax</span><i style="width:100.0%"></i><b>2.00 ms</b>' in page
    assert "copy" not in page


def test_a_row_that_is_not_there_stops_the_build(hook):
    with pytest.raises(LookupError, match="dice-bce"):
        hook("bars").bars(RECORD, "dice-bce")


def test_what_the_landing_page_asks_for_was_measured(hook):
    docs = hook("bars")._RESULTS.parents[1] / "docs"
    assert hook("bars").insert((docs / "index.md").read_text()).count('class="bars"') == 2
