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


def _bars(ax):
    """By row, the marks with their intervals: mean, low, high, and whether the mark is filled."""
    found = {}
    for container in ax.containers:
        line, _, (bar,) = container.lines
        low, high = bar.get_segments()[0][:, 0]
        filled = line.get_markerfacecolor() != "white"
        name = ax.figure.axes[0].get_yticklabels()[int(line.get_ydata()[0])].get_text()
        found[name, filled] = (line.get_xdata()[0], low, high)
    return found


def test_dice_against_fraction_shows_means_and_intervals():
    tuned = DICE + 0.03
    model = made_model(study(fractions=(0.05, 0.02)), {"bce": (BCE, BCE), "dice": (DICE, tuned)})
    figure = plots.dice_against_fraction(model)
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    for filled, scores in ((True, tuned), (False, DICE)):
        assert _bars(first)["Dice", filled] == pytest.approx(mean_interval(scores)[:3])
    assert _bars(second)["BCE", True][0] == pytest.approx(0.7)
    # No run knows the posterior.
    assert not _lines(first, "Bayes-optimal (C15)")


def test_the_bayes_line_is_drawn_where_it_is_known(model):
    for run in model.results:
        run["metrics"]["bayes_dice_scored"] = 0.9
    (line,) = _lines(plots.dice_against_fraction(model).axes[0], "Bayes-optimal (C15)")
    assert line.get_xdata() == pytest.approx([0.9, 0.9])


def test_a_collapsed_run_is_counted_and_squashes_nothing():
    model = made_model(study(), {"bce": (BCE, BCE), "dice": (DICE, DICE)})
    before = plots.dice_against_fraction(model).axes[0].get_xlim()
    assert plots.collapses(model) is None
    collapsed = made_model(study(), {"bce": (BCE, BCE), "dice": (DICE, DICE)})
    collapsed.results[10] = made_run(
        collapsed.config, "dice", 0.05, 3, status="collapsed", dice=0.0, dice_tuned=0.0
    )
    (ax,) = plots.dice_against_fraction(collapsed).axes
    assert ax.get_xlim() == pytest.approx(before, abs=0.01)
    assert [text.get_text() for text in ax.texts] == ["✕ 1"]
    assert _bars(ax)["Dice", True][0] == pytest.approx(0.8)
    (ax,) = plots.differences(collapsed).axes
    assert [text.get_text() for text in ax.texts] == ["✕ 1"]
    (ax,) = plots.collapses(collapsed).axes
    assert _bars(ax)["Dice", True][0] == pytest.approx(1 / 7)
    (ax,) = plots.learning_curves(collapsed).axes
    assert sum(line.get_linestyle() == ":" for line in ax.get_lines()) == 2  # and its name


def test_no_interval_leaves_the_range_of_its_quantity():
    wide = np.array([0.2, 0.99])
    model = made_model(study(seeds=2), {"bce": (wide, wide), "dice": (wide[::-1], wide[::-1])})
    ends = [_bars(ax) for draw in (plots.dice_against_fraction, plots.differences)
            for ax in draw(model).axes]  # fmt: skip
    assert all(0 <= low <= high <= 1 for _, low, high in ends[0].values())
    assert all(-1 <= low <= high <= 1 for _, low, high in ends[1].values())
    assert ends[1]["Dice", True][1:] == (-1, 1)


def test_differences_are_paired(model):
    (ax, _) = plots.differences(model).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["Dice"]
    assert _bars(ax)["Dice", True] == pytest.approx(mean_interval(DICE - BCE)[:3])
    assert plots.differences(made_model(study(losses=("dice",)), {"dice": (DICE, DICE)})) is None


def test_the_strip_colours_what_is_found_missed_and_invented(tmp_path):
    config = study(losses=("dice", "bce"), fractions=(0.05,), seeds=1)
    made = made_model(config, {"bce": (BCE, BCE), "dice": (DICE, DICE)}, threshold_tuned=0.5)
    model = dataclasses.replace(made, directory=tmp_path)
    assert plots.strip(model) is None
    mask, logits = np.zeros((1, 12, 12)), np.full((1, 12, 12), -3.0)
    mask[0, 4, 4:6] = 1
    logits[0, 4, 5:7] = 3
    (tmp_path / "examples").mkdir()
    np.save(tmp_path / "examples" / "unet_dice_0.05_seed0.npy", np.stack([mask, mask, logits]))
    image, truth, dice = plots.strip(model).axes
    assert [ax.get_title() for ax in (image, truth, dice)] == ["image", "mask", "Dice"]
    shown = dice.images[0].get_array()
    colours = {tuple(c) for c in shown.reshape(-1, 3)}
    row = next(line for line in shown if (line > 0.99).all(axis=1).any())
    place = int(np.flatnonzero((row > 0.99).all(axis=1))[0])
    # Left of what is found: missed, orange. Right of it: invented, blue.
    assert [to_hex(row[place + step]) for step in (-1, 1)] == ["#e69f00", "#3399ff"]
    assert len(colours) == 4


