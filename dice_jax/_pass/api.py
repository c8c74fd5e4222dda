"""One pass over the pixels: per-pixel terms, summed over some axes; it knows nothing of Dice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from dice_jax._pass.cpu_tiles import worth_tiling
from dice_jax._pass.op import total
from dice_jax._pass.tpu_blocks import worth_blocks

__all__ = ["sum_over_pixels"]

Arrays = tuple[jax.Array, ...]
# Maps the operands, cut to any block of pixels, and what they share to a pytree of arrays.
Terms = Callable[..., Any]


def sum_over_pixels(
    terms: Terms,
    operands: Arrays,
    axes: tuple[int, ...],
    ndim: int,
    shared: Arrays = (),
) -> Any:
    """Add up per-pixel terms over some pixel axes, reading every operand once.

    A derivative computes a pixel's terms again instead of storing anything. On a CPU the pixels are
    taken in tiles that stay in its cache, on a TPU in blocks that stay on the chip; where they are
    spread over several devices, each takes its own. Elsewhere, and for few pixels, it is one
    expression, which XLA fuses. Which of them is decided when the program is lowered: a TPU program
    may be compiled on a CPU host.

    Args:
        terms: maps operands [..., *trailing], and then ``shared``, to a pytree of arrays
            [..., *trailing], pixel by pixel: it must not mix pixels, nor close over traced values.
        operands: arrays whose first ``ndim`` axes are the pixel shape, the first one's; the others
            may have axes of size 1 there. Their further axes are free.
        axes: the pixel axes to sum over, ascending.
        ndim: how many axes are pixel axes.
        shared: arrays that every pixel needs, a traced option or a distance matrix.

    Returns:
        The pytree of ``terms``, with the pixel axes ``axes`` summed: by several partial sums each,
        never by one running sum, which drifts (relative error 5e-3 at 2^28 pixels in float32).
    """
    shape = operands[0].shape[:ndim]
    large = worth_tiling(shape, axes) or (axes and worth_blocks(shape))
    # Partly one device's own and partly the compiler's to spread: only an expression is both.
    if not large or _partly_manual():
        return jax.tree.map(lambda term: total(term, axes), terms(*operands, *shared))
    # jax.extend, which it stands on, takes longer to import than the rest of the library.
    from dice_jax._pass.primitive import sums_of_pixels

    return sums_of_pixels(terms, operands, axes, shape, shared)


def _partly_manual() -> bool:
    """Whether `shard_map` has taken over some of the mesh's axes, but not all of them."""
    mesh = jax.sharding.get_abstract_mesh()
    return bool(mesh.manual_axes) and set(mesh.manual_axes) != set(mesh.axis_names)
