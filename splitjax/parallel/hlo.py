"""A compiled program read as text: what it computes, which devices talk, each loop counted as often as it runs.

XLA's own cost analysis counts a loop's body once, and its text is the only place that names who talks to whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

_BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4,
    "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16,
}
_COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all", "ragged-all-to-all",
    "collective-broadcast",
)
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([0-9,]*)\]")
_PART = re.compile(r"\b[a-z]+\d*\[[0-9,]*\](?:\{[^}]*\})?")
_CALLED = re.compile(r"\b(?:calls|body|condition|true_computation|false_computation|called_computations"
                     r"|branch_computations)=(\{[^}]*\}|%?[\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\s*\{"n":\s*"(\d+)"')
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[0-9,{}]*\})\}")
_IOTA = re.compile(r"replica_groups=\[([0-9,]+)\]<=\[([0-9,]+)\](?:T\(([0-9,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([0-9,]+)\](?:T\(([0-9,]+)\))?\))? \{([^}]*)\}")


@dataclass(frozen=True)
class Instruction:
    """One line of a computation: `%name = result opcode(operands), attributes`."""

    name: str
    result: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str

    @property
    def callees(self) -> list[str]:
        return [name for found in _CALLED.findall(self.attributes) for name in re.findall(r"[\w.\-]+", found)]


@dataclass(frozen=True)
class Collective:
    """One communication of the program.

    Attributes:
        kind: as XLA names it, without `-start`.
        groups: devices that talk with each other; of a permute, (from, to) pairs.
        bytes: what a device sends in one execution.
        times: executions in one run of the program.
    """

    kind: str
    groups: list[list[int]]
    bytes: float
    times: int


@dataclass
class Computation:
    """Instructions by name."""

    name: str = ""
    instructions: dict[str, Instruction] = field(default_factory=dict)


class Program:
    """An HLO module after optimisation.

    Args:
        text: of `compiled.as_text()` or of a dump's `after_optimizations.txt`.
    """

    def __init__(self, text: str) -> None:
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        current = Computation()
        for line in text.splitlines():
            if head := _HEAD.match(line):
                current = self.computations[head[2]] = Computation(head[2])
                self.entry = head[2] if head[1] else self.entry
            elif named := _LINE.match(line):
                instruction = _parse(named[1], line[named.end() :])
                if instruction is not None:
                    current.instructions[named[1]] = instruction

    def walk(self, into_fusions: bool = True) -> Iterator[tuple[Computation, Instruction, int]]:
        """(computation, instruction, how often it runs) of everything that the entry reaches."""
        yield from self._walk(self.entry, 1, into_fusions)

    def _walk(self, name: str, times: int, into_fusions: bool) -> Iterator[tuple[Computation, Instruction, int]]:
        computation = self.computations[name]
        for instruction in computation.instructions.values():
            yield computation, instruction, times
            if instruction.opcode == "fusion" and not into_fusions:
                continue
            inside = times * (self._trips(instruction) if instruction.opcode == "while" else 1)
            for callee in instruction.callees:
                if callee in self.computations:
                    yield from self._walk(callee, inside, into_fusions)

    def _trips(self, loop: Instruction) -> int:
        """How often the body of a loop runs: as XLA says, else from its counter's bound and step (from 0 on).

        TPU programs do not say, and loops that XLA made of a product and its gather go two steps at a time.
        """
        if known := _TRIPS.search(loop.attributes):
            return int(known[1])
        named = re.search(r"condition=%?([\w.\-]+), body=%?([\w.\-]+)", loop.attributes)
        condition = self.computations[named[1]].instructions if named else {}
        body = self.computations[named[2]].instructions if named else {}
        test = next((one for one in condition.values() if one.opcode == "compare"), None)
        if test is None:
            return 1
        bound = next((_constant(condition.get(name)) for name in test.operands if _constant(condition.get(name))), None)
        counter = next((condition[name] for name in test.operands if _element(condition.get(name)) is not None), None)
        after = [one for one in body.values() if one.opcode == "tuple"][-1:]
        step = 1
        if counter is not None and after:
            moved = body.get(after[0].operands[_element(counter) or 0])
            if moved is not None and moved.opcode == "add":
                step = next((_constant(body.get(name)) or 1 for name in moved.operands if _constant(body.get(name))), 1)
        return -(-bound // step) if bound else 1

    @cached_property
    def collectives(self) -> list[Collective]:
        """All of them. Of the parts that TPUs cut one into, to work meanwhile (a chain), one counts; an all-reduce of
        which each device keeps a slice is a reduce-scatter."""
        found, chains = [], set()
        for computation, instruction, times in self.walk():
            kind = instruction.opcode.removesuffix("-start")
            if kind not in _COLLECTIVES:
                continue
            chain = re.search(r'chain_id="(\d+)"', instruction.attributes)
            channel = re.search(r"channel_id=(\d+)", instruction.attributes)
            if chain and channel:
                if (chain[1], channel[1]) in chains:
                    continue
                chains.add((chain[1], channel[1]))
            groups = _groups(instruction.attributes)
            # The result of a `-start` repeats its operands.
            result = array_bytes(instruction.result, largest=kind != instruction.opcode)
            size = max(result, _read(computation, instruction))
            if kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
                kind = "reduce-scatter"
            found.append(Collective(kind, groups, size * _sent(kind, groups), times))
        return found

    @cached_property
    def flops(self) -> float:
        """FLOPs of all matrix products of a device, kernels left out (see `kernels`)."""
        total = 0.0
        for computation, instruction, times in self.walk():
            if instruction.opcode in ("convolution", "dot"):
                total += times * _product_flops(computation, instruction)
        return total

    def kernels(self, target: str) -> list[tuple[Instruction, int]]:
        """Custom calls of a target (`tpu_custom_call` is Pallas on TPU), and how often each runs."""
        wanted = f'custom_call_target="{target}"'
        calls = ((one, times) for _, one, times in self.walk() if one.opcode == "custom-call")
        return [(one, times) for one, times in calls if wanted in one.attributes]


def _parse(name: str, rest: str) -> Instruction | None:
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    opcode = _OPCODE.match(rest, end)
    if end <= 0 or not opcode:
        return None
    close = _closing(rest, opcode.end() - 1)
    operands = rest[opcode.end() : close]
    names = tuple(re.findall(r"%([\w.\-]+)", operands)) or (operands,)
    return Instruction(name, rest[:end], opcode[1], names, rest[close + 1 :])


def _constant(instruction: Instruction | None) -> int | None:
    """Value of a scalar integer constant."""
    if instruction is None or instruction.opcode != "constant" or not instruction.operands[0].lstrip("-").isdigit():
        return None
    return int(instruction.operands[0])


def _element(instruction: Instruction | None) -> int | None:
    """Which element of a tuple an instruction takes."""
    if instruction is None or instruction.opcode != "get-tuple-element":
        return None
    found = re.search(r"index=(\d+)", instruction.attributes)
    return int(found[1]) if found else None


def _closing(text: str, start: int) -> int:
    """Position of the parenthesis that closes the one at `start`."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if depth == 0:
            return position
    return len(text)


