"""What a study's numbers say, in sentences: every one computed, none written beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.analysis.contrasts import Contrast, baseline_of, contrasts, primary_loss
from experiments.analysis.statistics import EQUIVALENCE_MARGIN, LEAST_SEEDS, mean_interval
from experiments.analysis.summary import paired_differences
from experiments.analysis.tiers import Tier
from experiments.reporting.predictions import STATEMENTS, Check
from experiments.reporting.words import MODEL_NAMES, joined, label, percent, written

__all__ = ["findings", "limits", "theory_findings"]

# Other losses whose every interval a sentence holds.
_TOLD_IN_FULL = 2


def findings(tier: Tier) -> list[str]:
    """Say what came out of one model, the main comparison first.

    Args:
        tier: the study's.

    Returns:
        Sentences.
    """
    if tier.config.model == "bias":
        return [*_bias_findings(tier), *_status_findings(tier)]
    sentences = []
    primary = primary_loss(tier.config)
    if primary is not None:
        sentences += [_contrast(tier, primary), _control(tier, primary)]
        others = [x for x in tier.config.losses if x not in (primary, baseline_of(tier.config))]
        sentences += [_secondary(tier, others)] * bool(others)
    return [*sentences, *_empty_findings(tier), *_status_findings(tier)]


def _places(found: Sequence[Contrast]) -> str:
    """Say at which fractions, and where the difference is small."""
    said = f"{joined([percent(c.fraction) for c in found])} foreground"
    small = [percent(c.fraction) for c in found if c.small]
    if small:
        where = "" if len(small) == len(found) else f"at {joined(small)} "
        said += f" ({where}by less than {EQUIVALENCE_MARGIN:g})"
    return said


def _contrast(tier: Tier, loss: str) -> str:
    """Say how the primary contrast came out, with a test only where the seeds allow one."""
    first, second = label(loss), label(baseline_of(tier.config))
    made = contrasts(tier, loss)
    numbers = [
        f"{written(c.difference, sign=True)} at {percent(c.fraction)}{_shortfall(tier, c)}"
        for c in made
    ]
    return (
        f"{first} at threshold 0.5 against {second} at its tuned threshold: "
        f"{_verdict(made, first, second)} The difference in test Dice is {joined(numbers)} "
        f"foreground (mean and 95 % t interval over {tier.config.seeds} paired seeds)."
    )


def _verdict(made: Sequence[Contrast], first: str, second: str) -> str:
    """Put the tests into words; those that could not be made are said to be so."""
    by_verdict = {
        verdict: [c for c in made if c.verdict == verdict]
        for verdict in ("higher", "lower", "equivalent", "undecided", "untested")
    }
    said = []
    if by_verdict["higher"]:
        said.append(f"{first} scored higher at {_places(by_verdict['higher'])}")
    if by_verdict["lower"]:
        said.append(f"{second} scored higher at {_places(by_verdict['lower'])}")
    if by_verdict["equivalent"]:
        places = joined([percent(c.fraction) for c in by_verdict["equivalent"]])
        said.append(
            f"the two were equivalent within ± {EQUIVALENCE_MARGIN:g} at {places} foreground"
        )
    if by_verdict["undecided"]:
        said.append(_undecided(by_verdict["undecided"]))
    untested = by_verdict["untested"]
    if len(untested) == len(made):
        few = max((c.difference.n for c in made), default=0)
        if few < 2:
            return "one seed has no interval, so nothing can be concluded."
        return f"{few} seeds are fewer than {LEAST_SEEDS}, so there are intervals and no test."
    if untested:
        places = joined([percent(c.fraction) for c in untested])
        said.append(f"no test at {places} foreground, where too few seeds have both scores")
    return f"{'; '.join(said)} (paired t tests at 5 %, Holm over the fractions)."


def _shortfall(tier: Tier, contrast: Contrast) -> str:
    """Say over how many seeds a difference is, where it is not over all of them."""
    missing = tier.config.seeds - contrast.difference.n
    if not missing:
        return ""
    reason = f": {contrast.lost} diverged" if contrast.lost else ""
    return f" (over {contrast.difference.n} of {tier.config.seeds} seeds{reason})"


def _undecided(found: Sequence[Contrast]) -> str:
    places = joined([percent(c.fraction) for c in found])
    margins = joined([f"± {c.resolvable:.2g}" for c in found])
    return (
        f"at {places} foreground neither a difference nor equivalence within "
        f"± {EQUIVALENCE_MARGIN:g} was shown (the smallest margin that these seeds resolve is "
        f"{margins})"
    )


def _control(tier: Tier, loss: str) -> str:
    """Say what the threshold alone does for the baseline, and what is left of the other's lead."""
    baseline = baseline_of(tier.config)
    gains, leads = [], []
    for fraction in tier.fractions:

        def difference(
            first: tuple[str, str], second: tuple[str, str], fraction: float = fraction
        ) -> np.ndarray:
            return paired_differences(tier.runs, first, second, fraction)

        gain = mean_interval(difference((baseline, "dice_tuned"), (baseline, "dice")))
        gains.append(f"{written(gain, sign=True)} at {percent(fraction)}")
        before = mean_interval(difference((loss, "dice"), (baseline, "dice")))
        after = mean_interval(difference((loss, "dice"), (baseline, "dice_tuned")))
        if before.n:
            words = f"from {before.mean:+.3f} to {after.mean:+.3f} at {percent(fraction)}"
            leads.append(words.replace("-", "−"))
    sentence = (
        f"The control: choosing {label(baseline)}'s threshold on validation images, with no "
        f"training at all, changed its test Dice by {joined(gains)} foreground."
    )
    if leads:
        sentence += (
            f" With it, {label(loss)}'s difference from {label(baseline)} goes {joined(leads)}."
        )
    return sentence


