"""Collectives of a program by the axes of its mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .hlo import Collective


@dataclass(frozen=True)
class Traffic:
    """What goes over one axis (or several at once, `fsdp+tensor`) in one run of a program.

    Attributes:
        count: executions.
        bytes: sent by a device.
    """

    count: int
    bytes: float


def axes_of(groups: Sequence[Sequence[int]], mesh: Mapping[str, int]) -> tuple[str, ...]:
    """Axes along which members of a group differ; device n of a program is the n-th of its mesh, row by row."""
    sides = tuple(mesh.values())
    crossed = [False] * len(sides)
    for group in groups:
        places = np.array(np.unravel_index(np.asarray(group, int), sides))
        for axis, row in enumerate(places):
            crossed[axis] |= bool((row != row[0]).any())
    return tuple(axis for axis, over in zip(mesh, crossed, strict=True) if over)


def by_axis(collectives: Sequence[Collective], mesh: Mapping[str, int]) -> dict[str, Traffic]:
    """Traffic by axis. A collective over groups of one device is none."""
    total: dict[str, Traffic] = {}
    for one in collectives:
        axis = "+".join(axes_of(one.groups, mesh))
        if axis:
            before = total.get(axis, Traffic(0, 0.0))
            total[axis] = Traffic(before.count + one.times, before.bytes + one.times * one.bytes)
    return total


def crossing(collectives: Sequence[Collective], mesh: Mapping[str, int], axis: str) -> list[str]:
    """Kinds of the collectives in which devices talk that lie apart along `axis`."""
    return [one.kind for one in collectives if axis in axes_of(one.groups, mesh)]
