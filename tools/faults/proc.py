"""What Linux tells of other processes, which may be gone before it is read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

GONE = (FileNotFoundError, ProcessLookupError)
"""It went before the file was opened, or after that and before it was read."""


def told_of(pid: int, name: str) -> bytes:
    """A file of /proc/PID, as "environ" or "stat"; nothing where the process is gone."""
    with suppress(*GONE):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def children(pid: int) -> list[int]:
    """Processes that any thread of one started and that have not been waited for; none where it is gone."""
    threads = list[str]()
    with suppress(*GONE):
        threads = os.listdir(f"/proc/{pid}/task")
    return [int(child) for thread in threads for child in told_of(pid, f"task/{thread}/children").split()]
