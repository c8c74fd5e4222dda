"""The networks of the tests; without Flax, the tests that use one are skipped."""

import jax.numpy as jnp
import pytest

from tests.support import WITHOUT_EXTRA

nnx = pytest.importorskip("flax.nnx", reason=WITHOUT_EXTRA)


class Block(nnx.Module):
    def __init__(self, features_in, features_out, *, rngs):
        self.convolve = nnx.Conv(features_in, features_out, (3, 3), rngs=rngs)
        self.norm = nnx.GroupNorm(features_out, num_groups=2, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.convolve(x)))


class UNet(nnx.Module):
    """One level down and up again, a skip connection, and a head without a ReLU before it."""

    def __init__(self, *, width=4, classes=3, rngs):
        self.down = Block(1, width, rngs=rngs)
        self.middle = Block(width, 2 * width, rngs=rngs)
        self.up = nnx.Conv(3 * width, width, (3, 3), rngs=rngs)
        self.head = nnx.Conv(width, classes, (1, 1), rngs=rngs)

    def __call__(self, image):
        skip = self.down(image)
        low = self.middle((skip[:, ::2] + skip[:, 1::2])[:, :, ::2])
        high = jnp.repeat(jnp.repeat(low, 2, axis=1), 2, axis=2)
        return self.head(self.up(jnp.concatenate([high, skip], axis=-1)))


class Dropping(nnx.Module):
    def __init__(self, *, rngs):
        self.first = nnx.Linear(1, 8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)
        self.last = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x, *, rngs):
        return self.last(self.dropout(nnx.relu(self.first(x)), rngs=rngs))[..., 0]


class Normalising(nnx.Module):
    def __init__(self, *, rngs):
        self.first = nnx.Linear(1, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.last = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x, *, frozen):
        x = self.norm(self.first(x), use_running_average=frozen)
        return self.last(nnx.relu(x))[..., 0]
