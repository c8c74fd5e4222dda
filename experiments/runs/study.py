"""Many runs: the grid of a study, trained from the cheapest model on, taken up where it stopped."""

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

from experiments.config import StudyConfig
from experiments.files import write_json
from experiments.learning.arms import parse_arm
from experiments.learning.checkpoints import Checkpoint
from experiments.learning.models import start_of
from experiments.learning.placement import BatchCut, Placement
from experiments.learning.training import Task, scans_by_default, train
from experiments.runs.data import splits
from experiments.runs.directory import claimed, final_path, finished_runs, tuning_path
from experiments.runs.distributed import Alone, Processes
from experiments.runs.environment import environment
from experiments.runs.plan import (
    RunSpec,
    chosen_rates,
    plan,
    step_cost,
    together,
    tuning_extension,
    tuning_plan,
)
from experiments.runs.progress import Progress
from experiments.runs.results import result_of

__all__ = ["batch_order", "run_study"]

_CHECKPOINTS = "checkpoints"


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


def run_study(
    tiers: Sequence[StudyConfig],
    out: Path,
    progress: Progress,
    *,
    processes: Processes | None = None,
    cut_batches: bool = False,
    checkpoint_seconds: float = 30.0,
) -> int:
    """Train what is missing of a study.

    Args:
        tiers: the study, one `StudyConfig` per model, in the order in which they are to run.
        out: its directory; runs that are finished there are kept.
        progress: is told of every step and run.
        processes: that train together; ``None``: this one alone.
        cut_batches: cut every batch over all devices of all processes.
        checkpoint_seconds: between two checkpoints of a training.

    Returns:
        How many runs were trained.

    Raises:
        ConfigError: if the directory holds another study, another process works on it, or a batch
            cannot be cut over the devices.
    """
    processes = processes or Alone()
    placements = [
        BatchCut.over_all_devices(config.batch_size) if cut_batches else None for config in tiers
    ]
    with contextlib.ExitStack() as held:
        processes.decide(lambda: held.enter_context(claimed(out, tiers)))
        done = processes.decide(lambda: finished_runs(out))
        stages = [
            _Tier(config, out, progress, processes, placement, checkpoint_seconds, done)
            for config, placement in zip(tiers, placements, strict=True)
        ]
        kept = len(done)
        runs, work = (sum(numbers) for numbers in zip(*map(_Tier.ahead, stages), strict=True))
        with progress.study(runs, runs - sum(stage.left() for stage in stages), work):
            for stage in stages:
                stage.train()
        if processes.writes:
            shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)
        return len(done) - kept


@dataclasses.dataclass(frozen=True)
class _Tier:
    """Trains what is missing of one model's runs, each in a file of its own.

    Args:
        done: validation Dice of every run that is finished, by file; grows.
    """

    config: StudyConfig
    out: Path
    progress: Progress
    processes: Processes
    placement: Placement | None
    checkpoint_seconds: float
    done: dict[str, float | None]

    def left(self) -> int:
        """Count the runs that are missing of what is known beforehand."""
        return sum(len(self._missing(specs)) for specs in self._known())

    def ahead(self) -> tuple[int, float]:
        """Count all runs that are known beforehand, and the work of what is missing of them."""
        return sum(map(len, self._known())), sum(map(self._work, self._known()))

    def train(self) -> None:
        """Choose the learning rates, then train the runs that count."""
        scores = self._run(tuning_plan(self.config))
        extension = tuning_extension(self.config, scores)
        self.progress.grow(len(self._missing(extension)), self._work(extension))
        scores |= self._run(extension)
        self._run(plan(self.config, chosen_rates(self.config, scores)))

    def _known(self) -> list[list[RunSpec]]:
        return [tuning_plan(self.config), plan(self.config)]

    def _file(self, spec: RunSpec) -> Path:
        return (tuning_path if spec.is_tuning else final_path)(self.out, spec)

    def _key(self, spec: RunSpec) -> str:
        return self._file(spec).relative_to(self.out).as_posix()

    def _missing(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        return [spec for spec in specs if self._key(spec) not in self.done]

    def _groups(self, specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
        # A group is made of the whole plan, not of what is missing: on an accelerator its runs
        # are one program, and a study that was cut off ends with the numbers of one that was not.
        at_once = self.placement is None and scans_by_default()
        groups = together(self.config, specs) if at_once else [[spec] for spec in specs]
        return [group for group in groups if self._missing(group)]

    def _work(self, specs: Sequence[RunSpec]) -> float:
        runs = sum(len(group) for group in self._groups(specs))
        return runs * self.config.steps * step_cost(self.config)

    def _run(self, specs: Sequence[RunSpec]) -> dict[RunSpec, float]:
        for group in self._groups(specs):
            self._train(group)
        scores = {spec: self.done[self._key(spec)] for spec in specs}
        return {spec: math.nan if score is None else score for spec, score in scores.items()}

    def _train(self, group: Sequence[RunSpec]) -> None:
        config = self.config
        cost = len(group) * step_cost(config)
        self.progress.begin(list(dict.fromkeys(group)), config.steps, cost)
        tasks = [
            Task(
                images=splits(config, spec.foreground_fraction, spec.seed)[0],
                order=batch_order(config, spec.seed),
                seed=spec.seed,
                learning_rate=spec.learning_rate,
                start=start_of(config.initial_bias, spec.foreground_fraction),
            )
            for spec in group
        ]
        checkpoint = Checkpoint(
            self.out / _CHECKPOINTS / self._file(group[0]).stem,
            {
                "study": config.as_json(),
                "runs": [self._key(spec) for spec in group],
                "rates": [spec.learning_rate for spec in group],
                "environment": environment(),
            },
            self.checkpoint_seconds,
            self.progress.note,
        )
        trained = train(
            config.model,
            parse_arm(group[0].loss, config.pooling, config.smooth),
            tasks,
            optimiser=config.optimiser,
            placement=self.placement,
            keeper=_Shared(checkpoint, self.processes, self.progress.skip),
            report=self.progress.advance,
        )
        runs = dict(zip(group, trained, strict=True))
        for spec in self._missing(list(runs)):
            write = functools.partial(self._write, spec, runs[spec])
            self.done[self._key(spec)] = self.processes.decide(write)
        if self.processes.writes:
            checkpoint.remove()

    def _write(self, spec: RunSpec, run: Any) -> float | None:
        result = result_of(self.config, spec, run, self.out)
        write_json(self._file(spec), result)
        self.progress.finished(spec, result)
        score = result["metrics"]["validation_dice_tuned"]
        return score if math.isfinite(score) else None


@dataclasses.dataclass(frozen=True)
class _Shared:
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