def _secondary(tier: Tier, losses: Sequence[str]) -> str:
    """Give the other arms' intervals, which no test stands behind; of many, which hold 0."""
    baseline = baseline_of(tier.config)
    found = {
        (loss, fraction): mean_interval(
            paired_differences(tier.runs, (loss, "dice"), (baseline, "dice_tuned"), fraction)
        )
        for loss in losses
        for fraction in tier.fractions
    }
    start = "The same difference of the other losses (intervals only, no test): "
    if len(losses) <= _TOLD_IN_FULL:
        parts = [
            f"{label(loss)} "
            + joined(
                [f"{written(found[loss, f], sign=True)} at {percent(f)}" for f in tier.fractions]
            )
            for loss in losses
        ]
        return f"{start}{'; '.join(parts)}."
    groups = {
        "wholly above 0": {key for key, i in found.items() if i.low > 0},
        "wholly below 0": {key for key, i in found.items() if i.high < 0},
    }
    parts = []
    for words, keys in groups.items():
        named = []
        for loss in losses:
            places = [percent(f) for f in tier.fractions if (loss, f) in keys]
            everywhere = len(places) == len(tier.fractions) > 1
            if places:
                named.append(f"{label(loss)} ({'all' if everywhere else ', '.join(places)})")
        parts.append(f"{words} for {joined(named) if named else 'none'}")
    return f"{start}{'; '.join(parts)}; the others hold 0."


def _bias_findings(tier: Tier) -> list[str]:
    parts = []
    for loss in tier.config.losses:
        seen = [mean_interval(tier.scores(loss, f, "mean_probability")) for f in tier.fractions]
        parts.append(f"{label(loss)} {', '.join(f'{s.mean:.3g}' if s.n else '–' for s in seen)}")
    places = ", ".join(percent(fraction) for fraction in tier.fractions)
    return [f"Where each loss drives one constant p, at {places} foreground: {'; '.join(parts)}."]


def _empty_findings(tier: Tier) -> list[str]:
    if not tier.has("empty_false_positive_share"):
        return []
    losses = tier.config.losses
    if len(losses) > _TOLD_IN_FULL + 2:
        losses = [x for x in losses if x in (baseline_of(tier.config), primary_loss(tier.config))]
    parts = []
    for loss in losses:
        numbers = []
        for fraction in tier.fractions:
            share = mean_interval(tier.scores(loss, fraction, "empty_false_positive_share"))
            if share.n:
                numbers.append(f"{100 * share.mean:.0f} % at {percent(fraction)}")
        if numbers:
            parts.append(f"{label(loss)} {joined(numbers)}")
    return [
        "Empty images are in no Dice above. Of them, so many had some foreground found at 0.5: "
        f"{'; '.join(parts)}."
    ]


