"""Many runs: the grid of a study, trained from the cheapest model on, taken up where it stopped."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.arms import parse_arm
from experiments.config import StudyConfig
from experiments.data import splits
from experiments.directory import claimed, final_path, read_run, tuning_path
from experiments.files import write_json
from experiments.plan import RunSpec, chosen_rates, plan, tuning_extension, tuning_plan
from experiments.progress import Progress
from experiments.results import result_of
from experiments.training import Task, scans_by_default, train

__all__ = ["batch_order", "run_study"]

# Runs that one compiled program trains at once on an accelerator.
_RUNS_AT_ONCE = 32


def batch_order(config: StudyConfig, seed: int) -> np.ndarray:
    """Shuffle the training images, epoch by epoch.

    Args:
        config: the study.
        seed: of the order.

    Returns:
        [steps, batch_size], indices into the training images.
    """
    generator = np.random.default_rng([seed, 1])
    wanted = config.steps * config.batch_size
    epochs = math.ceil(wanted / config.train_images)
    order = np.concatenate([generator.permutation(config.train_images) for _ in range(epochs)])
    return order[:wanted].reshape(config.steps, config.batch_size).astype(np.int32)


def _groups(specs: Sequence[RunSpec]) -> Iterator[list[RunSpec]]:
    """Cut the plan into what one call of `train` takes."""
    if not scans_by_default():
        yield from ([spec] for spec in specs)
        return
    by_loss = sorted(specs, key=lambda spec: spec.loss)
    for _, group in itertools.groupby(by_loss, key=lambda spec: spec.loss):
        runs = list(group)
        yield from (runs[i : i + _RUNS_AT_ONCE] for i in range(0, len(runs), _RUNS_AT_ONCE))


def run_study(tiers: Sequence[StudyConfig], out: Path, progress: Progress) -> int:
    """Train what is missing of a study.

    Args:
        tiers: the study, one `StudyConfig` per model, in the order in which they are to run.
        out: its directory; runs that are finished there are kept.
        progress: is told of every step and run.

    Returns:
        How many runs were trained.

    Raises:
        ConfigError: if the directory holds another study, or another process works on it.
    """
    with claimed(out, tiers):
        stages = [
            (
                config,
                _Stage(config, out, tuning_path, progress),
                _Stage(config, out, final_path, progress),
            )
            for config in tiers
        ]
        known = [
            pair
            for config, tuning, final in stages
            for pair in ((tuning, tuning_plan(config)), (final, plan(config)))
        ]
        runs = sum(len(specs) for _, specs in known)
        trained = sum(len(stage.missing(specs)) for stage, specs in known)
        steps = sum(stage.steps(specs) for stage, specs in known)
        with progress.study(runs, runs - trained, steps):
            for config, tuning, final in stages:
                scores = tuning.run(tuning_plan(config))
                extension = tuning_extension(config, scores)
                left = tuning.missing(extension)
                trained += len(left)
                progress.grow(len(left), tuning.steps(extension))
                scores |= tuning.run(extension)
                final.run(plan(config, chosen_rates(config, scores)))
    return trained


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Trains what is missing of a list of runs, each in a file of its own."""

    config: StudyConfig
    out: Path
    path: Callable[[Path, RunSpec], Path]
    progress: Progress

    def missing(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        return [spec for spec in specs if read_run(self.path(self.out, spec)) is None]

    def groups(self, specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
        # A group is made of the whole plan, not of what is missing: on an accelerator its runs
        # are one program, and a study that was cut off ends with the numbers of one that was not.
        return [group for group in _groups(specs) if self.missing(group)]

    def steps(self, specs: Sequence[RunSpec]) -> int:
        return self.config.steps * sum(len(group) for group in self.groups(specs))

    def run(self, specs: Sequence[RunSpec]) -> dict[RunSpec, float]:
        for group in self.groups(specs):
            self._train(group)
        results = {spec: json.loads(self.path(self.out, spec).read_text()) for spec in specs}
        scores = {spec: r["metrics"]["validation_dice_tuned"] for spec, r in results.items()}
        return {spec: math.nan if s is None else s for spec, s in scores.items()}

    def _train(self, group: Sequence[RunSpec]) -> None:
        self.progress.describe(group[0] if len(group) == 1 else None, group[0].loss)
        missing = self.missing(group)
        tasks = [
            Task(
                images=splits(self.config, spec.foreground_fraction, spec.seed)[0],
                order=batch_order(self.config, spec.seed),
                seed=spec.seed,
                learning_rate=spec.learning_rate,
            )
            for spec in group
        ]
        arm = parse_arm(group[0].loss)
        trained = train(self.config.model, arm, tasks, report=self.progress.advance)
        for spec, run in zip(group, trained, strict=True):
            if spec in missing:
                result = result_of(self.config, spec, run, self.out)
                write_json(self.path(self.out, spec), result)
                self.progress.finished(spec, result)
