"""A TPU's implementation by a kernel: one Pallas call for any pixel op, forwards or backwards."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from dice_jax._core.manual_axes import varying_axes
from dice_jax._pass.config import sizes_in_use
from dice_jax._pass.op import Argument, Arrays, PixelOp, Result, summed

__all__ = ["in_kernel", "should_use_kernel"]

# A vector register holds 8 rows of 128 numbers of 32 bits; of narrower numbers, more rows.
_ROWS, _LANES = 8, 128
# Arrays of a step's size that are alive at the same time, at most, in the terms of our losses.
_TERMS = 12
_SUMS = (jnp.float32,)
_READ = (jnp.float32, jnp.bfloat16, jnp.int32, jnp.int8, jnp.uint8, jnp.bool_)
_WRITTEN = (jnp.float32, jnp.bfloat16)


class _Plan(NamedTuple):
    """How the last two pixel axes are cut: into blocks, and each block into registers."""

    images: int
    height: int
    width: int
    rows: int  # of a block, which has the image's whole width
    step_rows: int  # of the pixels that are computed at a time
    step_lanes: int

    @property
    def ragged(self) -> bool:
        """Whether the last block reaches over the image's edge."""
        return self.height % self.rows != 0


def should_use_kernel(op: PixelOp, arguments: Sequence[Any]) -> bool:
    """Tell whether the kernel can run an op: two pixel axes last that are summed, 32 bits at most.

    Arrays that all pixels share must be single numbers, and a sum must be given term by term.
    """
    last = {len(op.shape) - 2, len(op.shape) - 1}
    return (
        len(op.shape) >= 2
        and last <= set(op.axes)
        and all(map(_is_readable, op.arguments, arguments))
        and all(map(_is_writable, op.results))
        and _plan(op, arguments) is not None
    )


def _is_readable(argument: Argument, x: Any) -> bool:
    most = 1 if argument.pixel or argument.cotangent else 0
    dtypes = _READ if argument.pixel else _SUMS
    return argument.trailing <= most and x.dtype in dtypes


def _is_writable(result: Result) -> bool:
    dtypes = _WRITTEN if result.pixel else _SUMS
    return not result.reduced and result.trailing <= 1 and result.aval.dtype in dtypes


