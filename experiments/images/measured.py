"""What a folder of images decides about a study: its split, its sizes, its counts, its fraction."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.images.folder import Source, read_folder
from experiments.images.splitting import Splitting, parts_of, split_folder
from experiments.images.tiles import count_of_tiles

__all__ = ["measured"]


def measured(
    source: Source,
    splitting: Splitting,
    tile: int | None = None,
    stored: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Measure the fields of `config.StudyConfig` that a folder of images decides.

    Args:
        source: the folder.
        splitting: how it is split.
        tile: of the training images, in pixels; ``None``: they are taken whole.
        stored: the digest and the split of the study that is to go on.

    Returns:
        The fields by name. Of folds, the counts are those of the smallest.

    Raises:
        ConfigError: if the images do not fit together, or cannot be split as asked.
    """
    folder = read_folder(source)
    sizes = folder.sizes
    split = (
        stored[1]
        if stored is not None and stored[0] == folder.digest
        else split_folder(folder, source.path, splitting, [])
    )
    counts: dict[str, int] = {}
    for fold in range(splitting.folds or 1):
        parts = parts_of(split, folder.names, splitting, fold)
        found = {f"{name}_images": len(rows) for name, rows in parts.items()}
        if tile is not None:
            shapes = [folder.masks[i].shape for i in parts["train"]]
            found["train_images"] = sum(count_of_tiles(shape, tile) for shape in shapes)
        counts = {name: min(n, counts.get(name, n)) for name, n in found.items()}
    height, width = sizes[0] if tile is None else (tile, tile)
    pixels = sum(mask.size for mask in folder.masks)
    fraction = sum(np.count_nonzero(mask) for mask in folder.masks) / pixels
    return {
        # Few digits: the fraction is part of every run's name.
        "fractions": (float(f"{fraction:.4g}"),),
        "image_size": height,
        "image_width": None if width == height else width,
        **counts,
        "data_digest": folder.digest,
        "split": split,
        "class_values": folder.values,
        "channels": 1 if folder.images[0].ndim == 2 else folder.images[0].shape[2],
    }
