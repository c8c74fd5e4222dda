"""What theory predicts against what was observed: checks by kind, with intervals and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.analysis.estimands import given_neither_collapsed
from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.optima import posterior_bias
from experiments.analysis.statistics import DIFFERENCE, SHARE, Interval, mean_interval
from experiments.analysis.tables import score_interval
from experiments.analysis.theory import (
    HARD,
    PARALLEL_TO_DICE,
    Region,
    best_constant,
    class_ratio,
    foreground_share,
    pooled_pixels,
    region_of,
    resting_share,
    share_at_constant,
)
from experiments.reporting.rendering import interval_text, label, percent

__all__ = ["KINDS", "STATEMENTS", "Check", "Count", "counts_by_kind", "predictions"]

# What each check says, with its tolerance.
STATEMENTS = {
    "C1": "gradient of a foreground over that of a background pixel: 2/D − 1, D: Dice (within 1 %)",
    "C3": "Jaccard, smoothed half as much, ends at Dice's test score (within the study's margin)",
    "C5": "foreground share of the first step's gradient (within 0.01)",
    "C6": "best constant prediction, at the optimum (within 1 %; one at infinity, within 0.01)",
    "C7": "foreground share of the gradient at the optimum, logit space (within 0.02)",
    "C15": "volume bias (within 0.05)",
}
# The kinds of predictions: one that holds for any parameters, one that holds where the gradient is
# 0 and is checked on the runs that ended there, and one that says how a training ends.
KINDS = "identity", "at rest", "outcome"
# The largest norm of a gradient at which a run counts as at rest. A loss is of order 1.
_AT_REST = 1e-6


class Check(NamedTuple):
    """A prediction of theory and the observation.

    Args:
        claim: its number in the theory.
        model: the model's name.
        loss: its name.
        fraction: π.
        kind: a name in `KINDS`.
        note: which part of the statement is checked; may be empty.
        theory: the predicted number.
        seen: the observed number, with its 95 % interval over seeds.
        agrees: whether they agree; ``None`` if the interval is too wide to tell.
    """

    claim: str
    model: str
    loss: str
    fraction: float
    kind: str
    note: str
    theory: str
    seen: str
    agrees: bool | None

    @property
    def where(self) -> str:
        """The cell, in words."""
        return f"{label(self.loss)}, {percent(self.fraction)}"


class Count(NamedTuple):
    """How the checks of one kind ended."""

    kind: str
    agree: int
    disagree: int
    undecided: int


def predictions(model: ModelRuns) -> list[Check]:
    """Compare what theory predicts with what one model's runs show.

    A check agrees if its interval over seeds lies inside the tolerance around theory's number, and
    disagrees if it lies outside; otherwise it is undecided. An identity has no interval: its
    largest error counts. There is one `Check` per statement and cell to which it applies, in the
    order of the statements.
    """
    checks: list[Check] = []
    for fraction in model.fractions:
        for loss in model.config.losses:
            # A diverged run has nothing to compare.
            cell = [r for r in model.cell(loss, fraction) if r["status"] != "diverged"]
            if cell:
                for claim, check in _CHECKS.items():
                    for found in check(model, loss, fraction, cell):
                        checks.append(Check(claim, model.config.model, loss, fraction, *found))
    return sorted(checks, key=lambda check: int(check.claim[1:]))


def counts_by_kind(checks: Sequence[Check]) -> list[Count]:
    """Count the checks that agree, disagree and are undecided, by kind; no row for an empty one."""
    found = []
    for kind in KINDS:
        verdicts = [check.agrees for check in checks if check.kind == kind]
        if verdicts:
            agree, disagree = verdicts.count(True), verdicts.count(False)
            undecided = len(verdicts) - agree - disagree
            found.append(Count(kind, agree, disagree, undecided))
    return found


_Cell = Sequence[Mapping[str, Any]]
# The kind, a note, theory's number, the observed number, and whether they agree.
_Found = tuple[str, str, str, str, bool | None]


def _inside(values: Interval, theory: float, tolerance: float) -> bool | None:
    """Judge whether the interval lies inside the tolerance around theory's number, or outside.

    ``None`` if it does neither, or if there is none because there is one run.
    """
    low, high = theory - tolerance, theory + tolerance
    if low <= values.low and values.high <= high:
        return True
    return False if values.high < low or values.low > high else None


def _resting(cell: _Cell) -> list[Mapping[str, Any]]:
    """Select the runs that ended where the gradient is 0."""
    norms = [result["history"][-1].get("gradient_norm") for result in cell]
    return [r for r, norm in zip(cell, norms, strict=True) if norm is not None and norm < _AT_REST]


def _pooled(model: ModelRuns) -> bool:
    """Tell whether a loss sees one region. The closed forms do not hold for several (C3)."""
    return model.config.pooling == "batch"


def _ratio(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    if loss not in PARALLEL_TO_DICE or not _pooled(model):
        return
    errors = []
    for result in cell:
        for entry in result["history"]:
            region, seen = region_of(model.config, entry), entry["gradient_ratio"]
            theory = None if region is None else class_ratio(loss, region, model.config.smooth)
            if theory and seen:
                errors.append(abs(seen / theory - 1))
    if errors:
        seen = f"largest deviation {max(errors):.1e}, {len(errors)} steps"
        yield "identity", "", "0", seen, max(errors) < 0.01


def _control(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    if loss != "jaccard" or "dice" not in model.config.losses or model.config.model == "bias":
        return
    seeds = given_neither_collapsed(model.runs, ("jaccard", "dice"), ("dice", "dice"), fraction)
    difference = mean_interval(seeds, DIFFERENCE)
    if difference.n > 1:
        inside = _inside(difference, 0.0, model.config.margin)
        yield "outcome", "Jaccard − Dice", "0", interval_text(difference, sign=True), inside


def _first_share(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    if not _pooled(model):
        return
    pairs = []
    space = "probability"
    for result in cell:
        first = result["history"][0]
        region = region_of(model.config, first)
        if region is None:
            continue
        known = foreground_share(loss, region, model.config.smooth)
        if known is None and model.config.smooth < 0.01:
            # All pixels start at (nearly) one p, at which both spaces agree.
            mean = region.fraction * region.foreground + (1 - region.fraction) * region.background
            share = share_at_constant(loss, region.fraction, mean)
            known = None if share is None else ("probability", share)
        if known is not None:
            space, theory = known
            pairs.append((theory, first[f"foreground_share_{space}"]))
    pairs = [(theory, seen) for theory, seen in pairs if seen is not None]
    if pairs:
        theories, seen = np.array(pairs, np.float64).T
        # Every seed has a batch of its own, and thus a theoretical number of its own.
        agrees = bool(np.abs(seen - theories).max() < 0.01)
        shown = interval_text(mean_interval(seen, SHARE))
        yield "identity", f"{space} space", f"{theories.mean():.3f}", shown, agrees


def _constant(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    resting = _resting(cell)
    if model.config.model != "bias" or not resting:
        return
    pixels, smooth = pooled_pixels(model.config), model.config.smooth
    seen, theories = [], []
    note, tolerance = "", 0.01
    for result in resting:
        best = best_constant(
            loss, result["metrics"]["foreground_fraction_train"], pixels, smooth
        )  # fmt: skip
        if best is None:
            return
        if not best.finite:
            note = f"→ {best.prediction:g}: no finite bias attains it"
        else:
            note = "" if best.closed else "minimum of the loss, by search"
            tolerance = 0.01 * best.prediction
        seen.append(result["metrics"]["mean_probability"])
        theories.append(best.prediction)
    errors = mean_interval(np.array(seen) - np.array(theories), DIFFERENCE)
    shown = interval_text(mean_interval(seen, SHARE), digits=4)
    agrees = _inside(errors, 0.0, tolerance)
    yield "at rest", note, f"{np.mean(theories):.4f}", shown, agrees


def _rest(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    resting = _resting(cell)
    shares = [result["history"][-1]["foreground_share_logit"] for result in resting]
    seen = mean_interval([share for share in shares if share is not None], SHARE)
    if not seen.n:
        return
    theory, note = 0.5, ""
    if model.config.model == "bias":
        pi = float(np.mean([r["metrics"]["foreground_fraction_train"] for r in resting]))
        pixels, smooth = pooled_pixels(model.config), model.config.smooth
        best = best_constant(loss, pi, pixels, smooth)
        if best is None or not _pooled(model):
            return
        share = resting_share(loss, best, Region(pi, 0.0, 0.0, pixels), smooth)
        if share is None:
            return
        theory, note = share, "" if best.finite else "at infinity: not ½"
    elif loss in HARD:
        return
    yield "at rest", note, f"{theory:.3f}", interval_text(seen), _inside(seen, theory, 0.02)


def _volume(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    config = model.config
    if config.model == "bias" or config.data is not None:
        return
    # A U-Net finds the posterior that its images show. In noise, only a model at rest is at the
    # optimum that the statement is about.
    learnt = config.model == "unet" and config.shape == "posterior"
    runs = cell if learnt else _resting(cell)
    if config.shape == "posterior":
        bias = posterior_bias(model, loss, fraction)
        if bias is None:
            return
        metric, theory = bias
        note = "of p ≥ ½" if metric == "volume_bias" else "of Σp"
    elif loss == "bce" and not (config.label_noise or config.annotator_bias):
        metric, theory, note = "soft_volume_bias", 0.0, "of Σp; p = μ is unbiased"
    else:
        return
    values = [r["metrics"].get(metric) for r in runs]
    seen = score_interval(np.array([v for v in values if v is not None]), metric)
    if seen.n:
        kind = "outcome" if learnt else "at rest"
        shown = interval_text(seen, sign=True)
        yield kind, note, f"{theory:+.3f}", shown, _inside(seen, theory, 0.05)


_CHECKS: dict[str, Callable[[ModelRuns, str, float, _Cell], Iterator[_Found]]] = {
    "C1": _ratio,
    "C3": _control,
    "C5": _first_share,
    "C6": _constant,
    "C7": _rest,
    "C15": _volume,
}