def _plan(op: PixelOp, arguments: Sequence[Any]) -> _Plan | None:
    """Cut the image; ``None`` where even the smallest block is too large."""
    *lead, height, width = op.shape
    ndim, sizes = len(op.shape), sizes_in_use()
    arrays = [x for x, argument in zip(arguments, op.arguments, strict=True) if argument.pixel]
    arrays += [result.aval for result in op.results if result.pixel]
    sums = [math.prod(r.aval.shape[ndim:]) for r in op.results if not r.pixel]
    classes = max(*(math.prod(x.shape[ndim:]) for x in arrays), *sums, 1)
    # The narrowest type decides: a register holds the most rows of it.
    step = max(_ROWS * 4 // x.dtype.itemsize for x in arrays)
    row_bytes = sum(math.prod(x.shape[ndim:]) * x.dtype.itemsize for x in arrays) * width
    if height <= step:
        rows, step = height, height
    else:
        most = min(sizes.kernel_block_bytes // row_bytes, height)
        rows = max(step, most // step * step)
        # Where blocks divide the image, none of them needs a mask.
        rows = next((r for r in range(rows, rows // 2, -step) if height % r == 0), rows)
    widest = min(width, max(_LANES, _ROWS * _LANES // classes))
    chunks = (n for n in range(widest, 0, -1) if n % _LANES == 0 and width % n == 0)
    lanes = next(chunks, width)
    # Two blocks are on the chip at a time. The terms of a step take registers, and what does not
    # fit into them goes to the chip's memory.
    needed = 2 * rows * row_bytes + (4 * _ROWS + 8) * width * sum(sums)
    needed += _TERMS * 4 * classes * step * lanes
    if needed > sizes.kernel_bytes:
        return None
    return _Plan(math.prod(lead), height, width, rows, step, lanes)


def in_kernel(op: PixelOp, arguments: Sequence[jax.Array], *, interpret: bool = False) -> Arrays:
    """Compute everything in one kernel, which reads every pixel once.

    The grid goes over images, and over blocks of rows of each. A block is computed a few registers
    at a time, in the layout [*trailing, rows, lanes]. The sums of an image stay on the chip.
    """
    plan = _plan(op, arguments)
    assert plan is not None
    ins = [_Input(op, plan, *given) for given in zip(op.arguments, arguments, strict=True)]
    outs = [_Output(op, plan, result, arguments[0]) for result in op.results]
    kernel = functools.partial(_kernel, op, plan, ins, outs)
    moved = sum(x.size * x.dtype.itemsize for x in (*arguments, *(out.type for out in outs)))
    # A caller's 64-bit mode would make the kernel's counters too wide.
    with jax.enable_x64(False):
        values = pl.pallas_call(
            kernel,
            grid=(plan.images, pl.cdiv(plan.height, plan.rows)),
            in_specs=[x.spec for x in ins],
            out_specs=[out.spec for out in outs],
            out_shape=[out.type for out in outs],
            scratch_shapes=[pltpu.VMEM(out.scratch, jnp.float32) for out in outs if out.scratch],
            compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
            cost_estimate=pl.CostEstimate(flops=0, bytes_accessed=moved, transcendentals=0),
            interpret=interpret,
        )(*(x.array for x in ins))
    return tuple(out.finished(value) for out, value in zip(outs, values, strict=True))


def _kernel(
    op: PixelOp, plan: _Plan, ins: Sequence[_Input], outs: Sequence[_Output], *refs: Any
) -> None:
    """Compute a block: its pixel results, and its part of the sums."""
    given, rest = refs[: len(ins)], refs[len(ins) :]
    written, scratch = rest[: len(outs)], iter(rest[len(outs) :])
    sums = [next(scratch) if out.scratch else None for out in outs]
    image, block, last = pl.program_id(0), pl.program_id(1), pl.num_programs(1) - 1

    @pl.when(block == 0)
    def _() -> None:
        for total in sums:
            if total is not None:
                total[...] = jnp.zeros_like(total)

    chunks = plan.width // plan.step_lanes

    def step(k: jax.Array, carry: jax.Array) -> jax.Array:
        row = pl.multiple_of(k // jnp.int32(chunks) * plan.step_rows, plan.step_rows)
        lane = pl.multiple_of(k % jnp.int32(chunks) * plan.step_lanes, plan.step_lanes)
        at = pl.ds(row, plan.step_rows), pl.ds(lane, plan.step_lanes)
        values = op(0, *(x.read(ref, at, image) for x, ref in zip(ins, given, strict=True)))
        for out, ref, total, value in zip(outs, written, sums, values, strict=True):
            if total is None:
                out.write(ref, at, value)
            else:
                out.add(total, at[1], _inside(plan, value, block * plan.rows + row))
        return carry

    steps = plan.rows // plan.step_rows * chunks
    jax.lax.fori_loop(jnp.int32(0), jnp.int32(steps), step, jnp.int32(0))

    @pl.when(block == last)
    def _() -> None:
        for out, ref, total in zip(outs, written, sums, strict=True):
            if total is not None:
                ref[0] = jnp.sum(total[...], -2, keepdims=not out.trailing)


def _inside(plan: _Plan, value: jax.Array, first_row: jax.Array) -> jax.Array:
    """Terms, 0 beyond the image's edge: there a block holds anything."""
    if not plan.ragged:
        return value
    row = first_row + jax.lax.broadcasted_iota(jnp.int32, value.shape, value.ndim - 2)
    return jnp.where(row < plan.height, value, jnp.zeros_like(value))


def _classes_in_sublanes(classes: int) -> bool:
    """Whether XLA lays an array [n, H, W, C] out as [n, H, C, W], and not as [n, C, H, W]."""
    return classes in (2, 4) or classes % _ROWS == 0


class _Pixels:
    """An array of pixels as the kernel sees it: [n, H, W], [n, C, H, W] or [n, H, C, W]."""

    def __init__(self, plan: _Plan, tail: tuple[int, ...]) -> None:
        self.plan, self.tail = plan, tail
        self.interleaved = bool(tail) and _classes_in_sublanes(tail[0])
        whole = (plan.images, plan.height, plan.width)
        order: tuple[int, ...]
        if not tail:
            order, block = (0, 1, 2), (1, plan.rows, plan.width)
        elif self.interleaved:
            order, block = (0, 1, 3, 2), (1, plan.rows, *tail, plan.width)
        else:
            order, block = (0, 3, 1, 2), (1, *tail, plan.rows, plan.width)
        self._flat = (*whole, *tail)
        # Block (i, j) is image i, and its j-th rows: axis 1 of the flat array, wherever it is now.
        rows = order.index(1)

        def index(i: Any, j: Any) -> tuple[Any, ...]:
            return tuple(i if k == 0 else j if k == rows else 0 for k in range(len(order)))

        self._order, self.spec = order, pl.BlockSpec(block, index)
        self.shape = tuple(self._flat[k] for k in order)

    def view(self, x: jax.Array) -> jax.Array:
        """The array as the kernel sees it: no copy, where XLA has laid it out like that."""
        return jnp.transpose(x.reshape(self._flat), self._order)

    def image(self, x: jax.Array) -> jax.Array:
        return jnp.transpose(x, [self._order.index(k) for k in range(len(self._order))])

    def read(self, ref: Any, at: Any) -> jax.Array:
        rows, lanes = at
        if not self.tail:
            return ref[0, rows, lanes]
        if self.interleaved:
            return jnp.stack([ref[0, rows, c, lanes] for c in range(self.tail[0])])
        return ref[0, :, rows, lanes]

    def write(self, ref: Any, at: Any, value: jax.Array) -> None:
        rows, lanes = at
        if not self.tail:
            ref[0, rows, lanes] = value
        elif self.interleaved:
            for c in range(self.tail[0]):
                ref[0, rows, c, lanes] = value[c]
        else:
            ref[0, :, rows, lanes] = value


class _Input:
    """An argument: pixels, a number in scalar memory, or a cotangent [C] in every lane."""

    def __init__(self, op: PixelOp, plan: _Plan, argument: Argument, x: jax.Array) -> None:
        ndim = len(op.shape)
        tail, self._dtype = x.shape[ndim:], x.dtype
        self._pixels = _Pixels(plan, tail) if argument.pixel else None
        self._number_of_image = False
        if self._pixels is not None:
            # Mosaic reads no booleans from memory.
            x = x.astype(jnp.int8) if x.dtype == jnp.bool_ else x
            self.array = self._pixels.view(jnp.broadcast_to(x, op.shape + tail))
            self.spec = self._pixels.spec
            return
        own = math.prod(x.shape[:ndim]) > 1
        x = jnp.broadcast_to(x, (*op.shape[:-2], 1, 1, *tail)) if own else x
        x = x.reshape(-1, *tail)
        if not tail:
            # All images' numbers: Mosaic cuts no vector into single ones.
            self.array, self._number_of_image = x, own
            self.spec = pl.BlockSpec(x.shape, lambda i, j: (0,), memory_space=pltpu.SMEM)
        else:
            self.array = jnp.broadcast_to(x[:, :, None, None], (*x.shape, 1, plan.step_lanes))
            self.spec = pl.BlockSpec(
                (1, *tail, 1, plan.step_lanes),
                (lambda i, j: (i, 0, 0, 0)) if own else (lambda i, j: (0, 0, 0, 0)),
            )

    def read(self, ref: Any, at: Any, image: jax.Array) -> jax.Array:
        if self._pixels is None:
            return ref[image if self._number_of_image else 0]
        value = self._pixels.read(ref, at)
        if self._dtype == jnp.bool_:
            return value.astype(jnp.int32) != 0
        # Mosaic computes with numbers of 32 bits.
        return value.astype(jnp.int32) if self._dtype.itemsize == 1 else value


class _Output:
    """A result: pixels, or sums that stay in a scratch until an image's last block."""

    def __init__(self, op: PixelOp, plan: _Plan, result: Result, like: jax.Array) -> None:
        self._op, self._plan, self._result = op, plan, result
        self.trailing, self._dtype = result.trailing, result.aval.dtype
        tail = self._tail = result.aval.shape[len(op.shape) :]
        self._pixels = _Pixels(plan, tail) if result.pixel else None
        self.scratch: tuple[int, ...] = ()
        if self._pixels is not None:
            shape, self.spec = self._pixels.shape, self._pixels.spec
        else:
            own = tail or (1,)
            shape = (plan.images, *own, plan.width)
            self.spec = pl.BlockSpec((1, *own, plan.width), lambda i, j: (i, 0, 0))
            kept = _ROWS if plan.step_rows % _ROWS == 0 else plan.step_rows
            self.scratch = (*tail, kept, plan.width)
        self.type = _type(like, shape, self._dtype)

    def write(self, ref: Any, at: Any, value: jax.Array) -> None:
        assert self._pixels is not None
        self._pixels.write(ref, at, value.astype(self._dtype))

    def add(self, total: Any, lanes: Any, value: jax.Array) -> None:
        """Add a step's rows to the few that are kept: they are added up at the end."""
        kept = self.scratch[-2]
        if value.shape[-2] != kept:
            value = value.reshape(*value.shape[:-2], -1, kept, value.shape[-1]).sum(-3)
        total[..., lanes] += value

    def finished(self, value: jax.Array) -> jax.Array:
        """Give a result its shape and its type."""
        if self._pixels is not None:
            return self._pixels.image(value).reshape(self._op.shape + self._tail)
        lead = (*self._op.shape[:-2], 1, 1)
        return summed(jnp.sum(value, -1).reshape(lead + self._tail), self._result)


def _type(like: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """The type of a kernel's result: inside `jax.shard_map`, as varying as what it is made of."""
    if not varying_axes(like):
        return jax.ShapeDtypeStruct(shape, dtype)
    kind = jax.typeof(like).manual_axis_type
    return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=kind)
