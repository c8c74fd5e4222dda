"""The commands: the bias-only fingerprint end to end, and one clear line for every mistake."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.__main__ import Settings, main
from experiments.config import StudyConfig


def _call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments", *map(str, arguments)])
    return main()


def test_bias_only_lands_on_the_closed_forms(monkeypatch, tmp_path, capsys):
    """C6: BCE at π, Dice at 1, squared Dice at √π."""
    arguments = ["compare", "--model", "bias", "--losses", "bce", "dice", "squared_dice"]
    arguments += ["--fractions", "0.05", "--seeds", "1", "--out", tmp_path / "bias"]
    assert _call(monkeypatch, *arguments) == 0
    found = {}
    for path in (tmp_path / "bias" / "runs").glob("*.json"):
        result = json.loads(path.read_text())
        found[result["loss"]] = result["metrics"]
        assert result["status"] == "finished"
    achieved = found["bce"]["foreground_fraction_train"]
    assert achieved == pytest.approx(0.05, abs=0.002)
    assert found["bce"]["mean_probability"] == pytest.approx(achieved, abs=2e-3)
    assert found["squared_dice"]["mean_probability"] == pytest.approx(achieved**0.5, abs=5e-3)
    assert found["dice"]["mean_probability"] > 0.98
    for name in ("config.json", "summary.csv", "report.html", "figures/gradient_share.png"):
        assert (tmp_path / "bias" / name).stat().st_size > 0
    assert "3 runs trained" in capsys.readouterr().out

    # The same command again trains nothing; another study is refused.
    assert _call(monkeypatch, *arguments) == 0
    assert "no training" in capsys.readouterr().out
    before = (tmp_path / "bias" / "config.json").read_bytes()
    assert _call(monkeypatch, *arguments, "--seeds", "2") == 2
    error = capsys.readouterr().err
    assert "different study (seeds: 1, now 2)" in error
    assert error.count("\n") == 1
    assert (tmp_path / "bias" / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--losses", "nonsense"], ["nonsense", "known are", "squared_dice"]),
        (["--model", "nonsense"], ["nonsense", "unet"]),
        (["--preset", "nonsense"], ["nonsense", "quick"]),
        (["--fractions", "0"], ["(0, 1)"]),
        (["--fractions", "0.05", "1.5"], ["(0, 1)", "1.5"]),
        (["--fractions", "0.001"], ["--image-size 112"]),
        (["--seeds", "0"], ["seeds"]),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(monkeypatch, tmp_path, capsys, arguments, words):
    out = tmp_path / "out"
    assert _call(monkeypatch, "compare", *arguments, "--out", out) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert all(word in captured.err for word in words)
    assert not out.exists()


def test_report_of_a_directory_without_a_study(monkeypatch, tmp_path, capsys):
    assert _call(monkeypatch, "report", tmp_path) == 2
    assert "no config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{")
    assert _call(monkeypatch, "report", tmp_path) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_exit_code_reaches_the_shell_and_options_are_parsed(tmp_path):
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "compare", "--losses", "nope", "--out", "x"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown loss 'nope'" in done.stderr
    assert not (root / "x").exists()


def test_every_setting_of_a_study_is_an_option():
    names = {field.name for field in dataclasses.fields(StudyConfig)}
    # The model chooses the tiers; two are measured or fixed by the preset.
    names -= {"model", "data_digest", "extend_grid"}
    assert {field.name for field in dataclasses.fields(Settings)} == names
