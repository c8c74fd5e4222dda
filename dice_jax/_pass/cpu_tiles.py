"""The CPU's implementation: tiles of pixels, each so small that it stays in a core's cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dice_jax._pass.config import sizes_in_use
from dice_jax._pass.fused_xla import fused
from dice_jax._pass.op import Arrays, PixelOp, Result, only, summed, zeros_beside

__all__ = ["should_tile", "tiled"]

# int32 counts the pixels.
_MOST_PIXELS = 2**31 - 1


class _Plan(NamedTuple):
    """How pixels are cut: into regions, and each region into tiles.

    A tile's pixels are [rows, lanes]. Its rows are added up, its lanes stay apart until the end: a
    single running sum would wait for its own last addition, a row of them fills vector registers.
    """

    regions: int
    tiles: int
    rows: int
    lanes: int
    rest: int  # pixels of a region beyond the last whole tile
    group: int  # tiles that are added up in the terms' own type, before they go to float64
    layout: int  # 0: a tile lies as [*trailing, *pixels]; −1: as the image does, trailing axes last

    @property
    def tile(self) -> int:
        return self.rows * self.lanes

    @property
    def pixels(self) -> int:
        return self.tiles * self.tile + self.rest


def should_tile(shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Tell whether there are enough pixels for a loop, and those of a region lie side by side."""
    batch = len(shape) - len(axes)
    sizes = sizes_in_use()
    return (
        axes == tuple(range(batch, len(shape)))
        and math.prod(shape[batch:]) >= sizes.fewest_region_pixels
        and sizes.fewest_pixels <= math.prod(shape) <= _MOST_PIXELS
    )


