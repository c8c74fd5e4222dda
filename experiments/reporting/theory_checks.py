"""What theory predicts against what was observed: checks with intervals and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.optima import posterior_bias
from experiments.analysis.statistics import EQUIVALENCE_MARGIN, Interval, mean_interval
from experiments.analysis.tables import paired_differences
from experiments.analysis.theory import (
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

__all__ = ["STATEMENTS", "Check", "predictions"]

# What each check says, with its tolerance.
STATEMENTS = {
    "C1": "|g₊|/|g₋| = 2/D − 1 at every logged step (within 1 %)",
    "C3": f"Jaccard at s/2 ends where Dice at s does: test Dice, within {EQUIVALENCE_MARGIN}",
    "C5": "foreground share of the first step's gradient (within 0.01)",
    "C6": "best constant prediction (within 1 %; one at infinity, within 0.1 and still moving)",
    "C7": "foreground share of the gradient at the end, logit space (within 0.02)",
    "C15": "volume bias (within 0.05)",
}
# The share of the logged steps that counts as the end.
_END = 0.1
# Half an interval may be this many tolerances wide and still agree.
_WIDEST = 4


class Check(NamedTuple):
    """A prediction of theory and the observation.

    Args:
        claim: its number in the theory. model: the model's name. loss: its name. fraction: π. note:
        which part of the statement is checked; may be empty. theory: the predicted number. seen:
        the observed number, with its 95 % interval over seeds. agrees: whether they agree; ``None``
        if the interval is too wide to tell, or training did not
            reach the state that the prediction describes.
    """

    claim: str
    model: str
    loss: str
    fraction: float
    note: str
    theory: str
    seen: str
    agrees: bool | None

    @property
    def where(self) -> str:
        """The cell, in words."""
        return f"{label(self.loss)}, {percent(self.fraction)}"


def predictions(model: ModelRuns) -> list[Check]:
    """Compare what theory predicts with what one model's runs show.

    A check agrees if its interval over seeds reaches into the tolerance around theory's number.
    There is one `Check` per statement and cell to which it applies, in the order of the statements.
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


_Cell = Sequence[Mapping[str, Any]]
# A note, theory's number, the observed number, and whether they agree.
_Found = tuple[str, str, str, bool | None]


def _near(values: Interval, theory: float, tolerance: float) -> bool | None:
    """Judge whether the interval (the mean, of one seed) reaches to within the tolerance.

    ``None`` if it does, but is so wide that it would have contained almost anything.
    """
    low, high = (values.mean if np.isnan(x) else x for x in (values.low, values.high))
    if low > theory + tolerance or high < theory - tolerance:
        return False
    return True if high - low <= 2 * _WIDEST * tolerance else None


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
        yield "", "0", seen, max(errors) < 0.01


def _control(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    if loss != "jaccard" or "dice" not in model.config.losses or model.config.model == "bias":
        return
    seeds = paired_differences(model.runs, ("jaccard", "dice"), ("dice", "dice"), fraction)
    difference = mean_interval(seeds)
    if difference.n > 1:
        near = _near(difference, 0.0, EQUIVALENCE_MARGIN)
        yield "Jaccard − Dice", "0", interval_text(difference, sign=True), near


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
        errors, theory = mean_interval(seen - theories), float(theories.mean())
        yield (
            f"{space} space",
            f"{theory:.3f}",
            interval_text(mean_interval(seen)),
            _near(errors, 0.0, 0.01),
        )


def _constant(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    if model.config.model != "bias":
        return
    pixels, smooth = pooled_pixels(model.config), model.config.smooth
    seen, theories, moving = [], [], []
    note = ""
    for result in cell:
        best = best_constant(
            loss, result["metrics"]["foreground_fraction_train"], pixels, smooth
        )  # fmt: skip
        if best is None:
            return
        if not best.finite:
            note = f"→ {best.prediction:g}: no finite bias attains it"
        elif not best.closed:
            note = "minimum of the loss, by search"
        seen.append(result["metrics"]["mean_probability"])
        theories.append(best.prediction)
        track = [entry["mean_probability_background"] for entry in result["history"]]
        # It is still moving if it is nearer to the limit at the end than half-way.
        half = track[len(track) // 2]
        moving.append(abs(track[-1] - best.prediction) < abs(half - best.prediction))
    interval, theory = mean_interval(seen), float(np.mean(theories))
    if note.startswith("→"):
        agrees = abs(interval.mean - theory) < 0.1 and all(moving)
    else:
        errors = mean_interval(np.array(seen) - np.array(theories))
        agrees = _near(errors, 0.0, 0.01 * theory)
    yield note, f"{theory:.4f}", interval_text(interval, digits=4), agrees


def _end_share(result: Mapping[str, Any]) -> float:
    entries = result["history"]
    last = entries[-max(1, round(_END * len(entries))) :]
    shares = [e["foreground_share_logit"] for e in last]
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else np.nan


def _end(cell: _Cell) -> Interval:
    return mean_interval([_end_share(result) for result in cell])


def _rest(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    seen = _end(cell)
    if not seen.n:
        return
    theory, note, strict = 0.5, "½ wherever it comes to rest", False
    if model.config.model == "bias":
        pi = float(np.mean([r["metrics"]["foreground_fraction_train"] for r in cell]))
        pixels, smooth = pooled_pixels(model.config), model.config.smooth
        best = best_constant(loss, pi, pixels, smooth)
        if best is None or not _pooled(model):
            return
        share = resting_share(loss, best, Region(pi, 0.0, 0.0, pixels), smooth)
        if share is None:
            return
        theory, strict = share, True
        note = "" if best.finite else "at infinity: not ½"
    near = _near(seen, theory, 0.02)
    # A trained network that is not at rest does not contradict the statement.
    yield note, f"{theory:.3f}", interval_text(seen), near if near is not False or strict else None


def _volume(model: ModelRuns, loss: str, fraction: float, cell: _Cell) -> Iterator[_Found]:
    config = model.config
    if config.model == "bias" or config.data is not None:
        return
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
    seen = mean_interval(
        [np.nan if (v := r["metrics"].get(metric)) is None else v for r in cell]
    )  # fmt: skip
    if seen.n:
        near = _near(seen, theory, 0.05)
        # The statement is about an optimum. A U-Net is not trained to one, and a model that is not
        # at rest is not at one (C7).
        rests = config.model == "linear" and _near(_end(cell), 0.5, 0.02) is True
        yield (
            note,
            f"{theory:+.3f}",
            interval_text(seen, sign=True),
            near if near or rests else None,
        )


_CHECKS: dict[str, Callable[[ModelRuns, str, float, _Cell], Iterator[_Found]]] = {
    "C1": _ratio,
    "C3": _control,
    "C5": _first_share,
    "C6": _constant,
    "C7": _rest,
    "C15": _volume,
}
