"""The command line: ``python -m experiments compare`` and ``python -m experiments report DIR``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro


def compare(
    *,
    preset: str = "quick",
    out: Path | None = None,
    losses: tuple[str, ...] | None = None,
    model: str | None = None,
    fractions: tuple[float, ...] | None = None,
    seeds: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rates: tuple[float, ...] | None = None,
    image_size: int | None = None,
    objects: int | None = None,
    train_images: int | None = None,
    validation_images: int | None = None,
    test_images: int | None = None,
) -> None:
    """Train every loss at every foreground fraction and seed, and write a report.

    Finished runs are kept: the same command again trains only what is missing.

    Args:
        preset: quick (minutes on a laptop) or standard (about two hours on two cores). Every
            option below changes one of its settings.
        out: the study's directory (default: runs/ and the preset's name).
        losses: bce, balanced_bce, focal, dice, squared_dice, jaccard, tversky, focal_tversky,
            generalized_dice, log_dice, log_cosh_dice, and sums such as dice+bce.
        model: bias, linear or unet (default: quick runs the unet alone, other presets all three;
            every option then changes all of them).
        fractions: shares of foreground pixels, between 0 and 1.
        seeds: how many; arms are paired by seed.
        steps: optimiser steps of a run.
        batch_size: images of a step.
        learning_rates: Adam's; of several, every loss and fraction gets its best on validation
            images of a seed of its own.
        image_size: height and width in pixels.
        objects: ellipses in an image.
        train_images: images to learn from.
        validation_images: images to tune the threshold on.
        test_images: images to report on.
    """
    from experiments.api import run
    from experiments.plan import tiers
    from experiments.progress import for_this_terminal

    asked = tiers(
        preset,
        model,
        losses=losses,
        fractions=fractions,
        seeds=seeds,
        steps=steps,
        batch_size=batch_size,
        learning_rates=learning_rates,
        image_size=image_size,
        objects=objects,
        train_images=train_images,
        validation_images=validation_images,
        test_images=test_images,
    )
    directory = Path("runs") / preset if out is None else out
    trained = run(asked, directory, for_this_terminal())
    words = f"{trained} runs trained" if trained else "everything was there: no training"
    print(f"{words}; the report is {directory / 'report.html'}")


def report(directory: Annotated[Path, tyro.conf.Positional], /) -> None:
    """Rebuild the summary, the figures and the report of a study's directory.

    Args:
        directory: the study's.
    """
    from experiments.report import write_report

    write_report(directory)
    print(f"the report is {directory / 'report.html'}")


def main() -> int:
    """Run a command; mistakes are one line on stderr and exit code 2.

    Returns:
        The exit code.
    """
    # Imported late: `--help` need not wait for JAX.
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"compare": compare, "report": report},
            prog="python -m experiments",
            description="Dice against cross-entropy on imbalanced masks: train, evaluate, report.",
        )
    except ValueError as error:
        from experiments.config import ConfigError

        if not isinstance(error, ConfigError):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; finished runs are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
