"""A full disk is one clear line, and the directory goes on where it stopped once there is room."""

import errno
import os
import subprocess
import sys

import pytest

from experiments.__main__ import main
from tests.experiments.conftest import without_rendering
from tests.experiments.runs.test_kills import contents

pytestmark = [pytest.mark.usefixtures("unrendered"), pytest.mark.slow]

ARGUMENTS = ["compare", "--model", "bias", "--losses", "bce", "--fractions", "0.1"]
ARGUMENTS += ["--seeds", "2", "--steps", "10", "--image-size", "16", "--train-images", "8"]
ARGUMENTS += ["--validation-images", "4", "--test-images", "4", "--batch-size", "8", "--out"]
# Of the settings, two runs (each after its counts, the first also after its examples) and the
# summary, in this order, some writes.
WRITES = {0: "config.json", 2: "study/examples/", 3: "study/runs/", 6: "summary.csv"}


def _call(monkeypatch, out):
    monkeypatch.setattr(sys, "argv", ["experiments", *ARGUMENTS, str(out)])
    return main()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("room") / "study"
    with pytest.MonkeyPatch.context() as patch, without_rendering():
        assert _call(patch, out) == 0
    return contents(out)


@pytest.mark.parametrize("write", WRITES)
def test_a_full_disk(unbroken, monkeypatch, tmp_path, capsys, write):
    writes = []
    sync = os.fsync

    def full(handle):
        writes.append(handle)
        if len(writes) > write:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    out = tmp_path / "study"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert _call(patch, out) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: No space left on device, while writing ")
    assert WRITES[write] in error
    assert error.count("\n") == 1
    assert not list(out.rglob(".*.part"))
    assert _call(monkeypatch, out) == 0
    again = contents(out)
    assert again.keys() == unbroken.keys()
    # The report says how long it took.
    assert {n: v for n, v in again.items() if n != "report.html"} == {
        n: v for n, v in unbroken.items() if n != "report.html"
    }


def _mounted(size, directory):
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_disk_that_is_really_full(unbroken, monkeypatch, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or not _mounted("16k", disk):
        pytest.skip("no right to mount a small file system here")
    try:
        # Four pages: the directories and the settings fit, a run does not.
        assert _call(monkeypatch, disk / "study") == 2
        error = capsys.readouterr().err
        assert error.startswith("error: No space left on device")
        assert error.count("\n") == 1
        remount = ["mount", "-o", "remount,size=64m", str(disk)]
        subprocess.run(remount, check=True)
        assert _call(monkeypatch, disk / "study") == 0
        assert contents(disk / "study").keys() == unbroken.keys()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
