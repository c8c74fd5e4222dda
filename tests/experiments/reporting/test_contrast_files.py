"""The tables beside a real study's report: every run is in one, and the comparisons follow."""

import numpy as np
import pandas as pd
import pytest

from experiments import contrasts
from tests.experiments.conftest import TINY


@pytest.fixture(scope="module")
def tables(finished):
    names = ("runs", "tuning", "contrasts", "rate_contrasts", "partial", "sizes")
    return {name: pd.read_csv(finished / f"{name}.csv") for name in names}


def test_every_run_is_in_a_table(tables):
    cells = len(TINY.losses) * len(TINY.fractions)
    assert len(tables["runs"]) == cells * TINY.seeds
    assert len(tables["tuning"]) == cells * TINY.tuning_seeds * len(TINY.learning_rates)
    for name in ("runs", "tuning"):
        assert set(tables[name]["status"]) <= {"finished", "collapsed", "diverged"}
    # Every rate is bracketed or not: a reader can see it.
    assert set(tables["tuning"]["learning_rate"]) == set(TINY.learning_rates)
    assert tables["tuning"]["validation_dice_tuned"].notna().all()


def test_differences_at_a_rate_are_those_of_its_runs(tables):
    runs = pd.concat([tables["runs"], tables["tuning"]]).query("status == 'finished'")
    for row in tables["rate_contrasts"].query("threshold == 'half'").itertuples():
        metric = {"half": "dice", "tuned": "dice_tuned"}[row.baseline_threshold]
        cell = runs.query(
            "learning_rate == @row.learning_rate and foreground_fraction == "
            "@row.foreground_fraction"
        ).set_index("seed")
        dice = cell[cell["loss"].eq("dice")]["dice"]
        differences = (dice - cell[cell["loss"].eq("bce")][metric]).dropna()
        assert row.difference_runs == len(differences)
        if len(differences):
            assert row.difference == pytest.approx(differences.mean(), abs=5e-6)
    rates = tables["rate_contrasts"].groupby("foreground_fraction")["learning_rate"].unique()
    assert all(sorted(tried) == list(TINY.learning_rates) for tried in rates)


def test_a_notebook_gets_the_same_contrasts(finished, tables):
    table, written = contrasts(finished), tables["contrasts"]
    assert list(table.columns) == list(written.columns)
    numbers = table.select_dtypes("number").columns
    np.testing.assert_allclose(written[numbers], table[numbers], rtol=1e-5)
    assert table["verdict"].tolist() == written["verdict"].tolist()


def test_images_and_objects_are_counted(finished, tables):
    partial = tables["partial"]
    page = (finished / "report.html").read_text()
    for row in partial[partial["metric"].isin(["hd95", "surface_dice"])].itertuples():
        assert f"{row.images} of {row.images_there} images" in page
    assert (partial["images"] <= partial["images_there"]).all()
    assert (partial["mean_runs"] <= partial["runs"]).all()
    assert (partial["images_there"] == TINY.test_images * TINY.seeds).all()
    # One object in an image.
    trained = tables["runs"]["status"].eq("finished").sum() * TINY.test_images
    assert tables["sizes"]["objects"].sum() == trained
