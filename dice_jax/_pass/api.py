"""The entrance to the pass: per-pixel terms, summed over some axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from dice_jax._pass.cpu_tiles import should_tile
from dice_jax._pass.explicit_mesh import each_device_its_own, pixel_spec
from dice_jax._pass.op import Arrays, evaluated, total
from dice_jax._pass.tpu_blocks import should_block

__all__ = ["sum_over_pixels"]

# Maps the operands, cut to any block of pixels, and what they share to a pytree of arrays.
Terms = Callable[..., Any]


def sum_over_pixels(
    terms: Terms,
    operands: Arrays,
    axes: tuple[int, ...],
    ndim: int,
    shared: Arrays = (),
    *,
    products: tuple[int, ...] = (),
) -> Any:
    """Add up per-pixel terms over some pixel axes, reading every operand once.

    A derivative computes a pixel's terms again instead of storing them. The package's docstring
    says which implementations exist and which one runs.

    Args:
        terms: maps operands, cut to a block of pixels, and then ``shared`` to a pytree of arrays,
            or of functions without arguments that return one: these run only if their sum is read.
            It must treat every pixel alone, and must not close over traced values. Its keyword
            ``axis`` is −1 where blocks are [*block, *trailing] and 0 where they are
            [*trailing, *block], which is where a single trailing axis, the classes, lies.
        operands: arrays whose first ``ndim`` axes are the pixel shape, the first one's; the others
            may have axes of size 1 there. Their further axes are free.
        axes: the pixel axes to sum over, ascending.
        ndim: how many axes are pixel axes.
        shared: arrays that every pixel needs: a traced option, a distance matrix.
        products: how many numbers a pixel has in the operand and in the result of a matrix product
            inside ``terms``, if there is one. XLA stores both for the whole block.

    Returns:
        The pytree of ``terms``, [*batch axes, *trailing]: summed over the pixel axes ``axes``, in
        several partial sums each. One running sum drifts (relative error 5e-3 at 2^28 pixels in
        float32).
    """
    shape = operands[0].shape[:ndim]
    if not jax.sharding.get_abstract_mesh().manual_axes and (spec := pixel_spec(operands, ndim)):
        return each_device_its_own(
            lambda own, shared: sum_over_pixels(terms, own, axes, ndim, shared, products=products),
            operands,
            shared,
            axes,
            spec,
        )
    if not _is_large(shape, axes, products) or _partly_manual():
        values = evaluated(terms(*operands, *shared, axis=-1))
        return jax.tree.map(lambda value: total(value, axes), values)
    # jax.extend, which it stands on, takes longer to import than the rest of the library.
    from dice_jax._pass.primitive import bound_pass

    return bound_pass(terms, operands, axes, shape, shared, products)


def _is_large(shape: tuple[int, ...], axes: tuple[int, ...], products: tuple[int, ...]) -> bool:
    # The sizes of a program for export may be symbols: such a program is one expression.
    known = all(isinstance(n, int) for n in shape)
    return known and (should_tile(shape, axes) or (bool(axes) and should_block(shape, products)))


def _partly_manual() -> bool:
    """Whether `jax.shard_map` has made some axes of the mesh manual, but not all of them.

    There the compiler spreads each device's part further, and would gather what a loop goes over.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return bool(mesh.manual_axes) and set(mesh.manual_axes) != set(mesh.axis_names)
