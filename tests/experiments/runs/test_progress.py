"""What a study says while it runs: its phase, the time left of a run and in all."""

import io

import jax
import jax.monitoring
import pytest
from rich.console import Console

from experiments.runs.plan import final_runs
from experiments.runs.progress import Bars, Lines, duration
from tests.experiments.conftest import TINY

RESULT = {"status": "finished", "metrics": {"dice": 0.81234}}
SPEC = final_runs(TINY)[0]


class _Time:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return _Time()


def test_the_time_left_weighs_steps_by_their_work_and_forgets_an_old_speed(time, capsys):
    lines = Lines(time)
    with lines.study(2, 0, 100 * 1.0 + 100 * 10.0):
        assert lines.all.time_remaining is None
        lines.begin([SPEC], 100, 1.0)
        for _ in range(2):
            time.now += 5
            lines.advance(25)
        # Five units of work a second; 1050 are left, 50 of them in this run.
        assert lines.all.time_remaining == pytest.approx(210)
        assert lines.run.time_remaining == pytest.approx(10)
        # The second model's steps are slower than their work says: ten seconds instead of two.
        lines.begin([SPEC], 100, 10.0)
        for _ in range(60):
            time.now += 10
            lines.advance(1)
        assert lines.run.time_remaining == pytest.approx(400)
        assert lines.all.time_remaining == pytest.approx(450)


def test_steps_that_were_done_before_do_not_count_as_speed(time, capsys):
    lines = Lines(time)
    with lines.study(1, 0, 100.0):
        lines.begin([SPEC], 100, 1.0)
        lines.skip(60)
        for _ in range(2):
            time.now += 10
            lines.advance(10)
        assert lines.run.time_remaining == lines.all.time_remaining == pytest.approx(20)
        assert lines.all.percentage == pytest.approx(50)


def test_compilation_does_not_count_in_the_time_left(time, capsys):
    lines = Lines(time)
    with lines.study(2, 0, 200.0):
        for _ in range(2):
            lines.begin([SPEC], 100, 1.0)
            time.now += 300
            jax.monitoring.record_event_duration_secs(
                "/jax/core/compile/backend_compile_duration", 300.0
            )
            for _ in range(2):
                time.now += 10
                lines.advance(10)
        assert lines.run.time_remaining == pytest.approx(80)
        assert lines.all.time_remaining == pytest.approx(160)


def test_the_clock_stands_while_jax_compiles(time, capsys):
    lines = Lines(time)
    with lines.study(1, 0, 1.0):
        before = lines.all.get_time()
        jax.jit(lambda x: x + 1)(1.0)
        compiled = lines.all.get_time()
        # The time of this test stands still, so that only what JAX reports moves the clock.
        assert compiled < before
    jax.jit(lambda x: x + 2)(1.0)
    assert lines.all.get_time() == compiled


def test_lines_name_a_phase_once_for_a_model_and_a_loss(time, capsys):
    lines = Lines(time)
    with lines.study(4, 0, 40.0):
        for spec in final_runs(TINY)[:4]:
            lines.begin([spec], 10, 1.0)
            lines.phase("compiling")
            lines.advance(10)
            lines.phase("evaluating")
    assert capsys.readouterr().out.splitlines() == [
        "4 runs",
        "compiling unet bce",
        "evaluating unet bce",
        "compiling unet dice",
        "evaluating unet dice",
    ]


def test_lines_tell_the_time_left(time, capsys):
    lines = Lines(time)
    with lines.study(4, 1, 40.0):
        for spec in final_runs(TINY)[:2]:
            lines.begin([spec], 10, 1.0)
            for _ in range(2):
                time.now += 10
                lines.advance(5)
            lines.finished(spec, RESULT)
        lines.begin(final_runs(TINY)[:2], 10, 2.0)
        lines.skip(4)
        lines.note("a note")
    assert capsys.readouterr().out.splitlines() == [
        "4 runs, 1 of them finished before",
        "[2/4] unet bce at 0.1, seed 0: Dice 0.812; about 1 min 00 s left in all",
        "[3/4] unet dice at 0.1, seed 0: Dice 0.812; about 40 s left in all",
        "unet bce, 2 runs at once: resumed after step 4 of 10",
        "a note",
    ]


def test_a_long_run_speaks_every_minute(time, capsys):
    lines = Lines(time)
    with lines.study(1, 0, 10.0):
        lines.begin([SPEC], 10, 1.0)
        for _ in range(4):
            time.now += 31
            lines.advance(1)
    assert capsys.readouterr().out.splitlines() == [
        "1 runs",
        "training unet bce at 0.1, seed 0: step 2 of 10, about 4 min 08 s left; "
        "about 4 min 08 s left in all",
        "training unet bce at 0.1, seed 0: step 4 of 10, about 3 min 06 s left; "
        "about 3 min 06 s left in all",
    ]


def test_the_bars_of_a_terminal_show_both():
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=120))
    phases = []
    with bars.study(2, 0, 20.0):
        bars.begin([SPEC], 10, 1.0)
        for step in (
            lambda: bars.phase("compiling"),
            lambda: bars.advance(10),
            lambda: bars.phase("evaluating"),
        ):
            step()
            phases.append(bars.run.description)
        bars.finished(SPEC, RESULT)
    assert phases == [
        f"{phase} unet bce at 0.1, seed 0" for phase in ("compiling", "training", "evaluating")
    ]
    text = screen.getvalue()
    assert "unet bce at 0.1, seed 0: Dice 0.812" in text
    assert "10/10 steps" in text
    assert "1/2 runs" in text


def test_durations_are_written_for_people():
    assert [duration(s) for s in (8, 125, 3725)] == ["8 s", "2 min 05 s", "1 h 02 min"]
