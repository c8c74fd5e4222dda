"""What the file of a run of several classes holds, as `results.result_of` has it for two."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import StudyConfig
from experiments.files import write_whole
from experiments.images.masks import WholeImages, grey
from experiments.learning.class_evaluation import evaluate_classes
from experiments.learning.models import graph_of
from experiments.learning.stitching import predict_whole
from experiments.learning.training import TrainedRun
from experiments.runs.data import splits, tested
from experiments.runs.directory import environment
from experiments.runs.plan import RunSpec
from experiments.runs.results import examples, logged

__all__ = ["class_result_of"]


def class_result_of(
    config: StudyConfig, spec: RunSpec, run: TrainedRun, out: Path
) -> dict[str, Any]:
    """Evaluate a trained run into what its file holds, and save the example images of seed 0."""
    _, validation, test = splits(config, spec.foreground_fraction, spec.seed)
    graph = graph_of(config.model, channels=config.channels, outputs=config.outputs)
    logits = predict_whole(graph, run.parameters, test, config.tile)
    scores = evaluate_classes(
        predict_whole(graph, run.parameters, validation, config.tile),
        _labels(validation),
        logits,
        _labels(test),
        config.class_values,
    )
    if spec.seed == config.first_seed:
        shown = examples(grey(test), np.asarray(test.masks), logits.argmax(-1))
        buffer = io.BytesIO()
        np.save(buffer, shown.astype(np.float32), allow_pickle=False)
        write_whole(out / "examples" / f"{spec.name}.npy", buffer.getvalue())
    return {
        "loss": spec.loss,
        "model": spec.model,
        "foreground_fraction": spec.foreground_fraction,
        "seed": spec.seed,
        "learning_rate": spec.learning_rate,
        "status": scores.status,
        "metrics": scores.metrics,
        "per_image": scores.per_image,
        **tested(config, spec.seed),
        "history": logged(run.history, config.logged_steps),
        "environment": environment(),
        "seconds": run.seconds,
    }


def _labels(images: WholeImages) -> np.ndarray:
    """The classes, negative where there is no image."""
    labels = np.asarray(images.masks).astype(np.int64)
    return labels if images.where is None else np.where(np.asarray(images.where), labels, -1)
