"""The report: self-contained, every figure in it, every sentence computed from the data."""

import base64
import dataclasses
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments.api import figures, findings, predictions, summary
from experiments.errors import ConfigError
from experiments.reporting.writer import write_report
from experiments.runs.directory import load_runs
from tests.experiments.made import SPREAD, made_rest, made_run, study


@pytest.fixture(scope="module")
def page(finished):
    return (finished / "report.html").read_text()


def test_every_figure_is_written_and_inlined(finished, page):
    names = set(figures(finished))
    assert names >= {
        "dice_against_fraction", "differences", "learning_rates", "learning_curves",
        "gradient_share", "gradient_ratio", "trajectories", "examples", "volume_bias", "surfaces",
        "strip",
    }  # fmt: skip
    inlined = re.findall(r'src="data:image/webp;base64,([^"]*)"', page)
    assert len(inlined) == len(names)
    # The page holds the pixels of the files, and is small.
    strip = Image.open(io.BytesIO(base64.b64decode(inlined[0])))
    written = Image.open(finished / "figures" / "strip.png").convert("RGB")
    assert np.array_equal(np.asarray(strip), np.asarray(written))
    assert len(page) < 1.5e6
    assert {path.stem for path in finished.glob("figures/*.svg")} == names
    printed = {path.stem: path.read_bytes() for path in finished.glob("figures/*.png")}
    assert set(printed) == names
    assert all(png.startswith(b"\x89PNG") and len(png) > 5000 for png in printed.values())
    # 208 dots to an inch, as PNG writes it: per metre.
    assert all(b"pHYs" + (8189).to_bytes(4) * 2 in png for png in printed.values())


def test_every_link_leads_to_a_place_and_every_figure_has_a_number(finished, page):
    targets = re.findall(r' id="([^"]*)"', page)
    assert len(targets) == len(set(targets))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(targets)
    numbers = re.findall(r"<figcaption><b>Figure (\d+)\.", page)
    assert numbers == [str(i + 1) for i in range(len(figures(finished)))]
    # The figure of the task stands before the table that says who won, and both before all else.
    assert page.index('id="strip"') < page.index('class="winners"') < page.index("<nav>")


def test_report_refers_to_nothing_outside_itself(finished, page):
    class Links(HTMLParser):
        def __init__(self):
            super().__init__()
            self.found = []

        def handle_starttag(self, tag, attrs):
            if tag in ("script", "link", "iframe", "object"):
                self.found.append(tag)
            self.found += [
                value
                for name, value in attrs
                if name in ("src", "href") and not (value or "").startswith(("data:", "#"))
            ]

    links = Links()
    links.feed(page)
    assert links.found == []
    assert not re.search(r"url\(|@import|https?://", page)
    for drawing in finished.glob("figures/*.svg"):
        # Names of XML dialects are no addresses that are fetched.
        text = re.sub(r'(xmlns(:\w+)?|rdf:\w+)="[^"]*"', "", drawing.read_text())
        assert not re.search(r'(href|src)="(?!#|data:)|@import', text)


def test_summary_csv_is_the_summary(finished):
    written = pd.read_csv(finished / "summary.csv")
    pd.testing.assert_frame_equal(written, summary(finished), check_dtype=False)
    assert len(written) == 4
    assert {"dice_mean", "dice_ci_low", "dice_ci_high", "foreground_fraction_achieved"} <= set(
        written.columns
    )
    for row in written.to_dict("records"):
        dice = [
            run["metrics"]["dice"]
            for run in load_runs(finished)
            if (run["loss"], run["foreground_fraction"])
            == (row["loss"], row["foreground_fraction"])
        ]
        assert row["dice_mean"] == pytest.approx(np.mean(dice))


def test_report_is_rebuilt_from_the_directory(finished, page):
    (finished / "report.html").unlink()
    (finished / "summary.csv").unlink()
    write_report(finished)
    assert (finished / "report.html").read_text() == page
    assert (finished / "summary.csv").exists()


def _write(out, configs, runs):
    out.mkdir()
    settings = {"tiers": [dataclasses.asdict(config) for config in configs], "environment": {}}
    (out / "config.json").write_text(json.dumps(settings))
    (out / "runs").mkdir()
    for run in runs:
        name = f"{run['model']}_{run['loss']}_{run['foreground_fraction']!r}_seed{run['seed']}"
        (out / "runs" / f"{name}.json").write_text(json.dumps(run))


def _made_runs(config, lead=0.0, **changes):
    spread = 0.01 * SPREAD[: config.seeds]
    # Its own spread, that differences are not all the same.
    leads = {"dice": lead + 0.003 * spread[::-1] / 0.01}
    return [
        made_run(config, loss, 0.05, seed, dice=score, dice_tuned=score, **changes)
        for loss in config.losses
        for seed, score in enumerate(0.8 + spread + leads.get(loss, 0))
    ]


