"""Trains the runs of a study, the cheapest model first, and resumes where it was interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import REST, StudyConfig
from experiments.files import write_json, write_whole
from experiments.learning.arms import Arm, parse_arm
from experiments.learning.checkpoints import Checkpoint
from experiments.learning.class_arms import ClassArm, parse_class
from experiments.learning.models import start_of
from experiments.learning.placement import Placement, batch_cut
from experiments.learning.rest import solve
from experiments.learning.training import (
    Task,
    TrainedRun,
    scans_by_default,
    schedule,
    train,
)
from experiments.runs.batches import batches_of
from experiments.runs.class_results import class_result_of
from experiments.runs.directory import claimed, environment, finished_runs, run_path
from experiments.runs.distributed import Alone, Processes
from experiments.runs.notices import split_table
from experiments.runs.plan import (
    RunSpec,
    chosen_rates,
    final_runs,
    run_groups,
    step_cost,
    tuning_extension,
    tuning_runs,
)
from experiments.runs.progress import Progress
from experiments.runs.results import result_of

__all__ = ["run_study"]

_CHECKPOINTS = "checkpoints"


def run_study(
    configs: Sequence[StudyConfig],
    out: Path,
    progress: Progress,
    *,
    processes: Processes | None = None,
    cut_batches: bool = False,
    checkpoint_seconds: float = 30.0,
) -> int:
    """Train what is missing of a study.

    Args:
        configs: the study, one `StudyConfig` per model, in the order of training.
        out: its directory; finished runs there stay as they are.
        progress: is told of every step and run.
        processes: that train together; ``None``: this one alone.
        cut_batches: divide every batch among all devices of all processes.
        checkpoint_seconds: between two checkpoints of a training.

    Returns:
        How many runs were trained.

    Raises:
        ConfigError: if the directory holds another study, another process works on it, or the
            devices cannot share a batch equally.
    """
    processes = processes or Alone()
    placements = [batch_cut(config.batch_size) if cut_batches else None for config in configs]
    with contextlib.ExitStack() as held:
        processes.decide(lambda: held.enter_context(claimed(out, configs)))
        if processes.writes and configs[0].data is not None:
            write_whole(out / "split.csv", split_table(configs[0]))
        done = processes.decide(lambda: finished_runs(out))
        before = len(done)
        models = [
            _ModelStudy(config, out, progress, processes, placement, checkpoint_seconds, done)
            for config, placement in zip(configs, placements, strict=True)
        ]
        runs = sum(len(specs) for model in models for specs in model.known())
        missing = sum(len(model.missing(specs)) for model in models for specs in model.known())
        work = sum(model.work(specs) for model in models for specs in model.known())
        with progress.study(runs, runs - missing, work):
            for model in models:
                model.train()
        if processes.writes:
            shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)
        return len(done) - before


@dataclasses.dataclass(frozen=True)
class _ModelStudy:
    """Trains what is missing of one model's runs.

    Args:
        done: validation Dice of every finished run, by file. Finished runs are added to it.
    """

    config: StudyConfig
    out: Path
    progress: Progress
    processes: Processes
    placement: Placement | None
    checkpoint_seconds: float
    done: dict[str, float | None]

    def known(self) -> list[list[RunSpec]]:
        """List the runs that are known before any is trained."""
        return [tuning_runs(self.config), final_runs(self.config)]

    def missing(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        return [spec for spec in specs if self._key(spec) not in self.done]

    def work(self, specs: Sequence[RunSpec]) -> float:
        """Estimate the work that is left of some runs."""
        runs = sum(len(group) for group in self._groups(specs))
        return runs * self.config.trained_steps * step_cost(self.config)

    def train(self) -> None:
        """Choose the learning rates, then train the runs that are reported."""
        scores = self._run(tuning_runs(self.config))
        while extension := tuning_extension(self.config, scores):
            self.progress.grow(len(self.missing(extension)), self.work(extension))
            scores |= self._run(extension)
        self._run(final_runs(self.config, chosen_rates(self.config, scores)))

    def _key(self, spec: RunSpec) -> str:
        return run_path(self.out, spec).relative_to(self.out).as_posix()

    def _groups(self, specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
        # Groups are made of all runs, not of the missing ones: on an accelerator a group is one
        # program, and a resumed study must end with the numbers of an uninterrupted one.
        at_once = self.placement is None and scans_by_default()
        groups = run_groups(self.config, specs) if at_once else [[spec] for spec in specs]
        return [group for group in groups if self.missing(group)]

    def _run(self, specs: Sequence[RunSpec]) -> dict[RunSpec, float]:
        for group in self._groups(specs):
            self._train(group)
        scores = {spec: self.done[self._key(spec)] for spec in specs}
        return {spec: math.nan if score is None else score for spec, score in scores.items()}

    def _train(self, group: Sequence[RunSpec]) -> None:
        # The study's settings, and those that the arm sets for itself.
        config = self.config.of_arm(group[0].loss)
        steps, cost = config.trained_steps, len(group) * step_cost(config)
        self.progress.begin(list(dict.fromkeys(group)), steps, cost)
        shape = schedule(config.steps, config.warmup_steps)[:steps]
        tasks = [
            Task(
                batches=batches_of(self.config, spec.foreground_fraction, spec.seed),
                rates=np.float32(spec.learning_rate) * shape,
                seed=spec.seed,
                start=start_of(config.initial_bias, spec.foreground_fraction),
                channels=config.channels,
                outputs=config.outputs,
            )
            for spec in group
        ]
        arm = _arm_of(config, config.losses[0])
        checkpoint = Checkpoint(
            self.out / _CHECKPOINTS / run_path(self.out, group[0]).stem,
            {
                "study": dataclasses.asdict(config),
                "runs": [self._key(spec) for spec in group],
                "rates": [spec.learning_rate for spec in group],
                "environment": environment(),
            },
            self.checkpoint_seconds,
            self.progress.note,
        )
        if config.optimiser == REST:
            assert isinstance(arm, Arm)  # The settings allow no classes here.
            self.progress.phase("training")
            trained = [solve(config.model, arm, task) for task in tasks]
            self.progress.advance(steps)
        else:
            self.progress.phase("compiling")
            trained = train(
                config.model,
                arm,
                tasks,
                optimiser=config.optimiser_settings,
                placement=self.placement,
                checkpointer=_SharedCheckpoint(checkpoint, self.processes, self.progress.skip),
                report=self.progress.advance,
            )
        self.progress.phase("evaluating")
        runs = dict(zip(group, trained, strict=True))
        for spec in self.missing(list(runs)):
            write = functools.partial(self._write, spec, runs[spec])
            self.done[self._key(spec)] = self.processes.decide(write)
        if self.processes.writes:
            checkpoint.remove()

    def _write(self, spec: RunSpec, run: TrainedRun) -> float | None:
        evaluate = class_result_of if self.config.classes else result_of
        result = evaluate(self.config, spec, run, self.out)
        write_json(run_path(self.out, spec), result)
        self.progress.finished(spec, result)
        score = result["metrics"]["validation_dice_tuned"]
        return score if math.isfinite(score) else None


def _arm_of(config: StudyConfig, loss: str) -> Arm | ClassArm:
    if config.classes:
        return parse_class(loss, config.smooth)
    return parse_arm(loss, config.pooling, config.smooth)


@dataclasses.dataclass(frozen=True)
class _SharedCheckpoint:
    """A checkpoint that the first process reads and writes for all."""

    checkpoint: Checkpoint
    processes: Processes
    skip: Callable[[int], None]

    def restore(self, like: Any) -> Any | None:
        found = self.checkpoint.restore(like) if self.processes.writes else None
        if not self.processes.decide(lambda: found is not None):
            return None
        position = self.processes.share(like if found is None else found)
        self.skip(int(position.step))
        return position

    def due(self) -> bool:
        return self.processes.writes and self.checkpoint.due()

    def save(self, position: Any) -> None:
        self.checkpoint.save(position)
