"""The models of a study: a constant, a linear layer on local features, and a small U-Net."""

from __future__ import annotations

import functools
import math
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.images.masks import gaussian_blur

__all__ = ["MODELS", "STARTS", "Bias", "Linear", "UNet", "graph_of", "initialise", "start_of"]


def _of_outputs(outputs: int) -> tuple[int, ...]:
    return () if outputs == 1 else (outputs,)


class Bias(nnx.Module):
    """One free number: the same logit for every pixel. Every loss's optimum is in closed form."""

    size_divisor: ClassVar[int] = 1
    sees_pixels: ClassVar[bool] = False

    def __init__(
        self, *, generator: np.random.Generator, channels: int = 1, outputs: int = 1
    ) -> None:
        del generator, channels  # Starts at p = ½ for every seed.
        self.bias = nnx.Param(jnp.zeros(_of_outputs(outputs)))

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images [B, H, W] or [B, H, W, C] to logits [B, H, W]."""
        return jnp.broadcast_to(self.bias[...], (*images.shape[:3], *self.bias.shape))

    @property
    def output_bias(self) -> nnx.Param[jax.Array]:
        """The bias that is added to all logits."""
        return self.bias


class Linear(nnx.Module):
    """A logistic regression on each pixel's intensity and on two blurred copies of it."""

    size_divisor: ClassVar[int] = 1
    sees_pixels: ClassVar[bool] = True
    scales: ClassVar[tuple[float, ...]] = (1.0, 2.0)

    def __init__(
        self, *, generator: np.random.Generator, channels: int = 1, outputs: int = 1
    ) -> None:
        del generator  # Starts with all weights 0, p = ½, for every seed.
        features = (1 + len(self.scales)) * channels
        self.weights = nnx.Param(jnp.zeros((features, *_of_outputs(outputs))))
        self.bias = nnx.Param(jnp.zeros(_of_outputs(outputs)))

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images [B, H, W] or [B, H, W, C] to logits [B, H, W]."""
        planes = [images] if images.ndim == 3 else list(jnp.moveaxis(images, -1, 0))
        features = [
            *planes,
            *(gaussian_blur(plane, scale) for scale in self.scales for plane in planes),
        ]
        return jnp.stack(features, axis=-1) @ self.weights[...] + self.bias[...]

    @property
    def output_bias(self) -> nnx.Param[jax.Array]:
        """The bias that is added to all logits."""
        return self.bias


def _conv(inputs: int, outputs: int, generator: np.random.Generator, size: int = 3) -> nnx.Conv:
    # Drawn by NumPy: the same on every platform, and it saves ten compilations at every start.
    shape, deviation = (size, size, inputs, outputs), math.sqrt(2 / (size * size * inputs))
    kernel = generator.normal(0, deviation, shape).astype(np.float32)
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        kernel_init=lambda key, shape, dtype, out_sharding=None: jnp.asarray(kernel, dtype),
        rngs=nnx.Rngs(0),
    )


class _ImageNorm(nnx.Module):
    """Group normalisation with one group: of every image on its own, never of the batch.

    Statistics of the batch would make an image's score depend on the other images. Flax's
    `GroupNorm` computes the same, but a step takes a third longer on a CPU.
    """

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones((channels,)))
        self.shift = nnx.Param(jnp.zeros((channels,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        centred = x - x.mean(axis=(1, 2, 3), keepdims=True)
        variance = (centred**2).mean(axis=(1, 2, 3), keepdims=True)
        return centred * (jax.lax.rsqrt(variance + 1e-6) * self.scale[...]) + self.shift[...]


class _Block(nnx.Module):
    """A 3x3 convolution, a normalisation and a SiLU."""

    def __init__(self, inputs: int, outputs: int, *, generator: np.random.Generator) -> None:
        self.conv = _conv(inputs, outputs, generator)
        self.norm = _ImageNorm(outputs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.silu(self.norm(self.conv(x)))


def _halve(x: jax.Array) -> jax.Array:
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def _double(x: jax.Array) -> jax.Array:
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


class UNet(nnx.Module):
    """A U-Net of three levels with 8, 16 and 32 channels, 27k parameters.

    There is no activation before the 1x1 head. After a ReLU, all features of foreground can be
    zero; p is then at most σ(bias), and BCE would score Dice 0 at threshold ½ for a reason that has
    nothing to do with the loss.
    """

    size_divisor: ClassVar[int] = 4
    sees_pixels: ClassVar[bool] = True

    def __init__(
        self, *, generator: np.random.Generator, channels: int = 1, outputs: int = 1
    ) -> None:
        def block(inputs: int, outputs: int) -> _Block:
            return _Block(inputs, outputs, generator=generator)

        self.down_1, self.down_2, self.down_4 = block(channels, 8), block(8, 16), block(16, 32)
        self.bottom = block(32, 32)
        self.shrink_2, self.up_2 = block(32, 16), block(32, 16)
        self.shrink_1, self.up_1 = block(16, 8), _conv(16, 8, generator)
        self.head = _conv(8, outputs, generator, size=1)
        # A small head: every seed starts at p ≈ ½, where theory's C5 gives the shares.
        self.head.kernel[...] = self.head.kernel[...] * 0.1

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images [B, H, W] or [B, H, W, C] to logits [B, H, W]."""
        full = self.down_1(images[..., None] if images.ndim == 3 else images)
        half = self.down_2(_halve(full))
        quarter = self.bottom(self.down_4(_halve(half)))
        half = self.up_2(jnp.concatenate([_double(self.shrink_2(quarter)), half], axis=-1))
        features = self.up_1(jnp.concatenate([_double(self.shrink_1(half)), full], axis=-1))
        logits = self.head(features)
        return logits[..., 0] if logits.shape[-1] == 1 else logits

    @property
    def output_bias(self) -> nnx.Param[jax.Array]:
        """The bias that is added to all logits."""
        assert self.head.bias is not None
        return self.head.bias