def test_several_models_are_one_report(tmp_path, unrendered):
    bias, linear, unet = configs = [study(model=m) for m in ("bias", "linear", "unet")]
    runs = [
        *_made_runs(bias, mean_probability=0.3, history=made_rest()),
        *_made_runs(linear, lead=-0.1),
        *_made_runs(unet, lead=0.1),
    ]
    _write(tmp_path / "study", configs, runs)
    write_report(tmp_path / "study")
    page = (tmp_path / "study" / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    # The largest model first, each with what its own runs say.
    places = [page.index(words) for words in (
        "Dice scored higher than BCE at 5 % foreground", '<b class="up">higher</b> by',
        '<h2 id="findings">', "<h3>Linear model</h3>",
        "Dice scored lower than BCE at 5 % foreground", '<b class="down">lower</b> by',
        "<h3>Bias-only model</h3>", "Each loss drives p to a value of its own",
        '<h2 id="figures-unet">', '<h2 id="figures-linear">', '<h2 id="figures-bias">',
        '<h2 id="numbers">', '<h2 id="contrasts">', '<h2 id="theory">',
    )]  # fmt: skip
    assert places == sorted(places)
    # 0.3 is not C6's 0.05: the disagreement is marked, named, and its table stands open.
    assert "Disagreeing: C6 (bias-only model, BCE, 5 %)" in page
    assert re.search(r"<details open>\s*<summary><b>C6</b>", page)
    assert '<span class="no">disagrees</span>' in page
    drawn = {path.stem for path in (tmp_path / "study" / "figures").glob("*.png")}
    assert {"dice_against_fraction", "linear_dice_against_fraction", "bias_constants"} <= drawn
    assert set(figures(tmp_path / "study")) == drawn
    table = summary(tmp_path / "study")
    assert table["model"].value_counts().to_dict() == {"bias": 2, "linear": 2, "unet": 2}
    # A notebook gets the same sentences and checks as the page.
    said = findings(tmp_path / "study")
    assert list(said) == ["U-Net", "linear model", "bias-only model", "theory"]
    words = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert all(sentence in words for sentences in said.values() for sentence in sentences)
    checks = predictions(tmp_path / "study")
    wrong = checks[checks["agrees"].eq(False)]
    assert {"C6"} <= set(wrong["claim"])
    assert set(wrong["model"]) == {"bias"}


def test_the_table_says_who_won_and_how_many_runs_failed(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.reporting.writer.pictures", lambda *_, **__: [])
    config = study()
    runs = _made_runs(config, lead=0.1)
    for seed, status in ((1, "collapsed"), (2, "diverged")):
        runs[7 + seed] = made_run(config, "dice", 0.05, seed, status=status, dice=0.0)
    for run in runs[:7]:
        # BCE counts at its tuned threshold.
        run["metrics"]["dice"] = 0.5
    _write(tmp_path / "study", [config], runs)
    write_report(tmp_path / "study")
    page = (tmp_path / "study" / "report.html").read_text()
    (table,) = re.findall(r'<table class="winners">.*?</table>', page, re.DOTALL)
    rows = [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall("<t[hd].*?</t[hd]>", row, re.S)]
        for row in table.split("<tr>")[2:]
    ]
    # The mean of Dice is over the runs that trained.
    trained = [run["metrics"]["dice"] for run in runs[7:] if run["status"] == "finished"]
    bce, dice = rows
    assert bce == ["BCE", "0.800", "–", "0 of 7"]
    assert (dice[0], dice[1], dice[3]) == ("Dice", f"{np.mean(trained):.3f}", "2 of 7")
    assert dice[2].startswith("no test: +0.098 [")
    # With both thresholds tuned, the verdict is the same: there is no line for it.
    assert "tuned" not in dice[2]
    counted = np.mean([run["metrics"]["dice"] or 0 for run in runs[7:]]) - 0.8
    assert f"failed runs counted: undecided: {counted:.3f} [".replace("-", "−") in dice[2]


def test_runs_of_before_this_report_still_render(tmp_path, unrendered):
    """A study of one model, with the settings and the numbers that runs had at first."""
    config = study(seeds=3)
    old = {
        k: v
        for k, v in dataclasses.asdict(config).items()
        if k not in ("shape", "pooling", "smooth")
    }
    _write(tmp_path / "old", [config], _made_runs(config))
    held = {"study": old, "environment": {}}
    (tmp_path / "old" / "config.json").write_text(json.dumps(held))
    write_report(tmp_path / "old")
    page = (tmp_path / "old" / "report.html").read_text()
    assert "Nothing was tested: a test needs 7 pairs" in page
    assert '<b class="open">no test</b>' in page
    assert 'id="reliability"' not in page


def test_nothing_to_report_is_said(tmp_path):
    _write(tmp_path / "empty", [study()], [])
    with pytest.raises(ConfigError, match="holds no finished run"):
        write_report(tmp_path / "empty")
    assert figures(tmp_path / "empty") == {}
