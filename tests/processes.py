"""Several processes of one machine as one JAX cluster, for tests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.faults.cluster import members, wait


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str


def start_all(
    command: Sequence[object], *, count: int, folder: Path, devices: int = 1, timeout: float = 500
) -> list[Ended]:
    """Run `command` in `count` processes that find each other by the SPLITJAX_ variables; wait for all of them.

    Args:
        folder: for their output.
        devices: CPU devices of each.
    """
    with members(command, count, folder, devices=devices, environment=os.environ) as started:
        codes = wait(started, timeout)
        return [Ended(code, one.out.read_text(), one.said()) for code, one in zip(codes, started, strict=True)]
