"""The rows of the exact distance transform and of HD95, beside SciPy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

import dice_jax as dj
from benchmarks.contenders.jax_programs import figures
from benchmarks.harness.case import Builder, Case, Contender, Family, Settings

__all__ = ["DISTANCES", "distance_case", "hausdorff_case"]

Maker = Callable[[tuple[int, ...]], np.ndarray]


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32) < 0.98


def _sparse(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.ones(shape, bool)
    places = np.random.default_rng(0).integers(0, mask.size, 20)
    mask.reshape(-1)[places] = False
    return mask


def _single(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.ones(shape, bool)
    mask[tuple(n // 3 for n in shape)] = False
    return mask


def _ball(shape: tuple[int, ...]) -> np.ndarray:
    away = [(np.arange(n) - n / 2) ** 2 for n in shape]
    distance = sum(np.ix_(*away), start=np.zeros(shape))
    return distance > (min(shape) / 3) ** 2


# A transform's time depends on how far the pixels are from the nearest False one.
_MASKS: dict[str, tuple[str, Maker]] = {
    "noise": ("2 % of the pixels False", _noise),
    "ball": ("a ball of False", _ball),
    "sparse": ("20 pixels False", _sparse),
    "single": ("one pixel False", _single),
}


def distance_case(name: str, words: str, make: Maker, shape: tuple[int, ...]) -> Case:
    """Put the two transforms of one mask side by side, checked against each other.

    Args:
        name: of the row.
        words: what the mask is.
        make: makes the mask.
        shape: of the mask.

    Returns:
        The row.
    """

    def ours() -> Contender:
        mask = jnp.asarray(make(shape))
        compiled = jax.jit(dj.distance_transform).lower(mask).compile()

        def result() -> tuple[float, np.ndarray]:
            distances = np.asarray(compiled(mask))
            return float(distances.mean(dtype=np.float64)), distances

        return Contender(
            call=lambda: jax.block_until_ready(compiled(mask)),
            result=result,
            figures=figures(compiled),
        )

    def theirs() -> Contender:
        mask = make(shape)

        def result() -> tuple[float, np.ndarray]:
            distances = np.asarray(ndimage.distance_transform_edt(mask))
            return float(distances.mean()), distances

        return Contender(
            call=lambda: ndimage.distance_transform_edt(mask),
            result=result,
            notes=("scipy: distance_transform_edt, float64, one thread",),
        )

    size = "×".join(map(str, shape))
    builders: dict[str, Builder] = {"dice_jax": ours, "scipy": theirs}
    return Case(name=name, work=f"distance transform, {size}, {words}", builders=builders)


def hausdorff_case(shape: tuple[int, ...]) -> Case:
    """Put HD95 of two balls beside the usual few lines of SciPy.

    Args:
        shape: of the masks.

    Returns:
        The row.
    """

    def masks() -> tuple[np.ndarray, np.ndarray]:
        ball = ~_ball(shape)
        return ball, np.roll(ball, 3, 0)

    def ours() -> Contender:
        first, second = masks()

        def call() -> float:
            return float(dj.metrics.hausdorff_distance(first, second))

        return Contender(call=call, result=lambda: (call(), np.zeros(())))

    def theirs() -> Contender:
        pair = masks()

        def call() -> float:
            edges = [mask > ndimage.binary_erosion(mask) for mask in pair]
            to = [
                np.asarray(ndimage.distance_transform_edt(np.logical_not(edge))) for edge in edges
            ]
            return max(float(np.percentile(to[1 - k][edges[k]], 95)) for k in (0, 1))

        return Contender(
            call=call,
            result=lambda: (float(call()), np.zeros(())),
            notes=("scipy: binary_erosion, distance_transform_edt, one thread",),
        )

    size = "×".join(map(str, shape))
    builders: dict[str, Builder] = {"dice_jax": ours, "scipy": theirs}
    return Case(name=f"hd95-{len(shape)}d", work=f"HD95 of two balls, {size}", builders=builders)


def _cases(settings: Settings) -> Sequence[Case]:
    if settings.quick:
        chosen = {"2d": ((512, 512), ("noise", "single"))}
        volume = (64, 64, 16)
    else:
        # SciPy takes seconds for each volume.
        chosen = {
            "2d": ((1024, 1024), tuple(_MASKS)),
            "3d": ((256, 256, 256), ("noise", "sparse")),
        }
        volume = (256, 256, 64)
    transforms = [
        distance_case(f"{name}-{dimensions}", *_MASKS[name], shape)
        for dimensions, (shape, names) in chosen.items()
        for name in names
    ]
    return [*transforms, hausdorff_case(volume)]


DISTANCES = Family("distances", "Exact distance transforms (no gradient)", _cases)