def _plan(op: PixelOp, classes: int) -> _Plan:
    shape, batch, sizes = op.shape, len(op.batch_axes), sizes_in_use()
    pixels = math.prod(shape[batch:])
    few = classes < sizes.many_classes
    if op.products:
        # A product takes the image's order, and its classes alone, not its features, are reduced.
        few, lanes = False, 1
        if op.products[-1] < sizes.classes_of_large_products:
            most = sizes.tile_elements // op.products[-1]
        else:
            most = min(sizes.tile_pixels_of_products, sizes.tile_elements_of_products // classes)
    elif few:
        most, lanes = sizes.tile_elements // classes, sizes.lanes
    else:
        most = sizes.tile_elements_of_many_classes // classes
        lanes = sizes.lane_elements_of_many_classes // classes
    most = max(32, most)
    tile = _largest_divisor(pixels, most)
    if tile < most // 16:
        # Nothing near the best size divides the pixels: leave a rest.
        tile = min(most, pixels)
    lanes = _largest_divisor(tile, max(1, lanes, tile // sizes.most_rows))
    tiles, rest = divmod(pixels, tile)
    # With one class, sums of float64 would be a tenth of the work. An inner loop saves that. With
    # several classes it would save little, and takes as long to compile as the rest.
    group = sizes.most_rows if classes == 1 else 1
    regions, layout = math.prod(shape[:batch]), 0 if few else -1
    return _Plan(regions, tiles, tile // lanes, lanes, rest, group, layout)


def _largest_divisor(n: int, most: int) -> int:
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def tiled(op: PixelOp, arguments: Sequence[jax.Array]) -> Arrays:
    """Compute everything tile by tile."""
    ndim = len(op.shape)
    # What every pixel has, and not a matrix that all pixels share.
    shapes = [x.shape for x, a in zip(arguments, op.arguments, strict=True) if a.pixel]
    shapes += [r.aval.shape for r in op.results if not r.reduced]
    classes = max(*op.products, *(math.prod(shape[ndim:]) for shape in shapes), 1)
    tiles = _Tiles(op, arguments, _plan(op, classes))
    maps = [i for i, result in enumerate(op.results) if result.pixel]
    if not maps:
        return tiles.add_up(op)
    if any(len(shape) > ndim for shape in shapes):
        return tiles.map(op)
    # Without classes, XLA:CPU fuses the whole expression, and spreads it over the cores.
    sums = [i for i, result in enumerate(op.results) if not result.pixel]
    values = dict(zip(maps, fused(only(op, maps), arguments), strict=True))
    values |= dict(zip(sums, tiles.add_up(only(op, sums)), strict=True))
    return tuple(values[i] for i in range(len(op.results)))


class _Tiles:
    """The arguments of an op, ready to be cut into tiles, and the two loops over them."""

    def __init__(self, op: PixelOp, arguments: Sequence[jax.Array], plan: _Plan) -> None:
        self._shape, self._batch, self._plan = op.shape, len(op.batch_axes), plan
        self._like, self._dtypes = arguments[0], [x.dtype for x in arguments]
        self._arguments = op.arguments
        self._arrays = [
            self._flat(x) if argument.pixel else self._of_regions(x)
            for x, argument in zip(arguments, op.arguments, strict=True)
        ]

    def _flat(self, x: jax.Array) -> jax.Array:
        """Put the pixels of all regions on one axis; once, where all regions have the same."""
        trailing = x.shape[len(self._shape) :]
        same = math.prod(x.shape[: self._batch]) == 1
        lead = x.shape[: self._batch] if same else self._shape[: self._batch]
        x = jnp.broadcast_to(x, lead + self._shape[self._batch :] + trailing)
        return _as_bits(x.reshape(-1, *trailing))

    def _of_regions(self, x: jax.Array) -> jax.Array:
        lead, trailing = x.shape[: self._batch], x.shape[len(self._shape) :]
        x = x.reshape(lead + trailing)
        if math.prod(lead) > 1:
            x = jnp.broadcast_to(x, self._shape[: self._batch] + trailing)
        return x.reshape(-1, *trailing)

    def _values(self, op: PixelOp, region: Any, start: Any, size: int) -> Arrays:
        """Compute a block of every result, in the plan's layout."""
        plan = self._plan

        def pixels(x: jax.Array, dtype: Any) -> jax.Array:
            at = start if x.shape[0] == plan.pixels else region * jnp.int32(plan.pixels) + start
            part = _cut(x, at, size)
            if self._moves(part):
                # The barriers here and in `map` keep the moving of axes apart: fused into the
                # arithmetic, it would make every operation run along the classes.
                part = jax.lax.optimization_barrier(jnp.moveaxis(part, 0, -1))
            return _from_bits(part, dtype)

        blocks = [
            pixels(x, dtype) if argument.pixel else x[region if x.shape[0] > 1 else 0]
            for x, argument, dtype in zip(self._arrays, self._arguments, self._dtypes, strict=True)
        ]
        return op(plan.layout, *blocks)

    def _moves(self, part: jax.Array) -> bool:
        return self._plan.layout == 0 and part.ndim > 1

    def add_up(self, op: PixelOp) -> Arrays:
        """Sum the tiles of each region, and its rest."""
        if not op.results:
            return ()
        plan = self._plan
        # The axis of a tile's lanes, and of a rest's pixels.
        last = -1 if plan.layout == 0 else 0

        def lanes_of(value: jax.Array, result: Result) -> jax.Array:
            if result.reduced:
                return jnp.expand_dims(value, last)
            if plan.layout == 0:
                return jnp.sum(value.reshape(*value.shape[:-1], plan.rows, plan.lanes), -2)
            return jnp.sum(value.reshape(plan.rows, plan.lanes, *value.shape[1:]), 0)

        def empty(result: Result, dtype: Any) -> jax.Array:
            trailing = result.aval.shape[len(self._shape) :]
            lanes = (1,) if result.reduced else (plan.lanes,)
            shape = trailing + lanes if plan.layout == 0 else lanes + trailing
            return zeros_beside(self._like, shape, dtype)

        def tile_sums(region: jax.Array, index: jax.Array) -> Arrays:
            values = self._values(op, region, index * jnp.int32(plan.tile), plan.tile)
            return tuple(map(lanes_of, values, op.results))

        def group_sums(region: jax.Array, first: jax.Array) -> Arrays:
            """Sum so few tiles, one after the other, that nothing drifts."""
            if plan.group == 1:
                return tile_sums(region, first)

            def step(k: jax.Array, sums: Arrays) -> Arrays:
                return tuple(map(jnp.add, sums, tile_sums(region, first + k)))

            count = jnp.minimum(jnp.int32(plan.group), jnp.int32(plan.tiles) - first)
            start = tuple(empty(result, result.aval.dtype) for result in op.results)
            return jax.lax.fori_loop(jnp.int32(0), count, step, start)

        x64 = bool(jax.config.read("jax_enable_x64"))
        # Groups are added up in float64: a running sum in float32 would drift over many of them.
        wide = [_wide(result.aval.dtype) for result in op.results]

        @jax.enable_x64(True)
        def of_region(region: jax.Array) -> Arrays:
            group_of = jax.enable_x64(x64)(group_sums)

            def step(group: jax.Array, sums: Arrays) -> Arrays:
                values = group_of(region, group * jnp.int32(plan.group))
                return tuple(s + v.astype(s.dtype) for s, v in zip(sums, values, strict=True))

            if plan.tiles <= plan.group:
                lanes = group_of(region, jnp.int32(0))
            else:
                start = tuple(map(empty, op.results, wide))
                groups = jnp.int32(-(-plan.tiles // plan.group))
                lanes = jax.lax.fori_loop(jnp.int32(0), groups, step, start)
            sums = [_sum_lanes(x.astype(dtype), last) for x, dtype in zip(lanes, wide, strict=True)]
            if plan.rest:
                start = jnp.int32(plan.tiles * plan.tile)
                rest = jax.enable_x64(x64)(self._values)(op, region, start, plan.rest)
                for i, (value, result) in enumerate(zip(rest, op.results, strict=True)):
                    value = value.astype(wide[i])
                    sums[i] += value if result.reduced else jnp.sum(value, last)
            return tuple(s.astype(r.aval.dtype) for s, r in zip(sums, op.results, strict=True))

        if plan.regions == 1:
            values = of_region(jnp.int32(0))
        else:
            values = jax.lax.map(of_region, jnp.arange(plan.regions, dtype=jnp.int32))
        return tuple(
            self._whole(value.reshape(-1, *result.aval.shape[len(self._shape) :]), result)
            for value, result in zip(values, op.results, strict=True)
        )

    def map(self, op: PixelOp) -> Arrays:
        """Write images tile by tile, each in its place, and add up what comes as sums of blocks."""
        plan, ndim = self._plan, len(self._shape)
        x64 = bool(jax.config.read("jax_enable_x64"))

        def put(into: jax.Array, value: jax.Array, at: Any) -> jax.Array:
            bits = _as_bits(value)
            if self._moves(into):
                bits = jnp.moveaxis(jax.lax.optimization_barrier(bits), -1, 0)
            index = (at, *(jnp.int32(0),) * (into.ndim - 1))
            return jax.lax.dynamic_update_slice(into, bits, index, allow_negative_indices=False)

        def add(into: jax.Array, value: jax.Array, region: Any) -> jax.Array:
            if plan.regions == 1:
                return into + value[None]
            so_far = jax.lax.dynamic_index_in_dim(into, region, keepdims=False)
            return jax.lax.dynamic_update_index_in_dim(into, so_far + value, region, 0)

        def write(region: Any, start: Any, size: int, written: Arrays) -> Arrays:
            at = region * jnp.int32(plan.pixels) + start if plan.regions > 1 else start
            values = jax.enable_x64(x64)(self._values)(op, region, start, size)
            return tuple(
                put(into, value.astype(result.aval.dtype), at)
                if result.pixel
                else add(into, value.astype(into.dtype), region)
                for into, value, result in zip(written, values, op.results, strict=True)
            )

        def tile(index: jax.Array, written: Arrays) -> Arrays:
            if plan.regions == 1:
                region, place = jnp.int32(0), index
            else:
                region, place = index // plan.tiles, index % plan.tiles
            return write(region, place * jnp.int32(plan.tile), plan.tile, written)

        def rest(region: jax.Array, written: Arrays) -> Arrays:
            return write(region, jnp.int32(plan.tiles * plan.tile), plan.rest, written)

        def empty(result: Result) -> jax.Array:
            lead = math.prod(self._shape) if result.pixel else plan.regions
            dtype = result.aval.dtype
            dtype = _bits(dtype) if result.pixel else _wide(dtype)
            return zeros_beside(self._like, (lead, *result.aval.shape[ndim:]), dtype)

        # Sums are added up in float64.
        @jax.enable_x64(any(not result.pixel for result in op.results) or x64)
        def loops() -> Arrays:
            zero, tiles = jnp.int32(0), jnp.int32(plan.regions * plan.tiles)
            written = jax.lax.fori_loop(zero, tiles, tile, tuple(map(empty, op.results)))
            if plan.rest:
                written = jax.lax.fori_loop(zero, jnp.int32(plan.regions), rest, written)
            return tuple(
                _from_bits(x, result.aval.dtype) if result.pixel else x.astype(result.aval.dtype)
                for x, result in zip(written, op.results, strict=True)
            )

        return tuple(
            self._whole(value, result) for value, result in zip(loops(), op.results, strict=True)
        )

    def _whole(self, value: jax.Array, result: Result) -> jax.Array:
        """Give a result, with its pixels or regions on one axis, all pixel axes."""
        lead = self._shape
        if not result.pixel:
            lead = lead[: self._batch] + (1,) * (len(lead) - self._batch)
        return summed(value.reshape(lead + value.shape[1:]), result)


def _cut(x: jax.Array, start: Any, size: int) -> jax.Array:
    index = (start, *(jnp.int32(0),) * (x.ndim - 1))
    sizes = (size, *x.shape[1:])
    return jax.lax.dynamic_slice(x, index, sizes, allow_negative_indices=False)


def _sum_lanes(lanes: jax.Array, last: int) -> jax.Array:
    """Sum a tile's lanes, 32 at a time: XLA:CPU makes windows of longer sums, and compiles more."""
    lanes = jnp.moveaxis(lanes, last, -1)
    inner = math.gcd(32, lanes.shape[-1])
    rows = jnp.sum(lanes.reshape(*lanes.shape[:-1], -1, inner), -1)
    return jnp.sum(jax.lax.optimization_barrier(rows), -1)


def _wide(dtype: Any) -> Any:
    return jnp.float64 if jnp.issubdtype(dtype, jnp.floating) else dtype


# XLA:CPU has no bfloat16 arithmetic: a loop that carries an array of that type converts the whole
# of it to float32 and back at every tile. So it carries the bits.


def _bits(dtype: Any) -> Any:
    return jnp.uint16 if dtype == jnp.bfloat16 else dtype


def _as_bits(x: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def _from_bits(x: jax.Array, dtype: Any) -> jax.Array:
    return x if x.dtype == dtype else jax.lax.bitcast_convert_type(x, dtype)
