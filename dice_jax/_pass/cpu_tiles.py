"""How a CPU goes over pixels: tile by tile, each so small that it stays in a core's cache."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dice_jax._pass.op import Result, Work, summed, total, whole, zeros_beside

__all__ = ["in_tiles", "worth_tiling"]

Arrays = tuple[jax.Array, ...]


class _Plan(NamedTuple):
    """How pixels are cut: into regions kept apart, and for each the tiles, rows and lanes.

    A tile is added up row on row, lane by lane: one running sum would wait for its own last
    addition, a row of them fills the vector registers.
    """

    regions: int
    tiles: int
    rows: int
    lanes: int
    rest: int  # pixels of a region beyond the last whole tile
    pixels_last: bool  # how a tile lies in the cache: [*trailing, *pixels]; or as the image does

    @property
    def tile(self) -> int:
        return self.rows * self.lanes

    @property
    def pixels(self) -> int:
        return self.tiles * self.tile + self.rest


# Measured on XLA:CPU. A tile of few classes lies in the cache with its pixels last, which fill the
# vector registers; reductions of 4,096 elements and more go to another runtime, which takes twice
# as long. Many classes fill the registers themselves: there a tile's fixed costs weigh more.
_MANY_CLASSES = 48
_TILE_ELEMENTS, _LANES = 2048, 128
_TILE_ELEMENTS_OF_MANY_CLASSES, _LANE_ELEMENTS_OF_MANY_CLASSES = 32768, 128
# Below this many pixels a loop costs more than it saves; beyond the most, int32 cannot count them.
_FEWEST_PIXELS, _MOST_PIXELS = 4096, 2**31 - 1
_FEWEST_PIXELS_PER_REGION = 256
# The longest running sum, of rows within a tile and of tiles: in float32, 32 additions drift by
# less than 1e-6 even where every rounding has the same sign.
_MOST_ROWS = 32
_BRANCHES = 32


def worth_tiling(shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Tell whether a loop over tiles is worth its costs.

    Args:
        shape: the pixel shape.
        axes: the pixel axes that tiles are cut from, ascending.

    Returns:
        Whether there are enough pixels, and those of a region lie side by side.
    """
    kept = len(shape) - len(axes)
    pixels = math.prod(shape[kept:])
    return (
        axes == tuple(range(kept, len(shape)))
        and pixels >= _FEWEST_PIXELS_PER_REGION
        and _FEWEST_PIXELS <= math.prod(shape) <= _MOST_PIXELS
    )