def test_many_variants_are_drawn_in_rows_and_one_of_each_in_lines():
    losses = tuple(f"{loss},clip={i}" for loss in ("dice", "bce") for i in range(1, 8))
    model = made_model(study(losses=losses), dict.fromkeys(losses, (BCE, BCE)))
    (ax,) = plots.dice_against_fraction(model).axes
    assert len(ax.get_yticklabels()) == 14
    (ax,) = plots.learning_curves(model).axes
    assert ax.get_legend_handles_labels()[1] == ["Dice (clip 1)", "BCE (clip 1)"]
    assert len({look_of(losses, loss).colour for loss in losses}) == 14


def test_the_rate_is_chosen_by_the_mean_of_the_tuning_seeds(model):
    made = [
        made_run(
            model.config, "dice", 0.05, seed, validation_dice_tuned=score,
            extra={"learning_rate": rate}, status="finished" if score else "collapsed",
        )
        for rate, scores in ((0.003, (0.7, 0.9)), (0.01, (0.95, 0.0)))
        for seed, score in enumerate(scores)
    ]  # fmt: skip
    tuned = dataclasses.replace(model, tuning_results=made)
    ax = plots.learning_rates(tuned).axes[0]
    (line,) = _lines(ax, "Dice")
    assert line.get_xdata() == pytest.approx([0.003, 0.01])
    assert line.get_ydata() == pytest.approx([0.8, 0.475])
    assert [text.get_text() for text in ax.texts] == ["✕ 1"]


def test_a_loss_looks_the_same_in_every_study():
    assert look_of(("dice",), "dice") == look_of(("bce", "focal", "dice"), "dice")
    many = ("bce", "dice+focal", "dice+tversky")
    assert len({look_of(many, loss) for loss in many}) == 3


def test_gradient_share_has_theorys_lines(model):
    figure = plots.gradient_share(model)
    top, bottom = figure.axes[0], figure.axes[2]
    (line,) = _lines(top, "C5: Dice, from the mean p")
    # At p = ½ and π = 0.05: the odds are 1/19.
    ratio = 1 + 2 / 19
    assert line.get_ydata() == pytest.approx([ratio / (1 + ratio)] * 2)
    (rest,) = _lines(bottom, "C7: any loss at its optimum")
    assert set(rest.get_ydata()) == {0.5}
    starts = [x for x in bottom.get_lines() if x.get_marker() == "D" and x.get_label()[0] == "_"]
    assert [to_hex(x.get_color()).upper() for x in starts] == ["#0072B2", "#D55E00"]
    assert starts[0].get_ydata() == pytest.approx(0.05)
    # One image at a time is not one region.
    config = dataclasses.replace(model.config, pooling="sample")
    sampled = plots.gradient_share(dataclasses.replace(model, config=config))
    assert not _lines(sampled.axes[0], "C5: Dice, from the mean p")


def test_theorys_lines_are_of_the_runs_that_trained(model):
    drawn = [plots.gradient_share(model)]
    entries = [made_entry(step, mean_probability_background=1e-9) for step in (0, 1)]
    lost = made_run(model.config, "dice", 0.05, 3, status="collapsed", history=entries)
    drawn.append(plots.gradient_share(dataclasses.replace(model, results=[*model.results, lost])))
    before, after = ([x.get_ydata() for x in f.axes[0].get_lines()] for f in drawn)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


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
    shown = {c.get_label(): np.asarray(c.lines[0].get_ydata()) for c in ax.containers}
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
    bars = _bars(plots.dice_against_fraction(model).axes[0])
    assert bars["BCE", True][0] == pytest.approx(0.7)
    assert ("Dice", True) not in bars


def test_seven_fractions_take_three_columns():
    fractions = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.003)
    model = made_model(study(fractions=fractions), {"bce": (BCE, BCE), "dice": (DICE, DICE)})
    figure = plots.learning_curves(model)
    assert figure.get_figwidth() < 9
    visible = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert len(visible) == 7
    assert visible[0] == "20 % foreground"
