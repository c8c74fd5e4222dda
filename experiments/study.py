"""Many runs: the grid of a study, written whole or not at all, and taken up where it stopped."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np

from experiments.arms import parse_arm
from experiments.config import ConfigError, StudyConfig
from experiments.evaluation import evaluate, predict
from experiments.files import write_json, write_whole
from experiments.masks import Images, calibrated_noise, make_images
from experiments.models import MODELS, initialise
from experiments.plan import RunSpec, chosen_rates, plan, tuning_extension, tuning_plan
from experiments.progress import Progress
from experiments.training import History, Task, TrainedRun, scans_by_default, train

__all__ = [
    "batch_order",
    "load_config",
    "load_runs",
    "load_tuning",
    "run_study",
    "splits",
]

# Runs that one compiled program trains at once on an accelerator.
_RUNS_AT_ONCE = 32
_EXAMPLES = 2


# The data and the order: a function of the seed, never of the arm.


@functools.lru_cache(maxsize=1)
def splits(config: StudyConfig, fraction: float, seed: int) -> tuple[Images, Images, Images]:
    """Make the training, validation and test images of a seed.

    Args:
        config: the study.
        fraction: π.
        seed: of the images; no image is shared between seeds or between splits.

    Returns:
        The three sets.
    """
    counts = (config.train_images, config.validation_images, config.test_images)
    # Drawn at once and cut: one program makes all images of a study.
    drawn = make_images(
        jax.random.key(seed),
        fraction,
        noise_level(config, fraction),
        count=sum(counts),
        size=config.image_size,
        objects=config.objects,
    )
    ends = np.cumsum(counts)
    first, second, third = (
        Images(drawn.images[end - count : end], drawn.masks[end - count : end])
        for end, count in zip(ends.tolist(), counts, strict=True)
    )
    return first, second, third


def noise_level(config: StudyConfig, fraction: float) -> float:
    """Find the noise of a study's images at a fraction.

    Args:
        config: the study.
        fraction: π.

    Returns:
        The standard deviation of the noise, in units of the contrast.
    """
    return calibrated_noise(
        fraction,
        config.reference_dice,
        count=config.train_images + config.validation_images + config.test_images,
        size=config.image_size,
        objects=config.objects,
    )


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


# A study and its directory.


def load_config(out: Path) -> StudyConfig:
    """Read the settings of a study's directory.

    Args:
        out: the directory.

    Returns:
        The settings.

    Raises:
        ConfigError: if there is none, or it cannot be read.
    """
    path = out / "config.json"
    try:
        return StudyConfig.from_json(json.loads(path.read_text())["study"])
    except FileNotFoundError:
        raise ConfigError(f"{out} holds no study: there is no config.json") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a study's settings: {error}") from None


def load_runs(out: Path) -> list[dict[str, Any]]:
    """Read a study's finished runs, in the order of its plan.

    Args:
        out: the directory.

    Returns:
        One dictionary per finished run.
    """
    paths = [_final_path(out, spec) for spec in plan(load_config(out))]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def load_tuning(out: Path) -> list[dict[str, Any]]:
    """Read the runs that chose a study's learning rates.

    Args:
        out: the directory.

    Returns:
        One dictionary per finished tuning run, in the order of their names.
    """
    return [json.loads(path.read_text()) for path in sorted((out / "tuning").glob("*.json"))]


def _final_path(out: Path, spec: RunSpec) -> Path:
    return out / "runs" / f"{spec.name}.json"


def _tuning_path(out: Path, spec: RunSpec) -> Path:
    return out / "tuning" / f"{spec.name}_rate{spec.learning_rate!r}.json"


def _claim(out: Path, config: StudyConfig) -> None:
    """Make the directory this study's, or refuse it if it is another's."""
    if (out / "config.json").exists():
        there = load_config(out)
        if there != config:
            was, now = there.as_json(), config.as_json()
            differs = next(k for k in was if was[k] != now[k])
            raise ConfigError(
                f"{out} holds a different study ({differs}: {was[differs]}, now {now[differs]}): "
                "nothing was changed; choose another --out"
            )
        return
    taken = [
        name for name in ("runs", "tuning", "summary.csv", "report.html") if (out / name).exists()
    ]
    if taken:
        raise ConfigError(f"{out} holds {taken[0]} but no config.json: choose another --out")
    write_json(out / "config.json", {"study": config.as_json(), "environment": environment()})


def environment() -> dict[str, Any]:
    """Describe what a run ran on: versions and devices."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
    device = jax.local_devices()[0]
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.local_device_count(),
        "cpu_cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _groups(specs: Sequence[RunSpec]) -> Iterator[list[RunSpec]]:
    """Cut the plan into what one call of `train` takes."""
    if not scans_by_default():
        yield from ([spec] for spec in specs)
        return
    by_loss = sorted(specs, key=lambda spec: spec.loss)
    for _, group in itertools.groupby(by_loss, key=lambda spec: spec.loss):
        runs = list(group)
        yield from (runs[i : i + _RUNS_AT_ONCE] for i in range(0, len(runs), _RUNS_AT_ONCE))