def _status_findings(tier: Tier) -> list[str]:
    runs = tier.runs
    if set(runs["status"]) == {"finished"}:
        return [f"None of the {len(runs)} runs collapsed or diverged."]
    parts = []
    for status in ("collapsed", "diverged"):
        for loss in tier.config.losses:
            cell = runs[runs["loss"] == loss]
            count = cell["status"].tolist().count(status)
            if count:
                parts.append(f"{count} of {len(cell)} {label(loss)} runs {status}")
    said = f"{joined(parts)}."
    if "collapsed" in set(runs["status"]):
        said += (
            " Collapsed: the ranking of the pixels, by average precision, is hardly better than "
            "chance; Dice at 0.5 has no say in it. Such a run is in every mean."
        )
    if "diverged" in set(runs["status"]):
        said += (
            " Diverged: a logit was not finite. Such a run has no score and is in no mean, which "
            "flatters its loss."
        )
    return [said]


def theory_findings(checks: Sequence[Check]) -> str:
    """Say how many checks of theory agree, and name those that do not.

    Args:
        checks: of `predictions.predictions`.

    Returns:
        A sentence.
    """
    agree = [c for c in checks if c.agrees]
    wrong = [c for c in checks if c.agrees is False]
    open_ = len(checks) - len(agree) - len(wrong)
    claims = sorted({c.claim for c in checks}, key=list(STATEMENTS).index)
    said = (
        f"Of {len(checks)} predictions of theory ({', '.join(claims)}), {len(agree)} agree with "
        f"what was seen and {len(wrong)} disagree"
    )
    if open_:
        said += (
            f"; of {open_} nothing can be said (an interval too wide, or a state that the training "
            "did not reach)"
        )
    said += "."
    if wrong:
        named = [f"{c.claim} ({MODEL_NAMES[c.model]}, {c.where})" for c in wrong[:5]]
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        said += f" Disagreeing: {', '.join(named)}{more}."
    return said


def limits(tiers: Sequence[Tier]) -> list[str]:
    """Say what the study cannot show.

    Args:
        tiers: the study's.

    Returns:
        Sentences.
    """
    config = tiers[0].config
    found = []
    if config.seeds < LEAST_SEEDS:
        words = "One seed has" if config.seeds == 1 else f"{config.seeds} seeds have"
        found.append(
            f"{words} wide intervals (the protocol asks for {LEAST_SEEDS}): no test is made, and "
            "an interval that holds 0 does not mean that there is no difference."
        )
    if config.seeds > 1 and len(config.losses) > 2:
        found.append(
            "Only the primary contrast is tested, and corrected for its fractions; of the other "
            "intervals, one in twenty misses by chance."
        )
    grids = {tier.config.learning_rates for tier in tiers if tier.config.model != "bias"}
    for grid in sorted(grids):
        models = [MODEL_NAMES[t.config.model] for t in tiers if t.config.learning_rates == grid]
        if len(grid) == 1:
            found.append(
                f"Every loss was trained at one learning rate ({grid[0]:g}; {joined(models)}), "
                "which may suit one better than another."
            )
            continue
        extended = any(t.config.extend_grid for t in tiers if t.config.learning_rates == grid)
        edge = "extended by one" if extended else "not extended"
        rates = ", ".join(f"{rate:g}" for rate in grid)
        found.append(
            f"Each loss and fraction has the learning rate that was best of {rates} "
            f"({joined(models)}; {edge} where the best was at its edge) on one further seed; one "
            "seed's choice is itself noisy."
        )
    budget = joined([f"{t.config.steps} steps ({MODEL_NAMES[t.config.model]})" for t in tiers])
    found.append(
        f"The budget is {budget} for every loss: a loss that learns later, not less, scores lower "
        "here."
    )
    found.append(
        "All seeds share one split of one set of images: the intervals over seeds are of initial "
        "parameters and order, and say nothing of other images."
        if config.data is not None
        else "The images are made up, simple shapes in white noise or soft, and the networks small."
    )
    return found
