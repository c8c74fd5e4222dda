"""What a study's numbers say, in sentences: every one computed, none written beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.config import StudyConfig
from experiments.plots import dice_share, label, percent
from experiments.summary import Interval, cell_of, mean_interval, paired_difference

__all__ = ["Check", "findings", "limits", "theory_checks", "written"]

# Losses whose gradient in p is parallel to Dice's (C3): the ratio 2/D − 1 is theirs too.
_PARALLEL_TO_DICE = ("dice", "jaccard", "log_dice", "log_cosh_dice")


def written(interval: Interval, sign: bool = False) -> str:
    """Write a mean and its interval: 0.81 [0.79, 0.83].

    Args:
        interval: of `summary`.
        sign: whether a positive number shows its plus.

    Returns:
        The words; only the mean where there is no interval.
    """
    form = "{:+.3f}" if sign else "{:.3f}"
    if not interval.n:
        return "–"
    mean = form.format(interval.mean)
    if np.isnan(interval.low):
        return mean
    return f"{mean} [{form.format(interval.low)}, {form.format(interval.high)}]"


def _verdict(difference: Interval, first: str, second: str) -> str:
    if np.isnan(difference.low):
        return "one seed has no interval: nothing can be concluded"
    if difference.low > 0:
        return f"{first} scored higher"
    if difference.high < 0:
        return f"{second} scored higher"
    return "the interval holds 0: no difference was shown"


def _join(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def findings(config: StudyConfig, runs: pd.DataFrame) -> list[str]:
    """Say what came out, the main comparison first.

    Args:
        config: the study.
        runs: of `summary.runs_table`.

    Returns:
        Sentences.
    """
    if config.model == "bias":
        return [*_bias_findings(config, runs), *_status_findings(config, runs)]
    baseline = "bce" if "bce" in config.losses else config.losses[0]
    others = [loss for loss in config.losses if loss != baseline]
    # Dice against BCE is what the study is for; it comes first if it is there.
    others.sort(key=lambda loss: loss != "dice")
    sentences = [_contrast(config, runs, loss, baseline) for loss in others]
    sentences += _control(config, runs, baseline, others[:1])
    return [*sentences, *_status_findings(config, runs)]


def _contrast(config: StudyConfig, runs: pd.DataFrame, loss: str, baseline: str) -> str:
    first, second = label(loss), label(baseline)
    parts, wins, losses = [], [], []
    for fraction in config.fractions:
        difference = paired_difference(runs, (loss, "dice"), (baseline, "dice_tuned"), fraction)
        wins += [percent(fraction)] * bool(difference.low > 0)
        losses += [percent(fraction)] * bool(difference.high < 0)
        parts.append(f"{written(difference, sign=True)} at {percent(fraction)} foreground")
    undecided = len(config.fractions) - len(wins) - len(losses)
    verdicts = []
    if wins:
        verdicts.append(f"{first} scored higher at {_join(wins)} foreground")
    if losses:
        verdicts.append(f"{second} scored higher at {_join(losses)} foreground")
    if undecided and config.seeds > 1:
        where = "at every fraction" if undecided == len(config.fractions) else "elsewhere"
        verdicts.append(f"no difference was shown {where}")
    if config.seeds == 1:
        verdicts = ["one seed has no interval, so nothing can be concluded"]
    return (
        f"{first} at threshold 0.5 against {second} at its tuned threshold: {'; '.join(verdicts)}. "
        f"The difference in test Dice is {_join(parts)} (95 % intervals over "
        f"{config.seeds} paired seeds)."
    )


def _control(
    config: StudyConfig, runs: pd.DataFrame, baseline: str, others: Sequence[str]
) -> list[str]:
    gains, leads = [], []
    for fraction in config.fractions:
        gain = paired_difference(runs, (baseline, "dice_tuned"), (baseline, "dice"), fraction)
        gains.append(f"{written(gain, sign=True)} at {percent(fraction)}")
        for loss in others:
            before = paired_difference(runs, (loss, "dice"), (baseline, "dice"), fraction)
            after = paired_difference(runs, (loss, "dice"), (baseline, "dice_tuned"), fraction)
            if before.n:
                leads.append(f"from {before.mean:+.3f} to {after.mean:+.3f} at {percent(fraction)}")
    name = label(baseline)
    sentence = (
        f"The control: choosing {name}'s threshold on validation images, with no training at all, "
        f"changed its test Dice by {_join(gains)} foreground."
    )
    if leads:
        sentence += f" With it, {label(others[0])}'s lead over {name} goes {_join(leads)}."
    return [sentence]


def _bias_findings(config: StudyConfig, runs: pd.DataFrame) -> list[str]:
    sentences = []
    for loss in config.losses:
        cells = []
        for fraction in config.fractions:
            cell = cell_of(runs, loss, fraction)
            if len(cell):
                seen = mean_interval(cell["mean_probability"].to_numpy())
                achieved = float(np.mean(cell["foreground_fraction_train"].to_numpy()))
                theory = best_constant(loss, achieved)
                words = "" if theory is None else f" (theory: {theory:.4f})"
                cells.append(f"{seen.mean:.4f}{words} at {percent(fraction)} foreground")
        if cells:
            sentences.append(f"{label(loss)} drives a constant prediction to {_join(cells)}.")
    return sentences


def best_constant(loss: str, fraction: float) -> float | None:
    """Give C6's best constant prediction.

    Args:
        loss: a loss by name.
        fraction: π.

    Returns:
        q, or ``None`` where theory names none.
    """
    known = {
        "bce": fraction,
        "balanced_bce": 0.5,
        "squared_dice": fraction**0.5,
        **dict.fromkeys((*_PARALLEL_TO_DICE, "tversky", "focal_tversky"), 1.0),
    }
    return known.get(loss)


def _status_findings(config: StudyConfig, runs: pd.DataFrame) -> list[str]:
    bad = runs[runs["status"] != "finished"]
    if not len(bad):
        return [f"None of the {len(runs)} runs collapsed or diverged."]
    parts = []
    for status in ("collapsed", "diverged"):
        for loss in config.losses:
            cell = runs[runs["loss"] == loss]
            count = cell["status"].tolist().count(status)
            if count:
                parts.append(f"{count} of {len(cell)} {label(loss)} runs {status}")
    return [
        f"{_join(parts)}. They are counted in every mean"
        " (a diverged run has no score and is left out). Collapsed means that the ranking of the "
        "pixels, by average precision, is hardly better than chance; Dice at 0.5 has no say in it."
    ]


class Check(NamedTuple):
    """A statement of theory beside what was seen.

    Args:
        claim: its number in the theory.
        statement: in words.
        where: the cell.
        theory: the number that it predicts.
        seen: the number that came out.
        agrees: whether they agree; ``None`` where theory speaks of a limit only.
    """

    claim: str
    statement: str
    where: str
    theory: str
    seen: str
    agrees: bool | None


def theory_checks(
    config: StudyConfig, results: Sequence[Mapping[str, Any]], runs: pd.DataFrame
) -> list[Check]:
    """Put what theory predicts beside what was seen.

    Args:
        config: the study.
        results: the runs, as they were written.
        runs: of `summary.runs_table`.

    Returns:
        One `Check` per statement and cell.
    """
    checks: list[Check] = []
    for fraction in config.fractions:
        for loss in config.losses:
            cell = [r for r in results if (r["loss"], r["foreground_fraction"]) == (loss, fraction)]
            if cell:
                where = f"{label(loss)}, {percent(fraction)}"
                checks += _cell_checks(config, loss, where, cell)
    return sorted(checks, key=lambda check: int(check.claim[1:]))


def _cell_checks(
    config: StudyConfig, loss: str, where: str, cell: Sequence[Mapping[str, Any]]
) -> list[Check]:
    checks: list[Check] = []
    entries = [entry for result in cell for entry in result["history"]]
    if loss in _PARALLEL_TO_DICE:
        pairs = [
            (e["gradient_ratio"], e["gradient_ratio_dice"])
            for e in entries
            if e["gradient_ratio"] and e["gradient_ratio_dice"]
        ]
        if pairs:
            seen, theory = np.array(pairs).T
            worst = float(np.max(np.abs(seen / theory - 1)))
            text = f"largest relative deviation {worst:.1e} in {len(pairs)} logged steps"
            statement = "|g₊|/|g₋| = 2/D − 1 at every step"
            checks.append(Check("C1", statement, where, "0", text, worst < 0.01))
    firsts = [result["history"][0] for result in cell]
    predicted = [_first_share(loss, first) for first in firsts]
    if all(p is not None for p in predicted):
        space = "logit" if loss == "bce" else "probability"
        theory = float(np.mean([p for p in predicted if p is not None]))
        seen = float(np.mean([f[f"foreground_share_{space}"] for f in firsts]))
        statement = f"foreground share of the first step's gradient, {space} space"
        numbers = f"{theory:.3f}", f"{seen:.3f}"
        checks.append(Check("C5", statement, where, *numbers, abs(theory - seen) < 0.01))
    if config.model == "bias":
        achieved = float(np.mean([r["metrics"]["foreground_fraction_train"] for r in cell]))
        best = best_constant(loss, achieved)
        if best is not None and cell[0]["metrics"]["mean_probability"] is not None:
            seen = float(np.mean([r["metrics"]["mean_probability"] for r in cell]))
            numbers = f"{best:.4f}", f"{seen:.4f}"
            statement = "best constant prediction"
            checks.append(Check("C6", statement, where, *numbers, abs(best - seen) < 0.03))
    ends = mean_interval(
        [
            float(np.mean([e["foreground_share_logit"] for e in result["history"][-5:]]))
            for result in cell
            if result["status"] != "diverged"
        ]
    )
    # Stationarity is a limit: where the optimum is at infinity it is not ½, and it says so.
    statement = "foreground share at the end, logit space (½ at a finite stationary point)"
    checks.append(Check("C7", statement, where, "0.500", written(ends), None))
    return checks


def _first_share(loss: str, first: Mapping[str, Any]) -> float | None:
    fraction = first["foreground_fraction"]
    foreground = first["mean_probability_foreground"]
    background = first["mean_probability_background"]
    if not fraction or fraction == 1 or not foreground:
        return None
    if loss in _PARALLEL_TO_DICE:
        return dice_share(fraction, foreground, background)
    if loss == "bce":
        up, down = fraction * (1 - foreground), (1 - fraction) * background
        return up / (up + down)
    return None


def limits(config: StudyConfig) -> list[str]:
    """Say what the study cannot show.

    Args:
        config: the study.

    Returns:
        Sentences.
    """
    found = []
    if config.seeds < 7:
        words = "one seed has" if config.seeds == 1 else f"{config.seeds} seeds have"
        found.append(
            f"{words[0].upper() + words[1:]} wide intervals (the protocol asks for 7): that no "
            "difference was shown does not mean that there is none."
        )
    if config.seeds > 1 and len(config.fractions) * (len(config.losses) - 1) > 1:
        found.append(
            "The intervals are not corrected for looking at several of them: of twenty, one "
            "misses by chance."
        )
    if len(config.learning_rates) == 1:
        found.append(
            f"Every loss was trained at one learning rate ({config.learning_rates[0]:g}), which "
            "may suit one better than another."
        )
    else:
        grid = ", ".join(f"{rate:g}" for rate in config.learning_rates)
        edge = (
            "extended by one where the best was at its edge"
            if config.extend_grid
            else "not extended where the best was at its edge"
        )
        found.append(
            f"Each loss and fraction has the learning rate that was best of {grid} ({edge}) on one "
            "further seed; one seed's choice is itself noisy."
        )
    found.append(
        f"The budget is {config.steps} steps for every loss: a loss that learns later, not less, "
        "scores lower here. The images are made up: ellipses in white noise."
    )
    return found
