"""The report of a study of several classes: a table by class, examples, and the command."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.statistics import Interval
from experiments.analysis.tables import runs_table, score_interval, summary_table
from experiments.files import write_whole
from experiments.reporting.command import shortest_command
from experiments.reporting.contrast_files import write_contrasts
from experiments.reporting.rendering import MODEL_NAMES, label, page
from experiments.runs.directory import load_configs, load_runs

__all__ = ["write_class_report"]


def write_class_report(directory: Path, models: Sequence[ModelRuns]) -> None:
    """Write summary.csv, the figures and report.html of a study of several classes.

    Args:
        directory: of the study.
        models: its finished runs.
    """
    runs = runs_table(load_runs(directory))
    write_whole(directory / "summary.csv", summary_table(runs).to_csv(index=False))
    write_contrasts(directory, models)
    config = models[0].config
    names = [f"{value:g}" for value in config.class_values]
    sections = []
    for model in models:
        figures = {"classes": _by_class(model, names), "examples": _examples(model)}
        pngs = {name: _png(figure) for name, figure in figures.items() if figure is not None}
        for name, content in pngs.items():
            write_whole(directory / "figures" / f"{model.config.model}_{name}.png", content)
        sections.append(
            {
                "name": MODEL_NAMES[model.config.model],
                "rows": [_row(model, loss, names) for loss in _losses(model)],
                "pngs": {name: base64.b64encode(png).decode() for name, png in pngs.items()},
            }
        )
    shares = [
        score_interval(models[0].runs[f"share_{name}"].to_numpy(), f"share_{name}").mean
        for name in names
    ]
    html = page(
        "classes.html.j2",
        config=config,
        names=names,
        shares=dict(zip(names, shares, strict=True)),
        sections=sections,
        command=shortest_command(load_configs(directory)),
    )
    write_whole(directory / "report.html", html)


def _losses(model: ModelRuns) -> list[str]:
    """The losses with finished runs, the best mean first."""
    there = [loss for loss in model.config.losses if len(model.scores(loss, _pi(model), "dice"))]

    def score(loss: str) -> float:
        mean = model.interval(loss, _pi(model), "dice").mean
        return -1.0 if np.isnan(mean) else mean

    return sorted(there, key=score, reverse=True)


def _pi(model: ModelRuns) -> float:
    return model.config.fractions[0]


def _row(model: ModelRuns, loss: str, names: Sequence[str]) -> dict[str, object]:
    def interval(metric: str) -> Interval:
        return model.interval(loss, _pi(model), metric)

    statuses = [run["status"] for run in model.cell(loss, _pi(model))]
    return {
        "loss": label(loss),
        "mean": interval("dice"),
        "with_background": interval("dice_with_background"),
        "pooled": interval("dice_pooled"),
        "classes": [interval(f"dice_{name}") for name in names],
        "failed": len(statuses) - statuses.count("finished"),
        "runs": len(statuses),
    }


def _by_class(model: ModelRuns, names: Sequence[str]) -> Figure:
    losses = _losses(model)
    figure = Figure(figsize=(1.2 + 0.9 * len(names), 3.4), layout="constrained")
    axes = figure.subplots()
    offsets = np.linspace(-0.3, 0.3, len(losses)) if len(losses) > 1 else [0.0]
    for offset, loss in zip(offsets, losses, strict=True):
        found = [model.interval(loss, _pi(model), f"dice_{name}") for name in names]
        means = np.array([interval.mean for interval in found])
        spread = np.abs(np.array([[i.low, i.high] for i in found]).T - means)
        axes.errorbar(
            np.arange(len(names)) + offset, means, yerr=np.nan_to_num(spread), fmt="o", ms=4,
            lw=1, label=label(loss),
        )  # fmt: skip
    axes.set_xticks(range(len(names)), [f"class {name}" for name in names], rotation=30)
    axes.set_ylabel("Dice, mean of the test images")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7, frameon=False, ncols=min(len(losses), 3), loc="upper center")
    return figure


def _examples(model: ModelRuns) -> Figure | None:
    found = {}
    for loss in _losses(model):
        if (example := model.example(loss, _pi(model))) is not None:
            found[loss] = example
    if not found:
        return None
    images, labels, _ = next(iter(found.values()))
    columns = {"image": None, "truth": labels} | {label(k): v[2] for k, v in found.items()}
    figure = Figure(figsize=(1.9 * len(columns), 2.0 * len(images)), layout="constrained")
    axes = figure.subplots(len(images), len(columns), squeeze=False)
    colours = mpl.colormaps["tab20"].resampled(max(model.config.outputs, 2))
    for row, image in enumerate(images):
        for ax, (title, shown) in zip(axes[row], columns.items(), strict=True):
            ax.set_axis_off()
            if shown is None:
                ax.imshow(image, cmap="gray")
            else:
                ax.imshow(
                    shown[row], cmap=colours, vmin=-0.5, vmax=model.config.outputs - 0.5,
                    interpolation="nearest",
                )  # fmt: skip
            if row == 0:
                ax.set_title(title, fontsize=8)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()
