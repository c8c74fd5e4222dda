"""What metrics of two masks share: checks, and padding to a few sizes, each compiled once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax.metrics.scores import Scores
from dice_jax.sums.operands import inside

__all__ = ["check_masks", "of_image_pairs"]

# The smallest size of an axis of space that has a program of its own.
_LEAST = 16


def of_image_pairs(
    metric: Callable[..., jax.Array],
    prediction: ArrayLike,
    target: ArrayLike,
    options: tuple[ArrayLike, ...],
    axis: checks.Axis,
    spacing: Sequence[float] | None,
    where: ArrayLike | None,
) -> Scores:
    """Apply a metric of two masks to each image of a batch.

    Args:
        metric: a function of two masks, the axes that span space, the pixel's sizes and the
            options, for use under `jax.jit`. Background behind an image's edge must not change it.
        prediction: [...], boolean or integer: not 0 is foreground.
        target: the same shape.
        options: numbers, may be traced.
        axis: the axes that span space; the others count images.
        spacing: the size of a pixel along each axis of ``axis``, in that order; ``None`` for 1.
        where: boolean or floating, broadcastable to [...]; a pixel of weight 0 is background.

    Returns:
        The scores; an image is present if its target has a pixel.

    Raises:
        TypeError: if a mask is floating.
        ValueError: if shapes, an axis, ``spacing`` or ``where`` do not fit.
    """
    (first, second), kept, axes = check_masks(
        {"prediction": prediction, "target": target}, axis, where
    )
    steps = checks.check_spacing(spacing, axis, first.ndim)
    if any(isinstance(x, Tracer) for x in (first, second, kept)):
        masks = (inside(mask.astype(jnp.bool_), kept) for mask in (first, second))
        return _of_masks(*masks, steps, options, axes=axes, metric=metric)
    shape = tuple(n for a, n in enumerate(first.shape) if a not in axes)
    images = int(np.prod(shape, dtype=np.int64))
    masks = (_padded(mask, kept, axes, images) for mask in (first, second))
    space = tuple(range(1, len(axes) + 1))
    scores = _of_masks(*masks, steps, options, axes=space, metric=metric)
    return jax.tree.map(lambda x: _first(x, images, shape), scores)


def check_masks(
    masks: dict[str, ArrayLike], axis: checks.Axis, where: ArrayLike | None
) -> tuple[list[Any], Any, tuple[int, ...]]:
    """Check masks of one shape.

    Args:
        masks: [...] each, by the names of the arguments.
        axis: the axes that span space.
        where: boolean or floating, broadcastable to [...].

    Returns:
        The masks and the weight, each in NumPy if its values are on the host; the axes.

    Raises:
        TypeError: if a mask is floating.
        ValueError: if shapes, an axis or ``where`` do not fit.
    """
    arrays: list[Any] = []
    for name, mask in masks.items():
        array = mask if isinstance(mask, np.ndarray) else checks.as_array(name, mask)
        if array.dtype != np.bool_ and not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(
                f"{name} must be boolean or integer, got {checks.describe(array)}; "
                "write probabilities > 0.5"
            )
        if arrays and array.shape != arrays[0].shape:
            raise ValueError(
                f"{name} must have the shape of {next(iter(masks))} {arrays[0].shape}, "
                f"got {checks.describe(array)}"
            )
        arrays.append(array)
    axes = checks.normalize_axis("axis", axis, arrays[0].ndim, what=next(iter(masks)))
    kept = checks.check_where(where, arrays[0].shape)
    *arrays, kept = (_on_host(x) for x in (*arrays, kept))
    return arrays, kept, axes


def _on_host(x: Any) -> Any:
    values = checks.host_values(x)
    return x if values is None else values


def _padded(mask: Any, where: Any, axes: tuple[int, ...], images: int) -> Any:
    """A mask as [images, *space] with background behind its edges, and empty images at the end."""
    on_host = all(x is None or isinstance(x, np.ndarray) for x in (mask, where))
    xp: Any = np if on_host else jnp
    foreground = mask.astype(np.bool_)
    if where is not None:
        foreground = foreground & where.astype(np.bool_)
    last = tuple(range(foreground.ndim - len(axes), foreground.ndim))
    space = tuple(mask.shape[a] for a in axes)
    stack = xp.moveaxis(foreground, axes, last).reshape(images, *space)
    sizes = (_size(images, 1), *(_size(n, _LEAST) for n in space))
    return xp.pad(stack, [(0, m - n) for m, n in zip(sizes, stack.shape, strict=True)])


def _size(n: int, least: int) -> int:
    """The smallest size with a program of its own that is at least ``n``.

    Two sizes for each power of 2, and four above 64, where padding costs more time than programs.
    """
    size = least
    while size < n:
        size *= 2
    half = size // 2
    parts = 4 if half >= 64 else 2
    between = (half + half * k // parts for k in range(1, parts))
    return next((m for m in between if m >= max(n, least)), size)


def _first(x: jax.Array, images: int, shape: tuple[int, ...]) -> jax.Array:
    """The images that are not padding. In NumPy, slices of new shapes need no new program."""
    values = checks.host_values(x)
    chosen = (x if values is None else values)[:images].reshape(shape)
    return jnp.asarray(chosen)


@partial(jax.jit, static_argnames=("axes", "metric"))
def _of_masks(
    first: jax.Array,
    second: jax.Array,
    steps: tuple[Any, ...],
    options: tuple[ArrayLike, ...],
    *,
    axes: tuple[int, ...],
    metric: Callable[..., jax.Array],
) -> Scores:
    return Scores(metric(first, second, axes, steps, *options), jnp.any(second, axes))
