"""One study over several folders of real images: its file, its faults, and the joined table."""

from __future__ import annotations

import os
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.api import run
from experiments.config import StudyConfig
from experiments.errors import ConfigError, did_you_mean
from experiments.files import write_whole
from experiments.presets import study_configs
from experiments.runs.directory import check_directory, earlier_configs
from experiments.runs.progress import Progress, for_this_terminal

__all__ = ["compare_sets", "read_sets", "verdicts"]

_FIELDS = typing.get_type_hints(StudyConfig)
# Fields that name files: relative to the file of the sets.
_PATHS = ("data", "split_file")


def compare_sets(
    file: Path,
    out: Path,
    *,
    preset: str = "real",
    progress: Callable[[], Progress] = for_this_terminal,
    checkpoint_seconds: float = 30.0,
    **settings: Any,
) -> pd.DataFrame:
    """Run one study for each set of images, and join what they found.

    Finished runs stay: the same call trains only what is missing. The joined table,
    ``out/contrasts.csv``, is written after every set.

    Args:
        file: names the sets; see `read_sets`.
        out: the directory. Each set has its study in ``out`` and the set's name.
        preset: a name in `presets.PRESETS`.
        progress: makes what shows the progress of one set.
        checkpoint_seconds: between two checkpoints of a training.
        **settings: fields of `config.StudyConfig` for all sets; they replace those of the file.

    Returns:
        The rows of all sets' ``contrasts.csv``, with the set's name in ``data``.

    Raises:
        ConfigError: with all faults of the file, before anything is trained.
    """
    sets = read_sets(file, out, preset=preset, **settings)
    tables: list[pd.DataFrame] = []
    for name, configs in sets.items():
        shown = progress()
        shown.note(f"set {name}")
        run(configs, out / name, shown, checkpoint_seconds=checkpoint_seconds)
        found = out / name / "contrasts.csv"
        if found.exists():
            tables.append(pd.read_csv(found).assign(data=name))
            joined = pd.concat(tables, ignore_index=True)
            write_whole(out / "contrasts.csv", joined.to_csv(index=False, float_format="%.6g"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def read_sets(
    file: Path, out: Path, *, preset: str = "real", **settings: Any
) -> dict[str, tuple[StudyConfig, ...]]:
    """Read a TOML file with a table for every set of images.

    A table's name is the set's. Its fields are those of `config.StudyConfig`; ``data`` (a folder)
    and ``split_file`` are relative to the file.

    Args:
        file: the TOML file.
        out: the directory of the studies, which may hold a part of them.
        preset: a name in `presets.PRESETS`.
        **settings: fields for all sets; they replace those of the file.

    Returns:
        The study of every set, by name.

    Raises:
        ConfigError: with all faults of all sets in one message.
    """
    try:
        tables = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}") from None
    if not tables:
        raise ConfigError(f"{file} names no set: write [NAME] and below it data = 'FOLDER'")
    found: dict[str, tuple[StudyConfig, ...]] = {}
    faults: list[str] = []
    for name, table in tables.items():
        wrong = _faults(name, table, file.parent)
        if not wrong:
            fields = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
            fields |= {k: str(file.parent / table[k]) for k in _PATHS if k in table}
            try:
                earlier = earlier_configs(out / name)
                found[name] = study_configs(preset, **{**fields, **settings}, earlier=earlier)
                check_directory(out / name, found[name])
            except ConfigError as error:
                wrong = [str(error)]
        faults += ["- " + textwrap.indent(f"{name}: {fault}", "  ")[2:] for fault in wrong]
    if faults:
        message = "\n".join([f"{file} cannot be used as it is:", *faults])
        if "write --" in message:
            message += "\nIn the file, the option --mask-threshold 127 is mask_threshold = 127."
        raise ConfigError(message)
    return found


def _faults(name: str, table: Any, beside: Path) -> list[str]:
    """List what is wrong with a table, as far as it shows without reading images."""
    if not isinstance(table, dict):
        return [
            "it stands outside a table: write it below the [NAME] of a set, or as an option of the "
            "command"
        ]
    found = []
    if not re.fullmatch(r"\w[\w.-]*", name):
        found.append("a set's name is that of its folder: write letters, digits, _, - and .")
    for field, value in table.items():
        if field not in _FIELDS:
            found.append(f"unknown field {field!r}{did_you_mean(field, _FIELDS)}")
        elif not _fits(value, _FIELDS[field]):
            found.append(f"{field} must be {_kind(_FIELDS[field])}, got {value!r}")
    if "data" not in table:
        found.append("there is no data: write data = 'FOLDER', relative to this file")
    for field in _PATHS:
        path = table.get(field)
        if isinstance(path, str) and not (beside / path).exists():
            there = beside / path
            near = os.listdir(there.parent) if there.parent.is_dir() else []
            found.append(f"{field}: there is no {there}{did_you_mean(there.name, near)}")
    return found


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        of = typing.get_args(kind)[0]
        return isinstance(value, list) and all(_fits(x, of) for x in value)
    # TOML writes 127 for 127.0; in Python, true is a whole number.
    return isinstance(value, (int, float) if kind is float else kind) and (
        kind is bool or not isinstance(value, bool)
    )


def _kind(kind: Any) -> str:
    """Name a type as TOML has it."""
    if isinstance(kind, types.UnionType):
        return _kind(typing.get_args(kind)[0])
    if typing.get_origin(kind) is tuple:
        return f"a list, each {_kind(typing.get_args(kind)[0])}"
    names = {str: "a text in quotes", int: "a whole number", float: "a number"}
    return names.get(kind, "true or false")


def verdicts(table: pd.DataFrame) -> str:
    """Write the verdicts of all sets, at the primary thresholds, as a table for a terminal."""
    rows: list[dict[str, object]] = []
    for name, of_set in table.groupby("data", sort=False):
        # A set's primary thresholds come first in its table.
        primary = tuple(of_set.iloc[0][["threshold", "baseline_threshold"]])
        for row in of_set.to_dict("records"):
            if (row["threshold"], row["baseline_threshold"]) == primary:
                low, high = row["over_images_ci_low"], row["over_images_ci_high"]
                rows.append(
                    {
                        "set": name,
                        "model": row["model"],
                        "foreground": f"{row['foreground_fraction']:.2%}",
                        "loss": f"{row['loss']} ({row['threshold']})",
                        "minus": f"{row['baseline']} ({row['baseline_threshold']})",
                        # Without a pair of which both runs learnt, there is no number.
                        "Dice": f"{row['difference']:+.3f}".replace("+nan", "none"),
                        "95 % interval": f"{low:+.3f} to {high:+.3f}" if low == low else "none",
                        "pairs": row["difference_runs"],
                        "left out": row["lost"],
                        "verdict": row["verdict"],
                    }
                )
    return pd.DataFrame(rows).to_string(index=False)
