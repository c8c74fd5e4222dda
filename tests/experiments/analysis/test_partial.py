"""Scores that only some images have: what they are over, with a collapsed run among them."""

import numpy as np
import pytest

from experiments.analysis.partial import over_some, partial_table, recall_by_size, size_table
from tests.experiments.made import made_model, made_run, study

CONFIG = study(losses=("dice",), seeds=3)
SIZES = [0, 5, 6, 7]


def _model():
    """Two runs that trained, one of them without a prediction on an image; and a collapsed one."""
    model = made_model(CONFIG, {})
    for seed, (distances, status) in enumerate(
        (([None, 1.0, 2.0, 3.0], "finished"), ([None, 4.0, None, 6.0], "finished"),
         ([None, None, 0.1, None], "collapsed"))
    ):  # fmt: skip
        known = [d for d in distances if d is not None]
        run = made_run(CONFIG, "dice", 0.05, seed, status=status, hd95=float(np.mean(known)),
                       empty_false_positive_share=float(seed == 1))  # fmt: skip
        run["per_image"] |= {"hd95": distances, "size": SIZES}
        objects = {0: [2, 4], 1: [6], 2: [9, 9]}[seed]
        run["size_recall"] = {
            "size": [4.0, 8.0][: len(objects)],
            "recall": [0.5 + 0.2 * seed, 0.9][: len(objects)],
            "recall_tuned": [0.6, 0.8][: len(objects)],
            "objects": objects,
        }
        model.results.append(run)
    return model


def test_a_distance_says_how_many_runs_and_images_it_is_over():
    found = over_some(_model(), "dice", 0.05, "hd95")
    # The collapsed run has the best distance of all, and is not in the mean.
    assert found.interval.mean == pytest.approx((2.0 + 5.0) / 2)
    assert (found.interval.n, found.runs) == (2, 3)
    assert (found.images, found.images_there) == (3 + 2, 3 * 3)


def test_false_positives_are_over_the_empty_images():
    found = over_some(_model(), "dice", 0.05, "empty_false_positive_share")
    assert found.interval.mean == 0.5
    assert (found.images, found.images_there) == (2, 3)
    table = partial_table([_model()]).set_index("metric")
    assert table.loc["hd95", ["mean_runs", "runs", "images", "images_there"]].tolist() == [
        2, 3, 5, 9,
    ]  # fmt: skip
    assert "surface_dice" not in table.index


def test_an_arm_that_never_trained_has_no_distance():
    model = _model()
    for run in model.results:
        run["status"] = "diverged"
        run["metrics"]["hd95"] = None
    found = over_some(model, "dice", 0.05, "hd95")
    assert np.isnan(found.interval.mean)
    assert (found.interval.n, found.runs, found.images, found.images_there) == (0, 3, 0, 9)


def test_recall_by_size_counts_objects():
    small, large = recall_by_size(_model(), "dice", 0.05)
    assert (small.size, small.objects, small.recall.n) == (4.0, 2 + 6, 2)
    # Every run counts the same, not every object.
    assert small.recall.mean == pytest.approx((0.5 + 0.7) / 2)
    assert (large.size, large.objects, large.recall.n) == (8.0, 4, 1)
    assert np.isnan(large.recall.low)
    table = size_table([_model()])
    assert table["objects"].tolist() == [8, 4]
    # Runs of before sizes were kept.
    model = _model()
    for run in model.results:
        del run["size_recall"]
    assert recall_by_size(model, "dice", 0.05) == []
