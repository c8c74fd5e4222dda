"""No interval of any table leaves the range of its quantity, whatever the runs scored."""

import math

import numpy as np
import pytest

from experiments.analysis.contrasts import contrast_table, contrasts, rate_contrasts
from experiments.analysis.estimands import estimands_table
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.partial import partial_table, size_table
from experiments.analysis.statistics import SHARE, mean_interval
from experiments.analysis.tables import range_of, runs_table, summary_table
from experiments.learning.class_evaluation import evaluate_classes
from experiments.learning.evaluation import evaluate
from tests.experiments.made import made_run, study


def _expected(column):
    """The range of a column, written down a second time and by other rules than the code's."""
    if any(word in column for word in ("hd95", "noise", "images", "learning_rate")):
        return 0, math.inf
    return (-1, math.inf) if "volume_bias" in column else (0, 1)


def _metrics():
    """The names of all metrics that a run can have."""
    generator = np.random.default_rng(0)
    masks = generator.random((12, 16, 16)) < 0.1
    masks[0] = False
    logits = generator.normal(size=masks.shape)
    posterior = np.full(masks.shape, 0.1)
    names = set(evaluate(logits, masks, logits, masks, posterior).metrics)
    classes = generator.normal(size=(2, 4, 4, 3))
    labels = generator.integers(3, size=(2, 4, 4))
    return names | set(evaluate_classes(classes, labels, classes, labels, (0, 7, 9)).metrics)


@pytest.fixture(scope="module")
def models():
    """Three runs of each arm: two at one end of a metric's range, and one far from it."""
    config = study(seeds=3, learning_rates=(1e-3, 1e-2))
    results = []
    for loss, ends in (("bce", (0, 0, 1)), ("dice", (1, 1, 0))):
        for seed, end in enumerate(ends):
            run = made_run(config, loss, 0.05, seed)
            for name in (*_metrics(), "foreground_fraction_train", "noise"):
                low, high = _expected(name)
                run["metrics"][name] = (low, min(high, 30))[end]
            by_size = {"size": [4.0, 8.0], "recall": [end, 0.5], "recall_tuned": [end, end]}
            run["size_recall"] = by_size | {"objects": [3, 1]}
            run["status"] = "finished" if seed else "collapsed"
            results.append(run)
    tuning = [
        run | {"seed": 1_000_000 + run["seed"], "learning_rate": rate}
        for run in results
        for rate in config.learning_rates
    ]
    return [ModelRuns(config, results, tuning)]


def _check(table, mean, low, high, limits):
    for mean_of, low_of, high_of in table[[mean, low, high]].to_numpy(np.float64):
        if not np.isnan(low_of):
            assert limits[0] <= low_of <= mean_of <= high_of <= limits[1], (mean, low_of, high_of)


def test_the_summarys_intervals(models):
    table = summary_table(models[0].runs)
    names = [column.removesuffix("_ci_low") for column in table if column.endswith("_ci_low")]
    assert set(names) >= _metrics()
    for name in names:
        _check(table, f"{name}_mean", f"{name}_ci_low", f"{name}_ci_high", _expected(name))
    # The t interval of 0, 0 and 1 would be [−1.1, 1.8].
    assert (table["dice_ci_low"] == 0).all()
    assert (table["dice_ci_high"] == 1).all()


def test_the_intervals_of_all_other_tables(models):
    (model,) = models
    found = {
        "contrasts": contrast_table([*contrasts(model), *rate_contrasts(model)]),
        "estimands": estimands_table(model.runs),
        "sizes": size_table(models),
    }
    differences = ("difference", "over_images", "blind")
    for kind, table in found.items():
        names = [column.removesuffix("_ci_low") for column in table if column.endswith("_ci_low")]
        assert names
        for name in names:
            limits = (-1, 1) if kind == "contrasts" and name in differences else _expected(name)
            _check(table, name, f"{name}_ci_low", f"{name}_ci_high", limits)
    for column in ("smallest_margin", "resolvable", "p_value", "equivalence_p_value"):
        known = found["contrasts"][column].dropna()
        assert known.between(0, 1).all()
    for metric, table in partial_table(models).groupby("metric"):
        _check(table, "mean", "mean_ci_low", "mean_ci_high", _expected(metric))


def test_cutting_an_interval_loses_no_coverage():
    """The true mean is in the range. A bootstrap of three runs is in it too, and far too short."""
    generator = np.random.default_rng(0)
    draws = generator.beta(8, 1, size=(400, 3))
    covered = {"whole": 0, "cut": 0, "bootstrap": 0}
    for x in draws:
        whole, cut = mean_interval(x), mean_interval(x, SHARE)
        resampled = x[generator.integers(3, size=(200, 3))].mean(axis=1)
        bootstrap = np.quantile(resampled, [0.025, 0.975])
        for name, (low, high) in {
            "whole": whole[1:3], "cut": cut[1:3], "bootstrap": bootstrap
        }.items():  # fmt: skip
            covered[name] += low <= 8 / 9 <= high
    assert covered["cut"] == covered["whole"] > 0.85 * len(draws)
    assert covered["bootstrap"] < 0.75 * len(draws)


def test_a_value_out_of_range_is_loud():
    with pytest.raises(ValueError, match=r"within \[0, 1\], got 1.5 to 1.5: name the range"):
        mean_interval([1.5, 1.5], range_of("dice"))
    assert range_of("hd95_images_tuned") == (0, math.inf)
    assert range_of("soft_volume_bias") == (-1, math.inf)
    # Rounded float32.
    assert mean_interval([1 + 1e-7, 1.0], SHARE).high <= 1 + 1e-7
    assert runs_table([]).empty
