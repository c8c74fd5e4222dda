"""The article's argument as figures and one self-contained page."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

import numpy as np

from dice_jax._core.optional_imports import optional
from dice_jax.analysis import plots
from dice_jax.analysis.examples import (
    WorkedExample,
    article_examples,
    untrained_prediction,
    worked_example,
)
from dice_jax.analysis.images import read_mask, read_prediction

__all__ = ["draw", "explain"]

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2733; max-width: 62rem; margin: 2rem auto;
       padding: 0 1.2rem; }
h1 { font-size: 1.8rem; line-height: 1.25; } h2 { font-size: 1.3rem; margin-top: 2.6rem;
     border-top: 1px solid #d5dbe3; padding-top: 1.4rem; }
.formula { font-family: "STIX Two Text", Cambria, serif; font-size: 1.15rem; text-align: center;
           background: #f4f6f9; border-radius: 6px; padding: .8rem; margin: 1rem 0; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; display: block; margin: auto; }
figcaption { color: #5f6b7a; font-size: .9rem; margin-top: .4rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #e3e8ee; }
td:last-child { text-align: right; padding-right: 0; }
.finding { border-left: 4px solid #2166ac; padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
footer { color: #5f6b7a; font-size: .85rem; margin-top: 3rem; }
"""

_INTRODUCTION = """
<p>The Dice loss compares a label matrix Y with a prediction Ŷ through three sums over all N
pixels:</p>
<p class="formula">L = 1 − (2 Σyŷ + s) / (Σy + Σŷ + s)</p>
<p>The quotient rule gives its gradient at one pixel. It depends on the three sums and on that
pixel's label only, so it takes <b>two values</b> over the whole image:</p>
<p class="formula">∂L/∂ŷ = −(2 − D) / (Σy + Σŷ + s) on the foreground, &emsp;
+D / (Σy + Σŷ + s) on the background</p>
<p>with D = 1 − L. A foreground pixel is pushed up, a background pixel down, and</p>
<p class="formula">|g₊| / |g₋| = 2/D − 1 ≥ 1</p>
<p>The article that this page follows argues for that from the chain Σyŷ &lt; Σy &lt; Σŷ. The chain
is not a theorem, and the conclusion does not need it: 2Σyŷ ≤ Σy + Σŷ always.</p>
"""


def draw(example: WorkedExample) -> Any:
    """Draw one worked example.

    Args:
        example: from `worked_example`.

    Returns:
        A Matplotlib figure: label, prediction, product; the three sums and the shares; the gradient
        in probability space, at the logits, and that of cross-entropy.
    """
    # Not pyplot, which keeps global state and may need a display.
    figures = optional("matplotlib.figure", user="python -m dice_jax explain", extra="analysis")
    figure = figures.Figure(figsize=(11.5, 10.5), layout="constrained")
    axes = figure.subplots(3, 3)
    plots.matrix(example.target, ax=axes[0, 0], title="label Y")
    plots.matrix(example.prediction, ax=axes[0, 1], title="prediction Ŷ")
    plots.matrix(example.product, ax=axes[0, 2], title="product Y·Ŷ")
    plots.gradient_map(example.gradient, ax=axes[1, 0], title="Dice: gradient ∂L/∂ŷ")
    plots.gradient_map(example.logit_gradient, ax=axes[1, 1], title="Dice: gradient at the logits")
    plots.gradient_map(
        example.cross_entropy_logit_gradient,
        ax=axes[1, 2],
        title="cross-entropy: gradient at the logits",
    )
    plots.three_sums(example, ax=axes[2, 0])
    plots.gradient_masses(example, ax=axes[2, 1])
    _write_numbers(axes[2, 2], example)
    return figure


def _number(x: float | None) -> str:
    return "none" if x is None else f"{x:.4g}".replace("-", "−")


def _numbers(example: WorkedExample) -> tuple[tuple[str, str], ...]:
    return (
        ("pixels N", f"{example.target.size:,}"),
        ("foreground fraction", f"{example.target.mean():.3%}"),
        ("Σyŷ", _number(example.intersection)),
        ("Σy", _number(example.target_sum)),
        ("Σŷ", _number(example.prediction_sum)),
        ("smoothing s", f"{example.smooth:g}"),
        ("Dice index D", f"{example.dice:.4f}"),
        ("loss 1 − D", f"{1 - example.dice:.4f}"),
        ("g₊ (foreground)", _number(example.foreground_gradient)),
        ("g₋ (background)", _number(example.background_gradient)),
        ("|g₊|/|g₋| = 2/D − 1", _number(example.ratio)),
    )


