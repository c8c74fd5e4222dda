"""RegionSums of a network's last layer, a linear head, without its logits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dice_jax._core import checks
from dice_jax.sums.operands import (
    binary_operands,
    class_operands,
    floating,
    inside,
    integer_or_soft_labels,
    lifted,
)
from dice_jax.sums.region import (
    RegionSums,
    Terms,
    sigmoid_terms,
    softmax_terms,
    sums_of_terms,
    with_checked_targets,
)

__all__ = ["linear_sigmoid_region_sums", "linear_softmax_region_sums"]

# The kernel, and the bias where there is one.
Head = tuple[jax.Array, ...]


def linear_softmax_region_sums(
    features: ArrayLike,
    kernel: ArrayLike,
    labels: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> RegionSums:
    r"""Sums of softmax probabilities and labels, from the features below a linear head.

    The same as ``softmax_region_sums(features @ kernel + bias, labels)``, but the logits
    z = h·K + b are computed block by block, forwards and once more backwards. No array of their
    size exists, so memory does not grow with the number of classes. The price is one more product
    of features and kernel.

    The head is `flax.nnx.Linear`, or a 1×1 convolution. Products have the precision that these have
    by default: that of ``jax.default_matmul_precision`` at the time of the call, in both passes.
    Under plain ``jax.jit`` over several devices the compiler may make each device's logits. Inside
    `jax.shard_map`, and over a mesh of Explicit axes, it does not.

    Args:
        features: [..., F], floating: the last layer's inputs h, channels last.
        kernel: [F, C], floating: K. A 1×1 convolution's [1, 1, F, C] is ``kernel[0, 0]``.
        labels: integer [...] in 0 … C−1, or floating [..., C] (soft or one-hot).
        bias: [C], floating: b; ``None`` for none.
        axis: the axes of the pixel shape [...] that one sum runs over; ``None`` pools them all.
        where: boolean or floating weight, broadcastable to [...]; 0 removes a pixel from every
            value and gradient, whatever it holds.

    Returns:
        `RegionSums` with fields [..., C], in float32 (float64 if an input is). A region with a
        label outside 0 … C−1 and outside the mask is NaN. Features, kernel and bias have gradients,
        each in its own type.

    Raises:
        TypeError: if features, kernel or bias are not floating, or ``labels`` has a type that does
            not fit its shape.
        ValueError: if the shapes do not fit, an axis does not exist, or ``where`` does not
            broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> features = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> kernel = jnp.array([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
        >>> labels = jnp.array([0, 2])
        >>> sums = dj.linear_softmax_region_sums(features, kernel, labels)
        >>> print(f"{dj.dice_loss(sums).mean():.4f}")
        0.0961
        >>> sums = dj.softmax_region_sums(features @ kernel, labels)
        >>> print(f"{dj.dice_loss(sums).mean():.4f}")
        0.0961

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3 (the loss);
        Chen et al., Training deep nets with sublinear memory cost (2016),
        https://arxiv.org/abs/1604.06174 (recomputation).
    """
    features, head = _checked_head(features, kernel, bias, kernel_shapes={2: "[F, C]"})
    logits = _logits_of(features, head)
    _, labels, where, axes = class_operands(
        "logits", logits, labels, axis, where, validate_labels=integer_or_soft_labels
    )
    return _softmax_sums(features, head, labels, where, axes=axes)


def linear_sigmoid_region_sums(
    features: ArrayLike,
    kernel: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    axis: checks.Axis = None,
    where: ArrayLike | None = None,
) -> RegionSums:
    r"""Sums of sigmoid probabilities and targets, from the features below a linear head.

    The same as ``sigmoid_region_sums(features @ kernel + bias, targets)`` with no array of the
    logits' size; `linear_softmax_region_sums` says how, at which price and in which precision.

    Args:
        features: [..., F], floating: the last layer's inputs h, channels last.
        kernel: [F], floating, for binary segmentation, or [F, C] for C labels that may overlap.
        targets: [...], or [..., C] with a kernel [F, C]: boolean, integer 0/1, or floating in
            [0, 1] (soft).
        bias: one number (binary) or [C], floating; ``None`` for none.
        axis: the axes of the targets that one sum runs over, the classes' among them if it is
            named; ``None`` pools everything.
        where: boolean or floating weight, broadcastable to the targets; 0 removes a pixel (of a
            class) from every value and gradient, whatever it holds.

    Returns:
        `RegionSums` of the shape of ``jnp.sum(targets, axis)``, in float32 (float64 if an input
        is). A region with an integer target other than 0 and 1 outside the mask is NaN. Features,
        kernel and bias have gradients, each in its own type.

    Raises:
        TypeError: if features, kernel or bias are not floating, or an argument's type is not one of
            those above.
        ValueError: if the shapes do not fit, an axis does not exist, or ``where`` does not
            broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> import dice_jax as dj
        >>> features, kernel = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([2.0, -2.0])
        >>> sums = dj.linear_sigmoid_region_sums(features, kernel, jnp.array([1, 0]))
        >>> print(f"{sums.prediction:.4f} {sums.intersection:.4f}")
        1.0000 0.8808

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3.
    """
    shapes = {1: "[F]", 2: "[F, C]"}
    features, head = _checked_head(features, kernel, bias, kernel_shapes=shapes)
    logits = _logits_of(features, head)
    _, targets, where, axes = binary_operands("logits", logits, targets, axis, where)
    return _sigmoid_sums(features, head, targets, where, axes=axes)


def _checked_head(
    features: Any, kernel: Any, bias: Any, *, kernel_shapes: dict[int, str]
) -> tuple[jax.Array, Head]:
    features, kernel = floating("features", features), floating("kernel", kernel)
    if features.ndim == 0 or features.shape[-1] == 0:
        raise ValueError(
            f"features must have a feature axis last, [..., F], got {checks.describe(features)}"
        )
    size = features.shape[-1]
    if kernel.ndim not in kernel_shapes or kernel.shape[0] != size or 0 in kernel.shape:
        expected = " or ".join(kernel_shapes.values())
        raise ValueError(
            f"kernel must be {expected} with F = {size}, the last axis of features, got "
            f"{checks.describe(kernel)}{_kernel_hint(kernel, size)}"
        )
    if bias is None:
        return features, (kernel,)
    bias = floating("bias", bias)
    if bias.shape != kernel.shape[1:]:
        raise ValueError(
            f"bias must have shape {kernel.shape[1:]}, as kernel {kernel.shape} says, got "
            f"{checks.describe(bias)}"
        )
    return features, (kernel, bias)


def _kernel_hint(kernel: jax.Array, size: int) -> str:
    if kernel.ndim > 2 and all(n == 1 for n in kernel.shape[:-2]):
        return f"; write kernel[{', '.join('0' * (kernel.ndim - 2))}]"
    if kernel.ndim == 2 and kernel.shape[1] == size:
        return "; write kernel.T"
    return ""


def _logits_of(features: jax.Array, head: Head) -> Any:
    """Describe the logits that are never made, for the checks of what goes with them."""
    shape = (*features.shape[:-1], *head[0].shape[1:])
    return jax.ShapeDtypeStruct(shape, features.dtype)


# Under jit.


def _logits_function(dtype: Any) -> Callable[..., jax.Array]:
    """Give z = h·K + b of a block as `flax.nnx.Linear` has it, classes where ``axis`` says."""
    # Read once: a pass is traced again for its derivative, under whatever is set then.
    config: Any = jax.config
    precision = config.jax_default_matmul_precision

    def logits(x: jax.Array, kernel: jax.Array, *bias: jax.Array, axis: int) -> jax.Array:
        kind = x.dtype if x.dtype == kernel.dtype else checks.accumulation_dtype(x, kernel)
        x, kernel = x.astype(kind), kernel.astype(kind)
        if axis:
            contracted = (((x.ndim - 1,), (0,)), ((), ()))
            z = jax.lax.dot_general(x, kernel, contracted, precision=precision)
        else:
            z = jax.lax.dot_general(kernel, x, (((0,), (0,)), ((), ())), precision=precision)
        for b in bias:
            # The bias has the trailing axis, if any, and none of the block's.
            z = z + lifted(b.astype(kind), z.ndim, axis=0 if axis else -1)
        return z.astype(dtype)

    return logits


@partial(jax.jit, static_argnames="axes")
def _softmax_sums(
    features: jax.Array,
    head: Head,
    labels: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> RegionSums:
    dtype = checks.accumulation_dtype(features, *head, labels, where)
    logits, products = _logits_function(dtype), head[0].shape

    def terms(x: jax.Array, y: jax.Array, *head: jax.Array, axis: int) -> Terms:
        return softmax_terms(logits(x, *head, axis=axis), y, axis)

    return sums_of_terms(
        with_checked_targets(terms, dtype, products[1]),
        (features, labels),
        where,
        axes,
        ndim=features.ndim - 1,
        dtype=dtype,
        shared=head,
        products=products,
    )


@partial(jax.jit, static_argnames="axes")
def _sigmoid_sums(
    features: jax.Array,
    head: Head,
    targets: jax.Array,
    where: jax.Array | None,
    *,
    axes: tuple[int, ...],
) -> RegionSums:
    dtype = checks.accumulation_dtype(features, *head, targets, where)
    logits, ndim = _logits_function(dtype), features.ndim - 1

    def terms(x: jax.Array, y: jax.Array, *head: jax.Array, axis: int) -> Terms:
        return sigmoid_terms(logits(x, *head, axis=axis), y, axis)

    def terms_by_class(
        x: jax.Array, y: jax.Array, weight: jax.Array, *head: jax.Array, axis: int
    ) -> Terms:
        """Weigh each class of a pixel by its own weight."""

        def masked(x: jax.Array, y: jax.Array, *head: jax.Array, axis: int) -> Terms:
            z = inside(logits(x, *head, axis=axis), weight)
            return sigmoid_terms(z, y, axis)

        x = inside(x, jnp.any(weight != 0, axis), axis=axis)
        fields = with_checked_targets(masked, dtype, None)(x, inside(y, weight), *head, axis=axis)
        w = jnp.broadcast_to(checks.weight_or_nan(weight.astype(dtype)), y.shape)
        weighed = {name: partial(lambda term: term() * w, term) for name, term in fields.items()}
        return weighed | {"count": lambda: w}

    arrays, function = (features, targets), with_checked_targets(terms, dtype, None)
    if where is not None and where.ndim > ndim:
        if where.shape[-1] > 1:
            arrays, where, function = (features, targets, where), None, terms_by_class
        else:
            where = where[..., 0]
    sums = sums_of_terms(
        function,
        arrays,
        where,
        tuple(k for k in axes if k < ndim),
        ndim=ndim,
        dtype=dtype,
        shared=head,
        products=(*head[0].shape, 1)[:2],
    )
    return jax.tree.map(lambda s: jnp.sum(s, -1), sums) if ndim in axes else sums
