"""The bytes that a compiled program moves through a device's memory, read off its HLO text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["DEVICE_MEMORY", "traffic"]

# The memory space of arrays without a mark. TPU programs mark what lies on the chip: S(1) is VMEM.
DEVICE_MEMORY = 0

_WIDTH = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2}
_WIDTH |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_SHAPE = re.compile(rf"\b({'|'.join(_WIDTH)})\[([\d,]*)\](\{{[^}}]*\}})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
# They move nothing, or another instruction counts what they wait for.
_FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all"}
_FREE |= {"copy-done", "slice-done", "async-done", "partition-id", "opt-barrier"}


class _Instruction(NamedTuple):
    """One line of a computation: ``result operation(operands), attributes``."""

    result: str
    operation: str
    operands: tuple[str, ...]
    line: str

    def attribute(self, name: str) -> str | None:
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.line)
        return found.group(1) if found else None


_Computations = Mapping[str, Mapping[str, _Instruction]]


def traffic(hlo: str, *, space: int = DEVICE_MEMORY) -> dict[str, int]:
    """Count the bytes that each instruction reads and writes in one memory space.

    XLA's own ``cost_analysis()["bytes accessed"]`` counts operands wherever they lie, on the chip
    too, and the body of a loop once. Here a loop's body counts as often as it runs, and a fusion
    that only slices an operand counts the slice. Arrays count with the padding of their layout.

    Args:
        hlo: the text of a compiled program.
        space: the memory space.

    Returns:
        Bytes by the instruction's name, over the whole run.
    """
    computations = _parse(hlo)
    found: Counter[str] = Counter()
    _count(computations, "ENTRY", space, 1, found)
    return {name: size for name, size in found.items() if size}


def _parse(hlo: str) -> _Computations:
    computations: dict[str, dict[str, _Instruction]] = {}
    current: dict[str, _Instruction] = {}
    for line in hlo.splitlines():
        if start := _COMPUTATION.match(line):
            name = "ENTRY" if start.group(1) else start.group(2)
            current = computations.setdefault(name, {})
        elif " = " in line:
            line = line.strip().removeprefix("ROOT ")
            name, _, body = line.partition(" = ")
            if operation := re.search(r"\s([a-z][\w\-]*)\(", body):
                operands = re.findall(r"%([\w.\-]+)", _until_closed(body, operation.end()))
                current[name.lstrip("%")] = _Instruction(
                    body[: operation.start()], operation.group(1), tuple(operands), line
                )
    return computations


def _until_closed(text: str, start: int) -> str:
    depth = 1
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    return text[start:]


def _sizes(text: str, space: int | None) -> list[int]:
    """The bytes of each array of a type, where it lies in the space; elsewhere 0."""
    return [size if space in (None, at) else 0 for size, at in map(_size, _SHAPE.findall(text))]


def _size(shape: tuple[str, str, str]) -> tuple[int, int]:
    kind, sizes, layout = shape
    dims = [int(n) for n in sizes.split(",") if n]
    order, tile = re.match(r"\{([\d,]+)", layout), re.search(r"T\((\d+),(\d+)\)", layout)
    if order and tile and len(dims) >= 2:
        # The two innermost axes are padded to whole tiles.
        minor = [int(k) for k in order.group(1).split(",")][:2]
        for k, n in zip(minor, reversed([int(n) for n in tile.groups()]), strict=True):
            dims[k] = -(-dims[k] // n) * n
    space = re.search(r"S\((\d+)\)", layout)
    return math.prod(dims) * _WIDTH[kind], int(space.group(1)) if space else DEVICE_MEMORY


def _count(
    computations: _Computations, name: str, space: int, times: int, found: Counter[str]
) -> None:
    body = computations[name]
    for key, instruction in body.items():
        called = instruction.attribute("to_apply")
        if instruction.operation == "while":
            inner = instruction.attribute("body")
            assert inner is not None
            _count(computations, inner, space, times * _trips(computations, instruction), found)
        elif instruction.operation == "call" and called:
            _count(computations, called, space, times, found)
        elif instruction.operation not in _FREE:
            found[key] += times * _moved(computations, body, instruction, space)


def _trips(computations: _Computations, loop: _Instruction) -> int:
    """How often a loop runs: noted by the compiler, or a counter's limit in its condition."""
    if known := re.search(r"known_trip_count[^\d]*(\d+)", loop.line):
        return int(known.group(1))
    condition = computations[loop.attribute("condition") or ""]
    limits = {
        name: int(value.group(1))
        for name, x in condition.items()
        if (value := re.search(r" = s32\[\]\S* constant\((\d+)\)", x.line))
    }
    for x in condition.values():
        if x.operation == "compare" and "direction=LT" in x.line:
            for operand in x.operands:
                if operand in limits:
                    return limits[operand]
    raise ValueError(f"nothing says how often this loop runs: {loop.line[:200]}")