def _write_numbers(ax: Any, example: WorkedExample) -> None:
    ax.axis("off")
    ax.set_title("the ratio", fontsize=10)
    ratio = "none" if example.ratio is None else f"{example.ratio:.3f}"
    ax.text(0.5, 0.66, ratio, ha="center", va="center", fontsize=30, color=plots.FOREGROUND)
    ax.text(0.5, 0.42, "|g₊| / |g₋| = 2/D − 1", ha="center", fontsize=11)
    detail = f"D = {example.dice:.4f},  s = {example.smooth:g}"
    ax.text(0.5, 0.28, detail, ha="center", fontsize=10, color=plots.NEUTRAL)
    values = (
        f"g₊ = {_number(example.foreground_gradient)},  g₋ = {_number(example.background_gradient)}"
    )
    ax.text(0.5, 0.15, values, ha="center", fontsize=10, color=plots.NEUTRAL)


def _section(example: WorkedExample, png: bytes) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in _numbers(example)
    )
    findings = "".join(f'<p class="finding">{html.escape(f)}</p>' for f in example.findings)
    data = base64.b64encode(png).decode("ascii")
    title = html.escape(example.title)
    return f"""
<section><h2>{title}</h2>
{findings}
<figure><img alt="{title}" src="data:image/png;base64,{data}">
<figcaption>Blue pixels are pushed up, red ones down. In probability space all foreground pixels
have one gradient and all background pixels another; at the logits each is multiplied by ŷ(1 − ŷ).
Pixels that the network is certain of have a small gradient, right or wrong.</figcaption></figure>
<table>{rows}</table></section>"""


def _own_example(mask: str | Path, prediction: str | Path | None, smooth: float) -> WorkedExample:
    target = read_mask(mask)
    name = Path(mask).name
    if prediction is None:
        probabilities: Any = untrained_prediction(target)
        title = f"{name}, with a substitute prediction: ½ everywhere, as from an untrained network"
    else:
        probabilities = read_prediction(prediction)
        title = f"{name}, predicted by {Path(prediction).name}"
        if probabilities.shape != target.shape:
            raise ValueError(
                f"{prediction}: prediction must have the mask's shape {target.shape}, "
                f"got {probabilities.shape}"
            )
    return worked_example(target, probabilities, smooth=smooth, title=title)


def explain(
    out: str | Path,
    *,
    mask: str | Path | None = None,
    prediction: str | Path | None = None,
    smooth: float = 1.0,
) -> Path:
    """Write the article's argument as figures and one self-contained HTML page.

    Args:
        out: directory for ``index.html`` and the figures; made if it is not there.
        mask: a two-valued mask (PNG, TIFF, NumPy); ``None``: two labelled substitutes for the
            article's own matrices, which are lost.
        prediction: probabilities for the mask; ``None``: ½ everywhere, and the page says so.
        smooth: the loss's smoothing, in pixels.

    Returns:
        The page's path.

    Raises:
        ValueError: if a file is no image, the mask has more than two values, the prediction is no
            probability or has another shape, or comes without a mask.
    """
    if prediction is not None and mask is None:
        raise ValueError("a prediction needs its mask: pass --mask too")
    if not (np.isfinite(smooth) and smooth >= 0):
        raise ValueError(f"smooth must be finite and >= 0, got {smooth:g}")
    if mask is None:
        examples: tuple[WorkedExample, ...] = article_examples(smooth=smooth)
        note = (
            "<p>The article's own matrices are lost. Two substitutes replace them: the chain of "
            "inequalities holds in A and fails in B.</p>"
        )
    else:
        examples, note = (_own_example(mask, prediction, smooth),), ""
    directory = Path(out)
    directory.mkdir(parents=True, exist_ok=True)
    sections = []
    for k, example in enumerate(examples):
        buffer = io.BytesIO()
        draw(example).savefig(buffer, format="png", dpi=110)
        name = f"example_{'ab'[k]}.png" if mask is None else "mask.png"
        (directory / name).write_bytes(buffer.getvalue())
        sections.append(_section(example, buffer.getvalue()))
    page = directory / "index.html"
    page.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What the gradient of the Dice loss does</title><style>{_STYLE}</style></head>
<body><h1>What the gradient of the Dice loss does</h1>
{_INTRODUCTION}{note}{"".join(sections)}
<footer>Made by <code>python -m dice_jax explain</code>. Every gradient here is computed by
automatic differentiation in float64; <code>python -m dice_jax claims</code> tests the formulas.
</footer></body></html>
""",
        encoding="utf-8",
    )
    return page
