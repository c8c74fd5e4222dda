"""The sizes that decide how a pass is cut into tiles (CPU) and blocks (TPU)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import jax

__all__ = ["Config", "replaced", "sizes_in_use"]


@dataclasses.dataclass(frozen=True)
class Config:
    """The sizes, as measured on XLA:CPU and read off programs compiled for a TPU v5e.

    `python -m benchmarks --only tiling/` measures the CPU's sizes again.

    Args:
        fewest_pixels: below it, a loop over tiles costs more than it saves.
        fewest_region_pixels: the same for the pixels of one region.
        tile_elements: pixels times classes of a tile. XLA:CPU runs reductions of 4,096 elements and
            more in another, slower way.
        lanes: pixels that are added up side by side, in vector registers.
        many_classes: from so many classes on, a tile keeps the image's order (classes last). The
            classes alone fill the vector registers there.
        tile_elements_of_many_classes: pixels times classes of such a tile. Its fixed costs weigh
            more, so it is larger.
        lane_elements_of_many_classes: pixels times classes that are added up side by side there.
        classes_of_large_products: from so many classes on, a matrix product of a tile is worth
            several threads.
        tile_pixels_of_products: pixels of a tile with such a product. XLA:CPU spreads the product
            over the cores, but does one tile after the other.
        tile_elements_of_products: pixels times classes (or features) of such a tile, at most.
        most_rows: the longest running sum in float32: 32 additions drift by less than 1e-6 even
            where every rounding has the same sign.
        block_pixels: of a block on a TPU. What XLA stores of so many pixels stays on the chip
            (v5e: 128 MiB).
        kernel_block_bytes: of a block of the TPU's kernel, all arrays together.
        kernel_bytes: what a kernel may take on the chip, by our estimate. XLA lets it take 16 MiB.
        block_elements_of_products: pixels times classes (or features) of a block with a matrix
            product, on any platform: 16 MiB in float32.
    """

    fewest_pixels: int = 4096
    fewest_region_pixels: int = 256
    tile_elements: int = 2048
    lanes: int = 128
    many_classes: int = 48
    tile_elements_of_many_classes: int = 32768
    lane_elements_of_many_classes: int = 128
    classes_of_large_products: int = 8
    tile_pixels_of_products: int = 2048
    tile_elements_of_products: int = 2**18
    most_rows: int = 32
    block_pixels: int = 2**20
    kernel_block_bytes: int = 2**21
    kernel_bytes: int = 13 * 2**20
    block_elements_of_products: int = 2**22


_current = Config()


def sizes_in_use() -> Config:
    """Get the sizes in use."""
    return _current


@contextlib.contextmanager
def replaced(**sizes: int) -> Iterator[Config]:
    """Use other sizes for a while. Compiled programs are forgotten before and after."""
    global _current
    before, _current = _current, dataclasses.replace(_current, **sizes)
    jax.clear_caches()
    try:
        yield _current
    finally:
        _current = before
        jax.clear_caches()
