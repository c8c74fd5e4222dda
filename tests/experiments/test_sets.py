"""One study over several folders: what a file of sets decides, and all its faults at once."""

import sys

import numpy as np
import pandas as pd
import pytest

from experiments.__main__ import main
from experiments.analysis.model_runs import read_models
from experiments.errors import ConfigError
from experiments.presets import PRESETS
from experiments.reporting.contrast_files import write_contrasts
from experiments.runs.directory import load_configs
from experiments.sets import read_sets, verdicts
from tests.experiments.images.folders import write

NAMES = [f"p{i // 2}_{i}" for i in range(10)]
OPTIONS = [
    *("--preset", "quick", "--model", "linear", "--losses", "bce", "dice"),
    *("--steps", "30", "--seeds", "1", "--learning-rates", "1"),
]


def _real(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments", "real", *map(str, arguments)])
    return main()


@pytest.fixture
def sets(tmp_path):
    write(tmp_path / "data" / "A", NAMES)
    write(tmp_path / "data" / "b", NAMES, image="{}.png", mask="{}_m.png")
    file = tmp_path / "sets.toml"
    file.write_text(
        """
        [plain]
        data = "data/A"
        seeds = 5

        [soft]
        data = "data/b"
        images = "{id}.png"
        masks = "{id}_m.png"
        mask_threshold = 127
        group = '^[^_]+'
        tile = 8
        """
    )
    return file


@pytest.mark.slow
def test_every_set_is_a_study_and_one_table_holds_all(sets, tmp_path, monkeypatch, capsys):
    out, before = tmp_path / "out", sorted((tmp_path / "data").rglob("*"))
    # Only the figures and the page are left out.
    monkeypatch.setattr(
        "experiments.api.write_report", lambda study: write_contrasts(study, read_models(study))
    )
    assert _real(monkeypatch, sets, "--out", out, *OPTIONS) == 0
    printed = capsys.readouterr().out
    (plain,), (soft,) = (load_configs(out / name) for name in ("plain", "soft"))
    # The command's option replaces the file's.
    assert (plain.seeds, plain.tile, plain.steps) == (1, None, 30)
    assert (soft.mask_threshold, soft.group, soft.image_shape) == (127, "^[^_]+", (8, 8))
    assert (plain.data, soft.data) == (str(tmp_path / "data" / "A"), str(tmp_path / "data" / "b"))

    table = pd.read_csv(out / "contrasts.csv")
    apart = [pd.read_csv(out / name / "contrasts.csv") for name in ("plain", "soft")]
    assert table["data"].tolist() == ["plain"] * len(apart[0]) + ["soft"] * len(apart[1])
    expected = pd.concat(apart, ignore_index=True).drop(columns="data")
    pd.testing.assert_frame_equal(table.drop(columns="data"), expected)
    # The primary contrast of each set.
    *_, first, second, said = printed.splitlines()
    assert said == f"all contrasts are in {out / 'contrasts.csv'}"
    shown = [first.split(), second.split()]
    assert [row[0] for row in shown] == ["plain", "soft"]
    assert [row[3:7] for row in shown] == [["dice", "(half)", "bce", "(tuned)"]] * 2
    assert [row[7] for row in shown] == [f"{t['difference'][0]:+.3f}" for t in apart]
    assert table["difference"].notna().all()
    assert {row[-1] for row in shown} == {"untested"}
    assert sorted((tmp_path / "data").rglob("*")) == before

    # The same command trains nothing; another study is refused before any training.
    runs = {path: path.stat().st_mtime_ns for path in out.glob("*/runs/*")}
    assert len(runs) == 4
    with monkeypatch.context() as patch:
        # The split of each set is the stored one.
        patch.setattr("experiments.images.measured.split_folder", lambda *_: "t" * 10)
        assert _real(monkeypatch, sets, "--out", out, *OPTIONS) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/runs/*")} == runs
    pd.testing.assert_frame_equal(pd.read_csv(out / "contrasts.csv"), table)
    capsys.readouterr()
    sets.write_text(sets.read_text().replace("tile = 8", "tile = 16"))
    assert _real(monkeypatch, sets, "--out", out, *OPTIONS) == 2
    captured = capsys.readouterr()
    assert "- soft: " in captured.err
    assert "plain" not in captured.err
    assert "different study" in captured.err
    assert captured.out == ""


def test_all_faults_of_a_file_are_in_one_message(sets, tmp_path):
    sets.write_text(
        """
        steps = 3
        [a]
        data = "data/AA"
        mask_treshold = 127
        [b]
        tile = "64"
        seeds = true
        losses = "dice"
        [c]
        data = "data/A"
        losses = ["bce", "dise"]
        [d]
        data = "data/b"
        images = "{id}.png"
        masks = "{id}_mm.png"
        ["../e"]
        data = "data/A"
        [f]
        data = "data/A"
        fractions = [0.1]
        [g]
        data = "data/A"
        """
    )
    with pytest.raises(ConfigError) as caught:
        read_sets(sets, tmp_path / "out")
    message = str(caught.value)
    for words in (
        f"{sets} cannot be used as it is:\n- steps: it stands outside a table",
        f"- a: data: there is no {tmp_path / 'data' / 'AA'} (did you mean 'A'?)",
        "- a: unknown field 'mask_treshold' (did you mean 'mask_threshold'?)",
        "- b: tile must be a whole number, got '64'",
        "- b: seeds must be a whole number, got True",
        "- b: losses must be a list, each a text in quotes, got 'dice'",
        "- b: there is no data: write data = 'FOLDER'",
        "- c: unknown loss 'dise' (did you mean 'dice'?)",
        f"- d: {tmp_path / 'data' / 'b'} cannot be used as it is:\n  - ",
        "- ../e: a set's name is that of its folder",
        "- f: fractions is measured: leave it out",
    ):
        assert words in message, words
    assert message.count("\n- ") == 11
    assert "- g" not in message


def test_a_file_without_sets_and_one_that_is_no_toml(sets, tmp_path):
    sets.write_text("[a]\ndata = data\n")
    with pytest.raises(ConfigError, match=r"sets.toml cannot be read as TOML: .*line 2"):
        read_sets(sets, tmp_path)
    sets.write_text("")
    with pytest.raises(ConfigError, match=r"names no set: write \[NAME\]"):
        read_sets(sets, tmp_path)


def test_the_preset_has_the_primary_losses_and_enough_seeds_for_a_test(sets, tmp_path):
    sets.write_text(sets.read_text().replace("seeds = 5", ""))
    found = read_sets(sets, tmp_path / "out", tile=8)
    for (config,) in found.values():
        assert config.losses == ("bce", "dice", "dice+bce")
        assert (config.seeds, config.tuning_seeds, config.steps) == (10, 3, 300)
    assert set(PRESETS["real"]) == {"unet"}


def test_the_table_shows_the_primary_thresholds_of_each_set():
    row = {
        "model": "unet", "foreground_fraction": 0.05, "loss": "dice", "baseline": "bce",
        "difference": 0.0123, "over_images_ci_low": -0.01, "over_images_ci_high": 0.03,
        "difference_runs": 9, "lost": 1, "verdict": "undecided",
    }  # fmt: skip
    table = pd.DataFrame(
        row | {"data": name, "threshold": loss, "baseline_threshold": baseline}
        for name, first in (("z", ("half", "tuned")), ("a", ("tuned", "tuned")))
        for loss, baseline in (first, ("half", "half"))
    )
    _, z, a = verdicts(table).splitlines()
    assert z.split()[:3] == ["z", "unet", "5.00%"]
    assert " ".join(z.split()[3:]) == (
        "dice (half) bce (tuned) +0.012 -0.010 to +0.030 9 1 undecided"
    )
    assert a.split()[3:7] == ["dice", "(tuned)", "bce", "(tuned)"]
    # Every run collapsed.
    empty = dict.fromkeys(["difference", "over_images_ci_low", "over_images_ci_high"], np.nan)
    assert verdicts(table.assign(**empty)).split()[-5:-3] == ["none", "none"]
