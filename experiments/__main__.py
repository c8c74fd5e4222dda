"""The command line: ``python -m experiments compare``, ``report``, ``margin`` and others."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, TypedDict

import tyro

from experiments.analysis.model_runs import read_models
from experiments.analysis.planning import planned_margins
from experiments.api import run
from experiments.config import DATA_MEASURED, StudyConfig
from experiments.errors import ConfigError
from experiments.presets import MEASURED, study_configs
from experiments.reporting.example_page import write_examples
from experiments.reporting.writer import write_report
from experiments.runs.directory import earlier_configs
from experiments.runs.distributed import Alone, all_or_none, join
from experiments.runs.launcher import launch_processes
from experiments.runs.progress import Progress, for_this_terminal
from experiments.sets import compare_sets, verdicts


def _hint(default: str) -> Any:
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})")


def _settings(preset: str = "quick", left_out: tuple[str, ...] = ()) -> type:
    """Make the options of a study from `StudyConfig`, with the defaults of the preset asked for."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?", default=preset)
    parser.add_argument("--model", nargs="?")
    asked, _ = parser.parse_known_args(sys.argv[1:])
    try:
        configs = study_configs(asked.preset, asked.model)
    except ConfigError:
        # The command says what is wrong with the preset or the model.
        configs = (StudyConfig(),)
    options = {}
    for name, kind in typing.get_type_hints(StudyConfig).items():
        if name not in ("model", *DATA_MEASURED, *left_out):
            # Of "str | None", the command line takes the string.
            kind = typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
            options[name] = Annotated[kind, _hint(_default(configs, name))]
    # An option that is not given is not in the dictionary: each model keeps its preset's value.
    # (A type checker wants the fields written out; here they are those of `StudyConfig`.)
    settings: Any = TypedDict("settings", options, total=False)  # pyright: ignore[reportArgumentType]
    settings.__doc__ = StudyConfig.__doc__
    return settings


def _settings_of_sets() -> type:
    """Make the same for several sets of images: each has its own folder."""
    return _settings("real", ("data", *MEASURED))


def _default(configs: tuple[StudyConfig, ...], name: str) -> str:
    values = {config.model: _written(getattr(config, name)) for config in configs}
    if len(set(values.values())) == 1:
        return values[configs[0].model]
    return "; ".join(f"{model} {value}" for model, value in values.items())


def _written(value: Any) -> str:
    if value is None:
        return "not set"
    values = value if isinstance(value, tuple) else (value,)
    return " ".join(f"{x:g}" if isinstance(x, float) else str(x).lower() for x in values)


@dataclasses.dataclass(frozen=True)
class Several:
    """Several devices or processes that share every batch.

    Args:
        distributed: divide every batch among all devices of all processes; process 0 alone writes.
            The same command runs once per process; on one machine, launch starts them. With
            --processes 1, the devices are those of this process.
        coordinator: HOST:PORT of process 0.
        processes: how many processes there are.
        process_id: which one this is, from 0.
        patience: seconds without a sign of life after which a process counts as gone.
    """

    distributed: bool = False
    coordinator: Annotated[str | None, _hint("the cluster's")] = None
    processes: Annotated[int | None, _hint("the cluster's")] = None
    process_id: Annotated[int | None, _hint("the cluster's")] = None
    patience: int = 60


def compare(
    *,
    preset: str = "quick",
    out: Annotated[Path | None, _hint("runs/ and the preset's name")] = None,
    model: Annotated[str | None, _hint("quick: unet; other presets: all three")] = None,
    settings: Annotated[dict[str, Any], tyro.conf.arg(name="", constructor_factory=_settings)],
    several: Annotated[Several, tyro.conf.arg(name="")],
    checkpoint_seconds: float = 30.0,
) -> None:
    """Train every loss at every foreground fraction and seed, and write a report.

    The same command again trains only what is missing: finished runs stay, and an interrupted run
    resumes from its last checkpoint.

    For example, three losses at two fractions, and one model of a preset:

      python -m experiments compare --losses bce dice dice+bce --fractions 0.05 0.01

      python -m experiments compare --preset standard --model linear --out runs/linear

    Args:
        preset: quick (minutes on a laptop), standard (about two hours on two cores) or full (for
            a GPU or TPU). The defaults below are those of the preset asked for.
        out: the study's directory.
        model: bias, linear or unet. Without it, an option changes all models of the preset.
        settings: what the study is.
        several: devices and processes.
        checkpoint_seconds: seconds between two checkpoints of a run.
    """
    where = (several.coordinator, several.processes, several.process_id)
    if not several.distributed and where != (None, None, None):
        raise ConfigError("--coordinator, --processes and --process-id go with --distributed")
    if checkpoint_seconds < 0:
        raise ConfigError(f"checkpoint_seconds must be at least 0, got {checkpoint_seconds:g}")
    directory = Path("runs") / preset if out is None else out
    configs = study_configs(preset, model, earlier=earlier_configs(directory), **settings)
    processes = join(*where, several.patience) if several.distributed else Alone()
    with contextlib.nullcontext() if isinstance(processes, Alone) else all_or_none():
        trained = run(
            configs,
            directory,
            for_this_terminal() if processes.writes else Progress(),
            processes=processes,
            cut_batches=several.distributed,
            checkpoint_seconds=checkpoint_seconds,
        )
    if processes.writes:
        words = f"{trained} runs trained" if trained else "all runs were finished: no training"
        print(f"{words}; the report is {directory / 'report.html'}")


