"""Exact gradients over microbatches: sums of every piece first, then each piece replayed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dice_jax._core import checks
from dice_jax._core.manual_axes import vary, varying_axes

__all__ = [
    "accumulated_value_and_grad",
    "add_to_gradients",
    "check_params",
    "gradient_accumulators",
    "loss_and_cotangents",
    "piece_gradients",
    "piece_sums",
    "wide_dtype",
]

# A name of a mesh axis or of a `jax.vmap`, or several.
AxisName = Hashable | tuple[Hashable, ...]


def accumulated_value_and_grad(
    sums_fn: Callable[[Any, Any], Any],
    loss_fn: Callable[[Any], jax.Array],
    *,
    has_aux: bool = False,
    axis_name: AxisName | None = None,
) -> Callable[[Any, Any], tuple[Any, Any]]:
    r"""Differentiate a loss of sums over a batch that is computed in microbatches, exactly.

    With sums S = Σ_k s(θ, x_k) over the microbatches x_k and a loss L(S), the gradient is
    Σ_k (∂L/∂S)·(∂s(θ, x_k)/∂θ). A first pass adds up S, forward only; the few numbers ∂L/∂S are
    computed once; a second pass replays each microbatch against them. The result is that of the
    whole batch in one piece within rounding, with the memory of one microbatch, and costs about
    4/3 of ordinary accumulation, whose average of the microbatches' losses is another loss.

    A microbatch must not depend on the others, as batch normalisation over the whole batch does.
    Random numbers must be the same in both passes: carry the dropout key in the microbatch.
    ``docs/scale.md`` shows both. On a CPU, XLA runs convolutions inside a
    loop slowly: there, wrap the function in `with_canonical_convolutions`.

    Args:
        sums_fn: maps ``params`` and one microbatch to a pytree of additive sums: a `RegionSums`,
            or several with any other sums beside them. The pixels of one region may be spread over
            all microbatches. Pure; may close over anything but what is to be differentiated.
        loss_fn: maps the sums over all microbatches to one floating number. It sees them in at
            least float32.
        has_aux: if true, ``sums_fn`` gives ``(sums, aux)``.
        axis_name: inside `jax.shard_map` (with ``check_vma`` on or off) or `jax.vmap`, the axis or
            axes over which the batch is spread and ``params`` are replicated: sums and gradients
            are then those of all devices together.

    Returns:
        A function ``f(params, microbatches) -> (loss, gradients)``, or ``((loss, aux),
        gradients)`` with ``has_aux``: ``microbatches`` is a pytree whose leaves lead with the
        microbatch axis, and ``aux`` comes stacked along it, from the first pass. Gradients are
        accumulated in at least float32 and come back in the type of their parameter. It is
        compiled at the first call; build it once, outside the training loop.

    Raises:
        TypeError: when called, if ``params`` has a leaf that is not floating, ``microbatches`` one
            that is no array, ``sums_fn`` gives something other than sums, or ``loss_fn`` something
            other than a floating number.
        ValueError: when called, if the leading sizes in ``microbatches`` differ or are 0, or
            ``axis_name`` is not bound.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import dice_jax as dj
        >>> def sums_fn(w, microbatch):
        ...     image, target = microbatch
        ...     return dj.sigmoid_region_sums(w * image, target)
        >>> image = jnp.array([0.5, -1.0, 2.0, 1.0, -0.5, -2.0])
        >>> target = jnp.array([1, 0, 1, 0, 0, 0])
        >>> f = dj.accumulated_value_and_grad(sums_fn, dj.dice_loss)
        >>> loss, gradient = f(jnp.float32(1), (image.reshape(3, 2), target.reshape(3, 2)))
        >>> print(f"{loss:.4f} {gradient:.4f}")
        0.3322 -0.1092
        >>> whole = lambda w: dj.dice_loss(sums_fn(w, (image, target)))
        >>> print("{:.4f} {:.4f}".format(*jax.value_and_grad(whole)(jnp.float32(1))))
        0.3322 -0.1092

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3 (the loss);
        Chen et al., Training deep nets with sublinear memory cost (2016),
        https://arxiv.org/abs/1604.06174 (recomputation).
    """
    sums_of = partial(piece_sums, sums_fn, has_aux)

    def two_passes(params: Any, microbatches: Any) -> tuple[Any, Any]:
        # With the replication check on, the gradient of a replicated parameter would be summed over
        # the devices at every microbatch, and once more below.
        local = _vary(params, axis_name)
        stacked, aux = jax.lax.map(lambda microbatch: sums_of(local, microbatch), microbatches)
        total = jax.tree.map(_pairwise_sum, stacked)
        if axis_name is not None:
            total = jax.lax.psum(total, axis_name)
        loss, cotangents = loss_and_cotangents(loss_fn, total)

        def replay(accumulators: Any, microbatch: Any) -> tuple[Any, None]:
            gradients = piece_gradients(sums_of, local, microbatch, cotangents)
            return add_to_gradients(accumulators, gradients), None

        gradients, _ = jax.lax.scan(replay, gradient_accumulators(local), microbatches)
        if axis_name is not None:
            gradients = jax.lax.psum(gradients, axis_name)
        gradients = jax.tree.map(lambda g, p: g.astype(p.dtype), gradients, params)
        return ((loss, aux) if has_aux else loss), gradients

    compiled = jax.jit(two_passes)

    def value_and_grad(params: Any, microbatches: Any) -> tuple[Any, Any]:
        """Give the loss of all microbatches together, and its gradient."""
        check_params(params)
        _check_microbatches(microbatches)
        _check_bound(axis_name)
        # JAX would cut 64-bit labels to 32 bits: 2³² + 1 would become the label 1.
        return compiled(params, jax.tree.map(checks.clipped, microbatches))

    return value_and_grad


# What accumulation and streaming share.


def check_params(params: Any) -> None:
    """Check that every parameter can be differentiated, as `jax.grad` does.

    Args:
        params: a pytree.

    Raises:
        TypeError: if a leaf is not floating (or complex).
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", np.dtype(type(leaf)))
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                "params must be floating to be differentiated, got "
                f"{checks.describe(leaf)}{_at(path)}; let sums_fn close over it, or carry it in "
                "the microbatch"
            )


