"""Which devices talk to which, read from compiled HLO."""

from __future__ import annotations

import re

import numpy as np

_COLLECTIVE = re.compile(
    r"\s(all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all|ragged-all-to-all|collective-broadcast)"
    r"(-start)?\("
)
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[0-9,{}]*\})\}")
_IOTA = re.compile(r"replica_groups=\[([0-9,]+)\]<=\[([0-9,]+)\](?:T\(([0-9,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([0-9,]+)\](?:T\(([0-9,]+)\))?\))? \{([^}]*)\}")


def collectives(text: str) -> list[tuple[str, list[list[int]]]]:
    """(kind, groups of devices that talk) of every collective in an HLO module."""
    found = []
    for line in text.splitlines():
        if match := _COLLECTIVE.search(line):
            found.append((match[1], _groups(line)))
    return found


def crossing(text: str, expert_of_device: list[int]) -> list[str]:
    """Kinds of the collectives whose groups hold devices of different experts."""
    return [
        kind
        for kind, groups in collectives(text)
        if any(len({expert_of_device[device] for device in group}) > 1 for group in groups)
    ]


def _groups(line: str) -> list[list[int]]:
    if match := _LISTED.search(line):
        return [_numbers(group) for group in re.findall(r"\{([0-9,]+)\}", match[1])]
    if match := _IOTA.search(line):
        return _iota(match[2], match[3]).reshape(_numbers(match[1])).tolist()
    if match := _MESH.search(line):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", match[1])}
        ids = _iota(match[2], match[3]) if match[2] else np.arange(int(np.prod(list(sizes.values()))))
        axes = [list(sizes).index(name) for name in re.findall(r"'([^']+)'", match[4])]
        talking_last = np.moveaxis(ids.reshape(list(sizes.values())), axes, range(-len(axes), 0))
        return talking_last.reshape(-1, int(np.prod([list(sizes.values())[axis] for axis in axes]))).tolist()
    raise ValueError(f"unknown notation of groups: {line[:300]}")


def _iota(shape: str, transposed: str | None) -> np.ndarray:
    ids = np.arange(int(np.prod(_numbers(shape)))).reshape(_numbers(shape))
    return (ids.transpose(_numbers(transposed)) if transposed else ids).ravel()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
