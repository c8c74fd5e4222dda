"""The report: self-contained, every figure in it, every sentence computed from the data."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from experiments.api import figures, summary
from experiments.config import StudyConfig
from experiments.directory import load_runs
from experiments.findings import best_constant, findings, limits, theory_checks
from experiments.report import write_report
from experiments.summary import runs_table
from tests.experiments.conftest import TINY


@pytest.fixture(scope="module")
def page(finished):
    return (finished / "report.html").read_text()


def test_every_figure_is_written_and_inlined(finished, page):
    names = set(figures(finished))
    assert names == {
        "dice_against_fraction", "learning_rates", "learning_curves", "gradient_share",
        "gradient_ratio", "examples",
    }  # fmt: skip
    inlined = [
        base64.b64decode(x) for x in re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    ]
    written = {path.stem: path.read_bytes() for path in finished.glob("figures/*.png")}
    assert set(written) == names
    assert sorted(inlined) == sorted(written.values())
    assert all(png.startswith(b"\x89PNG") and len(png) > 5000 for png in inlined)


def test_report_refers_to_nothing_outside_itself(page):
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
                if name in ("src", "href") and not (value or "").startswith("data:")
            ]

    links = Links()
    links.feed(page)
    assert links.found == []
    assert not re.search(r"url\(|@import|https?://", page)


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


def _runs(bce, bce_tuned, dice, status="finished"):
    rows = []
    for loss, at_half, tuned in (("bce", bce, bce_tuned), ("dice", dice, dice)):
        for seed, (a, b) in enumerate(zip(at_half, tuned, strict=True)):
            rows.append(
                {
                    "loss": loss,
                    "model": "unet",
                    "foreground_fraction": 0.05,
                    "seed": seed,
                    "status": status if loss == "dice" else "finished",
                    "dice": a,
                    "dice_tuned": b,
                }
            )
    return pd.DataFrame(rows)


TWO = StudyConfig(fractions=(0.05,), seeds=3)


@pytest.mark.parametrize(
    ("dice", "words"),
    [
        ([0.90, 0.92, 0.91], "Dice scored higher at 5 % foreground"),
        ([0.50, 0.52, 0.51], "BCE scored higher at 5 % foreground"),
        ([0.60, 0.90, 0.85], "no difference was shown at every fraction"),
    ],
)
def test_findings_follow_the_numbers(dice, words):
    said = findings(TWO, _runs([0.1, 0.2, 0.15], [0.79, 0.81, 0.80], dice))
    assert words in said[0]
    assert f"{np.mean(dice) - 0.8:+.3f}" in said[0]
    # The control: tuning alone brought BCE from 0.15 to 0.80.
    assert "+0.650" in said[1]
    assert f"from {np.mean(dice) - 0.15:+.3f} to {np.mean(dice) - 0.8:+.3f}" in said[1]
    assert said[2] == "None of the 6 runs collapsed or diverged."


def test_collapsed_runs_are_counted():
    said = findings(TWO, _runs([0.5] * 3, [0.6] * 3, [0.0] * 3, status="collapsed"))
    assert "3 of 3 Dice runs collapsed" in said[-1]


def test_theory_is_put_beside_what_was_seen_and_a_disagreement_is_marked(finished):
    results = load_runs(finished)
    checks = theory_checks(TINY, results, runs_table(results))
    assert {check.claim for check in checks} == {"C1", "C5", "C7"}
    assert all(check.agrees is not False for check in checks), checks
    # A wrong ratio in one step is noticed.
    broken = [dict(run) for run in results]
    for run in broken:
        run["history"] = [{**entry, "gradient_ratio": 3.0} for entry in run["history"]]
    marked = theory_checks(TINY, broken, runs_table(broken))
    assert [c.agrees for c in marked if c.claim == "C1"] == [False, False]


def test_best_constants_of_theory():
    assert best_constant("bce", 0.04) == 0.04
    assert best_constant("squared_dice", 0.04) == pytest.approx(0.2)
    assert best_constant("dice", 0.04) == 1.0
    assert best_constant("generalized_dice", 0.04) is None


def test_limits_speak_of_this_study():
    few = " ".join(limits(TWO))
    assert "3 seeds have wide intervals" in few
    seven = StudyConfig(seeds=7, fractions=(0.05,), learning_rates=(0.1,))
    enough = " ".join(limits(seven))
    assert "wide intervals" not in enough
    assert "one learning rate (0.1)" in enough
