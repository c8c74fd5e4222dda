"""How a pass over the pixels is made: in tiles or in one expression; it knows nothing of Dice."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

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

    On a CPU the pixels are taken in tiles that stay in its cache, and the backward pass computes a
    tile again instead of storing anything; pixels that are spread over several CPU devices are
    added up where they are. Elsewhere it is one expression, which XLA fuses. Which of them is
    decided when the program is lowered: a TPU program may be compiled on a CPU host.

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
    plain = functools.partial(_plain_sums, terms, axes)
    plan = _plan(operands, axes, ndim)
    # Partly one device's own and partly the compiler's to spread: only an expression is both.
    if plan is None or _manual_axes() == "some":
        return plain(shared, operands)
    if _may_be_sharded():
        on_cpu = functools.partial(_sharded_sums, terms, axes, ndim)
    else:
        on_cpu = functools.partial(_tiled_sums, terms, plan)
    return jax.lax.platform_dependent(shared, operands, cpu=on_cpu, default=plain)


def _plain_sums(terms: Terms, axes: tuple[int, ...], shared: Arrays, operands: Arrays) -> Any:
    def total(term: jax.Array) -> jax.Array:
        if not axes:
            return term
        # The barrier keeps XLA from merging the two sums into one long running sum.
        rows = jax.lax.optimization_barrier(jnp.sum(term, axes[-1], keepdims=True))
        return jnp.sum(rows, axes)

    return jax.tree.map(total, terms(*operands, *shared))


def _sharded_sums(
    terms: Terms, axes: tuple[int, ...], ndim: int, shared: Arrays, operands: Arrays
) -> Any:
    # jax.extend, which it stands on, takes longer to import than the rest of the library.
    from dice_jax.shards import sum_shards

    def local(valid: jax.Array | None, shared: Arrays, operands: Arrays) -> Any:
        block_terms = terms
        if valid is not None:
            block_terms, operands = _within(terms, len(operands)), (*operands, valid)
        plan = _plan(operands, axes, ndim)
        if plan is None:
            return _plain_sums(block_terms, axes, shared, operands)
        return _tiled_sums(block_terms, plan, shared, operands)

    plain = functools.partial(_plain_sums, terms, axes)
    return sum_shards(local, plain, shared, operands, axes, ndim)


def _within(terms: Terms, count: int) -> Terms:
    """Take a mark of the pixels that exist as a further operand; others add nothing."""

    def marked(*arguments: jax.Array) -> Any:
        operands, valid, shared = arguments[:count], arguments[count], arguments[count + 1 :]

        def cut(term: jax.Array) -> jax.Array:
            inside = valid.reshape(valid.shape + (1,) * (term.ndim - valid.ndim))
            return jnp.where(inside, term, jnp.zeros_like(term))

        return jax.tree.map(cut, terms(*operands, *shared))

    return marked


class _Plan(NamedTuple):
    """How a pass is cut: regions kept apart, and for each the tiles, rows and lanes of its pixels.

    A tile is added up row on row, lane by lane: one running sum would wait for its own last
    addition, a row of them fills the vector registers.
    """

    shape: tuple[int, ...]  # the pixel shape
    kept: int  # how many of its leading axes are not summed
    regions: int
    tiles: int
    rows: int
    lanes: int
    rest: int  # pixels of a region beyond the last whole tile
    per_pixel: bool  # no operand has further axes: terms are elementwise, but for broadcasting


# Measured on XLA:CPU. Reductions of 4,096 elements and more go to another runtime and take twice as
# long at few classes; at many classes a tile's fixed costs weigh more than that.
_TILE_ELEMENTS = 2048
_TILE_ELEMENTS_OF_MANY_CLASSES = 32768
_MANY_CLASSES = 16
_LANE_ELEMENTS = 128
# Below this many pixels a loop costs more than it saves.
_FEWEST_PIXELS = 4096
_FEWEST_PIXELS_PER_REGION = 256
# The longest running sum, of rows within a tile and of tiles: in float32, 32 additions drift by
# less than 1e-6 even where every rounding has the same sign.
_MOST_ROWS = 32
_BRANCHES = 32


def _plan(operands: tuple[jax.Array, ...], axes: tuple[int, ...], ndim: int) -> _Plan | None:
    shape = operands[0].shape[:ndim]
    kept = ndim - len(axes)
    regions, pixels = math.prod(shape[:kept]), math.prod(shape[kept:])
    if (
        axes != tuple(range(kept, ndim))
        or regions * pixels < _FEWEST_PIXELS
        or pixels < _FEWEST_PIXELS_PER_REGION
    ):
        return None
    classes = max(math.prod(x.shape[ndim:]) for x in operands)
    elements = _TILE_ELEMENTS if classes < _MANY_CLASSES else _TILE_ELEMENTS_OF_MANY_CLASSES
    most = max(64, elements // classes)
    tile = _largest_divisor(pixels, most)
    if tile < most // 16:
        # Nothing near the best size divides the pixels: cut off the rest.
        tile = min(most, pixels)
    lanes = _largest_divisor(tile, max(1, _LANE_ELEMENTS // classes, tile // _MOST_ROWS))
    per_pixel = all(x.ndim == ndim for x in operands)
    tiles = pixels // tile
    rest = pixels - tiles * tile
    return _Plan(shape, kept, regions, tiles, tile // lanes, lanes, rest, per_pixel)


def _largest_divisor(n: int, most: int) -> int:
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def _may_be_sharded() -> bool:
    """Whether an operand may be spread over several CPU devices: a loop over it would gather it.

    Inside `shard_map` every array is one device's own.
    """
    if _manual_axes() == "all":
        return False
    try:
        return jax.local_device_count("cpu") > 1
    except RuntimeError:
        return False


def _manual_axes() -> str:
    """Which of the mesh's axes `shard_map` has taken over: all, some or none."""
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.manual_axes:
        return "none"
    return "all" if set(mesh.manual_axes) == set(mesh.axis_names) else "some"


