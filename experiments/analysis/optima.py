"""Theory's optimum on a study's test images, where their posterior is known exactly."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from experiments.analysis.model_runs import ModelRuns
from experiments.analysis.theory import posterior_volume_bias
from experiments.config import StudyConfig
from experiments.runs.data import splits

__all__ = ["PosteriorBias", "posterior_bias"]


class PosteriorBias(NamedTuple):
    """The volume bias at a loss's optimum (C15): the metric that shows it, and its value."""

    metric: str
    value: float


def posterior_bias(model: ModelRuns, loss: str, fraction: float) -> PosteriorBias | None:
    """Compute the volume bias that theory expects of a loss on a study's test images.

    The mean over the study's seeds; ``None`` where the posterior is not known, or theory has no
    value.
    """
    if model.config.shape != "posterior" or model.config.data is not None:
        return None
    seeds = sorted({r["seed"] for r in model.cell(loss, fraction)})
    found = [_biases(model.config, fraction, seed).get(loss) for seed in seeds]
    known = [bias for bias in found if bias is not None]
    if not known:
        return None
    return PosteriorBias(known[0][0], float(np.mean([value for _, value in known])))


@functools.cache
def _biases(config: StudyConfig, fraction: float, seed: int) -> dict[str, tuple[str, float]]:
    posterior = splits(config, fraction, seed)[2].posterior
    assert posterior is not None
    found = {loss: posterior_volume_bias(loss, np.asarray(posterior)) for loss in config.losses}
    return {loss: bias for loss, bias in found.items() if bias is not None}
