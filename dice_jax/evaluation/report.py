"""Scores as a table in the terminal, as CSV (a row per case and class) and as JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dice_jax._core.optional_imports import optional
from dice_jax.evaluation.evaluate import Evaluation
from dice_jax.evaluation.measures import MEASURES, Measure, Score
from dice_jax.evaluation.summary import Statistic, Summary

__all__ = ["as_csv", "as_json", "print_tables"]

_USER = "python -m dice_jax evaluate"
# Piped output has no width of its own.
_PIPED_WIDTH = 110
_POWERS = {2: "²", 3: "³"}


def _row(score: Score) -> dict[str, Any]:
    return {
        "case": score.case,
        "class": score.name,
        "outcome": score.outcome,
        **{measure.key: score.values[measure.key] for measure in MEASURES},
        "volume_prediction": score.prediction,
        "volume_truth": score.truth,
        "objects_found": score.objects.true_positives,
        "objects_missed": score.objects.false_negatives,
        "objects_invented": score.objects.false_positives,
    }


def as_csv(scores: Sequence[Score]) -> str:
    """Write a row for each case and class.

    Args:
        scores: of `evaluate`.

    Returns:
        CSV. A distance is ``inf`` where one of the masks is empty.
    """
    rows = [_row(score) for score in scores]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(f"{v:.7g}" if isinstance(v, float) else v for v in row.values())
    return text.getvalue()


def as_json(evaluation: Evaluation, summary: Summary) -> str:
    """Write everything: the settings, the summary, a row for each case and class.

    Args:
        evaluation: of `evaluate`.
        summary: of its scores.

    Returns:
        JSON, in which a number that is not finite is ``null``.
    """
    content = {
        "settings": {
            **dataclasses.asdict(evaluation.meaning),
            "tolerance": evaluation.tolerance,
            "unit": evaluation.unit or None,
        },
        "notes": list(evaluation.notes),
        "summary": dataclasses.asdict(summary),
        "scores": [_row(score) for score in evaluation.scores],
    }
    return json.dumps(_strict(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_tables(
    evaluation: Evaluation,
    summary: Summary,
    files: Sequence[Path] = (),
    notes: Sequence[str] = (),
) -> None:
    """Print the measures, then the classes, then what the numbers mean.

    Args:
        evaluation: of `evaluate`.
        summary: of its scores.
        files: that were written.
        notes: further ones, printed first.
    """
    console = optional("rich.console", user=_USER, extra="analysis")
    screen = console.Console(highlight=False)
    if screen.is_jupyter or not screen.is_terminal:
        # Plain text: a notebook's table would be HTML.
        plain: dict[str, Any] = {"force_jupyter": False, "force_terminal": False}
        screen = console.Console(highlight=False, width=_PIPED_WIDTH, **plain)
    screen.print(_of_measures(evaluation, summary))
    if len(summary.classes) > 1:
        screen.print(_of_classes(summary))
    for note in (*notes, *_notes(evaluation, summary)):
        screen.print(note, markup=False, soft_wrap=True)
    for path in files:
        screen.print(f"wrote {path}", markup=False, soft_wrap=True)


def _of_measures(evaluation: Evaluation, summary: Summary) -> Any:
    table = _table(f"{summary.cases} cases, {_over(summary)}")
    table.add_column("measure", no_wrap=True)
    for column in ("mean", "95 % interval", "median", "worst"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("case", overflow="fold", min_width=8)
    for measure in MEASURES:
        found = summary.overall[measure.key]
        table.add_row(
            _title(measure, evaluation),
            _number(found.mean, measure),
            _ends(found, measure),
            _number(found.median, measure),
            _number(found.worst, measure),
            _text(found.worst_case),
        )
    return table


def _of_classes(summary: Summary) -> Any:
    shown = [m for m in MEASURES if m.key in ("dice", "iou", "hd95", "assd", "surface_dice")]
    table = _table("Classes (means)")
    table.add_column("class", overflow="fold")
    for name in ("cases", "missed", "invented"):
        table.add_column(name, justify="right", no_wrap=True)
    for measure in shown:
        table.add_column(_text(measure.title), justify="right", no_wrap=True)
    table.add_column("objects found", justify="right", no_wrap=True)
    for one in summary.classes:
        objects = one.objects.true_positives + one.objects.false_negatives
        table.add_row(
            _text(one.name),
            *(str(n) for n in (one.present, one.missed, one.invented)),
            *(_number(one.measures[m.key].mean, m) for m in shown),
            f"{one.objects.true_positives} of {objects}",
        )
    return table


def _table(title: str) -> Any:
    box = optional("rich.box", user=_USER, extra="analysis").SIMPLE_HEAD
    table = optional("rich.table", user=_USER, extra="analysis").Table
    look: dict[str, Any] = {"box": box, "padding": (0, 1, 0, 0), "pad_edge": False}
    return table(title=title, title_justify="left", title_style="bold", **look)


def _text(words: str) -> Any:
    # Text, not markup: names may hold square brackets.
    return optional("rich.text", user=_USER, extra="analysis").Text(words)


def _over(summary: Summary) -> str:
    if len(summary.classes) > 1:
        return f"mean of {len(summary.classes)} classes"
    only = next(iter(summary.classes))
    return f"{only.name} in {only.present}"


def _title(measure: Measure, evaluation: Evaluation) -> Any:
    title = measure.title
    if measure.key == "surface_dice":
        title += f" at {evaluation.tolerance:g}"
    unit = evaluation.unit
    if unit and measure.unit == "volume":
        unit += _POWERS.get(evaluation.axes, "")
    if unit and (measure.unit or measure.key == "surface_dice"):
        title += f" {unit}" if measure.key == "surface_dice" else f", {unit}"
    return _text(title)


def _number(value: float, measure: Measure) -> str:
    return "—" if math.isnan(value) else f"{value:.{measure.decimals}f}".replace("-", "−")


def _ends(found: Statistic, measure: Measure) -> str:
    if math.isnan(found.low):
        return "—"
    return f"{_number(found.low, measure)}, {_number(found.high, measure)}"


def _notes(evaluation: Evaluation, summary: Summary) -> list[str]:
    notes = list(evaluation.notes)
    if len(summary.classes) == 1:
        (only,) = summary.classes
        found, missed = only.objects.true_positives, only.objects.false_negatives
        notes.append(
            f"Dice of all pixels together {only.pooled_dice:.3f}. Objects: {found} of "
            f"{found + missed} found (IoU > ½), {only.objects.false_positives} invented; "
            f"F1 of all together {only.objects.f1:.3f}."
        )
    missed = sum(one.missed for one in summary.classes)
    if missed:
        notes.append(
            f"Missed entirely: {missed}. Their Dice is 0 and their distance counts as the "
            "diagonal of the image."
        )
    invented = sum(one.invented for one in summary.classes)
    if invented:
        notes.append(
            f"Invented: {invented} predicted where the truth has none. They are in no mean."
        )
    which = "cases" if summary.groups == summary.cases else f"{summary.groups} groups of cases"
    notes.append(
        f"Means are over cases where the class is there; intervals: bootstrap over {which}."
    )
    if not evaluation.unit:
        notes.append("Lengths are in the unit of --spacing.")
    return notes
