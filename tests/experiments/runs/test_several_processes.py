"""A study that two processes train together: the same numbers, and an end when one is lost."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.errors import ConfigError
from experiments.learning.placement import batch_cut

ROOT = Path(__file__).parents[3]
SMALL = ["compare", "--losses", "dice", "--fractions", "0.1", "--seeds", "1", "--image-size", "32"]
SMALL += ["--train-images", "8", "--validation-images", "4", "--test-images", "4"]
SMALL += ["--batch-size", "4", "--learning-rates", "0.01", "--optimiser", "adam"]
BRIEF = [*SMALL, "--model", "linear", "--steps", "30"]
# Long enough to be in the middle of it for a while.
LINEAR = [*SMALL, "--model", "linear", "--steps", "2000", "--checkpoint-seconds", "0.2"]
PATIENCE = 5


def start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "experiments", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def here(monkeypatch, *arguments):
    # Drawing takes longer than training here.
    monkeypatch.setattr("experiments.api.write_report", lambda out: None)
    monkeypatch.setattr(sys, "argv", ["experiments", *map(str, arguments)])
    return main()


def results(out):
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("runs/*.json"))]
    assert runs
    return runs


def assert_close(a, b):
    assert a["metrics"].keys() == b["metrics"].keys()
    for name, value in a["metrics"].items():
        if value is not None:
            np.testing.assert_allclose(b["metrics"][name], value, rtol=1e-5, atol=1e-5)
    for was, now in zip(a["history"], b["history"], strict=True):
        for name in was:
            np.testing.assert_allclose(now[name], was[name], rtol=2e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(monkeypatch, tmp_path, capfd):
    # The launcher would answer to SIGTERM from then on.
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.chdir(ROOT)
    assert here(monkeypatch, *BRIEF, "--out", tmp_path / "one") == 0
    capfd.readouterr()
    assert here(monkeypatch, "launch", "--processes", 2, *BRIEF, "--out", tmp_path / "two") == 0
    assert "1 runs trained" in capfd.readouterr().out
    (one,), (two,) = results(tmp_path / "one"), results(tmp_path / "two")
    assert two["environment"]["processes"] == two["environment"]["devices"] == 2
    assert_close(one, two)


def _wait_for(condition, process, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_stops_the_other_and_the_study_resumes(monkeypatch, tmp_path):
    out = tmp_path / "out"
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    where = ["--distributed", "--coordinator", f"localhost:{port}", "--processes", 2]
    first, second = (
        start(*LINEAR, "--out", out, *where, "--process-id", i, "--patience", PATIENCE)
        for i in (0, 1)
    )
    try:
        _wait_for(lambda: list(out.glob("checkpoints/*/[0-9]*")), first)
        second.kill()
        _, problems = first.communicate(timeout=60)
        assert first.returncode == 1
        assert "error: process 0 of 2 stops, because it or another one" in problems
        assert "start all of them again" in problems
    finally:
        first.kill()
        second.kill()
        second.communicate()

    # Again, and it goes on; this time one hangs: it is there, but does nothing.
    launched = start("launch", "--processes", 2, "--patience", PATIENCE, *LINEAR, "--out", out)
    try:
        line = ""
        while "resumed" not in line:
            line = launched.stdout.readline()
            assert line, launched.communicate()
        assert re.search(r"resumed after step \d+ of 2000", line)
        (hanging,) = _children_with(launched.pid, "--process-id 1")
        os.kill(hanging, signal.SIGSTOP)
        began = time.monotonic()
        _, problems = launched.communicate(timeout=120)
        assert time.monotonic() - began < 60
        assert launched.returncode == 1
        last = problems.splitlines()[-1]
        assert last.startswith("error: process 0 of 2 ended with code ")
        assert "process 1 did not answer: all were stopped" in last
        assert not Path(f"/proc/{hanging}").exists()
    finally:
        launched.kill()

    # And alone, as if nothing had been.
    assert here(monkeypatch, *LINEAR, "--out", out) == 0
    (run,) = results(out)
    assert run["status"] == "finished"
    assert run["environment"]["processes"] == 1
    assert not (out / "checkpoints").exists()


def _children_with(parent, words):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "status").read_text()
            command = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and words in command:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--processes", "2"], ["go with --distributed"]),
        (["--distributed", "--processes", "2"], ["--coordinator", "--process-id"]),
        (["--distributed", "--process-id", "2", "--processes", "2", "--coordinator", "a:1"],
         ["process_id", "[0, 2)"]),
        (["--distributed", "--process-id", "0", "--processes", "2", "--coordinator", "a"],
         ["HOST:PORT"]),
        (["--checkpoint-seconds", "-1"], ["checkpoint_seconds", "-1"]),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(monkeypatch, tmp_path, capsys, arguments, words):
    assert here(monkeypatch, *SMALL, "--out", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_no_cluster_that_jax_knows(monkeypatch, tmp_path, capsys):
    def unknown(*arguments, **named):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", unknown)
    assert here(monkeypatch, *SMALL, "--out", tmp_path / "out", "--distributed") == 2
    assert capsys.readouterr().err == (
        "error: the processes could not be joined: coordinator_address should be defined.\n"
    )


def test_several_processes_of_several_cpu_devices(monkeypatch, tmp_path, capsys):
    """They would wait for one another forever."""
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments, **named: None)
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    assert here(monkeypatch, *SMALL, "--out", tmp_path / "out", "--distributed") == 2
    assert "this process has 2 CPU devices" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["launch", "--processes", "2", "report", "x"], "Unrecognized"),
        (["launch", "--processes", "2"], "launch takes a compare command"),
        (["launch", "--processes", "0", "compare"], "processes must be at least 1"),
    ],
)
def test_what_cannot_be_launched(monkeypatch, capsys, arguments, words):
    try:
        code = here(monkeypatch, *arguments)
    except SystemExit as error:  # As the parser ends.
        code = error.code
    assert code == 2
    assert words in capsys.readouterr().err


def test_a_batch_that_the_devices_cannot_share(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [None] * 3)
    with pytest.raises(ConfigError, match=r"batch_size 8 .* 3 devices: write --batch-size 6 or 9"):
        batch_cut(8)
    with pytest.raises(ConfigError, match=r"write --batch-size 3$"):
        batch_cut(2)
