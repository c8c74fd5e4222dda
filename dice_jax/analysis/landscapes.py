"""A loss against mean predictions, object size and smoothing; its curvature over the pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax.sums.region import region_sums

__all__ = [
    "Landscape",
    "SizeCurve",
    "SmoothingCurve",
    "curvature_spectrum",
    "hessian_vector_product",
    "landscape",
    "size_curve",
    "smoothing_curve",
]

Loss = Callable[..., jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Landscape:
    """A loss over mean foreground and background prediction, from `landscape`.

    Args:
        foreground: p̄₊, [n].
        background: p̄₋, [n].
        loss: [n, n], the foreground along the last axis.
        foreground_gradient: ∂L/∂p̄₊, [n, n].
        background_gradient: ∂L/∂p̄₋, [n, n].
        foreground_flow: the velocity of the foreground's logits under gradient descent, [n, n].
        background_flow: the same for the background's logits, [n, n].

    Example:
        >>> import dice_jax as dj
        >>> picture = dj.analysis.landscape(dj.dice_loss, fraction=0.1, points=2)
        >>> print(picture.loss.shape, picture.foreground)
        (2, 2) [0.25 0.75]
    """

    foreground: jax.Array
    background: jax.Array
    loss: jax.Array
    foreground_gradient: jax.Array
    background_gradient: jax.Array
    foreground_flow: jax.Array
    background_flow: jax.Array


def _number(name: str, value: Any, low: float, high: float) -> float:
    checks.check_number(name, value)
    number = float(value)
    if not low < number < high:
        raise ValueError(f"{name} must be in ({low:g}, {high:g}), got {number:g}")
    return number


def landscape(
    loss: Loss, *, fraction: float, count: float = 65536.0, points: int = 41
) -> Landscape:
    r"""Loss and gradient flow over (mean foreground p, mean background p).

    The image is reduced to two numbers: πN foreground pixels have p̄₊, and (1 − π)N background
    pixels have p̄₋. The flow is −∂L/∂z at the logit of one pixel of each class.

    Args:
        loss: takes `RegionSums`, e.g. `dice_loss`; compiled once per object.
        fraction: π, the foreground fraction, in (0, 1).
        count: N, the number of pixels; it matters only if the loss is smoothed.
        points: n, along each axis.

    Returns:
        A `Landscape` over n × n points from 1/(2n) to 1 − 1/(2n).

    Raises:
        TypeError: if ``loss`` is no function.
        ValueError: if ``fraction`` is not in (0, 1) or ``points`` is below 2.

    Example:
        >>> import dice_jax as dj
        >>> picture = dj.analysis.landscape(dj.dice_loss, fraction=0.01, points=5)
        >>> print(picture.loss.shape, bool((picture.foreground_flow > 0).all()))
        (5, 5) True

    References:
        C5 and C13 of the theory page.
    """
    if not callable(loss):
        raise TypeError(f"loss must be a function of RegionSums, got {checks.describe(loss)}")
    fraction = _number("fraction", fraction, 0.0, 1.0)
    count = _number("count", count, 0.0, float("inf"))
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    return _landscape(jnp.float32(fraction * count), jnp.float32(count), loss=loss, points=points)


@partial(jax.jit, static_argnames=("loss", "points"))
def _landscape(target: jax.Array, count: jax.Array, *, loss: Any, points: int) -> Landscape:
    axis = (jnp.arange(points).astype(target.dtype) + 0.5) / points
    background, foreground = jnp.meshgrid(axis, axis, indexing="ij")
    weight = jnp.stack([target, count - target])
    value, gradient = _two_groups(loss, jnp.stack([foreground, background], -1), weight)
    pixel = gradient / weight
    return Landscape(
        foreground=axis,
        background=axis,
        loss=value,
        foreground_gradient=gradient[..., 0],
        background_gradient=gradient[..., 1],
        foreground_flow=-pixel[..., 0] * foreground * (1 - foreground),
        background_flow=-pixel[..., 1] * background * (1 - background),
    )


def _two_groups(loss: Any, p: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Loss [...] and gradient [..., 2] of one foreground and one background pixel, weighted."""
    y = jnp.broadcast_to(jnp.array([True, False]), p.shape)

    def total(p: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The weight of a pixel is the number of equal pixels that it stands for.
        value = loss(region_sums(p, y, axis=-1, where=jnp.broadcast_to(weight, p.shape)))
        return value.sum(), value

    gradient, value = jax.grad(total, has_aux=True)(p)
    return value, gradient


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SizeCurve:
    """A loss against object size, from `size_curve`.

    Args:
        size: T, in pixels, [n].
        loss: [n].
        foreground_mass: M₊, the foreground's gradient mass in probability space, [n].
        background_mass: M₋, [n].

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> curve = dj.analysis.size_curve(dj.dice_loss, jnp.array([10.0, 1000.0]))
        >>> print(curve.size, bool(curve.loss[0] > curve.loss[1]))
        [  10. 1000.] True
    """

    size: jax.Array
    loss: jax.Array
    foreground_mass: jax.Array
    background_mass: jax.Array


def size_curve(
    loss: Loss,
    sizes: ArrayLike,
    *,
    count: float = 65536.0,
    foreground: float = 0.5,
    background: float = 0.5,
) -> SizeCurve:
    r"""A loss and its gradient masses against the size of the object (C21).

    Args:
        loss: takes `RegionSums`, e.g. `dice_loss`; compiled once per object.
        sizes: T, [n], in pixels, between 0 and N.
        count: N, the number of pixels of the image.
        foreground: p̄₊, the prediction on the object.
        background: p̄₋, the prediction elsewhere.

    Returns:
        A `SizeCurve`.

    Raises:
        ValueError: if ``sizes`` is not [n], or a prediction is not in (0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> curve = dj.analysis.size_curve(dj.dice_loss, jnp.array([10.0, 1000.0]))
        >>> print(bool(curve.foreground_mass[0] < 0.05 * curve.foreground_mass[1]))
        True

    References:
        C21 of the theory page.
    """
    sizes = checks.as_array("sizes", sizes)
    if sizes.ndim != 1:
        raise ValueError(f"sizes must be [n], got {checks.describe(sizes)}")
    p = [
        _number(name, value, 0.0, 1.0)
        for name, value in (("foreground", foreground), ("background", background))
    ]
    return _size_curve(sizes.astype(jnp.float32), jnp.float32(count), jnp.array(p), loss=loss)


@partial(jax.jit, static_argnames=("loss",))
def _size_curve(sizes: jax.Array, count: jax.Array, p: jax.Array, *, loss: Any) -> SizeCurve:
    weight = jnp.stack([sizes, count - sizes], -1)
    value, gradient = _two_groups(loss, jnp.broadcast_to(p, weight.shape), weight)
    mass = jnp.abs(gradient)
    return SizeCurve(sizes, value, mass[:, 0], mass[:, 1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SmoothingCurve:
    r"""Gradients against smoothing, from `smoothing_curve`.

    Args:
        smooth: s, in pixels, [n].
        foreground_gradient: g₊, [n].
        background_gradient: g₋, [n].
        ratio: −g₊/g₋: \|g₊\|/\|g₋\| while the signs are right, [n].

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> smooths = jnp.array([0.0, 1e6])
        >>> curve = dj.analysis.smoothing_curve(dj.dice_loss, smooths, target=20.0, count=1000.0)
        >>> print(curve.smooth.shape, bool(curve.ratio[1] < curve.ratio[0]))
        (2,) True
    """

    smooth: jax.Array
    foreground_gradient: jax.Array
    background_gradient: jax.Array
    ratio: jax.Array


def smoothing_curve(
    loss: Loss,
    smooths: ArrayLike,
    *,
    target: float,
    count: float = 65536.0,
    foreground: float = 0.5,
    background: float = 0.5,
) -> SmoothingCurve:
    r"""The gradient of a foreground and a background pixel against the smoothing (C4).

    Args:
        loss: takes `RegionSums` and ``smooth=``, e.g. `dice_loss`; compiled once per object.
        smooths: s, [n], in pixels.
        target: T, the number of foreground pixels.
        count: N, the number of pixels.
        foreground: p̄₊, the prediction on the foreground.
        background: p̄₋, the prediction elsewhere.

    Returns:
        A `SmoothingCurve`.

    Raises:
        ValueError: if ``smooths`` is not [n], or a number is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> curve = dj.analysis.smoothing_curve(
        ...     dj.dice_loss, jnp.array([0.0, 1.0, 1e6]), target=20.0, count=1000.0
        ... )
        >>> print([f"{ratio:.2f}" for ratio in curve.ratio])    # towards 1
        ['51.00', '48.62', '1.00']

    References:
        C4 of the theory page; Tilborghs et al. (2022).
    """
    smooths = checks.as_array("smooths", smooths)
    if smooths.ndim != 1:
        raise ValueError(f"smooths must be [n], got {checks.describe(smooths)}")
    count = _number("count", count, 0.0, float("inf"))
    target = _number("target", target, 0.0, count)
    p = [
        _number(name, value, 0.0, 1.0)
        for name, value in (("foreground", foreground), ("background", background))
    ]
    weight = jnp.array([target, count - target])
    return _smoothing_curve(smooths.astype(jnp.float32), weight, jnp.array(p), loss=loss)


@partial(jax.jit, static_argnames=("loss",))
def _smoothing_curve(
    smooths: jax.Array, weight: jax.Array, p: jax.Array, *, loss: Any
) -> SmoothingCurve:
    shape = (*smooths.shape, 2)
    _, gradient = _two_groups(
        partial(loss, smooth=smooths), jnp.broadcast_to(p, shape), jnp.broadcast_to(weight, shape)
    )
    pixel = gradient / weight
    still = pixel[:, 1] == 0
    quotient = -pixel[:, 0] / jnp.where(still, jnp.ones_like(pixel[:, 1]), pixel[:, 1])
    ratio = jnp.where(still, jnp.full_like(quotient, jnp.inf), quotient)
    return SmoothingCurve(smooths, pixel[:, 0], pixel[:, 1], ratio)


def hessian_vector_product(
    loss: Loss,
    predictions: ArrayLike,
    targets: ArrayLike,
    vector: ArrayLike,
    *,
    sums: Callable[[Any, Any], Any] = region_sums,
) -> jax.Array:
    r"""How the gradient changes along a direction: H·v, without forming the Hessian H.

    Args:
        loss: takes what ``sums`` gives, e.g. `dice_loss`; compiled once per object.
        predictions: [...], floating: probabilities or logits, whichever ``sums`` takes.
        targets: [...], what ``sums`` takes beside them.
        vector: v, of the shape and type of ``predictions``.
        sums: as in `pixel_gradient`.

    Returns:
        H·v, of the shape and type of ``predictions``.

    Raises:
        TypeError: if ``predictions`` is not floating.
        ValueError: if ``vector`` has another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([0.5, 0.5]), jnp.array([1, 0])
        >>> loss = lambda sums: dj.dice_loss(sums, smooth=0.0)
        >>> print(dj.analysis.hessian_vector_product(loss, p, y, jnp.array([1.0, 0.0])))
        [0.75 0.25]
    """
    predictions, targets = (
        checks.as_array("predictions", predictions),
        checks.as_array("targets", targets),
    )
    vector = checks.as_array("vector", vector)
    if not checks.is_float(predictions):
        raise TypeError(f"predictions must be floating, got {checks.describe(predictions)}")
    if vector.shape != predictions.shape:
        raise ValueError(
            f"vector must have the shape of predictions {predictions.shape}, "
            f"got {checks.describe(vector)}"
        )
    return _hessian_vector_product(
        predictions, targets, vector.astype(predictions.dtype), loss=loss, sums=sums
    )


@partial(jax.jit, static_argnames=("loss", "sums"))
def _hessian_vector_product(
    predictions: jax.Array, targets: jax.Array, vector: jax.Array, *, loss: Any, sums: Any
) -> jax.Array:
    gradient = jax.grad(lambda x: jnp.sum(loss(sums(x, targets))))
    # Forward over reverse mode needs the memory of one gradient only.
    return jax.jvp(gradient, (predictions,), (vector,))[1]


def curvature_spectrum(
    loss: Loss,
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    key: jax.Array,
    rank: int = 8,
    sums: Callable[[Any, Any], Any] = region_sums,
) -> jax.Array:
    r"""The extreme curvatures of a loss: Ritz values of its Hessian over the pixels (Lanczos).

    In probability space the Hessian of Dice has rank 2 (C13): one eigenvalue is positive, one
    negative, the others are 0. At the logits the diagonal g·p(1 − p)(1 − 2p) is added.

    Args:
        loss: takes what ``sums`` gives; compiled once per object.
        predictions: [...], floating.
        targets: [...], what ``sums`` takes beside them.
        key: a JAX random key, for the first direction.
        rank: the number of Hessian-vector products and of values; at most the number of pixels.
        sums: as in `pixel_gradient`.

    Returns:
        [rank], ascending.

    Raises:
        TypeError: if ``predictions`` is not floating.
        ValueError: if ``rank`` is below 1 or exceeds the number of pixels.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import dice_jax as dj
        >>> p, y = jnp.array([0.5, 0.5, 0.5, 0.5]), jnp.array([1, 0, 0, 0])
        >>> values = dj.analysis.curvature_spectrum(
        ...     dj.dice_loss, p, y, key=jax.random.key(0), rank=3
        ... )
        >>> print(values.shape, bool(values[0] < 0 < values[-1]))
        (3,) True
    """
    predictions, targets = (
        checks.as_array("predictions", predictions),
        checks.as_array("targets", targets),
    )
    if not checks.is_float(predictions):
        raise TypeError(f"predictions must be floating, got {checks.describe(predictions)}")
    if not 1 <= rank <= predictions.size:
        raise ValueError(f"rank must be in 1 … {predictions.size} (the pixels), got {rank}")
    return _curvature_spectrum(predictions, targets, key, loss=loss, rank=rank, sums=sums)


@partial(jax.jit, static_argnames=("loss", "rank", "sums"))
def _curvature_spectrum(
    predictions: jax.Array, targets: jax.Array, key: jax.Array, *, loss: Any, rank: int, sums: Any
) -> jax.Array:
    dtype = checks.accumulation_dtype(predictions)
    predictions = predictions.astype(dtype)

    def product(v: jax.Array) -> jax.Array:
        shaped = v.reshape(predictions.shape)
        return _hessian_vector_product(predictions, targets, shaped, loss=loss, sums=sums).ravel()

    start = jax.random.normal(key, (predictions.size,), dtype)
    basis = jnp.zeros((rank, predictions.size), dtype).at[0].set(start / jnp.linalg.norm(start))

    def step(k: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        basis, images = carry
        image = product(basis[k])
        images = images.at[k].set(image)
        rest = image
        # Orthogonalised against the whole basis, twice: once a value has converged, rounding spoils
        # the orthogonality that Lanczos gets from the last two vectors alone.
        for _ in range(2):
            rest = rest - basis.T @ (basis @ rest)
        size = jnp.linalg.norm(rest)
        # Beyond the rank of the Hessian only rounding is left: the value there is 0.
        spent = size <= 1e-6 * jnp.linalg.norm(image)
        direction = jnp.where(spent, jnp.zeros_like(rest), rest / jnp.where(spent, 1, size))
        return basis.at[k + 1].set(direction, mode="drop"), images

    basis, images = jax.lax.fori_loop(0, rank, step, (basis, jnp.zeros_like(basis)))
    projected = basis @ images.T
    return jnp.linalg.eigvalsh((projected + projected.T) / 2)
