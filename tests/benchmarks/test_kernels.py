"""The benchmark's rows of single kernels: distance transforms and Lovász losses."""

import sys

import numpy as np
import pytest

pytest.importorskip("rich")
pytest.importorskip("scipy")

from benchmarks.families import distances, ranking
from benchmarks.harness.case import Settings, measure
from benchmarks.harness.problems import Problem
from benchmarks.harness.timing import Budget

FEW = Budget(least=2, most=2, seconds=0.0)


def test_distances_are_scipy_s_on_every_mask():
    for name, (words, make) in distances._MASKS.items():
        row = measure(distances.distance_case(name, words, make, (40, 60)), FEW)
        assert [c["name"] for c in row["contenders"]] == ["dice_jax", "scipy"], row["notes"]
        assert not make((40, 60)).all()


def test_hausdorff_distances_are_scipy_s():
    row = measure(distances.hausdorff_case((14, 15, 12)), FEW)
    assert [c["name"] for c in row["contenders"]] == ["dice_jax", "scipy"], row["notes"]


def test_a_transform_that_is_wrong_is_left_out(monkeypatch):
    wrong = distances.ndimage.distance_transform_cdt
    monkeypatch.setattr(distances.ndimage, "distance_transform_edt", wrong)
    row = measure(distances.distance_case("ball", *distances._MASKS["ball"], (40, 60)), FEW)
    assert any("computes something else" in note for note in row["notes"])


@pytest.mark.parametrize("classes", [None, 3])
def test_lovasz_rows_say_what_is_missing(classes, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    row = measure(ranking.ranking_case("tiny", Problem((2, 12, 13), classes)), FEW)
    assert [c["name"] for c in row["contenders"]] == ["dice_jax"]
    assert sum("skipped" in note for note in row["notes"]) == 2


@pytest.mark.parity
@pytest.mark.parametrize("classes", [None, 3])
def test_lovasz_rows_agree_with_pytorch(classes):
    pytest.importorskip("torch")
    row = measure(ranking.ranking_case("tiny", Problem((2, 12, 13), classes)), FEW)
    assert "PyTorch, eager" in [c["name"] for c in row["contenders"]], row["notes"]


def test_volumes_are_in_the_full_run_only():
    assert not any("256×256×256" in case.work for case in distances._cases(Settings(quick=True)))
    assert any("256×256×256" in case.work for case in distances._cases(Settings()))


def test_a_ball_is_a_ball():
    inside = ~distances._ball((30, 40))
    assert inside[15, 20]
    np.testing.assert_allclose(inside.sum(), np.pi * 10**2, rtol=0.05)
