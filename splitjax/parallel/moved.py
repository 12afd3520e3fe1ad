"""HBM bytes that a compiled program reads and writes, each loop's body counted as often as it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .hlo import Computation, Instruction, Program, array_bytes, parts

_FREE = frozenset({
    "parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "partition-id", "replica-id", "iota",
    "opt-barrier", "copy-start", "async-start", "async-update", "async-done", "while", "conditional", "call",
})
"""Opcodes that move nothing themselves."""
_ON_CHIP = re.compile(r"\b[a-z]+\d*\[[0-9,]*\]\{[^}]*S\(1\)[^}]*\}")


def moved_bytes(program: Program) -> float:
    """Operands read and results written by every kernel; what a fusion keeps inside, and arrays in on-chip memory
    (`S(1)`), are free. A slice that a kernel takes of a larger array counts, not the array."""
    return sum(times * size for _, times, arrays in kernels(program) for _, size in arrays)


def kernels(program: Program) -> Iterator[tuple[Instruction, int, list[tuple[str, float]]]]:
    """(kernel, how often it runs, [(shape, bytes moved) of every array that it reads or writes])."""
    for computation, instruction, times in program.walk(into_fusions=False):
        if instruction.opcode not in _FREE:
            yield instruction, times, _arrays(program, computation, instruction)


def _arrays(program: Program, computation: Computation, kernel: Instruction) -> list[tuple[str, float]]:
    known = computation.instructions
    operands = [known[name].result if name in known else "" for name in kernel.operands]
    result = kernel.result
    if kernel.opcode == "fusion":
        body = program.computations[kernel.callees[0]]
        read = [(shape, min(_size(shape), _used(program, body, n))) for n, shape in enumerate(operands)]
        return [*read, *_written(body, result)]
    if kernel.opcode in ("dynamic-slice", "slice"):
        return [(result, 2.0 * _size(result))]
    if kernel.opcode == "dynamic-update-slice":
        return [(operands[1], 2.0 * _size(operands[1]))]
    return [(shape, _size(shape)) for shape in (*operands, *parts(result))]


def _used(program: Program, body: Computation, number: int) -> float:
    """Bytes that a fusion reads of its operand `number`: slices of it if it only takes slices, nothing if it only
    writes a slice into it."""
    name = next((one.name for one in body.instructions.values()
                 if one.opcode == "parameter" and one.operands[0] == str(number)), None)
    used = 0.0
    pending = [name] if name else []
    while pending:
        source = pending.pop()
        for user in body.instructions.values():
            for place, operand in enumerate(user.operands):
                if operand != source:
                    continue
                if user.opcode == "bitcast":
                    pending.append(user.name)
                elif user.opcode in ("dynamic-slice", "slice") and place == 0:
                    used += _size(user.result)
                elif user.opcode == "fusion":
                    used += _used(program, program.computations[user.callees[0]], place)
                elif user.opcode != "dynamic-update-slice" or place != 0:
                    return float("inf")
    return used


def _written(body: Computation, result: str) -> list[tuple[str, float]]:
    """What a fusion writes: slices, if its result is an operand with a slice replaced."""
    known, whole = body.instructions, _size(result)
    updates = [one for one in known.values() if one.opcode == "dynamic-update-slice"]
    replaced = sum(_size(one.result) for one in updates)
    if not updates or replaced > whole:
        return [(shape, _size(shape)) for shape in parts(result)]
    slices = [known[one.operands[1]].result for one in updates if one.operands[1] in known]
    return [("", whole - replaced), *((shape, _size(shape)) for shape in slices)]


def _size(shape: str) -> float:
    return array_bytes(_ON_CHIP.sub("", shape))