def real(
    sets: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    out: Path = Path("runs/real"),
    preset: str = "real",
    model: Annotated[str | None, _hint("those of the preset")] = None,
    settings: Annotated[
        dict[str, Any], tyro.conf.arg(name="", constructor_factory=_settings_of_sets)
    ],
    checkpoint_seconds: float = 30.0,
) -> None:
    """Run one study over several folders of images, and join what they found.

    A TOML file has a table for every set of images, with its folder and its options:

      [vessels]
      data = "CHASEDB1"
      images = "{id}.jpg"
      masks = "{id}_1stHO.png"

    The same command again trains only what is missing.

    Args:
        sets: the file. A table's name is the set's, and its fields are the options below, with _
            for -. The field data is the folder, relative to the file.
        out: each set has its study in a directory of its name in here; contrasts.csv is of all.
        preset: real (three losses and 10 seeds), or another one of compare.
        model: bias, linear or unet.
        settings: for all sets; they replace those of the file.
        checkpoint_seconds: seconds between two checkpoints of a run.
    """
    if model is not None:
        settings["model"] = model
    table = compare_sets(
        sets, out, preset=preset, checkpoint_seconds=checkpoint_seconds, **settings
    )
    if len(table):
        print(f"{verdicts(table)}\nall contrasts are in {out / 'contrasts.csv'}")
    else:
        print(f"no set has two losses to compare; the reports are in {out}")


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
        objects: objects in an image.
        image_size: height and width in pixels.
        data: a directory with images/ and masks/, whose images are shown instead.
    """
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
    write_report(directory)
    print(f"the report is {directory / 'report.html'}")


def margin(directory: Annotated[Path, tyro.conf.Positional], /, seeds: int = 20) -> None:
    """Say how small a margin of equivalence a study can show, from the spread of a pilot.

    For every contrast: the standard deviation of the paired differences, and the margin within
    which two equal losses are found equivalent in 80 % of the studies.

    Args:
        directory: the pilot's.
        seeds: of the study that is planned.
    """
    if seeds < 2:
        raise ConfigError(f"seeds must be at least 2, got {seeds}")
    table = planned_margins(read_models(directory), seeds)
    if table.empty:
        raise ConfigError(f"{directory} has no two losses with two paired seeds: train a pilot")
    print(table.to_string(index=False, float_format="{:.4f}".format))


def main() -> int:
    """Run a command. A user's mistake is one line on stderr and exit code 2."""
    own, rest = sys.argv[1:], []
    if own[:1] == ["launch"] and "compare" in own:
        # What `launch` runs is not its own to parse.
        at = own.index("compare")
        own, rest = own[:at], own[at:]

    def launch(*, processes: int = 2, patience: int = 60) -> int:
        """Run a compare command as several processes of this machine: launch compare ….

        Args:
            processes: how many. Every batch is divided among all of their devices.
            patience: seconds without a sign of life after which a process counts as gone.
        """
        return launch_processes(processes, rest, patience)

    try:
        code = tyro.extras.subcommand_cli_from_dict(
            {
                "compare": compare,
                "real": real,
                "launch": launch,
                "report": report,
                "margin": margin,
                "examples": examples,
            },
            args=own,
            prog="python -m experiments",
            description="Dice against cross-entropy on imbalanced masks: train, evaluate, report.",
        )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(
            f"error: {error.strerror or error}{where}; finished runs stay, and the same command "
            "continues with the others",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 130
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