def _tiled_sums(terms: Terms, plan: _Plan, shared: Arrays, operands: Arrays) -> Any:
    """Cut off what no whole tile holds; sum the tiles and the rest."""
    kept, ndim = plan.kept, len(plan.shape)
    whole = plan.tiles * plan.rows * plan.lanes
    flat = [
        jnp.broadcast_to(x, plan.shape + x.shape[ndim:]).reshape(
            plan.regions, whole + plan.rest, *x.shape[ndim:]
        )
        for x in operands
    ]
    main = [x[:, :whole] if plan.rest else x for x in flat]
    sums = _tile_loop(terms, plan, shared, tuple(_tiles(x, plan) for x in main))
    if plan.rest:
        rest = _plain_sums(terms, (1,), shared, tuple(x[:, whole:] for x in flat))
        sums = jax.tree.map(jnp.add, sums, rest)
    return jax.tree.map(lambda s: s.reshape(plan.shape[:kept] + s.shape[1:]), sums)


def _tiles(x: jax.Array, plan: _Plan) -> jax.Array:
    # An axis of size 1 among these makes XLA:CPU copy the whole operand.
    block = [n for n in (plan.rows, plan.lanes) if n > 1] or [1]
    return x.reshape(plan.regions * plan.tiles, *block, *x.shape[2:])


def _add_up(term: jax.Array, plan: _Plan) -> jax.Array:
    """The rows of one tile: [rows, lanes, ...] -> [lanes, ...]."""
    if plan.rows == 1:
        return term
    summed = jnp.sum(term, 0)
    return summed if plan.lanes > 1 else summed[None]


def _zeros(lead: tuple[int, ...], shapes: Any, operands: tuple[jax.Array, ...]) -> Any:
    """Where the running sums start; inside `shard_map`, as varying over the mesh as the operands.

    There, a loop must not start from a constant when its body adds what varies. The anchor is 0 and
    compiles to nothing; taking it from the operands needs no name that changes with JAX's versions.
    """

    def zeros(s: jax.ShapeDtypeStruct) -> jax.Array:
        ends = [jax.lax.stop_gradient(x[(0,) * x.ndim]).astype(s.dtype) for x in operands]
        anchor = jnp.where(jnp.bool_(False), sum(ends[1:], ends[0]), jnp.zeros((), s.dtype))
        return jnp.broadcast_to(anchor, lead + s.shape)

    return jax.tree.map(zeros, shapes)


