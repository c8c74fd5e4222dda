"""The pictures hold what the runs hold, and what is not there is not drawn."""

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex

from experiments.analysis.statistics import mean_interval
from experiments.reporting import gallery, plots
from experiments.reporting.plots.style import look_of
from tests.experiments.made import SPREAD, made_entry, made_model, made_run, study

BCE, DICE = 0.7 + 0.01 * SPREAD, 0.8 + 0.02 * SPREAD


@pytest.fixture
def model():
    return made_model(study(fractions=(0.05, 0.02)), {"bce": (BCE, BCE), "dice": (DICE, DICE)})


def _lines(ax, name):
    return [line for line in ax.get_lines() if line.get_label() == name]


def _means(ax):
    """By label, what an error bar's line shows."""
    return {
        container.get_label(): np.asarray(container.lines[0].get_ydata())
        for container in ax.containers
    }


def test_dice_against_fraction_shows_means_and_intervals(model):
    figure = plots.dice_against_fraction(model)
    half, _ = figure.axes
    shown = _means(half)
    assert shown["BCE"] == pytest.approx([0.7, 0.7])
    assert shown["Dice"] == pytest.approx([0.8, 0.8])
    (bar,) = next(c for c in half.containers if c.get_label() == "Dice").lines[2]
    low, high = bar.get_segments()[0][:, 1]
    interval = mean_interval(DICE)
    assert (low, high) == pytest.approx((interval.low, interval.high))
    # No run knows the posterior.
    assert not _lines(half, "Bayes-optimal (C15)")


def test_the_bayes_line_is_drawn_where_it_is_known(model):
    for run in model.results:
        run["metrics"]["bayes_dice_scored"] = 0.9
    (line,) = _lines(plots.dice_against_fraction(model).axes[0], "Bayes-optimal (C15)")
    assert line.get_ydata() == pytest.approx([0.9, 0.9])


def test_differences_are_paired_and_written_beside(model):
    figure = plots.differences(model)
    (ax,) = figure.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["Dice, 5 %", "Dice, 2 %"]
    assert [text.get_text()[:6] for text in ax.texts] == ["+0.100", "+0.100"]
    assert plots.differences(made_model(study(losses=("dice",)), {"dice": (DICE, DICE)})) is None


def test_a_loss_looks_the_same_in_every_study():
    assert look_of(("dice",), "dice") == look_of(("bce", "focal", "dice"), "dice")
    many = ("bce", "dice+focal", "dice+tversky")
    assert len({look_of(many, loss) for loss in many}) == 3


def test_gradient_share_has_theorys_lines(model):
    figure = plots.gradient_share(model)
    top, bottom = figure.axes[0], figure.axes[2]
    (line,) = _lines(top, "C5: Dice, from p̄₊ and p̄₋")
    # At p = ½ and π = 0.05: the odds are 1/19.
    ratio = 1 + 2 / 19
    assert line.get_ydata() == pytest.approx([ratio / (1 + ratio)] * 2)
    (rest,) = _lines(bottom, "C7: any loss at rest")
    assert set(rest.get_ydata()) == {0.5}
    starts = [x for x in bottom.get_lines() if x.get_marker() == "D" and x.get_label()[0] == "_"]
    assert [to_hex(x.get_color()).upper() for x in starts] == ["#0072B2", "#D55E00"]
    assert starts[0].get_ydata() == pytest.approx(0.05)
    # One image at a time is not one region.
    config = dataclasses.replace(model.config, pooling="sample")
    sampled = plots.gradient_share(dataclasses.replace(model, config=config))
    assert not _lines(sampled.axes[0], "C5: Dice, from p̄₊ and p̄₋")


def test_reliability_pools_the_pixels_of_all_seeds():
    config = study(losses=("bce",), seeds=2)
    model = made_model(config, {})
    for seed, (true, pixels) in enumerate((((0.0, 0.4), (100, 100)), ((0.3, None), (300, 0)))):
        reliability = {"claimed": [0.1, 0.7 if pixels[1] else None], "true": true, "pixels": pixels}
        model.results.append(
            made_run(config, "bce", 0.05, seed, extra={"reliability": reliability})
        )
    ax = plots.reliability(model).axes[0]
    (line,) = _lines(ax, "BCE")
    assert line.get_xdata() == pytest.approx([0.1, 0.7])
    assert line.get_ydata() == pytest.approx([0.3 * 300 / 400, 0.4])


def test_recall_by_size_pools_objects():
    config = study(losses=("bce",), seeds=2)
    model = made_model(config, {})
    for seed, (recall, objects) in enumerate((([0.2, 0.8], [10, 10]), ([0.5], [30]))):
        rows = {"size": [16.0, 32.0][: len(recall)], "recall": recall, "objects": objects}
        model.results.append(made_run(config, "bce", 0.05, seed, extra={"size_recall": rows}))
    (line,) = _lines(plots.size_recall(model).axes[0], "BCE")
    assert line.get_xdata() == pytest.approx([16 * 2**0.5, 32 * 2**0.5])
    assert line.get_ydata() == pytest.approx([(0.2 * 10 + 0.5 * 30) / 40, 0.8])


def test_constants_lie_on_theory():
    config = study(losses=("bce", "squared_dice"), model="bias")
    model = made_model(config, {})
    for loss, value in (("bce", 0.05), ("squared_dice", 0.2236)):
        for seed, off in enumerate(1e-4 * SPREAD):
            model.results.append(made_run(config, loss, 0.05, seed, mean_probability=value + off))
    (ax,) = plots.constants(model).axes
    shown = _means(ax)
    assert shown["BCE"] == pytest.approx([0.05])
    assert shown["Squared Dice"] == pytest.approx([0.2236])


def test_what_no_run_holds_is_not_drawn(model):
    for draw in (plots.reliability, plots.size_recall, plots.surfaces, plots.empties,
                 plots.learning_rates, plots.constants, plots.examples):  # fmt: skip
        assert draw(model) is None
    names = [picture.name for picture in gallery.pictures(model)]
    assert names == [
        "dice_against_fraction", "differences", "learning_curves", "gradient_share",
        "gradient_ratio", "trajectories", "volume_bias",
    ]  # fmt: skip


def test_a_smaller_model_shows_fewer_figures_and_names_them_after_itself():
    config = study(model="linear")
    linear = made_model(config, {"bce": (BCE, BCE), "dice": (DICE, DICE)})
    names = [picture.name for picture in gallery.pictures(linear, largest=False)]
    assert names == [
        "linear_dice_against_fraction", "linear_differences", "linear_gradient_share",
        "linear_volume_bias",
    ]  # fmt: skip


def test_runs_without_numbers_leave_gaps(model):
    """Every run of an arm diverged; a batch had no foreground: the pictures come all the same."""
    history = [made_entry(0), dict.fromkeys(made_entry(1)) | {"step": 1}]
    lost = [
        made_run(model.config, "dice", f, s, status="diverged", history=history)
        for f in model.fractions
        for s in range(7)
    ]
    model.results[:] = [r for r in model.results if r["loss"] == "bce"] + lost
    for picture in gallery.pictures(model):
        picture.figure.canvas.draw()
    assert _means(plots.dice_against_fraction(model).axes[0])["BCE"] == pytest.approx([0.7, 0.7])


def test_seven_fractions_take_three_columns():
    fractions = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.003)
    model = made_model(study(fractions=fractions), {"bce": (BCE, BCE), "dice": (DICE, DICE)})
    figure = plots.learning_curves(model)
    assert figure.get_figwidth() < 9
    visible = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert len(visible) == 7
    assert visible[0] == "20 % foreground"
