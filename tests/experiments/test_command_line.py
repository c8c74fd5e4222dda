"""The commands: the bias-only fingerprint end to end, and one clear line for every mistake."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import __main__ as command_line
from experiments.__main__ import main
from experiments.config import DATA_MEASURED, StudyConfig
from tests.experiments.made import made_run, study


def _call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments", *map(str, arguments)])
    return main()


@pytest.mark.slow
def test_bias_only_lands_on_the_closed_forms(monkeypatch, tmp_path, capsys, unrendered):
    """C6: BCE at π, Dice at 1, squared Dice at √π."""
    arguments = ["compare", "--model", "bias", "--losses", "bce", "dice", "squared_dice"]
    arguments += ["--fractions", "0.05", "--seeds", "1", "--image-size", "32"]
    arguments += ["--validation-images", "16", "--test-images", "16", "--out", tmp_path / "bias"]
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
        (["--losses", "dise"], ["unknown loss 'dise' (did you mean 'dice'?)"]),
        (["--losses", "Focal Twersky"], ["(did you mean 'focal_tversky'?)"]),
        (["--losses", "ce", "bce"], ["bce", "twice"]),
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


@pytest.mark.slow
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


def _help(monkeypatch, capsys, *arguments):
    with pytest.raises(SystemExit, match="0"):
        _call(monkeypatch, "compare", *arguments, "--help")
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_every_setting_of_a_study_is_an_option(monkeypatch, capsys):
    text = _help(monkeypatch, capsys)
    for field in dataclasses.fields(StudyConfig):
        # What is measured is never given.
        option = f"--{field.name.replace('_', '-')} "
        assert (option in text.replace(",", " ")) == (field.name not in DATA_MEASURED), field.name


def test_help_shows_the_defaults_of_the_preset_and_examples(monkeypatch, capsys):
    text = _help(monkeypatch, capsys)
    assert "optimiser steps of one run. (default: 200)" in text
    assert "(default: None)" not in text
    assert text.count("python -m experiments compare --") == 2
    text = _help(monkeypatch, capsys, "--preset", "standard")
    assert "optimiser steps of one run. (default: bias 200; linear 200; unet 500)" in text
    text = _help(monkeypatch, capsys, "--preset", "standard", "--model", "unet")
    assert "optimiser steps of one run. (default: 500)" in text


def test_an_option_that_is_the_default_of_one_model_changes_the_others(monkeypatch):
    asked = []
    monkeypatch.setattr(command_line, "run", lambda configs, *where, **how: asked.extend(configs))
    _call(monkeypatch, "compare", "--preset", "standard", "--steps", "500")
    assert [config.steps for config in asked] == [500, 500, 500]
    assert [config.batch_size for config in asked] == [64, 64, 16]


def test_losses_are_known_in_any_case_and_by_synonyms(monkeypatch):
    asked = []
    monkeypatch.setattr(command_line, "run", lambda configs, *where, **how: asked.extend(configs))
    _call(monkeypatch, "compare", "--losses", "CE", "Dice", "DICE+ce")
    assert asked[0].losses == ("bce", "dice", "dice+bce")
    asked.clear()
    names = ["SoftDice", "Dice + Focal", "DiceCELoss", "IoU", "Focal-Tversky", "log dice,smooth=1"]
    _call(monkeypatch, "compare", "--losses", *names)
    assert asked[0].losses == (
        "dice", "dice+focal", "dice+bce", "jaccard", "focal_tversky", "log_dice,smooth=1",
    )  # fmt: skip


def test_margin_says_what_a_pilot_justifies(monkeypatch, tmp_path, capsys):
    config = study(seeds=2)
    (tmp_path / "runs").mkdir()
    settings = {"tiers": [dataclasses.asdict(config)], "environment": {}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    for loss in config.losses:
        for seed in range(2):
            dice = 0.8 + 0.01 * seed * (loss == "dice")
            path = tmp_path / "runs" / f"unet_{loss}_0.05_seed{seed}.json"
            path.write_text(json.dumps(made_run(config, loss, 0.05, seed, dice=dice)))
    assert _call(monkeypatch, "margin", tmp_path, "--seeds", "20") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["margin", "margin_adjusted", "margin_cautious"]
    assert [row.split()[1:3] for row in rows] == [["dice", "bce"]] * 3
    # The deviation of 0 and 0.01.
    assert "0.0071" in rows[0].split()
    assert _call(monkeypatch, "margin", tmp_path, "--seeds", "1") == 2
    assert "seeds must be at least 2, got 1" in capsys.readouterr().err