def _moved(
    computations: _Computations,
    body: Mapping[str, _Instruction],
    instruction: _Instruction,
    space: int,
) -> int:
    results = _sizes(instruction.result, space)
    given = [body[name].result for name in dict.fromkeys(instruction.operands) if name in body]
    if instruction.operation == "copy-start":
        # Its result holds the target, the source and a flag.
        return sum(results[:2])
    if instruction.operation == "slice-start":
        everywhere = _sizes(instruction.result, None)
        source, target = results[:2]
        return everywhere[1] * (bool(source) + bool(target))
    if instruction.operation in ("slice", "dynamic-slice"):
        part = sum(_sizes(instruction.result, None))
        return sum(results) + (part if any(_sizes(given[0], space)) else 0)
    if instruction.operation == "dynamic-update-slice":
        return 2 * sum(_sizes(given[1], None)) if any(results) else 0
    if instruction.operation == "fusion":
        return _moved_by_fusion(computations, body, instruction, space)
    return sum(results) + sum(sum(_sizes(x, space)) for x in given)


def _moved_by_fusion(
    computations: _Computations,
    body: Mapping[str, _Instruction],
    fusion: _Instruction,
    space: int,
) -> int:
    called, written = fusion.attribute("calls") or "", _sizes(fusion.result, space)
    moved = 0
    for number, name in enumerate(fusion.operands):
        size = sum(_sizes(body[name].result, space)) if name in body else 0
        if size:
            read, updated = _read_by(computations, called, number, size)
            moved += read
            if updated and size in written:
                # The result is the operand, changed in place: only the part that is written.
                written.remove(size)
    return moved + sum(written)


def _read_by(computations: _Computations, name: str, number: int, size: int) -> tuple[int, bool]:
    """The bytes that a fused computation touches of a parameter, and if it updates it in place."""
    body = computations[name]
    parameter = next((key for key, x in body.items() if f"parameter({number})" in x.line), None)
    if parameter is None:
        return size, False
    # The parameter, also when it is seen in another shape.
    same = {parameter}
    for key, x in body.items():
        if x.operation in ("bitcast", "reshape") and x.operands[0] in same:
            same.add(key)
    total, updated = 0, False
    for key, x in body.items():
        if key in same or x.operation == "tuple" or not same.intersection(x.operands):
            continue
        if x.operation == "dynamic-slice" and x.operands[0] in same:
            total += sum(_sizes(x.result, None))
        elif x.operation == "dynamic-update-slice" and x.operands[0] in same:
            total, updated = total + sum(_sizes(body[x.operands[1]].result, None)), True
        elif x.operation == "fusion":
            for inner, operand in enumerate(x.operands):
                if operand in same:
                    read, changed = _read_by(computations, x.attribute("calls") or "", inner, size)
                    total, updated = total + read, updated or changed
        else:
            return size, False
    return (total if updated else min(total, size)), updated
