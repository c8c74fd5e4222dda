"""Every family of rows, in the order of the table: a module with a `Family`, and a line here."""

from __future__ import annotations

from benchmarks.accumulation import ACCUMULATION
from benchmarks.case import Family
from benchmarks.compilation import COMPILATION
from benchmarks.distances import DISTANCES
from benchmarks.gpu import GPU
from benchmarks.half import HALF
from benchmarks.linearity import LINEARITY
from benchmarks.monitor import MONITOR
from benchmarks.pixels import SIGMOID, SOFTMAX
from benchmarks.ranking import RANKING
from benchmarks.tpu import TPU
from benchmarks.two_devices import TWO_DEVICES
from benchmarks.unet_step import UNET_STEP

__all__ = ["FAMILIES"]

FAMILIES: tuple[Family, ...] = (
    SOFTMAX,
    SIGMOID,
    RANKING,
    DISTANCES,
    TWO_DEVICES,
    ACCUMULATION,
    UNET_STEP,
    HALF,
    GPU,
    LINEARITY,
    COMPILATION,
    MONITOR,
    TPU,
)
