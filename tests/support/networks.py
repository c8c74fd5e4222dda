"""A small Flax NNX U-Net and a batch with uneven foreground, shared by the tests of scale."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dice_jax as dj

CLASSES = 3


class Block(nnx.Module):
    def __init__(self, features_in, features_out, *, rngs):
        self.convolve = nnx.Conv(features_in, features_out, (3, 3), rngs=rngs)
        self.norm = nnx.GroupNorm(features_out, num_groups=2, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.convolve(x)))


class UNet(nnx.Module):
    """One level down and up again, a skip connection, and a head without a ReLU before it."""

    def __init__(self, *, width=4, classes=CLASSES, rngs):
        self.down = Block(1, width, rngs=rngs)
        self.middle = Block(width, 2 * width, rngs=rngs)
        self.up = nnx.Conv(3 * width, width, (3, 3), rngs=rngs)
        self.head = nnx.Conv(width, classes, (1, 1), rngs=rngs)

    def __call__(self, image):
        skip = self.down(image)
        low = self.middle((skip[:, ::2] + skip[:, 1::2])[:, :, ::2])
        high = jnp.repeat(jnp.repeat(low, 2, axis=1), 2, axis=2)
        return self.head(self.up(jnp.concatenate([high, skip], axis=-1)))


@functools.cache
def unet():
    """Give the U-Net's graph definition and its parameters in float32."""
    # Its own initialisation would compile some dozen programs, in every process of the tests.
    graph, shapes = nnx.split(nnx.eval_shape(lambda: UNet(rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if "kernel" in jax.tree_util.keystr(path):
            fan_in = np.prod(leaf.shape[:-1])
            return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(fan_in), leaf.dtype)
        return jnp.full(leaf.shape, "scale" in jax.tree_util.keystr(path), leaf.dtype)

    return graph, jax.tree_util.tree_map_with_path(draw, shapes)


def batch(images=16, size=16, dtype=np.float32):
    """Make images and labels; the foreground fraction rises from image to image."""
    rng = np.random.default_rng(0)
    fraction = np.linspace(0.01, 0.7, images)[:, None, None]
    labels = (rng.uniform(size=(images, size, size)) < fraction).astype(np.int32)
    labels *= rng.integers(1, CLASSES, labels.shape)
    image = labels[..., None] + rng.normal(size=(images, size, size, 1))
    return image.astype(dtype), labels.astype(np.int32)


def unet_sums(params, piece):
    """Compute the sums of one piece of the batch."""
    graph, _ = unet()
    image, labels = piece
    # Flax mixes float32 and float64 in its normalisation.
    with jax.numpy_dtype_promotion("standard"):
        logits = nnx.merge(graph, params)(image)
    return dj.softmax_region_sums(logits, labels)


def unet_loss(sums):
    """Dice over the foreground classes and some cross-entropy: a ratio, and a mean."""
    return dj.dice_loss(sums, smooth=1e-5)[..., 1:].mean() + 0.1 * dj.cross_entropy_loss(sums)


def whole_loss(params, piece):
    """The loss of everything in one piece: what all the others must equal."""
    return unet_loss(unet_sums(params, piece))


def in_microbatches(tree, microbatches):
    return jax.tree.map(lambda x: x.reshape(microbatches, -1, *x.shape[1:]), tree)


def relative_error(tree, reference):
    """The largest difference of two pytrees, over the largest entry of the reference."""
    new, old = (
        np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(t)])
        for t in (tree, reference)
    )
    return float(np.abs(new - old).max() / np.abs(old).max())
