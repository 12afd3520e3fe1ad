"""What a step's time is made of, from a profiler's trace: kernels by class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CLASSES = {
    "attention": r"cudnn|fmha|sdpa|flash|splash|dot_do_o|convert_dq",
    "products": r"gemm|nvjet|ynn|cutlass|xmma|cublas|triton.*dot|(^|_)dot|matmul|onednn|convolution",
    "copies": r"memset|memcpy|^copy|_copy|^transpose",
    "network": r"all-?reduce|all-?gather|reduce-?scatter|all-?to-?all|collective|nccl|permute",
}
"""In turn: the first whose pattern a kernel's name matches has it. The rest is element-wise work and reductions."""
_REST = "element-wise"


@dataclass(frozen=True)
class Kernel:
    """All calls of one kernel in a step.

    Attributes:
        name: as the profiler has it.
        kind: its class.
        calls: a step.
        seconds: a step.
    """

    name: str
    kind: str
    calls: float
    seconds: float


def kernels(folder: Path, steps: int) -> list[Kernel]:
    """Kernels of the newest trace under `folder`, the longest first; none where it holds none of a device.

    Args:
        steps: that the trace covers.
    """
    from jax.profiler import ProfileData

    traces = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    return of_planes(ProfileData.from_file(str(traces[-1])).planes, steps) if traces else []


def of_planes(planes: Iterable[Any], steps: int) -> list[Kernel]:
    """`kernels` of a trace's planes (lines of events with a name, `duration_ns` and stats).

    Of the first device, if the trace has devices, else of the host. An event that belongs to an operation of a program
    says so in the stat `hlo_op`.
    """
    found = sorted((plane for plane in planes if plane.name.startswith(("/device:", "/host:CPU"))),
                   key=lambda plane: (not plane.name.startswith("/device:"), plane.name))
    for plane in found:
        calls: dict[str, int] = {}
        spent: dict[str, float] = {}
        for line in plane.lines:
            for event in line.events:
                if any(name == "hlo_op" for name, _ in event.stats):
                    calls[event.name] = calls.get(event.name, 0) + 1
                    spent[event.name] = spent.get(event.name, 0.0) + event.duration_ns
        if calls:
            return sorted(
                (Kernel(name, kind_of(name), calls[name] / steps, spent[name] / 1e9 / steps) for name in calls),
                key=lambda kernel: -kernel.seconds,
            )
    return []


def kind_of(kernel: str) -> str:
    """The class of a kernel by its name."""
    return next((kind for kind, sign in _CLASSES.items() if re.search(sign, kernel.lower())), _REST)


def by_class(found: Iterable[Kernel]) -> Mapping[str, float]:
    """Seconds a step of each class, the longest first."""
    sums: dict[str, float] = {}
    for kernel in found:
        sums[kernel.kind] = sums.get(kernel.kind, 0.0) + kernel.seconds
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def table(found: Sequence[Kernel], step_time: float, most: int = 3) -> str:
    """A markdown table: each class's time and its longest kernels.

    What is left of the step is time in which no kernel ran; on a host, whose threads work side by side, there is none.
    """
    lines = ["| kernels | ms a step | of the step | longest |", "| --- | --- | --- | --- |"]
    for kind, seconds in by_class(found).items():
        longest = [one for one in found if one.kind == kind][:most]
        names = ", ".join(f"`{one.name[:48]}` {one.seconds * 1e3:.1f}" for one in longest)
        lines.append(f"| {kind} | {seconds * 1e3:.1f} | {seconds / step_time:.0%} | {names} |")
    idle = step_time - sum(kernel.seconds for kernel in found)
    if idle > 0:
        lines.append(f"| none | {idle * 1e3:.1f} | {idle / step_time:.0%} | |")
    return "\n".join(lines)
