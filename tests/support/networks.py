"""A small U-Net with its parameters, and a batch with uneven foreground, for the tests of scale."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import dice_jax as dj

CLASSES = 3


@functools.cache
def unet():
    """Give the U-Net's graph definition and its parameters in float32."""
    from tests.support.flax_modules import UNet, nnx

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
    from tests.support.flax_modules import nnx

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
