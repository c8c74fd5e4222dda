"""What a run's file holds: its scores on test images, its status and its history."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import StudyConfig
from experiments.files import write_whole
from experiments.images.masks import grey, pixels_of
from experiments.learning.evaluation import evaluate
from experiments.learning.models import graph_of
from experiments.learning.stitching import predict_whole
from experiments.learning.training import History, TrainedRun
from experiments.runs.data import noise_level, splits, tested
from experiments.runs.directory import counts_path, environment
from experiments.runs.plan import RunSpec
from experiments.runs.status import status_of

__all__ = ["examples", "logged", "result_of"]

# Test images that a run of the first seed saves for the report's pictures.
_EXAMPLES = 2
# In pixels: what a picture of the report can show.
_EXAMPLE_SIZE = 256


def result_of(config: StudyConfig, spec: RunSpec, run: TrainedRun, out: Path) -> dict[str, Any]:
    """Evaluate a trained run into what its file holds, and save the arrays beside it.

    The pixels of validation and test images, counted by their logit, go to counts/; example images
    of the first seed go to examples/.
    """
    _, validation, test = splits(config, spec.foreground_fraction, spec.seed)
    graph = graph_of(config.model, channels=config.channels)
    masks = np.asarray(test.masks)
    logits = predict_whole(graph, run.parameters, test, config.tile)
    evaluation = evaluate(
        predict_whole(graph, run.parameters, validation, config.tile),
        np.asarray(validation.masks),
        logits,
        masks,
        None if test.posterior is None else np.asarray(test.posterior),
        None if test.where is None else np.asarray(test.where),
    )
    metrics = evaluation.metrics | {
        "foreground_fraction_train": float(run.history["foreground_fraction"].mean(dtype=float)),
        "foreground_fraction_test": float(masks.sum() / pixels_of(test)),
        "noise": noise_level(config, spec.foreground_fraction),
    }
    if evaluation.pixel_counts:
        counts = {
            f"{split}_{name}": array
            for split, found in evaluation.pixel_counts.items()
            for name, array in found.packed()._asdict().items()
        }
        write_whole(counts_path(out, spec), _saved(np.savez_compressed, **counts))
    if spec.seed == config.first_seed:
        # A diverged run has no p to show: it becomes ½ everywhere.
        drawn = np.zeros_like(logits) if evaluation.diverged else logits
        arrays = examples(grey(test), masks, drawn)
        write_whole(
            out / "examples" / f"{spec.name}.npy", _saved(np.save, arrays.astype(np.float32))
        )
    return {
        "loss": spec.loss,
        "model": spec.model,
        "foreground_fraction": spec.foreground_fraction,
        "seed": spec.seed,
        "learning_rate": spec.learning_rate,
        "status": status_of(config.model, evaluation.diverged, metrics),
        "metrics": metrics,
        "per_image": evaluation.per_image,
        **tested(config, spec.seed),
        "reliability": evaluation.reliability,
        "size_recall": evaluation.size_recall,
        "history": logged(run.history, config.logged_steps),
        "environment": environment(),
        "seconds": run.seconds,
    }


def examples(*arrays: np.ndarray) -> np.ndarray:
    """Show the first images, their masks and logits; of large images a window with foreground."""
    shown = []
    for rows in list(zip(*arrays, strict=True))[:_EXAMPLES]:
        mask = rows[1]
        window = []
        for axis, length in enumerate(mask.shape):
            there = np.flatnonzero(mask.any(axis=1 - axis))
            middle = int(np.median(there)) if there.size else length // 2
            first = int(np.clip(middle - _EXAMPLE_SIZE // 2, 0, max(length - _EXAMPLE_SIZE, 0)))
            window.append(slice(first, first + _EXAMPLE_SIZE))
        shown.append([row[tuple(window)] for row in rows])
    return np.stack([np.stack(kind) for kind in zip(*shown, strict=True)])


def logged(history: History, count: int) -> list[dict[str, float]]:
    """Keep the first step, the last, and steps evenly between them, ``count`` in all."""
    steps = len(history["loss"])
    kept = np.unique(np.linspace(0, steps - 1, min(count, steps)).round().astype(int))
    return [
        {"step": int(step), **{name: float(values[step]) for name, values in history.items()}}
        for step in kept
    ]


def _saved(save: Callable[..., None], *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()
