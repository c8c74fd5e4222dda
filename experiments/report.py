"""The report of a study: summary.csv, figures/*.png and one self-contained report.html."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import plots
from experiments.config import ConfigError, StudyConfig
from experiments.directory import load_config, load_runs, load_tuning
from experiments.files import write_whole
from experiments.findings import findings, limits, theory_checks, written
from experiments.models import MODELS
from experiments.plots import label, percent
from experiments.progress import duration
from experiments.summary import Interval, cell_of, mean_interval, runs_table, summary_table

__all__ = ["draw", "write_report"]

_CAPTIONS = {
    "dice_against_fraction": (
        "Dice against the foreground fraction",
        "Mean over test images, then over seeds, with 95 % t intervals; faint dots are seeds. "
        "Left, every loss at the threshold 0.5; right, at the threshold that was best on "
        "validation images.",
    ),
    "learning_rates": (
        "How much the learning rate matters",
        "Validation Dice at the tuned threshold on one further seed; the ring marks the rate that "
        "the runs above were trained with.",
    ),
    "learning_curves": (
        "Learning curves",
        "Dice at 0.5 of each logged training batch: mean over seeds, and their range.",
    ),
    "gradient_share": (
        "The foreground's share of the gradient",
        "M₊/(M₊ + M₋), the share of Σ|gradient| that falls on foreground pixels. Above in "
        "probability space, below at the logits, where the network is pulled. Dotted: Dice's share "
        "at the start by C5; and ½, where C7 puts every loss that comes to rest, so that a share "
        "of ½ at the end is no sign of balance.",
    ),
    "gradient_ratio": (
        "One foreground pixel against one background pixel",
        "Every logged step of every run. For Dice the ratio is 2/D − 1 exactly, whatever the "
        "network: large while Dice is small, and 1 once it is right.",
    ),
    "examples": (
        "Predictions and the gradient at every pixel",
        "Test images of the first seed, the mask's outline in orange. p after training, and the "
        "gradient of each loss at the logits of these images: at p = ½, where training starts, "
        "and after it. Blue pulls a pixel towards foreground, red towards background; every "
        "column has its own scale, given above it.",
    ),
}


def draw(directory: Path) -> dict[str, Figure]:
    """Draw a study's figures.

    Args:
        directory: of the study.

    Returns:
        Figures by name, in the report's order.

    Raises:
        ConfigError: if the directory holds no study.
    """
    config = load_config(directory)
    results = load_runs(directory)
    if not results:
        return {}
    runs, tuning = runs_table(results), load_tuning(directory)
    drawn = {"dice_against_fraction": plots.dice_against_fraction(config, runs)}
    if tuning:
        drawn["learning_rates"] = plots.learning_rates(config, runs_table(tuning))
    drawn["learning_curves"] = plots.learning_curves(config, results)
    drawn["gradient_share"] = plots.gradient_share(config, results)
    drawn["gradient_ratio"] = plots.gradient_ratio(config, results)
    shown = plots.examples(config, directory, sorted(config.fractions)[len(config.fractions) // 2])
    if shown is not None:
        drawn["examples"] = shown
    return drawn


def write_report(directory: Path) -> None:
    """Write a study's summary, figures and report from its finished runs.

    Args:
        directory: of the study.

    Raises:
        ConfigError: if the directory holds no study, or no run of it is finished.
    """
    config = load_config(directory)
    results = load_runs(directory)
    if not results:
        raise ConfigError(f"{directory} holds no finished run yet: nothing to report")
    runs = runs_table(results)
    tuning = load_tuning(directory)
    write_whole(directory / "summary.csv", summary_table(runs).to_csv(index=False))
    shown = []
    for name, figure in draw(directory).items():
        png = _png(figure)
        write_whole(directory / "figures" / f"{name}.png", png)
        title, caption = _CAPTIONS[name]
        shown.append(
            {
                "name": name,
                "title": title,
                "caption": caption,
                "png": base64.b64encode(png).decode(),
                # In CSS pixels: every figure has letters of one size.
                "width": round(figure.get_size_inches()[0] * 104),
            }
        )

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("report.html.j2").render(
        title=_title(config),
        findings=findings(config, runs),
        figures=shown,
        table=_table(config, runs),
        checks=theory_checks(config, results, runs),
        limits=limits(config),
        done=_done(config, results, tuning),
        made=_made(config, results, tuning),
    )
    write_whole(directory / "report.html", page)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()


def _title(config: StudyConfig) -> str:
    names = [label(loss) for loss in config.losses]
    if len(names) == 1:
        return f"{names[0]} on imbalanced masks"
    if len(names) > 4:
        return f"{len(names)} losses on imbalanced masks"
    return ", ".join(names[:-1]) + f" and {names[-1]} on imbalanced masks"


_COLUMNS = {
    "dice": "Dice at 0.5",
    "dice_tuned": "Dice, tuned",
    "average_precision": "average precision",
    "precision": "precision",
    "recall": "recall",
    "volume_bias": "volume bias",
}


def _table(config: StudyConfig, runs: pd.DataFrame) -> dict[str, Any]:
    rows = []
    for fraction in sorted(config.fractions, reverse=True):
        for loss in config.losses:
            cell = cell_of(runs, loss, fraction)
            if not len(cell):
                continue
            achieved = float(np.mean(cell["foreground_fraction_test"].to_numpy()))
            rows.append(
                [
                    [percent(fraction), f"achieved {percent(achieved)}"],
                    label(loss),
                    f"{cell['learning_rate'].iloc[0]:g}",
                    f"{cell['threshold_tuned'].median():.3g}",
                    *(_two_lines(mean_interval(cell[name].to_numpy())) for name in _COLUMNS),
                ]
            )
    head = ["foreground", "loss", "learning rate", "tuned threshold", *_COLUMNS.values()]
    return {"head": head, "rows": rows}


def _two_lines(interval: Interval) -> list[str]:
    mean, _, rest = written(interval).partition(" ")
    return [mean, rest]


def _done(
    config: StudyConfig, results: Sequence[Mapping[str, Any]], tuning: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Say what was run, on what and for how long."""
    noises = {r["foreground_fraction"]: r["metrics"]["noise"] for r in results}
    noise = ", ".join(f"{noises[f]:.2f} at {percent(f)}" for f in config.fractions if f in noises)
    many = f"{config.objects} ellipse{'s' * (config.objects > 1)}"
    seconds = sum(r["seconds"] for r in [*results, *tuning])
    where = results[0]["environment"]
    device = f"{where['devices']} {where['device']} device{'s' * (where['devices'] > 1)}"
    cores = f" ({where['cpu_cores']} cores)" if where["platform"] == "cpu" else ""
    versions = ", ".join(f"{name} {where[name]}" for name in ("jax", "flax", "optax"))
    finished = f"{len(results)} of {config.seeds * len(config.fractions) * len(config.losses)}"
    return [
        f"Images of {config.image_size}×{config.image_size} pixels with {many} in white noise; "
        f"the noise ({noise}, in units of the contrast) is set so that a reference segmenter, a "
        f"blur and a cut, reaches a Dice of {config.reference_dice:g} at every fraction: a "
        "smaller foreground is not also a noisier one.",
        f"Per seed {config.train_images} training, {config.validation_images} validation and "
        f"{config.test_images} test images. All losses of a seed share images, initial "
        "parameters and order.",
        f"Model: {config.model}. {(MODELS[config.model].__doc__ or '').splitlines()[0]}",
        f"{config.steps} Adam steps of {config.batch_size} images, the learning rate ramped up "
        "over a tenth of them and down along half a cosine. Every loss pools over the whole "
        "batch; Dice-like ones are smoothed by 1e-5 of a pixel, not the article's 1.",
        "Thresholds are tuned on validation images for the best mean Dice per image; every "
        "number above is from test images.",
        f"{finished} runs finished, {len(tuning)} further ones chose learning rates; training "
        f"took {duration(seconds)} in all, on {device}{cores}, with {versions}, Python "
        f"{where['python']}.",
    ]


def _made(
    config: StudyConfig, results: Sequence[Mapping[str, Any]], tuning: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    fractions = np.array(sorted(config.fractions, reverse=True))
    return {
        "losses": ", ".join(label(loss) for loss in config.losses),
        "fractions": ", ".join(percent(float(f)) for f in fractions),
        "seeds": config.seeds,
        "model": {"unet": "small U-Net", "linear": "linear model", "bias": "bias-only model"}[
            config.model
        ],
        "tuned": bool(tuning),
        "runs": len(results),
    }
