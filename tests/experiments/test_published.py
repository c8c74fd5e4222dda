"""The published tables follow from the committed numbers: a sceptic's ten lines for each."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
HEAD = "Dice, two images in a batch"


def _rows(page: str, first: str) -> list[list[str]]:
    """The cells of the table whose head begins with a word."""
    text = (ROOT / page).read_text("utf-8")
    table = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def _signed(number: float) -> str:
    """A difference as the tables write it."""
    text = f"{number:+.3f}".replace("-", "−")
    return text if float(f"{number:.3f}") else "0.000"


def test_the_readmes_table_follows_from_the_runs():
    runs = pd.read_csv(RESULTS / "standard" / "runs.csv").set_index("seed")
    rows = _rows("README.md", "foreground")
    assert len(rows) == 3
    for fraction, *means, difference, verdict, collapsed in rows:
        of = runs[runs["foreground_fraction"].sub(float(fraction.split()[0]) / 100).abs() < 1e-9]
        bce, dice, both = (of[of["loss"] == loss] for loss in ("bce", "dice", "dice+bce"))
        trained = dice[dice["status"] == "finished"]
        found = bce["dice_tuned"].mean(), trained["dice"].mean(), both["dice"].mean()
        assert [f"{mean:.3f}" for mean in found] == means
        paired = stats.ttest_rel(trained["dice"], bce["dice_tuned"].loc[trained.index])
        d = (trained["dice"] - bce["dice_tuned"]).dropna().mean()
        low, high = paired.confidence_interval()
        assert difference == f"{_signed(d)} [{_signed(low)}, {_signed(high)}]"
        words = "equivalent within 0.01" if high < 0.01 else "higher" if low > 0 else "undecided"
        assert verdict == words
        assert collapsed == f"{len(dice) - len(trained)} of {len(dice)}"


def test_the_readmes_words_on_collapses_and_tuned_thresholds_follow_from_the_tables():
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    arms = pd.read_csv(RESULTS / "standard" / "estimands.csv").query("foreground_fraction == 0.003")
    dice, bce, both = (
        "{:.2f} [{:.2f}, {:.2f}]".format(*arm[["blind", "blind_ci_low", "blind_ci_high"]])
        for _, arm in arms.set_index("loss").loc[["dice", "bce", "dice+bce"]].iterrows()
    )
    assert f"{dice} with Dice, {bce} with BCE and {both} with Dice + BCE" in readme
    tuned = pd.read_csv(RESULTS / "standard" / "contrasts.csv").query(
        "threshold == 'tuned' and baseline_threshold == 'tuned' and baseline == 'bce'"
    )
    rows = tuned.set_index(["loss", "foreground_fraction"])
    ends = ["blind", "blind_ci_low", "blind_ci_high"]
    loss = "{:.2f} [{:.2f}, {:+.2f}]".format(*rows.loc[("dice", 0.003), ends]).replace("-", "−")
    assert f"undecided at 0.3 %: {loss}" in readme
    verdicts = [rows.loc[("dice+bce", part), "verdict"] for part in (0.05, 0.01, 0.003)]
    assert [str(words).split(",")[0] for words in verdicts] == [
        "higher",
        "equivalent within 0.01",
        "higher",
    ]
    assert "is higher than BCE at 5 % and 0.3 %, and equivalent within 0.01 at 1 %" in readme


SMALL = [(rate, smooth) for rate in ("0.033", "0.01") for smooth in ("", ",smooth=1")]


def test_the_table_of_small_batches_follows_from_the_runs():
    studies = ("collapse-small", "collapse-empty")
    for study, (_, *cells) in zip(studies, _rows("docs/experiments.md", HEAD), strict=True):
        runs = pd.read_csv(RESULTS / study / "runs.csv")
        for cell, (rate, smooth) in zip(cells, SMALL, strict=True):
            arm = runs[runs["loss"] == f"dice,rate={rate}{smooth}"]
            fails = int((arm["status"] != "finished").sum())
            low, high = stats.binomtest(fails, len(arm)).proportion_ci(method="exact")
            assert (cell, len(arm)) == (f"{fails} [{100 * low:.0f}, {100 * high:.0f} %]", 40)


def test_the_quick_study_on_a_gpu_agrees_with_the_cpu():
    keys = ["loss", "foreground_fraction", "seed"]
    cpu, gpu = (
        pd.read_csv(RESULTS / name / "runs.csv").set_index(keys) for name in ("quick", "quick-h100")
    )
    differences = (gpu["dice"] - cpu["dice"]).abs().sort_values()
    assert len(differences) == 18
    assert differences.iloc[-2] < 0.008
    assert gpu["status"].loc[differences.index[-1]] == "collapsed"
    assert (cpu["status"] == "finished").all()


ARMS = {
    "Dice": "dice,rate=0.033", "Dice, rate 0.01": "dice,rate=0.01",
    "Dice, smoothing 1": "dice,smooth=1,rate=0.033",
    "Dice, clipped at norm 1": "dice,rate=0.033,clip=1",
    "Dice, β₂ = 0.9": "dice,rate=0.033,beta2=0.9", "Dice, β₂ = 0.99": "dice,rate=0.033,beta2=0.99",
    "Dice, rate rises over 5 steps": "dice,rate=0.033,warmup=5",
    "Dice, p starts at the foreground fraction": "dice,rate=0.033,start=prior",
    "Dice + BCE": "dice+bce,rate=0.033", "BCE": "bce,rate=0.033",
}  # fmt: skip


def test_the_table_of_collapses_follows_from_the_runs():
    runs = pd.read_csv(RESULTS / "collapse" / "runs.csv")
    rows = _rows("docs/experiments.md", "arm")
    assert [row[0] for row in rows] == list(ARMS)
    for name, collapsed, trained, blind in rows:
        cell = runs[runs["loss"] == ARMS[name]]
        fails = cell["status"] != "finished"
        low, high = stats.binomtest(int(fails.sum()), len(cell)).proportion_ci(method="exact")
        assert collapsed == f"{fails.sum()} [{100 * low:.0f}, {100 * high:.0f} %]"
        assert trained == f"{cell.loc[~fails, 'dice_tuned'].mean():.3f}"
        assert blind == f"{cell['dice_tuned'].mean():.3f}"


def test_the_table_of_alarms_follows_from_the_runs():
    folder = RESULTS / "collapse"
    runs = pd.read_csv(folder / "alarms.csv").merge(pd.read_csv(folder / "runs.csv"))
    for half, (_, hits, misses, late, left) in enumerate(_rows("docs/analysis.md", "runs")):
        of_half = runs[runs["seed"] % 2 == half]
        collapsed = of_half["status"] != "finished"
        for group, text in ((of_half[collapsed], hits), (of_half[~collapsed], misses)):
            fired = int((group["alarm"] >= 0).sum())
            assert text.startswith(f"{fired} of {len(group)}")
            low, high = stats.binomtest(fired, len(group)).proportion_ci(method="exact")
            if "[" in text:
                assert text.endswith(
                    f"[{100 * low:.0f}, {100 * high:.2g} %]".replace("1e+02", "100")
                )
        run = of_half[collapsed]
        for steps, text in ((run["alarm"] - run["lost"], late), (run["dead"] - run["alarm"], left)):
            assert text == f"{steps.min()} to {steps.max()}"
    assert (len(runs), (runs["status"] != "finished").sum()) == (480, 14)


def test_what_the_page_says_of_the_collapses():
    runs = pd.read_csv(RESULTS / "collapse" / "runs.csv")
    fails = runs["status"] != "finished"
    assert len(runs) == 800
    assert not fails[runs["loss"].str.contains("bce")].any()
    assert runs["loss"].str.contains("bce").sum() == 320
    standard = pd.read_csv(RESULTS / "standard" / "runs.csv").query("foreground_fraction == 0.003")
    dice = ~runs["loss"].str.contains("bce|warmup")
    adam = runs["loss"].str.contains("beta2")
    groups = (
        fails[runs["loss"] == "dice,rate=0.033"],
        fails[dice],
        fails[adam],
        fails[dice & ~adam & ~runs["loss"].str.contains("start")],
        standard["status"][standard["loss"] == "dice"] != "finished",
    )
    rows = _rows("docs/experiments.md", "runs at 0.3 % foreground, ramp of 50 steps")
    for (_, cell), group in zip(rows, groups, strict=True):
        exact = stats.binomtest(int(group.sum()), len(group)).proportion_ci(method="exact")
        digits = 1 if len(group) > 80 else 0
        ends = f"[{100 * exact.low:.{digits}f}, {100 * exact.high:.{digits}f} %]"
        assert cell == f"{group.sum()} of {len(group)} {ends}"

    def counts(arm):
        cell = fails[runs["loss"] == arm]
        return [int(cell.sum()), int((~cell).sum())]

    page = (ROOT / "docs" / "experiments.md").read_text("utf-8")
    short, usual = counts("dice,rate=0.033,warmup=5"), counts("dice,rate=0.033")
    assert f"p = {stats.fisher_exact([short, usual]).pvalue:.3f}" in " ".join(page.split())
    assert f"p = {stats.fisher_exact([[2, 18], [0, 40]]).pvalue:.2f})" in " ".join(page.split())
    high = stats.binomtest(0, 320).proportion_ci(method="exact").high
    assert f"interval for 320: {100 * high:.1f} %" in " ".join(page.split())
    assert f"All {fails.sum()} collapsed runs started at p = ½" in " ".join(page.split())
    assert not fails[runs["loss"].str.contains("start=prior")].any()


def test_the_margin_that_the_page_justifies_follows_from_the_pilot():
    pilot = pd.read_csv(RESULTS / "pilot" / "runs.csv").set_index(["foreground_fraction", "seed"])
    dice, bce = (pilot[pilot["loss"].eq(loss)] for loss in ("dice", "bce"))
    differences = (dice["dice"] - bce["dice_tuned"]).groupby("foreground_fraction")
    assert differences.count().tolist() == [4, 4, 4]
    deviations = differences.std().sort_index(ascending=False)
    # Of 20,000 studies of two equal losses, 80 % pass at their margin: Holm's first level of three.
    draws = np.random.default_rng(0).normal(size=(20_000, 20))
    error = draws.std(axis=1, ddof=1) / 20**0.5
    ends = np.abs(draws.mean(axis=1)) + stats.t.ppf(1 - 0.05 / 3, 19) * error
    margins = np.quantile(ends, 0.8) * deviations
    upper = deviations.iloc[-1] * (3 / stats.chi2.ppf(0.2, 3)) ** 0.5
    page = " ".join((ROOT / "docs" / "experiments.md").read_text("utf-8").split())
    assert "{:.4f}, {:.4f} and {:.4f}".format(*deviations) in page
    assert "within {:.3f}, {:.3f} and {:.3f}".format(*margins) in page
    need = np.quantile(ends, 0.8) * upper
    words = f"which is {upper:.4f}, the margin would have to be {need:.3f}"
    assert words in page


WITH_CONTRASTS = sorted(
    path.parent.relative_to(RESULTS).as_posix()
    for path in RESULTS.rglob("contrasts.csv")
    if (path.parent / "runs.csv").exists()
)
ENDS = "_ci_low", "_ci_high"
METRICS = {"half": "dice", "tuned": "dice_tuned", "largest": "dice"}


def _pairs(cells, row):
    """The runs of both losses of a contrast, and their differences where neither failed."""
    cell = row.model, row.foreground_fraction
    a, b = (cells[*cell, loss].set_index("seed") for loss in (row.loss, row.baseline))
    first, second = METRICS[row.threshold], METRICS[row.baseline_threshold]
    trained = [cell["status"].eq("finished") for cell in (a, b)]
    return a, b, (a[first][trained[0]] - b[second][trained[1]]).dropna().to_numpy()


@pytest.mark.parametrize("study", WITH_CONTRASTS)
def test_who_won_follows_from_the_runs(study):
    """contrasts.csv of every published study, recomputed from its runs.csv."""
    runs = pd.read_csv(RESULTS / study / "runs.csv")
    cells = dict(list(runs.groupby(["model", "foreground_fraction", "loss"])))
    family = ["model", "loss", "baseline", "threshold", "baseline_threshold"]
    for _, rows in pd.read_csv(RESULTS / study / "contrasts.csv").groupby(family):
        p_values = []
        for row in rows.itertuples():
            a, b, d = _pairs(cells, row)
            if len(d) < 2:
                # One pair has no interval, and no verdict.
                assert row.difference_runs == len(d)
                assert np.isnan(row.difference_ci_low)
                assert row.verdict == "untested"
                p_values.append(np.nan)
                continue
            mean, error = d.mean(), d.std(ddof=1) / len(d) ** 0.5
            half, half_90 = stats.t.ppf([0.975, 0.95], len(d) - 1) * error
            expected = mean, max(mean - half, -1), min(mean + half, 1), len(d)
            found = [getattr(row, "difference" + end) for end in ("", *ENDS, "_runs")]
            assert found == pytest.approx(expected, abs=5e-6)
            for loss, name in ((a, "collapse"), (b, "baseline_collapse")):
                fails = stats.binomtest(int((loss["status"] != "finished").sum()), len(loss))
                exact = fails.proportion_ci(method="exact")
                found = [getattr(row, name + end) for end in ("", *ENDS)]
                assert found == pytest.approx([fails.statistic, *exact], abs=5e-6)
            # Equivalent where the 90 % interval is inside the margin, and that over images.
            ends = abs(mean) + half_90, -row.over_images_ci_low, row.over_images_ci_high
            assert row.smallest_margin == pytest.approx(min(np.nanmax(ends), 1), abs=5e-6)
            p_value = 2 * stats.t.sf(abs(mean) / max(error, 1e-12), len(d) - 1)
            p_values.append(p_value if len(d) >= 7 else np.nan)
        # Holm: the smallest of n is multiplied by n, the next by n − 1, and none gets smaller.
        order = np.argsort(p_values)[: np.isfinite(p_values).sum()]
        adjusted = np.ones(len(p_values))
        factors = np.arange(len(order), 0, -1)
        adjusted[order] = np.maximum.accumulate(factors * np.array(p_values)[order])
        for row, p_value in zip(rows.itertuples(), adjusted, strict=True):
            # Seeds that share their test images need the interval over images too.
            sure = not row.over_images_ci_low <= 0 <= row.over_images_ci_high
            words = "higher" if row.difference > 0 else "lower"
            assert row.verdict.startswith(words) == (p_value < 0.05 and sure)


def test_the_table_of_one_number_follows_from_the_summary_and_the_closed_forms():
    summary = pd.read_csv(RESULTS / "bias" / "summary.csv").set_index("loss")
    names = {
        "BCE": ["bce"], "Balanced BCE": ["balanced_bce"], "Squared Dice": ["squared_dice"],
        "Dice, Jaccard, Tversky, Focal Tversky": ["dice", "jaccard", "tversky", "focal_tversky"],
    }  # fmt: skip
    forms = {"π": lambda pi: pi, "½": lambda pi: 0 * pi + 0.5, "√π": np.sqrt}
    rows = _rows("docs/experiments.md", "loss")
    assert [row[0] for row in rows] == list(names)
    for name, form, *cells in rows:
        for loss in names[name]:
            found = summary.loc[loss].sort_values("foreground_fraction", ascending=False)
            p, pi = found["mean_probability_mean"], found["foreground_fraction_train_mean"]
            if form in forms:
                np.testing.assert_allclose(p, forms[form](pi), rtol=1e-3)
                assert cells == [f"{number:.4f}" for number in p]
            else:
                assert set(cells) == {"> 0.9999"}
                assert (p > 0.9999).all()


def test_the_table_of_real_images_follows_from_the_runs():
    arms = {"bce": "BCE", "dice": "Dice", "dice+bce": "Dice + BCE"}
    rows = _rows("docs/experiments.md", "images")
    assert [row[0] for row in rows] == ["nuclei", "vessels", "mitochondria", "tiles", "synapses"]
    differences = _rows("docs/experiments.md", "set")
    for (name, fraction, *means, failed), (again, *cells) in zip(rows, differences, strict=True):
        assert again == name
        runs = pd.read_csv(RESULTS / "real" / name / "runs.csv")
        assert float(fraction.split()[0]) == pytest.approx(
            100 * runs["foreground_fraction"].iloc[0], rel=0.02
        )
        of = {loss: runs[runs["loss"] == loss].set_index("seed") for loss in arms}
        assert {len(arm) for arm in of.values()} == {10}
        columns = [
            ("bce", "dice"), ("bce", "dice_tuned"), ("dice", "dice"), ("dice", "dice_tuned"),
            ("dice+bce", "dice_tuned"),
        ]  # fmt: skip
        assert means == [f"{of[loss][column].mean():.3f}" for loss, column in columns]
        assert failed == " / ".join(str((arm["status"] != "finished").sum()) for arm in of.values())
        contrasts = pd.read_csv(RESULTS / "real" / name / "contrasts.csv").set_index(
            ["loss", "baseline", "threshold", "baseline_threshold"]
        )
        shown = ("dice", "half"), ("dice", "tuned"), ("dice+bce", "tuned")
        for cell, (loss, threshold) in zip(cells, shown, strict=True):
            row = contrasts.loc[(loss, "bce", threshold, "tuned")]
            if row["verdict"] == "untested":
                assert cell == "untested"
                continue
            column = "dice" if threshold == "half" else "dice_tuned"
            difference = (of[loss][column] - of["bce"]["dice_tuned"]).mean()
            low, high = row["over_images_ci_low"], row["over_images_ci_high"]
            interval = f"{_signed(difference)} [{_signed(low)}, {_signed(high)}]"
            assert cell == f"{interval} {row['verdict']}"
