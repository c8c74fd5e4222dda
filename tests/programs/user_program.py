"""A user's training step with every kind of public name, to be type-checked in strict mode."""

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
import numpy.typing as npt

import dice_jax as dj
from dice_jax import analysis, metrics

# NumPy where arrays are made: the types of jax.numpy.zeros are partly unknown to a checker.
Floats = npt.NDArray[np.float32]
Batch = tuple[Floats, npt.NDArray[np.int32]]


def sums_of(params: dict[str, Floats], batch: Batch) -> dj.RegionSums:
    images, labels = batch
    logits = images @ params["w"] + params["b"]
    return dj.softmax_region_sums(logits, labels, where=labels != 255)


def loss_of(sums: dj.RegionSums) -> jax.Array:
    dice: jax.Array = dj.dice_loss(sums, smooth=1e-5)[..., 1:].mean()
    tversky = partial(dj.tversky_loss, alpha=0.3, beta=0.7)
    weights = np.array([0.5, 1.0], np.float32)
    return dice + tversky(sums).mean() + dj.cross_entropy_loss(sums, weights=weights)


def evaluate(predicted: jax.Array, mask: jax.Array) -> tuple[jax.Array, metrics.Scores]:
    hard = dj.region_sums(predicted > 0.5, mask, axis=(1, 2))
    assert hard.shape == hard.count.shape
    return dj.dice_index(hard + hard), metrics.recall(hard[0])


def watch(logits: jax.Array, mask: jax.Array) -> dict[str, float]:
    report: analysis.GradientReport = analysis.gradient_monitor(
        {"dice": dj.dice_loss}, logits, mask
    )
    if analysis.Alarm(int(report.reason)) & analysis.Alarm.EMPTY_TARGET:
        return {}
    return analysis.monitor_metrics(report)


def pieces() -> Iterator[Batch]:
    yield np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 8, 8), np.int32)


def main() -> None:
    params = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.float32)}
    accumulated = dj.accumulated_value_and_grad(sums_of, loss_of)
    images, labels = next(pieces())
    loss, gradients = accumulated(params, (images[None], labels[None]))
    streamed = dj.streamed_value_and_grad(sums_of, loss_of)
    same, _ = streamed(params, pieces)
    print(float(loss), float(same), gradients["w"].shape)


if __name__ == "__main__":
    main()
