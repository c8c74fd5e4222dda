"""What a study says while it runs: the time left of a run and in all."""

import io

import pytest
from rich.console import Console

from experiments.runs.plan import plan
from experiments.runs.progress import Bar, Clock, Lines
from tests.experiments.conftest import TINY

RESULT = {"status": "finished", "metrics": {"dice": 0.81234}}


class _Time:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_clock_weighs_steps_by_their_work_and_forgets_an_old_speed():
    time = _Time()
    clock = Clock(time)
    clock.start(runs=2, kept=0, work=100 * 1.0 + 100 * 10.0)
    assert clock.left is None
    clock.begin(steps=100, cost=1.0)
    time.now = 10
    clock.advance(50)
    # Five units of work a second; 1050 are left, 50 of them in this run.
    assert clock.left == pytest.approx(210)
    assert clock.left_of_run == pytest.approx(10)
    # The second model's steps are slower than their work says: ten seconds instead of two.
    clock.begin(steps=100, cost=10.0)
    for _ in range(60):
        time.now += 10
        clock.advance(1)
    assert clock.left_of_run == pytest.approx(400)


def test_steps_that_were_done_before_are_no_speed():
    time = _Time()
    clock = Clock(time)
    clock.start(runs=1, kept=0, work=100.0)
    clock.begin(steps=100, cost=1.0)
    clock.skip(60)
    time.now = 10
    clock.advance(10)
    assert clock.left == pytest.approx(30)
    assert clock.share == pytest.approx(0.25)


def test_lines_tell_the_time_left(capsys):
    lines = Lines()
    with lines.study(4, 1, 40.0):
        for spec in plan(TINY)[:2]:
            lines.begin([spec], 10, 1.0)
            lines.advance(10)
            lines.finished(spec, RESULT)
        lines.begin(plan(TINY)[:2], 10, 2.0)
        lines.skip(4)
        lines.note("a note")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "4 runs, 1 of them finished before"
    assert out[1].startswith("[2/4] unet bce at 0.1, seed 0: Dice 0.812; about ")
    assert out[1].endswith(" left in all")
    assert out[2].startswith("[3/4] unet dice at 0.1")
    assert out[3] == "unet bce, 2 runs at once: goes on after step 4 of 10"
    assert out[4] == "a note"


def test_a_long_run_speaks_every_minute(capsys, monkeypatch):
    monkeypatch.setattr("experiments.runs.progress._SECONDS_A_LINE", 0)
    lines = Lines()
    with lines.study(1, 0, 10.0):
        lines.begin(plan(TINY)[:1], 10, 1.0)
        lines.advance(5)
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("unet bce at 0.1, seed 0: step 5 of 10, about ")
    assert line.endswith(" left in all")


def test_the_bars_of_a_terminal_show_both():
    screen = io.StringIO()
    bar = Bar(Console(file=screen, force_terminal=True, width=120))
    with bar.study(2, 0, 20.0):
        bar.begin(plan(TINY)[:1], 10, 1.0)
        bar.advance(10)
        bar.finished(plan(TINY)[0], RESULT)
    text = screen.getvalue()
    assert "unet bce at 0.1, seed 0: Dice 0.812" in text
    assert "10/10 steps" in text
    assert "1/2 runs" in text