def wide_dtype(dtype: Any) -> Any:
    """Choose the type to add up in: four bytes or more, of the same kind.

    Args:
        dtype: of what is added.

    Returns:
        float32 for half precision, 32-bit integers for shorter ones, else the same.
    """
    if jnp.issubdtype(dtype, jnp.floating):
        return jnp.float32 if dtype.itemsize < 4 else dtype
    if jnp.issubdtype(dtype, jnp.unsignedinteger):
        return jnp.uint32 if dtype.itemsize < 4 else dtype
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.int32 if dtype.itemsize < 4 else dtype
    return dtype


def piece_sums(
    sums_fn: Callable[[Any, Any], Any], has_aux: bool, params: Any, piece: Any
) -> tuple[Any, Any]:
    """Compute the sums of one piece, checked and in the type they are added up in.

    Args:
        sums_fn: the caller's.
        has_aux: whether it gives ``(sums, aux)``.
        params: its first argument.
        piece: its second argument.

    Returns:
        The sums, and aux (``None`` without).

    Raises:
        TypeError: if it gives anything but sums.
    """
    sums, aux = sums_fn(params, piece), None
    if has_aux:
        if not (isinstance(sums, tuple) and len(sums) == 2):
            raise TypeError(
                f"sums_fn must give (sums, aux) with has_aux=True, got {checks.describe(sums)}"
            )
        sums, aux = sums
    leaves = jax.tree_util.tree_leaves_with_path(sums)
    for path, leaf in leaves:
        numeric = isinstance(leaf, (int, float, complex)) or (
            hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.number)
        )
        if isinstance(leaf, bool) or not numeric:
            raise TypeError(
                "sums_fn must give a pytree of sums (RegionSums, say), which add; got "
                f"{checks.describe(leaf)}{_at(path)}"
            )
    sums = jax.tree.map(jnp.asarray, sums)
    if not any(_differentiable(leaf) for leaf in jax.tree.leaves(sums)):
        raise TypeError(
            "sums_fn must give at least one floating sum, got "
            + (", ".join(checks.describe(leaf) for leaf in jax.tree.leaves(sums)) or "nothing")
        )
    return jax.tree.map(lambda s: s.astype(wide_dtype(s.dtype)), sums), aux


