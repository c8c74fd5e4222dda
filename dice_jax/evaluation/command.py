"""The options of `python -m dice_jax evaluate`, and what it does with them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dice_jax._core.optional_imports import optional

__all__ = ["add_command"]

_DESCRIPTION = """\
Scores predictions against the truth: per case and class, and as means over all cases.

PREDICTIONS and TRUTH are two files or two folders, whose files are paired by name. A file is PNG,
JPEG, BMP, TIFF, NumPy or NIfTI, in 2-D or 3-D. It holds a mask, labels of classes, numbers of
objects (--instances) or, if it is a prediction, probabilities.
"""

_EXAMPLES = """\
examples:
  python -m dice_jax evaluate predictions/ labels/
  python -m dice_jax evaluate predictions/ labels/ --csv scores.csv --plot worst/
  python -m dice_jax evaluate predictions/ labels/ --classes liver=1 tumour=2,3 --tolerance 2
  python -m dice_jax evaluate nuclei_predicted/ nuclei/ --instances --images pictures/

Exit code 0: scored; 2: the files do not fit, and the message says why.
"""


def add_command(commands: Any) -> None:
    """Add the command to those of `python -m dice_jax`.

    Args:
        commands: what `argparse.ArgumentParser.add_subparsers` returns.
    """
    parser = commands.add_parser(
        "evaluate",
        help="score files of predictions against files of truth",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("predictions", type=Path, metavar="PREDICTIONS", help="a folder or a file")
    add("truth", type=Path, metavar="TRUTH", help="a folder or a file, with the true labels")
    files = parser.add_argument_group("files")
    files.add_argument(
        "--prediction-suffix", default="", metavar="END", help="names of predictions end in this"
    )
    files.add_argument("--truth-suffix", default="", metavar="END", help="the same of the truth")
    files.add_argument(
        "--allow-missing", action="store_true", help="leave out truth without a prediction"
    )
    values = parser.add_argument_group("what the numbers in the files mean")
    values.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME=LABELS",
        help="classes to score: 3, liver=3 or tumour=1,2,4 (every label of the truth but 0)",
    )
    values.add_argument(
        "--ignore-label", type=int, metavar="N", help="pixels of the truth that do not count"
    )
    values.add_argument(
        "--instances",
        action="store_true",
        help="the truth numbers its objects; those of a predicted mask are its components",
    )
    values.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="a larger probability is foreground (0.5)",
    )
    values.add_argument(
        "--probabilities",
        action="store_true",
        help="predictions of 8 or 16 bits are probabilities, scaled to 255 or 65,535",
    )
    values.add_argument(
        "--truth-threshold",
        type=float,
        metavar="X",
        help="the truth is a soft mask: a larger number is foreground",
    )
    scores = parser.add_argument_group("scores")
    scores.add_argument(
        "--spacing",
        type=float,
        nargs="+",
        metavar="S",
        help="size of a pixel, or one size per axis (from the header of NIfTI; otherwise 1)",
    )
    scores.add_argument(
        "--tolerance",
        type=float,
        default=1.0,
        metavar="D",
        help="of surface Dice, in units of the spacing (1)",
    )
    scores.add_argument(
        "--group",
        metavar="REGEX",
        help="cases with the same match in their names, such as those of a patient, are "
        "resampled together for the intervals",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--csv", type=Path, metavar="FILE", help="a row per case and class")
    output.add_argument("--json", type=Path, metavar="FILE", help="settings, summary and rows")
    output.add_argument("--plot", type=Path, metavar="DIR", help="overlays of the worst cases")
    output.add_argument("--images", type=Path, metavar="DIR", help="pictures below the overlays")
    output.add_argument("--worst", type=int, default=6, metavar="N", help="how many overlays (6)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from dice_jax.evaluation.evaluate import evaluate, group_cases
    from dice_jax.evaluation.labels import Meaning, parse_classes
    from dice_jax.evaluation.overlays import write_overlays
    from dice_jax.evaluation.pairs import find_pairs, images_by_name
    from dice_jax.evaluation.report import as_csv, as_json, print_tables
    from dice_jax.evaluation.summary import summarize

    _check(arguments)
    meaning = Meaning(
        threshold=arguments.threshold,
        probabilities=arguments.probabilities,
        truth_threshold=arguments.truth_threshold,
        ignore=arguments.ignore_label,
        instances=arguments.instances,
        classes=parse_classes(arguments.classes),
    )
    pairs = find_pairs(
        arguments.predictions,
        arguments.truth,
        prediction_suffix=arguments.prediction_suffix,
        truth_suffix=arguments.truth_suffix,
        allow_missing=arguments.allow_missing,
    )
    groups = group_cases(pairs.cases, arguments.group)
    images = None
    if arguments.images:
        images = images_by_name(arguments.images, "", "--images")[0]
    with _Bar() as bar:
        found = evaluate(
            pairs.cases,
            meaning,
            spacing=arguments.spacing,
            tolerance=arguments.tolerance,
            progress=bar,
        )
        summary = summarize(found.scores, groups)
        written = []
        for path, text in (
            (arguments.csv, lambda: as_csv(found.scores)),
            (arguments.json, lambda: as_json(found, summary)),
        ):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text(), encoding="utf-8")
                written.append(path)
        if arguments.plot:
            written += write_overlays(
                found, arguments.plot, worst=arguments.worst, images=images, progress=bar
            )[-1:]
    print_tables(found, summary, written, notes=pairs.notes)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    for name, value, low, high in (
        ("--threshold", arguments.threshold, 0.0, 1.0),
        ("--tolerance", arguments.tolerance, 0.0, float("inf")),
        ("--worst", arguments.worst, 1, float("inf")),
    ):
        if not low <= value <= high:
            bound = f"in [{low:g}, {high:g}]" if high < float("inf") else f"at least {low:g}"
            raise ValueError(f"{name} must be {bound}, got {value:g}")
    if arguments.instances and arguments.classes:
        raise ValueError("--instances is for objects of one class: leave out --classes")
    if arguments.images and not arguments.plot:
        raise ValueError("--images is for --plot: pass --plot DIR too")


class _Bar:
    """Progress on the terminal's error stream, gone when the work is done."""

    def __enter__(self) -> _Bar:
        rich = optional("rich.progress", user="python -m dice_jax evaluate", extra="analysis")
        console = optional("rich.console", user="python -m dice_jax evaluate", extra="analysis")
        screen = console.Console(file=sys.stderr)
        self._progress = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TimeRemainingColumn(),
            console=screen,
            transient=True,
            # A bar in a file or a notebook would be many lines.
            disable=screen.is_jupyter or not screen.is_terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, phase: str, done: int, of: int) -> None:
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=of)
        # The first case waits for compilation.
        words = f"{phase} (compiling)" if phase == "scoring" and not done else phase
        self._progress.update(self._tasks[phase], completed=done, description=words)
