"""RegionSums per object of an instance map: what blob and per-component losses are made of."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax.sums.operands import inside
from dice_jax.sums.region import RegionSums, region_sums

__all__ = ["instance_region_sums"]

# Pixels that one running sum adds up: a single one over a whole volume drifts in float32.
_PIXELS_A_BLOCK = 256


def instance_region_sums(
    probabilities: ArrayLike,
    targets: ArrayLike,
    instances: ArrayLike,
    *,
    num_instances: int,
    where: ArrayLike | None = None,
) -> RegionSums:
    r"""Sums of probabilities and targets over each object of an instance map.

    Region k (from 1) pools the pixels with ``instances == k``; entry k − 1 of every field is its
    sum. Objects alone cannot see false positives, which lie outside of them all: a network that
    predicts foreground everywhere would be perfect. So use the sums in one of two ways.

    * *Blob loss*: add the background to every object and take any loss of that:
      ``objects + region_sums(p, y, where=instances == 0).broadcast_to(objects.shape)``.
    * *Per-component Dice*: give every pixel to its nearest component (`voronoi_regions`).

    Average a loss over the objects that exist: ``safe_mean(loss, where=objects.count > 0)``, with
    the sums before the background was added. For a batch in which every image counts its own
    objects, use `jax.vmap`.

    Args:
        probabilities: [...], floating in [0, 1], or boolean (a hard mask: for a metric).
        targets: the same shape: boolean, integer 0/1, or floating in [0, 1].
        instances: the same shape, integer: 0 for none, 1 … ``num_instances`` for the objects.
        num_instances: how many objects there can be at most; fixed, so that shapes are.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds (255 in ``instances``, say).

    Returns:
        `RegionSums` with fields [num_instances]; an object that is not in the map has zeros. If any
        number is outside 0 … ``num_instances``, every field is NaN: no object is dropped silently.

    Raises:
        TypeError: if a type is not one of those above.
        ValueError: if the shapes differ, ``num_instances`` is not positive or, where its values are
            known (outside `jax.jit`), ``instances`` goes beyond it.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p = jnp.array([0.75, 0.75, 0.0, 0.0, 0.5])
        >>> instances = jnp.array([1, 1, 0, 2, 0])
        >>> y = instances > 0
        >>> objects = dj.instance_region_sums(p, y, instances, num_instances=3)
        >>> print(objects.intersection, objects.target)
        [1.5 0.  0. ] [2. 1. 0.]
        >>> background = dj.region_sums(p, y, where=instances == 0)
        >>> blobs = objects + background.broadcast_to(objects.shape)
        >>> losses = dj.dice_loss(blobs, smooth=0.0)
        >>> print(losses[:2], dj.safe_mean(losses, where=objects.count > 0))    # one is missed
        [0.25 1.  ] 0.625

    References:
        Kofler et al., blob loss (2022), https://arxiv.org/abs/2205.08209; Jaus et al., Every
        component counts (2024), https://arxiv.org/abs/2410.18684.
    """
    probabilities = checks.as_array("probabilities", probabilities)
    targets = checks.as_array("targets", targets)
    instances = checks.as_array("instances", instances)
    shape = probabilities.shape
    if instances.shape != shape:
        raise ValueError(
            f"instances must have the shape of probabilities {shape}, "
            f"got {checks.describe(instances)}"
        )
    if not checks.is_integer(instances):
        raise TypeError(f"instances must be integers, got {checks.describe(instances)}")
    num_instances = checks.check_count("num_instances", num_instances, least=1)
    mask = checks.check_where(where, shape)
    if not isinstance(instances, Tracer) and not isinstance(mask, Tracer) and instances.size:
        seen = np.asarray(inside(instances, mask))
        if seen.max() > num_instances or seen.min() < 0:
            raise ValueError(
                f"instances must be within 0 … num_instances = {num_instances}, "
                f"got numbers from {seen.min()} to {seen.max()}"
            )
    return _instance_region_sums(
        probabilities, targets, instances, mask, num_instances=int(num_instances)
    )


@partial(jax.jit, static_argnames="num_instances")
def _instance_region_sums(
    probabilities: jax.Array,
    targets: jax.Array,
    instances: jax.Array,
    where: jax.Array | None,
    *,
    num_instances: int,
) -> RegionSums:
    pixels = region_sums(probabilities, targets, axis=(), where=where)
    instances = inside(instances, where).reshape(-1)
    if instances.dtype.itemsize < 4:
        instances = instances.astype(jnp.int32)
    valid = jnp.all((instances >= 0) & (instances <= num_instances))
    poison = jnp.where(valid, 0.0, jnp.nan).astype(pixels.dtype)

    # No more blocks than leave their sums smaller than the image: with many objects, each is small.
    most = max(16, instances.size // (4 * (num_instances + 1)))
    blocks = max(1, min(most, instances.size // _PIXELS_A_BLOCK))
    padding = -instances.size % blocks
    instances = jnp.pad(instances, (0, padding)).reshape(blocks, -1)

    def total(field: jax.Array) -> jax.Array:
        field = jnp.pad(field.reshape(-1), (0, padding)).reshape(blocks, -1)
        # Two levels of sums, as everywhere: blocks first, then over the blocks.
        segments = partial(jax.ops.segment_sum, num_segments=num_instances + 1)
        return jnp.sum(jax.vmap(segments)(field, instances), 0)[1:] + poison

    return jax.tree.map(total, pixels)


# On the host, with SciPy: an instance map is made once, when the data are.