def _arrays(shape: str) -> list[tuple[str, list[int]]]:
    return [(kind, _numbers(sides)) for kind, sides in _ARRAY.findall(shape) if kind in _BYTES]


def array_bytes(shape: str, largest: bool = False) -> float:
    """Bytes of all arrays of a shape, or of its largest."""
    sizes = [_BYTES[kind] * float(np.prod(sides)) for kind, sides in _arrays(shape)]
    return max(sizes, default=0.0) if largest else sum(sizes)


def array_elements(shape: str) -> int:
    """Elements of all arrays of a shape."""
    return sum(int(np.prod(sides)) for _, sides in _arrays(shape))


def parts(shape: str) -> list[str]:
    """The arrays of a tuple, each with its layout; of an array, itself."""
    return _PART.findall(shape)


def _read(computation: Computation, instruction: Instruction) -> float:
    known = (computation.instructions.get(name) for name in instruction.operands)
    return sum(array_bytes(one.result) for one in known if one is not None)


def _sent(kind: str, groups: list[list[int]]) -> float:
    """What a device sends, over the whole array, in the ring algorithm that is best for bandwidth."""
    others = 1.0 - 1.0 / max(len(groups[0]) if groups else 1, 1)
    return {"all-reduce": 2.0 * others, "collective-permute": 1.0, "collective-broadcast": 1.0}.get(kind, others)