class _Model(Protocol):
    size_divisor: ClassVar[int]
    sees_pixels: ClassVar[bool]

    def __init__(
        self, *, generator: np.random.Generator, channels: int = 1, outputs: int = 1
    ) -> None: ...

    def __call__(self, images: jax.Array) -> jax.Array: ...

    @property
    def output_bias(self) -> nnx.Param[jax.Array]: ...


MODELS: dict[str, type[_Model]] = {"bias": Bias, "linear": Linear, "unet": UNet}


STARTS = ("half", "prior")


def start_of(initial_bias: str, fraction: float) -> float:
    """Return the probability at which a model's output starts.

    "half" is ½; "prior" is π, where BCE's background and foreground gradients weigh the same (C5).
    """
    return {"half": 0.5, "prior": fraction}[initial_bias]


def initialise(
    model: str, seed: int, *, start: float = 0.5, channels: int = 1, outputs: int = 1
) -> tuple[nnx.GraphDef[_Model], nnx.State]:
    """Make a model's structure and its initial parameters.

    Args:
        model: a name in `MODELS`.
        seed: of the initial parameters.
        start: the probability that the output's bias stands for.
        channels: of the images.
        outputs: logits of a pixel: 1, or one for each class, in a further axis.

    Returns:
        The graph definition (hashable, static) and the parameters.
    """
    made = MODELS[model](generator=np.random.default_rng(seed), channels=channels, outputs=outputs)
    if start != 0.5:
        bias = made.output_bias
        bias[...] = jnp.full_like(bias[...], math.log(start / (1 - start)))
    graph, parameters = nnx.split(made)
    return graph, parameters


@functools.cache
def graph_of(model: str, *, channels: int = 1, outputs: int = 1) -> nnx.GraphDef[_Model]:
    """Give the structure that `initialise` returns: it is the same for every seed."""
    return initialise(model, 0, channels=channels, outputs=outputs)[0]
