"""How losses, fractions and numbers are written, and the templates that use them."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from experiments.analysis.partial import PARTIAL_METRICS
from experiments.analysis.statistics import LEAST_SEEDS, Interval
from experiments.learning.arms import options_of
from experiments.runs.progress import duration

__all__ = [
    "MODEL_NAMES",
    "THRESHOLDS",
    "interval_text",
    "joined",
    "label",
    "page",
    "percent",
    "sentences",
]

MODEL_NAMES = {"unet": "U-Net", "linear": "linear model", "bias": "bias-only model"}
THRESHOLDS = {
    ("half", "tuned"): "threshold 0.5 against tuned",
    ("tuned", "tuned"): "both thresholds tuned",
    ("half", "half"): "both thresholds 0.5",
    ("largest", "largest"): "largest logit",
}
_NAMES = {"bce": "BCE", "ce": "CE", "balanced_bce": "balanced BCE"}


def label(loss: str) -> str:
    """Write an arm's name for people, for example ``"Squared Dice + BCE"``, ``"Dice (clip 1)"``."""
    loss, options = options_of(loss)
    parts = [
        _NAMES.get(p, p.replace("_", " ").replace("dice", "Dice").replace("tversky", "Tversky"))
        for p in loss.split("+")
    ]
    own = ", ".join(f"{key} {value}" for key, value in options.items())
    return capitalised(" + ".join(parts)) + (f" ({own})" if own else "")


def capitalised(words: str) -> str:
    """Write the first letter in upper case, and the rest as it is."""
    return words[:1].upper() + words[1:]


def percent(fraction: float) -> str:
    """Write a fraction as a percentage: 0.003 is 0.3 %."""
    return f"{100 * fraction:.3g} %"


def joined(words: Sequence[str], last: str = "and") -> str:
    """Join words as a sentence does: a, b and c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def interval_text(interval: Interval, sign: bool = False, digits: int = 3) -> str:
    """Write a mean and its interval: 0.81 [0.79, 0.83]; the mean alone where there is no interval.

    Args:
        interval: of `statistics`.
        sign: whether a positive number shows its plus.
        digits: after the decimal point.
    """
    if not interval.n:
        return "–"
    mean, low, high = (number(x, f"{'+' if sign else ''}.{digits}f") for x in interval[:3])
    return mean if np.isnan(interval.low) else f"{mean} [{low}, {high}]"


def number(value: float, form: str = "g") -> str:
    """Write a number in a format of Python's, with a true minus sign, and 0 without a sign."""
    written = re.sub(r"^[+-](?=[0.]*$)", "", format(value, form))
    return "–" if np.isnan(value) else re.sub("^-", "−", written)


def _flipped(interval: Interval) -> Interval:
    """Turn a difference around."""
    return Interval(-interval.mean, -interval.high, -interval.low, interval.n)


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else number(p, ".3f")


def _separator(loop: Any) -> str:
    """Write what stands between this item of a Jinja loop and the next: a comma or "and"."""
    return "" if loop.last else " and " if loop.revindex0 == 1 else ", "


def _unbroken(text: str) -> str:
    """Keep a number and its sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace("± ", "±\N{NO-BREAK SPACE}")


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "capitalised": capitalised,
        "duration": duration,
        "flipped": _flipped,
        "interval": interval_text,
        "joined": joined,
        "label": label,
        "number": number,
        "p_value": _p_value,
        "percent": percent,
        "unbroken": _unbroken,
    }
    environment.globals |= {
        "LEAST_SEEDS": LEAST_SEEDS,
        "PARTIAL_METRICS": PARTIAL_METRICS,
        "MODEL_NAMES": MODEL_NAMES,
        "THRESHOLDS": THRESHOLDS,
        "separator": _separator,
    }
    return environment


def page(template: str, **values: Any) -> str:
    """Fill an HTML template. A value that is missing is an error; values are escaped."""
    return _environment().get_template(template).render(**values)


def sentences(template: str, **values: Any) -> list[str]:
    """Fill a template of plain text, and return its paragraphs, each on one line."""
    paragraphs = page(template, **values).split("\n\n")
    return [" ".join(text.split()) for text in paragraphs if text.strip()]
