"""Exact gradients over pieces that arrive from the host and never fit the device together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dice_jax._core import checks
from dice_jax.sums.accumulation import (
    add_to_gradients,
    check_params,
    gradient_accumulators,
    loss_and_cotangents,
    piece_gradients,
    piece_sums,
)

__all__ = ["pad_piece", "streamed_value_and_grad"]

Pieces = Iterable[Any] | Callable[[], Iterable[Any]]


def streamed_value_and_grad(
    sums_fn: Callable[[Any, Any], Any],
    loss_fn: Callable[[Any], jax.Array],
    *,
    has_aux: bool = False,
) -> Callable[[Any, Pieces], tuple[Any, Any]]:
    r"""Differentiate a loss of sums over pieces that a host iterator delivers, exactly.

    The same two passes as `accumulated_value_and_grad`, S = Σ_k s(θ, x_k) and then
    Σ_k (∂L/∂S)·(∂s(θ, x_k)/∂θ), but over pieces that are read twice, one after the other: the
    tiles of a slide or of a volume, from a memory-mapped file, say. No more than two pieces are on
    the device at any time, one computed and one on its way. Pieces may differ in shape; each new
    shape compiles anew, and `pad_piece` gives all of them one.

    Args:
        sums_fn: maps ``params`` and one piece to a pytree of additive sums, of the same shapes for
            every piece. Pure.
        loss_fn: maps the sums over all pieces to one floating number. It sees them in at least
            float32.
        has_aux: if true, ``sums_fn`` gives ``(sums, aux)``.

    Returns:
        A function ``f(params, pieces) -> (loss, gradients)``, or ``((loss, aux), gradients)`` with
        ``has_aux``, where ``aux`` is a list with one entry a piece, on the host, from the first
        pass. ``pieces`` is a list (or anything else that can be read twice), or a function without
        arguments that gives a fresh iterator over the same pieces each time; a piece is a pytree of
        NumPy or JAX arrays, those of JAX possibly sharded. Gradients are accumulated in at least
        float32 and come back in the type of their parameter. ``f`` runs on the host and compiles
        what it does to a piece: call it outside `jax.jit`, and build it once, outside the training
        loop.

    Raises:
        TypeError: when called, if ``pieces`` can be read only once or not at all, ``params`` has a
            leaf that is not floating, ``sums_fn`` gives something other than sums, or ``loss_fn``
            something other than a floating number.
        ValueError: when called, if ``pieces`` is empty or gives fewer or more pieces the second
            time, or the sums differ in shape between pieces.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> import dice_jax as dj
        >>> def sums_fn(w, piece):
        ...     image, target = piece
        ...     return dj.sigmoid_region_sums(w * image, target)
        >>> image = np.array([0.5, -1.0, 2.0, 1.0, -0.5, -2.0], np.float32)
        >>> target = np.array([1, 0, 1, 0, 0, 0])
        >>> def pieces():
        ...     for tile in (slice(0, 4), slice(4, 6)):
        ...         yield image[tile], target[tile]
        >>> f = dj.streamed_value_and_grad(sums_fn, dj.dice_loss)
        >>> loss, gradient = f(jnp.float32(1), pieces)
        >>> print(f"{loss:.4f} {gradient:.4f}")
        0.3322 -0.1092

    References:
        Milletari et al., V-Net (2016), https://arxiv.org/abs/1606.04797, section 3 (the loss).
    """
    sums_of = partial(piece_sums, sums_fn, has_aux)

    @jax.jit
    def no_sums(params: Any, piece: Any) -> Any:
        sums, _ = jax.eval_shape(sums_of, params, piece)
        # The sums, and what rounding took from each.
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), sums)
        return zeros, zeros

    @partial(jax.jit, donate_argnums=0)
    def add_sums(running: Any, params: Any, piece: Any) -> tuple[Any, Any]:
        sums, aux = sums_of(params, piece)
        _check_same(sums, running[0])
        return _compensated_add(running, sums), aux

    @jax.jit
    def finish_sums(running: Any) -> tuple[jax.Array, list[jax.Array]]:
        return loss_and_cotangents(loss_fn, jax.tree.map(jnp.add, *running))

    @partial(jax.jit, donate_argnums=0)
    def add_gradients(accumulators: Any, params: Any, piece: Any, cotangents: Any) -> Any:
        gradients = piece_gradients(sums_of, params, piece, cotangents)
        return add_to_gradients(accumulators, gradients)

    @jax.jit
    def no_gradients(params: Any) -> Any:
        return gradient_accumulators(params)

    @jax.jit
    def finish_gradients(accumulators: Any, params: Any) -> Any:
        return jax.tree.map(lambda a, p: a.astype(p.dtype), accumulators, params)

    def value_and_grad(params: Any, pieces: Pieces) -> tuple[Any, Any]:
        """Give the loss of all pieces together, and its gradient."""
        check_params(params)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(params)):
            raise TypeError(
                "params are being traced, but a stream is read on the host: call this outside "
                "jax.jit and jax.grad, or use accumulated_value_and_grad inside"
            )
        read = _reader(pieces)
        running, auxes, waiting, count = None, [], None, 0
        for piece in read():
            if running is None:
                running = no_sums(params, piece)
            # Runs ahead by one piece and no further, or the device would fill up with pieces.
            jax.block_until_ready(running)
            if has_aux and count:
                auxes.append(jax.device_get(waiting))
            running, waiting = add_sums(running, params, piece)
            count += 1
        if running is None:
            raise ValueError("pieces must give at least one piece, got none")
        if has_aux:
            auxes.append(jax.device_get(waiting))
        loss, cotangents = finish_sums(running)

        accumulators, again = no_gradients(params), 0
        for piece in read():
            jax.block_until_ready(accumulators)
            again += 1
            if again > count:
                break
            accumulators = add_gradients(accumulators, params, piece, cotangents)
        if again != count:
            came = "more" if again > count else str(again)
            raise ValueError(
                f"pieces must give the same pieces at both readings, got {count} at the first and "
                f"{came} at the second; pass a list, or a function that gives a fresh iterator"
            )
        gradients = finish_gradients(accumulators, params)
        return ((loss, auxes) if has_aux else loss), gradients

    return value_and_grad


def pad_piece(piece: Any, shape: Sequence[int]) -> tuple[Any, np.ndarray]:
    r"""Pad the arrays of a piece to one pixel shape, and mark the pixels that were there.

    Tiles at the edge of a slide are smaller than the others. Padded with zeros at the end of each
    pixel axis they all have one shape, so that a stream compiles once; the mask takes the padding
    out of every sum and gradient. (A network with a wide view still sees the zeros beside the
    pixels at the edge, as it does with zero padding of its own.)

    Args:
        piece: a pytree of arrays [*pixels, ...], images and labels, whose first ``len(shape)``
            axes are the pixel axes, of one size for all. Further axes (channels) are kept.
        shape: the pixel shape to pad to, at least that of the piece.

    Returns:
        The piece as NumPy arrays [*shape, ...], and ``where``: boolean, of shape ``shape``, true
        for the pixels that were there, for the ``where=`` of `region_sums` and the like.

    Raises:
        TypeError: if a leaf is no array, or ``shape`` no sequence of integers.
        ValueError: if there is no array, the arrays disagree on the pixel shape, or it is larger
            than ``shape``.

    Example:
        >>> import numpy as np
        >>> import dice_jax as dj
        >>> image = np.array([[1.0, 2.0]])
        >>> (padded,), where = dj.pad_piece((image,), (2, 3))
        >>> print(padded)
        [[1. 2. 0.]
         [0. 0. 0.]]
        >>> print(where.astype(int))
        [[1 1 0]
         [0 0 0]]
    """
    if isinstance(shape, int) or not all(isinstance(n, (int, np.integer)) for n in shape):
        raise TypeError(f"shape must be a sequence of integers, got {shape!r}")
    shape = tuple(int(n) for n in shape)
    leaves = jax.tree.leaves(piece)
    for leaf in leaves:
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(f"piece must hold arrays, got {checks.describe(leaf)}")
    pixel_shapes = {tuple(leaf.shape[: len(shape)]) for leaf in leaves}
    inside = next(iter(pixel_shapes)) if len(pixel_shapes) == 1 else ()
    if len(inside) != len(shape) or any(n > m for n, m in zip(inside, shape, strict=True)):
        came = ", ".join(checks.describe(leaf) for leaf in leaves)
        raise ValueError(
            f"piece must hold arrays that share their first {len(shape)} axes, no larger than the "
            f"shape {shape} to pad to, got {came or 'no array'}"
        )
    widths = [(0, m - n) for n, m in zip(inside, shape, strict=True)]

    def pad(leaf: Any) -> np.ndarray:
        return np.pad(np.asarray(leaf), widths + [(0, 0)] * (leaf.ndim - len(shape)))

    where = np.zeros(shape, np.bool_)
    where[tuple(slice(n) for n in inside)] = True
    return jax.tree.map(pad, piece), where


def _reader(pieces: Pieces) -> Callable[[], Iterator[Any]]:
    """Turn ``pieces`` into a function that reads them from the start, onto the device."""
    if isinstance(pieces, (Mapping, str)) or not (
        callable(pieces) or isinstance(pieces, Iterable) or hasattr(pieces, "__getitem__")
    ):
        raise TypeError(
            "pieces must be a list of pieces or a function that gives a fresh iterator, got "
            f"{checks.describe(pieces)}"
        )
    once = "and a stream is read twice; pass a list, or a function that gives a fresh iterator"
    if isinstance(pieces, Iterator):
        raise TypeError(f"pieces can be read only once: got {checks.describe(pieces)}, {once}")
    seen: list[Any] = []

    def read() -> Iterator[Any]:
        iterator = iter(pieces() if callable(pieces) else pieces)
        if any(iterator is other for other in seen):
            raise ValueError(f"pieces gives the same {checks.describe(iterator)} again, {once}")
        seen.append(iterator)
        return map(_own, iterator)

    return read


def _own(piece: Any) -> Any:
    # A copy: an iterator may fill the same buffer again, or close the file behind it, while the
    # device still computes. And JAX would cut 64-bit labels to 32 bits.
    return jax.tree.map(
        lambda x: jnp.array(checks.clipped(x)) if isinstance(x, np.ndarray) else x, piece
    )


def _check_same(sums: Any, before: Any) -> None:
    def describe(tree: Any) -> str:
        return ", ".join(checks.describe(leaf) for leaf in jax.tree.leaves(tree))

    def kinds(tree: Any) -> list[Any]:
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]

    if jax.tree.structure(sums) != jax.tree.structure(before) or kinds(sums) != kinds(before):
        raise ValueError(
            "sums_fn must give sums of the same shapes for every piece, or they do not add; got "
            f"{describe(sums)}, before that {describe(before)}"
        )


def _compensated_add(running: Any, sums: Any) -> Any:
    """Add to running sums and keep what rounding takes: thousands of pieces would drift."""
    totals, structure = jax.tree.flatten(running[0])
    lost, new = jax.tree.leaves(running[1]), jax.tree.leaves(sums)
    pairs = []
    for total, left, x in zip(totals, lost, new, strict=True):
        # Knuth's two-sum: exactly total + x = larger + rest, whichever is the greater.
        larger = total + x
        x_part = larger - total
        rest = (total - (larger - x_part)) + (x - x_part)
        pairs.append((larger, left + rest))
    return tuple(jax.tree.unflatten(structure, part) for part in zip(*pairs, strict=True))
