"""The report of a study: summary.csv, figures/ and one self-contained report.html."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.analysis.contrasts import baseline_of, contrasts, primary_loss
from experiments.analysis.statistics import EQUIVALENCE_MARGIN, Interval, mean_interval
from experiments.analysis.summary import runs_table, summary_table
from experiments.analysis.tiers import Tier, read_tiers
from experiments.errors import ConfigError
from experiments.files import write_whole
from experiments.reporting.account import account, command, lead, title
from experiments.reporting.findings import findings, limits, theory_findings
from experiments.reporting.gallery import pictures
from experiments.reporting.pages import fill
from experiments.reporting.predictions import STATEMENTS, Check, predictions
from experiments.reporting.words import MODEL_NAMES, label, percent, written
from experiments.runs.directory import load_runs, load_tiers

__all__ = ["draw", "write_report"]

# Fit for print.
_DPI = 300
# CSS pixels to an inch: every figure has letters of one size.
_INCH = 104


def draw(directory: Path) -> dict[str, Figure]:
    """Draw a study's figures.

    Args:
        directory: of the study.

    Returns:
        Figures by name, in the report's order; none where no run is finished.

    Raises:
        ConfigError: if the directory holds no study.
    """
    return {
        picture.name: picture.figure
        for place, tier in enumerate(read_tiers(directory))
        for picture in pictures(tier, richest=place == 0)
    }


def write_report(directory: Path) -> None:
    """Write a study's summary, figures and report from its finished runs.

    Args:
        directory: of the study.

    Raises:
        ConfigError: if the directory holds no study, or no run of it is finished.
    """
    tiers = read_tiers(directory)
    if not tiers:
        raise ConfigError(f"{directory} holds no finished run yet: nothing to report")
    runs = runs_table(load_runs(directory))
    write_whole(directory / "summary.csv", summary_table(runs).to_csv(index=False))
    checks = [check for tier in tiers for check in predictions(tier)]
    page = fill(
        "report.html.j2",
        filters={"bound": _bound},
        title=title(tiers),
        lead=lead(tiers),
        sections=list(_sections(tiers, directory)),
        contrasts=_contrast_table(tiers[0]),
        tables=[_table(tier) for tier in tiers],
        theory=theory_findings(checks) if checks else None,
        claims=list(_claims(checks)),
        limits=limits(tiers),
        done=account(tiers),
        command=command(load_tiers(directory)),
    )
    write_whole(directory / "report.html", page)


def _bound(text: str) -> str:
    """Keep a number and its sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace("± ", "±\N{NO-BREAK SPACE}")