def loss_and_cotangents(
    loss_fn: Callable[[Any], jax.Array], sums: Any
) -> tuple[jax.Array, list[jax.Array]]:
    """Compute the loss of the sums, and its derivative with respect to each floating sum.

    Args:
        loss_fn: the caller's.
        sums: of all pieces together.

    Returns:
        The loss, and the cotangents in the order of the floating leaves of ``sums``.

    Raises:
        TypeError: if ``loss_fn`` does not give a floating number.
        ValueError: if it gives an array of several.
    """
    leaves, structure = jax.tree.flatten(sums)

    def loss_of(floating: list[jax.Array]) -> jax.Array:
        given = iter(floating)
        merged = [next(given) if _differentiable(leaf) else leaf for leaf in leaves]
        loss = loss_fn(jax.tree.unflatten(structure, merged))
        if not (hasattr(loss, "dtype") and jnp.issubdtype(loss.dtype, jnp.floating)):
            raise TypeError(f"loss_fn must give a floating number, got {checks.describe(loss)}")
        if loss.shape != ():
            raise ValueError(
                f"loss_fn must give one number, got {checks.describe(loss)}; write loss.mean()"
            )
        return loss

    loss, pull_back = jax.vjp(loss_of, [leaf for leaf in leaves if _differentiable(leaf)])
    (cotangents,) = pull_back(jnp.ones_like(loss))
    return loss, cotangents


def piece_gradients(
    sums_of: Callable[[Any, Any], tuple[Any, Any]],
    params: Any,
    piece: Any,
    cotangents: list[jax.Array],
) -> Any:
    """Replay one piece against the cotangents of all.

    Args:
        sums_of: `piece_sums` of the caller's function.
        params: to differentiate with respect to.
        piece: to replay.
        cotangents: from `loss_and_cotangents`.

    Returns:
        The piece's share of the gradient, like ``params``.
    """

    def floating_sums(params: Any) -> list[jax.Array]:
        return [
            leaf for leaf in jax.tree.leaves(sums_of(params, piece)[0]) if _differentiable(leaf)
        ]

    sums, pull_back = jax.vjp(floating_sums, params)
    # The total is the same on all devices, a device's own sums are not: their types differ.
    (gradients,) = pull_back(
        [_vary(c, varying_axes(s)) for c, s in zip(cotangents, sums, strict=True)]
    )
    return gradients


def gradient_accumulators(params: Any) -> Any:
    """Make zeros to add gradients to, in at least float32.

    Args:
        params: a pytree.

    Returns:
        A pytree of zeros of the same shapes.
    """
    return jax.tree.map(lambda p: jnp.zeros_like(p, dtype=wide_dtype(p.dtype)), params)


def add_to_gradients(accumulators: Any, gradients: Any) -> Any:
    """Add one piece's gradients to what was accumulated.

    Args:
        accumulators: from `gradient_accumulators`.
        gradients: a pytree of the same shapes.

    Returns:
        The sum, in the accumulators' types.
    """
    return jax.tree.map(lambda a, g: a + g.astype(a.dtype), accumulators, gradients)


# Details.


def _at(path: tuple[Any, ...]) -> str:
    return f" at {jax.tree_util.keystr(path)}" if path else ""


def _differentiable(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _pairwise_sum(x: jax.Array) -> jax.Array:
    """Sum over the first axis, halves added to halves: one running sum of thousands would drift."""
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        paired = x[:half] + x[half : 2 * half]
        x = jnp.concatenate([paired, x[2 * half :]]) if x.shape[0] % 2 else paired
    return x[0]


def _check_microbatches(microbatches: Any) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(microbatches)
    for path, leaf in leaves:
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(
                f"microbatches must hold arrays, got {checks.describe(leaf)}{_at(path)}; let "
                "sums_fn close over what is the same for all"
            )
    sizes = [leaf.shape[0] if leaf.shape else None for _, leaf in leaves]
    if not sizes or None in sizes or len(set(sizes)) > 1 or sizes[0] == 0:
        came = ", ".join(f"{checks.describe(leaf)}{_at(path)}" for path, leaf in leaves)
        raise ValueError(
            "microbatches must hold arrays that all lead with one and the same axis, of 1 or more "
            f"microbatches, got {came or 'no array'}"
        )


def _check_bound(axis_name: AxisName | None) -> None:
    for name in _names(axis_name):
        try:
            jax.lax.axis_size(name)
        except NameError:
            raise ValueError(
                f"axis_name {name!r} is not bound here; call this inside jax.shard_map over a mesh "
                "that has the axis, or leave axis_name out under plain jax.jit"
            ) from None


def _names(axis_name: AxisName | None) -> tuple[Hashable, ...]:
    if axis_name is None:
        return ()
    return axis_name if isinstance(axis_name, tuple) else (axis_name,)


def _vary(tree: Any, axis_name: AxisName | None) -> Any:
    """Mark arrays as different on every device along the axes, where they are not yet."""
    # The axes of a `jax.vmap` are not among them: there, nothing needs to be marked.
    manual = jax.sharding.get_abstract_mesh().manual_axes
    names = [name for name in _names(axis_name) if name in manual]

    return jax.tree.map(lambda x: vary(x, names), tree)