def _plan(shape: tuple[int, ...], axes: tuple[int, ...], classes: int) -> _Plan:
    kept = len(shape) - len(axes)
    pixels = math.prod(shape[kept:])
    if few := classes < _MANY_CLASSES:
        elements, lanes = _TILE_ELEMENTS, _LANES
    else:
        elements, lanes = _TILE_ELEMENTS_OF_MANY_CLASSES, _LANE_ELEMENTS_OF_MANY_CLASSES // classes
    most = max(32, elements // classes)
    tile = _largest_divisor(pixels, most)
    if tile < most // 16:
        # Nothing near the best size divides the pixels: cut off the rest.
        tile = min(most, pixels)
    lanes = _largest_divisor(tile, max(1, lanes, tile // _MOST_ROWS))
    tiles = pixels // tile
    rest = pixels - tiles * tile
    return _Plan(math.prod(shape[:kept]), tiles, tile // lanes, lanes, rest, few)


def _largest_divisor(n: int, most: int) -> int:
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def in_tiles(work: Work, valid: jax.Array | None, arguments: Sequence[jax.Array]) -> Arrays:
    """Do the work in tiles that stay in a core's cache.

    Args:
        work: what to do.
        valid: boolean, the pixel shape: which pixels exist; ``None``: all.
        arguments: of the work.

    Returns:
        Its results.
    """
    if not worth_tiling(work.shape, work.axes):
        return whole(work, valid, arguments)
    ndim = len(work.shape)
    shapes = [x.shape for x in arguments] + [r.aval.shape for r in work.results if r.pixel]
    classes = max(math.prod(shape[ndim:]) for shape in shapes)
    tiles = _Tiles(work, valid, arguments, _plan(work.shape, work.axes, classes))
    mapped = work.only(pixel=True)
    sums = iter(tiles.add_up(work.only(pixel=False)))
    # Elementwise: the compiler fuses the whole expression, and spreads it over the cores.
    elementwise = all(len(shape) == ndim for shape in shapes)
    maps = iter(whole(mapped, valid, arguments) if elementwise else tiles.map(mapped))
    return tuple(next(maps if result.pixel else sums) for result in work.results)


class _Tiles:
    """The arguments of a work, ready to be cut into tiles, and the two loops over them."""

    def __init__(
        self, work: Work, valid: jax.Array | None, arguments: Sequence[jax.Array], plan: _Plan
    ) -> None:
        self._shape, self._plan, self._arguments = work.shape, plan, work.arguments
        self._kept = len(work.shape) - len(work.axes)
        self._dtypes = [x.dtype for x in arguments]
        self._valid = None if valid is None else valid.reshape(-1)
        self._zeros = functools.partial(zeros_beside, arguments[0])
        self._arrays = [
            self._flat(x) if argument.pixel else self._of_regions(x)
            for x, argument in zip(arguments, work.arguments, strict=True)
        ]

    def _flat(self, x: jax.Array) -> jax.Array:
        trailing = x.shape[len(self._shape) :]
        # What is the same in all regions is there once.
        same = math.prod(x.shape[: self._kept]) == 1
        lead = x.shape[: self._kept] if same else self._shape[: self._kept]
        x = jnp.broadcast_to(x, lead + self._shape[self._kept :] + trailing)
        return _as_bits(x.reshape(-1, *trailing))

    def _of_regions(self, x: jax.Array) -> jax.Array:
        ndim = len(self._shape)
        lead, trailing = x.shape[: self._kept], x.shape[ndim:]
        x = x.reshape(lead + trailing)
        if math.prod(lead) > 1:
            x = jnp.broadcast_to(x, self._shape[: self._kept] + trailing)
        return x.reshape(-1, *trailing)

    def _results(
        self, work: Work, region: Any, start: Any, block: tuple[int, ...]
    ) -> list[tuple[jax.Array, Result]]:
        """Compute a block of every result, in the tile's order; or [*trailing], summed already."""
        size = math.prod(block)

        def pixels(x: jax.Array) -> jax.Array:
            at = start
            if x.shape[0] > self._plan.pixels:
                at = region * jnp.int32(self._plan.pixels) + start
            return jax.lax.dynamic_slice_in_dim(x, at, size)

        blocks = [None if self._valid is None else pixels(self._valid).reshape(block)]
        for x, argument, dtype in zip(self._arrays, self._arguments, self._dtypes, strict=True):
            if argument.pixel:
                part = pixels(x)
                if self._moved(part):
                    # The barriers here and in `map`: else the compiler fuses the moving of axes
                    # into every operation, which then goes along the classes.
                    part = jax.lax.optimization_barrier(jnp.moveaxis(part, 0, -1))
                    part = part.reshape(part.shape[:-1] + block)
                else:
                    part = part.reshape(block + part.shape[1:])
                blocks.append(_from_bits(part, dtype))
            else:
                blocks.append(x[region] if x.shape[0] > 1 else x[0])
        trailing = [0, *(argument.trailing for argument in self._arguments)]
        out = [result.trailing for result in work.results]
        if self._plan.pixels_last and any((*trailing, *out)):
            # jax.extend, which it stands on, takes longer to import than the rest of the library.
            from dice_jax._pass.pixels_last import evaluate_pixels_last

            values = evaluate_pixels_last(work.function, blocks, trailing, out, block)
        else:
            values = work.function(*blocks)
        return list(zip(values, work.results, strict=True))

    def _moved(self, part: jax.Array) -> bool:
        return self._plan.pixels_last and part.ndim > 1

    @property
    def _last(self) -> int:
        """The axis of a tile's lanes, and of its pixels when they are one axis."""
        return -1 if self._plan.pixels_last else 0

    @property
    def _block(self) -> tuple[int, ...]:
        # An axis of size 1 among these makes XLA:CPU copy.
        return tuple(n for n in (self._plan.rows, self._plan.lanes) if n > 1) or (1,)

    def add_up(self, work: Work) -> Arrays:
        """Sum the tiles of each region, and its rest."""
        if not work.results:
            return ()
        plan = self._plan

        def tile_sums(region: Any, index: Any) -> Arrays:
            values = self._results(work, region, index * jnp.int32(plan.tile), self._block)
            return tuple(self._lanes(value, result) for value, result in values)

        zero = tuple(
            self._zeros(shape.shape, shape.dtype)
            for shape in jax.eval_shape(tile_sums, jnp.int32(0), jnp.int32(0))
        )

        def branch(region: Any, first: Any, height: int) -> Any:
            """Sum up to _BRANCHES ** height tiles, no running sum longer than _BRANCHES."""
            if height == 0:
                return tile_sums(region, first)
            below = _BRANCHES ** (height - 1)
            branches = jnp.minimum(_BRANCHES, -((first - plan.tiles) // below))

            def step(k: jax.Array, sums: Arrays) -> Arrays:
                return tuple(map(jnp.add, sums, branch(region, first + k * below, height - 1)))

            return jax.lax.fori_loop(jnp.int32(0), branches, step, zero)

        def of_region(region: jax.Array) -> Arrays:
            height = next(h for h in itertools.count() if _BRANCHES**h >= plan.tiles)
            lanes = branch(region, jnp.int32(0), height)
            sums = tuple(_sum_pairwise(jnp.moveaxis(x, self._last, 0)) for x in lanes)
            if plan.rest:
                start = jnp.int32(plan.tiles * plan.tile)
                values = self._results(work, region, start, (plan.rest,))
                rest = (total(v, (self._last,) if v.ndim > r.trailing else ()) for v, r in values)
                sums = tuple(map(jnp.add, sums, rest))
            return sums

        regions = jnp.arange(plan.regions, dtype=jnp.int32)
        lead = self._shape[: self._kept] + (1,) * (len(self._shape) - self._kept)
        return tuple(
            summed(value.reshape(lead + value.shape[1:]), result)
            for value, result in zip(jax.lax.map(of_region, regions), work.results, strict=True)
        )

    def _lanes(self, value: jax.Array, result: Result) -> jax.Array:
        """Sum the rows of a tile, and keep its lanes: an axis in the tile's order."""
        if value.ndim == result.trailing:  # summed already
            return jnp.expand_dims(value, self._last)
        if self._plan.rows == 1:
            return value
        if self._plan.lanes == 1:
            return jnp.sum(value, self._last, keepdims=True)
        return jnp.sum(value, -2 if self._plan.pixels_last else 0)

    def map(self, work: Work) -> Arrays:
        """Write the results tile by tile, each in its place."""
        if not work.results:
            return ()
        plan, ndim = self._plan, len(self._shape)

        def write(region: Any, start: Any, block: tuple[int, ...], written: Arrays) -> Arrays:
            at = region * jnp.int32(plan.pixels) + start

            def put(into: jax.Array, value: jax.Array, result: Result) -> jax.Array:
                bits, trailing = _as_bits(value.astype(result.aval.dtype)), into.shape[1:]
                if self._moved(into):
                    bits = jax.lax.optimization_barrier(bits.reshape(*trailing, -1))
                    bits = jnp.moveaxis(bits, -1, 0)
                else:
                    bits = bits.reshape(-1, *trailing)
                return jax.lax.dynamic_update_slice_in_dim(into, bits, at, 0)

            values = self._results(work, region, start, block)
            return tuple(put(into, *value) for into, value in zip(written, values, strict=True))

        def tile(index: jax.Array, written: Arrays) -> Arrays:
            region, start = index // plan.tiles, index % plan.tiles * plan.tile
            return write(region, start, self._block, written)

        def rest(region: jax.Array, written: Arrays) -> Arrays:
            return write(region, jnp.int32(plan.tiles * plan.tile), (plan.rest,), written)

        written = tuple(
            self._zeros(
                (math.prod(self._shape), *result.aval.shape[ndim:]), _bits(result.aval.dtype)
            )
            for result in work.results
        )
        zero, tiles = jnp.int32(0), jnp.int32(plan.regions * plan.tiles)
        written = jax.lax.fori_loop(zero, tiles, tile, written)
        if plan.rest:
            written = jax.lax.fori_loop(zero, jnp.int32(plan.regions), rest, written)

        def whole_image(bits: jax.Array, result: Result) -> jax.Array:
            value = _from_bits(bits, result.aval.dtype)
            return summed(value.reshape(self._shape + bits.shape[1:]), result)

        return tuple(map(whole_image, written, work.results))


def _sum_pairwise(lanes: jax.Array) -> jax.Array:
    """Add up the first axis pairwise, which rounds log2(n) times instead of n times."""
    while (n := lanes.shape[0]) > 1:
        paired = lanes[: n // 2] + lanes[n // 2 : 2 * (n // 2)]
        lanes = jnp.concatenate([paired, lanes[-1:]]) if n % 2 else paired
    return lanes[0]


# XLA:CPU has no bfloat16 arithmetic: a loop that carries an array of that type converts the whole
# of it to float32 and back at every tile. So it carries the bits.


def _bits(dtype: Any) -> Any:
    return jnp.uint16 if dtype == jnp.bfloat16 else dtype


def _as_bits(x: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def _from_bits(x: jax.Array, dtype: Any) -> jax.Array:
    return x if x.dtype == dtype else jax.lax.bitcast_convert_type(x, dtype)