def _sections(tiers: Sequence[Tier], directory: Path) -> Iterator[dict[str, Any]]:
    """Group what is said and shown by model; write every figure on the way."""
    for place, tier in enumerate(tiers):
        name = MODEL_NAMES[tier.config.model]
        shown = []
        for picture in pictures(tier, richest=place == 0):
            picture.figure.draw_without_rendering()
            # Laid out once: finding the place of everything takes longer than drawing it.
            picture.figure.set_layout_engine("none")
            saved = {kind: _saved(picture.figure, kind) for kind in ("png", "svg")}
            for kind, content in saved.items():
                write_whole(directory / "figures" / f"{picture.name}.{kind}", content)
            shown.append(
                {
                    "name": picture.name,
                    "title": picture.title,
                    "caption": picture.caption,
                    "svg": base64.b64encode(saved["svg"]).decode(),
                    "width": round(picture.figure.get_size_inches()[0] * _INCH),
                }
            )
        yield {"name": name[0].upper() + name[1:], "findings": findings(tier), "figures": shown}


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    # No date and no random names: the same study gives the same files.
    with mpl.rc_context({"svg.hashsalt": "dice_jax"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=_DPI, facecolor="white", metadata=metadata)
    return buffer.getvalue()


_VERDICTS = {
    "higher": "{first} higher",
    "lower": "{second} higher",
    "equivalent": "equivalent",
    "undecided": "undecided",
    "untested": "no test",
}


def _contrast_table(tier: Tier) -> dict[str, Any] | None:
    """Lay out the primary contrast: the difference, its tests, and what the design resolves."""
    loss = primary_loss(tier.config)
    if loss is None or tier.config.model == "bias":
        return None
    first, second = label(loss), label(baseline_of(tier.config))
    rows = [
        [
            percent(c.fraction),
            str(c.difference.n),
            written(c.difference, sign=True),
            _p_value(c.p_value),
            _p_value(c.equivalence_p_value),
            "–" if np.isnan(c.resolvable) else f"± {c.resolvable:.3f}",
            _VERDICTS[c.verdict].format(first=first, second=second),
        ]
        for c in contrasts(tier, loss)
    ]
    head = [
        "foreground", "seeds", f"{first} − {second}, tuned", "p, no difference",
        f"p, equivalent within ± {EQUIVALENCE_MARGIN:g}", "smallest margin resolved", "verdict",
    ]  # fmt: skip
    return {"head": head, "rows": rows}


def _p_value(p: float) -> str:
    if np.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


# Metrics of the table, and their names; one that no run has is left out.
_COLUMNS = {
    "dice": "Dice at 0.5",
    "dice_tuned": "Dice, tuned",
    "iou": "IoU at 0.5",
    "average_precision": "average precision",
    "precision": "precision",
    "recall": "recall",
    "volume_bias": "volume bias",
    "hd95": "HD95 (pixels)",
    "surface_dice": "surface Dice",
    "ece": "calibration error",
    "brier": "Brier score",
    "empty_false_positive_share": "empty images with findings",
}
_BIAS_COLUMNS = {
    "mean_probability": "p",
    "soft_volume_bias": "volume bias of Σp",
    "brier": "Brier score",
}


def _table(tier: Tier) -> dict[str, Any]:
    """Lay out every cell of one model with its intervals."""
    wanted = _BIAS_COLUMNS if tier.config.model == "bias" else _COLUMNS
    columns = {name: words for name, words in wanted.items() if tier.has(name)}
    rows = []
    for fraction in tier.fractions:
        for loss in tier.config.losses:
            cell = tier.cell(loss, fraction)
            if not cell:
                continue
            statuses = [r["status"] for r in cell]
            bad = [
                f"{statuses.count(status)} {status}"
                for status in ("collapsed", "diverged")
                if status in statuses
            ]
            achieved = mean_interval(tier.scores(loss, fraction, "foreground_fraction_test")).mean
            threshold = tier.scores(loss, fraction, "threshold_tuned")
            threshold = threshold[~np.isnan(threshold)]
            row: list[str | list[str]] = [
                [percent(fraction), f"achieved {percent(achieved)}"],
                label(loss),
                [str(len(cell)), ", ".join(bad)],
                f"{cell[0]['learning_rate']:g}",
            ]
            if tier.config.model != "bias":
                row.append(f"{np.median(threshold):.3g}" if threshold.size else "–")
            row += [
                _two_lines(mean_interval(tier.scores(loss, fraction, name))) for name in columns
            ]
            rows.append(row)
    head = ["foreground", "loss", "runs", "learning rate"]
    head += ["tuned threshold"] * (tier.config.model != "bias")
    name = MODEL_NAMES[tier.config.model]
    return {
        "name": name[0].upper() + name[1:],
        "head": [*head, *columns.values()],
        "rows": rows,
    }


def _two_lines(interval: Interval) -> list[str]:
    mean, _, rest = written(interval).partition(" ")
    return [mean, rest]


def _claims(checks: Sequence[Check]) -> Iterator[dict[str, Any]]:
    """Group the checks by statement; those with a disagreement stand open."""
    for claim, statement in STATEMENTS.items():
        rows = [check for check in checks if check.claim == claim]
        if rows:
            yield {
                "claim": claim,
                "statement": statement,
                "rows": [(MODEL_NAMES[check.model], check) for check in rows],
                "agree": sum(check.agrees is True for check in rows),
                "disagree": sum(check.agrees is False for check in rows),
                "open": sum(check.agrees is None for check in rows),
            }