def _sum_lanes(lanes: jax.Array) -> jax.Array:
    """Add up the first axis pairwise, which rounds log2(n) times instead of n times."""
    while (n := lanes.shape[0]) > 1:
        paired = lanes[: n // 2] + lanes[n // 2 : 2 * (n // 2)]
        lanes = jnp.concatenate([paired, lanes[-1:]]) if n % 2 else paired
    return lanes[0]


def _widened(x: jax.Array) -> jax.Array:
    """Read bfloat16 as float32.

    XLA:CPU has no bfloat16 arithmetic: a loop that writes a gradient of that type converts the
    whole of it to float32 and back at every tile. So the loop writes float32, converted once.
    """
    return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x


def _tile_loop(terms: Terms, plan: _Plan, shared: Arrays, tiles: Arrays) -> Any:
    """Sum the tiles [regions * tiles, rows, lanes, ...] of each region: [regions, ...].

    The value is a loop that nothing differentiates; its derivative is a sum over tiles again, of
    the terms' derivatives, which JAX transposes to the gradient tile by tile.
    """
    n = len(shared)

    def block_terms(*arguments: jax.Array) -> Any:
        return terms(*arguments[n:], *arguments[:n])

    @jax.custom_jvp
    def sums(*arguments: jax.Array) -> Any:
        shared, tiles = arguments[:n], arguments[n:]

        def tile_sums(index: jax.Array) -> Any:
            cut = (_widened(x[index]) for x in tiles)
            return jax.tree.map(lambda term: _add_up(term, plan), block_terms(*shared, *cut))

        zero = _zeros((), jax.eval_shape(tile_sums, jnp.int32(0)), arguments)

        def add_up(first: jax.Array, height: int) -> Any:
            """Sum up to _BRANCHES ** height tiles, no running sum longer than _BRANCHES."""
            if height == 0:
                return tile_sums(first)
            below = _BRANCHES ** (height - 1)
            end = (first // plan.tiles + 1) * plan.tiles
            branches = jnp.minimum(_BRANCHES, -(-(end - first) // below))

            def step(k: jax.Array, total: Any) -> Any:
                return jax.tree.map(jnp.add, total, add_up(first + k * below, height - 1))

            return jax.lax.fori_loop(jnp.int32(0), branches, step, zero)

        def one_region(region: jax.Array) -> Any:
            height = next(h for h in itertools.count() if _BRANCHES**h >= plan.tiles)
            return jax.tree.map(_sum_lanes, add_up(region * plan.tiles, height))

        return jax.lax.map(one_region, jnp.arange(plan.regions, dtype=jnp.int32))

    def sums_jvp(primals: tuple[jax.Array, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        moving = {i: _widened(t) for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero)}
        return sums(*primals), push(primals, moving)

    def push(primals: tuple[jax.Array, ...], moving: dict[int, jax.Array]) -> Any:
        """Sum the derivatives of the terms along the tangents of those operands that move."""
        if plan.per_pixel:
            # Its transpose is one elementwise expression: fused, and spread over the cores.
            spread = _derivative(block_terms, primals, moving)
            block, pixel_axes = (plan.regions, plan.tiles * plan.rows, plan.lanes), primals[n].ndim

            def total(t: jax.Array) -> jax.Array:
                return jnp.sum(t.reshape(*block, *t.shape[pixel_axes:]), (1, 2))

            return jax.tree.map(total, spread)

        def tile_push(cut: tuple[jax.Array, ...], moving_cut: dict[int, jax.Array]) -> Any:
            moved = {i: t for i, t in moving.items() if i < n} | moving_cut
            pushed = _derivative(block_terms, (*primals[:n], *cut), moved)
            return jax.tree.map(lambda t: _add_up(t, plan), pushed)

        def step(carry: Any, cut: Any) -> tuple[Any, None]:
            index, *block = cut
            pushed = tile_push(*block)
            if plan.regions == 1:
                return jax.tree.map(jnp.add, carry, pushed), None
            region = index // plan.tiles
            return jax.tree.map(lambda c, t: c.at[region].add(t), carry, pushed), None

        xs = (primals[n:], {i: t for i, t in moving.items() if i >= n})
        lead = () if plan.regions == 1 else (plan.regions,)
        shapes = jax.eval_shape(tile_push, *jax.tree.map(lambda x: x[0], xs))
        zeros = _zeros(lead, shapes, primals)
        index = jnp.arange(plan.regions * plan.tiles, dtype=jnp.int32)
        total, _ = jax.lax.scan(step, zeros, (index, *xs))
        if plan.regions == 1:
            total = jax.tree.map(lambda s: s[None], total)
        return jax.tree.map(lambda s: jnp.sum(s, 1), total)

    sums.defjvp(sums_jvp, symbolic_zeros=True)
    return sums(*shared, *tiles)


def _derivative(terms: Terms, arguments: tuple[jax.Array, ...], moving: dict[int, Any]) -> Any:
    """Differentiate ``terms`` along the tangents of some arguments, storing nothing for later."""

    # prevent_cse=False: the value's loop is closed to common-subexpression elimination anyway.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def derivative(arguments: tuple[jax.Array, ...], moving: dict[int, Any]) -> Any:
        wide = tuple(map(_widened, arguments))

        def of_moving(moved: dict[int, jax.Array]) -> Any:
            return terms(*(moved.get(i, x) for i, x in enumerate(wide)))

        return jax.jvp(of_moving, ({i: wide[i] for i in moving},), (moving,))[1]

    return derivative(arguments, moving)
