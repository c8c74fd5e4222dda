"""Stream a slide of 2^30 pixels from a memory-mapped file and print the peak memory.

Run: python -m benchmarks.stream_slide [--log2-pixels 30] [--tile 2048]
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dice_jax as dj


def write_slide(path: Path, rows: int, columns: int, tile: int) -> None:
    """Write image and labels, 8 bits each, tile row by tile row; objects are rare and uneven."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for top in range(0, rows, tile):
            height = min(tile, rows - top)
            # Foreground only in a band of the slide: tiles differ as they do in pathology.
            fraction = 0.2 if 0.4 < top / rows < 0.5 else 0.002
            for _ in range(height):
                labels = rng.random(columns, dtype=np.float32) < fraction
                noise = rng.integers(0, 96, columns, dtype=np.uint8)
                file.write((labels.astype(np.uint8) * 64 + noise).tobytes())
                file.write(labels.tobytes())


def tiles(path: Path, rows: int, columns: int, tile: int) -> Iterator[tuple[Any, ...]]:
    """Read tiles from the memory-mapped file; those at the edge are padded."""
    for top in range(0, rows, tile):
        for left in range(0, columns, tile):
            # A new map for every tile: otherwise pages read before would count as our memory.
            slide = np.memmap(path, np.uint8, "r", shape=(rows, 2, columns))
            cut = slide[top : top + tile, :, left : left + tile]
            (image, labels), where = dj.pad_piece((cut[:, 0], cut[:, 1]), (tile, tile))
            yield image, labels, where


def sums_fn(params: Any, piece: Any) -> dj.RegionSums:
    """Filter the tile and sum. The model is small, since only reading and sums are measured."""
    image, labels, where = piece
    x = image.astype(jnp.float32)[None, :, :, None] / 255
    x = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return dj.sigmoid_region_sums(x[0, ..., 0] + params["bias"], labels, where=where)


def loss_fn(sums: dj.RegionSums) -> jax.Array:
    """Dice loss of the whole slide."""
    return dj.dice_loss(sums, smooth=1e-5)


def peak() -> float:
    """Return the largest memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Stream once over a tile to compile, then over the whole slide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log2-pixels", type=int, default=30)
    parser.add_argument("--tile", type=int, default=2048)
    options = parser.parse_args()
    rows = 2 ** (options.log2_pixels // 2)
    columns = 2**options.log2_pixels // rows
    tile = options.tile
    params = {"kernel": jnp.full((3, 3, 1, 1), 2.0), "bias": jnp.float32(-4)}
    value_and_grad = dj.streamed_value_and_grad(sums_fn, loss_fn)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.raw"
        write_slide(path, rows, columns, tile)
        print(f"slide: {rows} × {columns} pixels, {path.stat().st_size / 2**20:.0f} MiB on disk")
        before = peak()
        value_and_grad(params, lambda: itertools.islice(tiles(path, rows, columns, tile), 3))
        few = peak()
        begin = time.perf_counter()
        loss, gradients = value_and_grad(params, lambda: tiles(path, rows, columns, tile))
        seconds = time.perf_counter() - begin
    print(f"peak before any tile: {before:.0f} MiB")
    print(f"peak after 3 tiles of {tile}²: {few:.0f} MiB")
    print(f"peak after the whole slide: {peak():.0f} MiB")
    whole = rows * columns * 4 / 2**20
    print(f"for comparison, its logits alone in float32: {whole:.0f} MiB")
    print(f"loss {float(loss):.6f}, gradient of the bias {float(gradients['bias']):.3e}")
    print(f"{seconds:.0f} s, {rows * columns / seconds / 1e6:.0f} million pixels a second")


if __name__ == "__main__":
    main()
