"""What a user should know of a study of a folder before its first step: its parts and its cost."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence

import numpy as np

from experiments.config import StudyConfig
from experiments.images.folder import Folder, read_folder
from experiments.images.splitting import groups_of, parts_of, split_folder
from experiments.runs.plan import final_runs, step_cost, tuning_runs
from experiments.runs.progress import duration

__all__ = ["notices", "split_table"]

# Measured on two CPU cores: seconds to evaluate a pixel of a test image, and bytes.
_SECONDS_PER_TEST_PIXEL = 2e-6
_BYTES_OF_A_PROCESS = 0.6 * 2**30
# The folder as it was read, scaled, and on the device; a test pixel's scores; and the activations
# of a U-Net.
_BYTES_PER_NUMBER, _BYTES_PER_TEST_PIXEL, _BYTES_PER_BATCH_PIXEL = 16, 80, 3_000


def notices(configs: Sequence[StudyConfig]) -> list[str]:
    """Say what was skipped, how the images were split, and what the study costs.

    Args:
        configs: the study, one `StudyConfig` per model.

    Returns:
        Lines for a person; none for synthetic images.
    """
    config = configs[0]
    if config.data is None:
        return []
    folder = read_folder(config.source)
    warned: list[str] = []
    split_folder(folder, config.source.path, config.splitting, warned)
    warnings = [f"warning: {line}" for line in (*folder.notes, *warned)]
    return [*warnings, _contents(config, folder), _cost(configs, folder)]


def split_table(config: StudyConfig) -> str:
    """Write a folder's split as a CSV file, which --split-file reads where there are no folds."""
    folder = read_folder(config.source)
    groups = groups_of(folder, config.group)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("image", "group", "part" if config.folds is None else "fold"))
    if config.folds is None:
        parts = parts_of(config.split, folder.names, config.splitting)
        part = {int(i): name for name, rows in parts.items() for i in rows}
    else:
        part = dict(enumerate(config.split))
    writer.writerows(
        (name, group, part[i])
        for i, (name, group) in enumerate(zip(folder.names, groups, strict=True))
        if i in part
    )
    return buffer.getvalue()


def _contents(config: StudyConfig, folder: Folder) -> str:
    groups = np.array(groups_of(folder, config.group))
    sizes = folder.sizes
    size = f"{sizes[0][0]}x{sizes[0][1]}" if len(sizes) == 1 else f"{len(sizes)} sizes"
    colour = f", {config.channels} channels" if config.channels > 1 else ""
    fraction = f"{100 * config.fractions[0]:.3g} % foreground"
    parts = parts_of(config.split, folder.names, config.splitting)
    grouped = len(set(groups)) < len(groups)
    shares = ", ".join(
        f"{len(rows)} {name}"
        + (f" of {len(set(groups[rows]))} groups" if grouped else "")
        + (
            f" (as {config.train_images} tiles of {config.tile}x{config.tile})"
            if config.tile and name == "train"
            else ""
        )
        for name, rows in parts.items()
    )
    turns = "" if config.folds is None else f" in fold 0 of {config.folds}"
    left_out = len(folder.names) - sum(map(len, parts.values()))
    rest = f", {left_out} left out" if left_out else ""
    return f"{len(folder.names)} images ({size}{colour}, {fraction}): {shares}{turns}{rest}"


def _cost(configs: Sequence[StudyConfig], folder: Folder) -> str:
    config = configs[0]
    parts = parts_of(config.split, folder.names, config.splitting)
    tested = max(sum(folder.masks[i].size for i in parts[name]) for name in ("validation", "test"))
    seconds = sum(
        (len(tuning_runs(c)) + len(final_runs(c)))
        * (c.trained_steps * step_cost(c) + 2 * tested * _SECONDS_PER_TEST_PIXEL)
        for c in configs
    )
    numbers = sum(image.size for image in folder.images)
    batch = max(c.batch_size for c in configs) * math.prod(config.image_shape)
    memory = (
        _BYTES_OF_A_PROCESS
        + numbers * _BYTES_PER_NUMBER
        + tested * _BYTES_PER_TEST_PIXEL
        + batch * _BYTES_PER_BATCH_PIXEL
    )
    runs = sum(len(tuning_runs(c)) + len(final_runs(c)) for c in configs)
    said = (
        f"estimate for two CPU cores: {duration(seconds)} for {runs} runs, without compiling and "
        f"drawing, and {memory / 2**30:.1f} GiB of memory"
    )
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory > available:
        said += (
            f", but this machine has {available / 2**30:.1f} GiB: write a smaller --tile or "
            "--batch-size, or --images with a pattern that matches fewer files"
        )
    return said
