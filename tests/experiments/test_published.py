"""The published tables follow from the committed numbers: a sceptic's ten lines for each."""

import re
from pathlib import Path

import pandas as pd
from scipy import stats

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"


def _rows(page: str, first: str) -> list[list[str]]:
    """The cells of the table whose head begins with a word."""
    text = (ROOT / page).read_text("utf-8")
    table = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_readmes_table_follows_from_the_summary():
    summary = pd.read_csv(RESULTS / "standard" / "summary.csv").query("model == 'unet'")
    rows = _rows("README.md", "foreground")
    assert len(rows) == 3
    for fraction, *numbers, difference, _ in rows:
        wanted = float(fraction.split()[0]) / 100
        cells = summary[summary["foreground_fraction"].sub(wanted).abs() < 1e-9].set_index("loss")
        tuned = cells.loc["bce", "dice_tuned_mean"]
        means = [cells.loc["bce", "dice_mean"], tuned, cells.loc["dice", "dice_mean"]]
        means.append(cells.loc["dice+bce", "dice_mean"])
        assert [f"{mean:.3f}" for mean in means] == numbers
        assert f"{cells.loc['dice', 'dice_mean'] - tuned:+.3f}".replace("-", "−") in difference


ARMS = {
    "Dice": "dice,rate=0.033", "Dice, rate 0.01": "dice,rate=0.01",
    "Dice, smoothing 1": "dice,smooth=1,rate=0.033",
    "Dice, clipped at norm 1": "dice,rate=0.033,clip=1",
    "Dice, β₂ = 0.9": "dice,rate=0.033,beta2=0.9", "Dice, β₂ = 0.99": "dice,rate=0.033,beta2=0.99",
    "Dice, rate rises over 5 steps": "dice,rate=0.033,warmup=5",
    "Dice, starting at p = π": "dice,rate=0.033,start=prior",
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


def test_what_the_page_says_of_the_collapses():
    runs = pd.read_csv(RESULTS / "collapse" / "runs.csv")
    fails = runs["status"] != "finished"
    assert len(runs) == 800
    assert not fails[runs["loss"].str.contains("bce")].any()
    assert runs["loss"].str.contains("bce").sum() == 320
    ordinary = ~runs["loss"].str.contains(re.compile("bce|beta2|warmup|start"))
    assert (fails[ordinary].sum(), ordinary.sum()) == (3, 320)

    def counts(arm):
        cell = fails[runs["loss"] == arm]
        return [int(cell.sum()), int((~cell).sum())]

    page = (ROOT / "docs" / "experiments.md").read_text("utf-8")
    short, usual = counts("dice,rate=0.033,warmup=5"), counts("dice,rate=0.033")
    assert f"p = {stats.fisher_exact([short, usual]).pvalue:.3f}" in " ".join(page.split())
    high = stats.binomtest(0, 320).proportion_ci(method="exact").high
    assert f"interval for 320: {100 * high:.1f} %" in " ".join(page.split())
    assert f"All {fails.sum()} collapsed runs started at p = ½" in " ".join(page.split())
    assert not fails[runs["loss"].str.contains("start=prior")].any()
