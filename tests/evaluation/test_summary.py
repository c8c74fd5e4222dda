"""Means, intervals and pictures of `evaluate`."""

import json

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from dice_jax.__main__ import main
from dice_jax.evaluation.evaluate import group_cases
from dice_jax.evaluation.measures import MEASURES, Boxes, Score
from dice_jax.evaluation.overlays import COLOURS, draw_overlay
from dice_jax.evaluation.pairs import Case
from dice_jax.evaluation.summary import summarize
from dice_jax.metrics import InstanceCounts
from tests.evaluation.random_masks import cases
from tests.evaluation.test_numbers import save


def score(case, name, dice, truth=10.0, **values):
    every = dict.fromkeys((m.key for m in MEASURES), 0.5) | {"dice": dice} | values
    counts = InstanceCounts(1, 2, 3, 0.7)
    return Score(case, name, truth, 10.0 * (dice > 0), 5.0, 99.0, counts, every)


def test_a_mean_over_classes_is_that_of_their_means():
    values = {("a", "x"): 0.2, ("b", "x"): 0.6, ("a", "y"): 0.9}
    scores = [score(*where, value) for where, value in values.items()]
    # Not there: in no mean of the class.
    scores.append(score("b", "y", 0.0, truth=0.0))
    found = summarize(scores)
    x, y = found.classes
    assert (x.present, y.present, y.invented) == (2, 1, 0)
    assert x.measures["dice"].mean == pytest.approx(0.4)
    assert y.measures["dice"].mean == pytest.approx(0.9)
    assert found.overall["dice"].mean == pytest.approx(0.65)
    assert found.overall["dice"].worst_case == "a"
    # One case says nothing of how cases differ.
    assert np.isnan(y.measures["dice"].low)
    assert x.pooled_dice == pytest.approx(2 * 10 / 40)
    assert x.objects == InstanceCounts(2, 4, 6)


def test_a_missed_object_counts_as_the_diagonal():
    scores = [score("a", "x", 0.0, hd95=np.inf), score("b", "x", 0.5, hd95=1.0)]
    found = summarize(scores).overall["hd95"]
    assert (found.mean, found.worst, found.worst_case) == (50.0, 99.0, "a")


def test_the_interval_is_that_of_scipys_bootstrap():
    rng = np.random.default_rng(0)
    values = rng.beta(5, 2, 40)
    found = summarize([score(str(k), "x", v) for k, v in enumerate(values)]).overall["dice"]
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert found.median == pytest.approx(np.median(values))
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.006)


def test_cases_of_a_group_are_drawn_together():
    # Each patient's eight sections are alike, so that there are five numbers and not forty.
    by_patient = np.repeat([0.2, 0.5, 0.6, 0.7, 0.9], 8)
    scores = [score(f"p{k // 8}_{k}", "x", v) for k, v in enumerate(by_patient)]
    files = [Case(s.case, None, None) for s in scores]  # type: ignore[arg-type]
    groups = group_cases(files, "^[^_]+")
    assert groups is not None
    assert groups["p0_3"] == "p0"
    alone, together = (summarize(scores, g) for g in (None, groups))
    assert (alone.groups, together.groups) == (40, 5)
    widths = [s.overall["dice"].high - s.overall["dice"].low for s in (alone, together)]
    # √8 times as wide.
    assert 2.3 < widths[1] / widths[0] < 3.3
    only_one = summarize(scores, dict.fromkeys(groups, "all"))
    assert np.isnan(only_one.overall["dice"].low)


def test_masks_are_cut_to_a_few_sizes():
    boxes = Boxes((200, 128))
    assert boxes.sizes == [(25, 16), (50, 32), (100, 64), (200, 128)]
    mask = np.zeros((200, 128), bool)
    mask[150:190, 100:128] = True
    cut = boxes.cut(mask, ~mask & False)
    assert [x.shape for x in cut] == [(50, 32), (50, 32)]
    assert cut[0].sum() == mask.sum()
    assert boxes.cut(mask & False, mask & False)[0].shape == (25, 16)
    assert boxes.cut(~mask, mask)[0].shape == (200, 128)


def test_an_overlay_shows_found_missed_and_invented():
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    truth, prediction = np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    axes = Figure().subplots(1, 2)
    draw_overlay(axes[0], prediction, truth)
    drawn = axes[0].images[0].get_array()
    expected = [to_rgb(COLOURS[n]) for n in ("found", "missed", "invented")]
    np.testing.assert_allclose(drawn[0], [*expected, (0, 0, 0)])
    # Of a volume, the slice with the most errors.
    volume = np.zeros((3, 5, 4), bool)
    volume[2, :1] = truth
    draw_overlay(axes[1], np.zeros_like(volume), volume, title="a")
    assert axes[1].get_title() == "a, slice 2"
    np.testing.assert_allclose(axes[1].images[0].get_array()[0, 0], to_rgb(COLOURS["missed"]))


def test_the_worst_cases_are_drawn_on_their_pictures(tmp_path, capsys):
    for name, (prediction, truth) in cases("planes").items():
        save(tmp_path / "p" / name, prediction, ".png")
        save(tmp_path / "t" / name, truth, ".png")
        save(tmp_path / "i" / name, 40 * truth + 20, ".png")
    paths = [str(tmp_path / x) for x in ("p", "t")]
    options = ["--plot", str(tmp_path / "o"), "--images", str(tmp_path / "i"), "--worst", "2"]
    options += ["--json", str(tmp_path / "s.json")]
    assert main(["evaluate", *paths, *options]) == 0
    dice = {r["case"]: r["dice"] for r in json.loads((tmp_path / "s.json").read_text())["scores"]}
    worst = sorted(dice, key=dice.__getitem__)[:2]
    names = [f"{k + 1:02d}_{case}_foreground.png" for k, case in enumerate(worst)]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [*names, "worst.png"]
    with Image.open(tmp_path / "o" / "worst.png") as picture:
        assert len(np.unique(np.asarray(picture).reshape(-1, 4), axis=0)) > 50
    printed = capsys.readouterr().out
    assert worst[0] in printed
    assert "surface Dice at 1 px" in printed
