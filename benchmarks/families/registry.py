"""All families of rows, in the order of the table. A new family needs a line here."""

from __future__ import annotations

from benchmarks.families.accumulation import ACCUMULATION
from benchmarks.families.compilation import COMPILATION
from benchmarks.families.compiled import GPU_COMPILED, TPU_COMPILED
from benchmarks.families.distances import DISTANCES
from benchmarks.families.gpu import GPU
from benchmarks.families.half import HALF
from benchmarks.families.head import HEAD, HEAD_COMPILED
from benchmarks.families.linearity import LINEARITY
from benchmarks.families.monitor import MONITOR
from benchmarks.families.pixels import SIGMOID, SOFTMAX
from benchmarks.families.ranking import RANKING
from benchmarks.families.tiling import TILING
from benchmarks.families.tpu import TPU_RUN
from benchmarks.families.two_devices import TWO_DEVICES
from benchmarks.families.unet_step import UNET_STEP
from benchmarks.harness.case import Family

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
    HEAD,
    HEAD_COMPILED,
    GPU,
    TPU_RUN,
    LINEARITY,
    COMPILATION,
    MONITOR,
    TILING,
    TPU_COMPILED,
    GPU_COMPILED,
)
