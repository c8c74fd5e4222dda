"""The command line: ``python -m experiments compare``, ``launch``, ``report`` and ``examples``."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

# JAX is imported late, in the commands: `--help` need not wait for it.


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a study is, where it differs from its preset.

    Args:
        losses: bce, balanced_bce, focal, dice, squared_dice, jaccard, tversky, focal_tversky,
            generalized_dice, log_dice, log_cosh_dice, and sums such as dice+bce.
        fractions: shares of foreground pixels, between 0 and 1.
        seeds: how many; arms are paired by seed.
        steps: optimiser steps of a run.
        batch_size: images of a step.
        learning_rates: peak rates; of several, every loss and fraction gets its best on validation
            images of a seed of its own.
        optimiser: adam or sgd (momentum 0.9).
        pooling: what a loss's sums run over: batch or sample.
        smooth: s of the overlap losses, in pixels (the article's is 1).
        initial_bias: where outputs start: half (p = ½) or prior (p = the fraction).
        image_size: height and width in pixels.
        image_width: width in pixels, if it is another.
        shape: ellipse, disk, tube, blob, or posterior (the best Dice is exactly known).
        objects: how many there are in an image.
        object_pixels: fixed size of an object: a smaller fraction has fewer, not smaller ones.
        empty_share: share of images without foreground.
        label_noise: random deformation of training labels' boundaries, in pixels.
        annotator_bias: how far training labels' boundaries lie too far out, in pixels.
        reference_dice: Dice of a simple reference segmenter, to which the noise is calibrated.
        train_images: images to learn from.
        validation_images: images to tune the threshold on.
        test_images: images to report on.
        logged_steps: steps of a run that are kept in its history.
        data: a directory of images/ and masks/ (PNG, TIFF, NumPy) instead of synthetic images.
    """

    losses: tuple[str, ...] | None = None
    fractions: tuple[float, ...] | None = None
    seeds: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rates: tuple[float, ...] | None = None
    optimiser: str | None = None
    pooling: str | None = None
    smooth: float | None = None
    initial_bias: str | None = None
    image_size: int | None = None
    image_width: int | None = None
    shape: str | None = None
    objects: int | None = None
    object_pixels: int | None = None
    empty_share: float | None = None
    label_noise: float | None = None
    annotator_bias: float | None = None
    reference_dice: float | None = None
    train_images: int | None = None
    validation_images: int | None = None
    test_images: int | None = None
    logged_steps: int | None = None
    data: str | None = None


@dataclasses.dataclass(frozen=True)
class Several:
    """Several devices or processes that share every batch.

    Args:
        distributed: cut every batch over all devices of all processes; process 0 alone writes.
            The same command runs once per process; on one machine `launch` starts them. With
            `--processes 1`, over the devices of this process.
        coordinator: HOST:PORT of process 0 (default: what the cluster says, if JAX knows it).
        processes: how many there are.
        process_id: which one this is, from 0.
        patience: seconds without a sign of life after which a process counts as gone.
    """

    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None
    patience: int = 60