def _product_flops(computation: Computation, product: Instruction) -> float:
    """2 a multiply-add that touches an element (padding and holes are none), as XLA counts them."""
    (_, out), *_rest = _arrays(product.result)
    sides = [_arrays(computation.instructions[name].result)[0][1] for name in product.operands[:2]]
    if product.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([0-9,]*)\}", product.attributes)
        axes = _numbers(contracted[1]) if contracted else []
        return 2.0 * float(np.prod(out)) * float(np.prod([sides[0][axis] for axis in axes]))
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", product.attributes)
    assert labels is not None, product
    lhs, rhs = (dict(zip(label, side, strict=True)) for label, side in zip(labels.groups()[:2], sides, strict=True))
    result = dict(zip(labels[3], out, strict=True))
    touched = 1.0
    for axis, window in zip((label for label in sorted(rhs) if label.isdigit()), _windows(product), strict=False):
        touched *= _touches(result[axis], lhs[axis], rhs[axis], window)
    return 2.0 * touched * result["b"] * result["f"] * rhs["i"]


@dataclass(frozen=True)
class _Window:
    stride: int = 1
    low: int = 0
    lhs_dilate: int = 1
    rhs_dilate: int = 1


def _windows(product: Instruction) -> list[_Window]:
    """One entry an axis of the window; XLA leaves out what is at its default everywhere."""
    found = re.search(r"window=\{([^}]*)\}", product.attributes)
    if not found:
        return [_Window()] * 8
    said = dict(part.split("=") for part in found[1].split())
    axes = len(said["size"].split("x"))
    strides, left, right = (said.get(key, "x".join("1" * axes)).split("x") for key in
                            ("stride", "lhs_dilate", "rhs_dilate"))
    pads = said.get("pad", "x".join(["0_0"] * axes)).split("x")
    return [_Window(int(strides[n]), int(pads[n].split("_")[0]), int(left[n]), int(right[n])) for n in range(axes)]


def _touches(out: int, inside: int, size: int, window: _Window) -> int:
    """Pairs of output position and window position that meet an element of the input."""
    position = np.arange(out)[:, None] * window.stride + np.arange(size)[None] * window.rhs_dilate - window.low
    return int(((position % window.lhs_dilate == 0) & (position >= 0)
                & (position // window.lhs_dilate < inside)).sum())


def _groups(attributes: str) -> list[list[int]]:
    """Groups of devices in any of XLA's three notations, and pairs of a permute."""
    if match := _LISTED.search(attributes):
        return [_numbers(group) for group in re.findall(r"\{([0-9,]+)\}", match[1])]
    if match := _IOTA.search(attributes):
        return _iota(match[2], match[3]).reshape(_numbers(match[1])).tolist()
    if match := _MESH.search(attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", match[1])}
        ids = _iota(match[2], match[3]) if match[2] else np.arange(int(np.prod(list(sizes.values()))))
        axes = [list(sizes).index(name) for name in re.findall(r"'([^']+)'", match[4])]
        talking_last = np.moveaxis(ids.reshape(list(sizes.values())), axes, range(-len(axes), 0))
        return talking_last.reshape(-1, int(np.prod([list(sizes.values())[axis] for axis in axes]))).tolist()
    raise ValueError(f"unknown notation of groups: {attributes[:300]}")


def _iota(shape: str, transposed: str | None) -> np.ndarray:
    ids = np.arange(int(np.prod(_numbers(shape)))).reshape(_numbers(shape))
    return (ids.transpose(_numbers(transposed)) if transposed else ids).ravel()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]