def run_study(config: StudyConfig, out: Path, progress: Progress) -> int:
    """Train what is missing of a study.

    Args:
        config: the study.
        out: its directory; runs that are finished there are kept.
        progress: is told of every step and run.

    Returns:
        How many runs were trained.

    Raises:
        ConfigError: if the directory holds another study, or another process works on it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise ConfigError(f"another process is running the study in {out}") from None
    with lock:
        _claim(out, config)
        tuning = _Stage(config, out, _tuning_path, progress)
        final = _Stage(config, out, _final_path, progress)
        known = [(tuning, tuning_plan(config)), (final, plan(config))]
        runs = sum(len(specs) for _, specs in known)
        kept = runs - sum(len(stage.missing(specs)) for stage, specs in known)
        steps = sum(stage.steps(specs) for stage, specs in known)
        with progress.study(runs, kept, steps):
            scores = tuning.run(tuning_plan(config))
            extension = tuning_extension(config, scores)
            left = tuning.missing(extension)
            progress.grow(len(left), tuning.steps(extension))
            scores |= tuning.run(extension)
            final.run(plan(config, chosen_rates(config, scores)))
        return runs - kept + len(left)


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Trains what is missing of a list of runs, each in a file of its own."""

    config: StudyConfig
    out: Path
    path: Callable[[Path, RunSpec], Path]
    progress: Progress

    def missing(self, specs: Sequence[RunSpec]) -> list[RunSpec]:
        return [spec for spec in specs if not self.path(self.out, spec).exists()]

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
                result = _finish(self.config, spec, run, self.out)
                write_json(self.path(self.out, spec), result)
                self.progress.finished(spec, result)


def _finish(config: StudyConfig, spec: RunSpec, run: TrainedRun, out: Path) -> dict[str, Any]:
    """Evaluate a trained run, and keep its examples if it is one of those that are shown."""
    training, validation, test = splits(config, spec.foreground_fraction, spec.seed)
    graph, _ = initialise(config.model, spec.seed)
    masks = np.asarray(test.masks)
    logits = predict(graph, run.parameters, test.images)
    validation_logits = predict(graph, run.parameters, validation.images)
    diverged = not (np.isfinite(logits).all() and np.isfinite(validation_logits).all())
    if diverged:
        logits, validation_logits = np.zeros_like(logits), np.zeros_like(validation_logits)
    evaluation = evaluate(validation_logits, np.asarray(validation.masks), logits, masks)
    metrics, per_image = dict(evaluation.metrics), dict(evaluation.per_image)
    if diverged:
        # The names of the numbers, but no numbers.
        metrics = dict.fromkeys(metrics, math.nan)
        per_image |= dict.fromkeys(("dice", "dice_tuned"), np.full(len(masks), math.nan))
    metrics |= {
        "foreground_fraction_train": float(np.asarray(training.masks).mean()),
        "foreground_fraction_test": float(masks.mean()),
        "noise": noise_level(config, spec.foreground_fraction),
    }
    # For the first seed's pictures: a few test images with the logits at the end.
    if spec.seed == 0:
        shown = slice(0, _EXAMPLES)
        arrays = np.stack([np.asarray(test.images[shown]), masks[shown], logits[shown]])
        write_whole(out / "examples" / f"{spec.name}.npy", _npy(arrays.astype(np.float32)))
    return {
        "loss": spec.loss,
        "model": spec.model,
        "foreground_fraction": spec.foreground_fraction,
        "seed": spec.seed,
        "learning_rate": spec.learning_rate,
        "status": _status(config.model, diverged, metrics),
        "metrics": metrics,
        "per_image": per_image,
        "history": _logged(run.history, config.logged_steps),
        "environment": environment(),
        "seconds": run.seconds,
    }


def _status(model: str, diverged: bool, metrics: dict[str, float]) -> str:
    """Judge a run by how it ranks pixels: Dice at 0.5 would only judge its threshold."""
    if diverged:
        return "diverged"
    chance, precision = metrics["foreground_fraction_test"], metrics["average_precision"]
    # A tenth of the way from chance (the foreground fraction) to a perfect ranking. A model that
    # sees no pixels cannot rank them, so it cannot collapse.
    collapsed = MODELS[model].sees_pixels and precision < chance + 0.1 * (1 - chance)
    return "collapsed" if collapsed else "finished"


def _logged(history: History, count: int) -> list[dict[str, float]]:
    """Keep the first step, the last, and steps evenly between them."""
    steps = len(history["loss"])
    kept = np.unique(np.linspace(0, steps - 1, min(count, steps)).round().astype(int))
    return [
        {"step": int(step), **{name: float(values[step]) for name, values in history.items()}}
        for step in kept
    ]


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