def compare(
    *,
    preset: str = "quick",
    out: Path | None = None,
    model: str | None = None,
    settings: Annotated[Settings, tyro.conf.arg(name="")],
    several: Annotated[Several, tyro.conf.arg(name="")],
    checkpoint_seconds: float = 30.0,
) -> None:
    """Train every loss at every foreground fraction and seed, and write a report.

    The same command again trains only what is missing: finished runs are kept, and one that was
    interrupted goes on from its last checkpoint.

    Args:
        preset: quick (minutes on a laptop), standard (about two hours on two cores) or full (for
            a GPU or TPU).
        out: the study's directory (default: runs/ and the preset's name).
        model: bias, linear or unet (default: quick runs the unet alone, other presets all three,
            one after another; an option then changes all of them).
        settings: what the study is.
        several: devices and processes.
        checkpoint_seconds: time between two checkpoints of a training.
    """
    from experiments.api import run
    from experiments.errors import ConfigError
    from experiments.runs.distributed import Alone, all_or_none, join
    from experiments.runs.plan import tiers
    from experiments.runs.progress import Silent, for_this_terminal

    where = (several.coordinator, several.processes, several.process_id)
    if not several.distributed and where != (None, None, None):
        raise ConfigError("--coordinator, --processes and --process-id go with --distributed")
    if checkpoint_seconds < 0:
        raise ConfigError(f"checkpoint_seconds must be at least 0, got {checkpoint_seconds:g}")
    asked = tiers(preset, model, **dataclasses.asdict(settings))
    directory = Path("runs") / preset if out is None else out
    processes = join(*where, several.patience) if several.distributed else Alone()
    with contextlib.nullcontext() if isinstance(processes, Alone) else all_or_none():
        trained = run(
            asked,
            directory,
            for_this_terminal() if processes.writes else Silent(),
            processes=processes,
            cut_batches=several.distributed,
            checkpoint_seconds=checkpoint_seconds,
        )
    if processes.writes:
        words = f"{trained} runs trained" if trained else "everything was there: no training"
        print(f"{words}; the report is {directory / 'report.html'}")


def examples(
    *,
    out: Path = Path("runs/examples"),
    shapes: tuple[str, ...] = ("ellipse", "disk", "tube", "blob", "posterior"),
    fractions: tuple[float, ...] = (0.2, 0.05, 0.01, 0.003),
    objects: tuple[int, ...] = (1, 5, 20),
    image_size: int = 64,
    data: Path | None = None,
) -> None:
    """Draw a page of example images of every shape, with the foreground that was achieved.

    Args:
        out: the directory for examples.png and examples.html.
        shapes: ellipse, disk, tube, blob, posterior.
        fractions: shares of foreground pixels, between 0 and 1.
        objects: how many there are in an image.
        image_size: height and width in pixels.
        data: a directory of images/ and masks/, whose images are shown instead.
    """
    from experiments.reporting.examples import write_examples

    write_examples(
        out,
        shapes=shapes,
        fractions=fractions,
        objects=objects,
        image_size=image_size,
        data=data,
        report=print,
    )
    print(f"the page is {out / 'examples.html'}")


def report(directory: Annotated[Path, tyro.conf.Positional], /) -> None:
    """Rebuild the summary, the figures and the report of a study's directory.

    Args:
        directory: the study's.
    """
    from experiments.reporting.report import write_report

    write_report(directory)
    print(f"the report is {directory / 'report.html'}")


def main() -> int:
    """Run a command; mistakes are one line on stderr and exit code 2.

    Returns:
        The exit code.
    """
    own, rest = _cut(sys.argv[1:])

    def launch(*, processes: int = 2, patience: int = 60) -> int:
        """Run a compare command as several processes of this machine: launch compare ….

        Args:
            processes: how many; every batch is cut over all of their devices.
            patience: seconds without a sign of life after which a process counts as gone.
        """
        from experiments.runs.launch import launch

        return launch(processes, rest, patience)

    try:
        code = tyro.extras.subcommand_cli_from_dict(
            {"compare": compare, "launch": launch, "report": report, "examples": examples},
            args=own,
            prog="python -m experiments",
            description="Dice against cross-entropy on imbalanced masks: train, evaluate, report.",
        )
    except ValueError as error:
        from experiments.errors import ConfigError

        if not isinstance(error, ConfigError):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(
            f"error: {error.strerror or error}{where}; finished runs are kept, the same command "
            "goes on with the others",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return code or 0


def _cut(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Cut off the command that `launch` is to run."""
    if arguments[:1] == ["launch"] and "compare" in arguments:
        at = arguments.index("compare")
        return arguments[:at], arguments[at:]
    return arguments, []


if __name__ == "__main__":
    sys.exit(main())
