"""Several processes of this machine as one JAX job, which find each other by the SPLITJAX_ variables."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Member:
    """One of the processes. What it says goes to files: one whose pipe nobody reads would stop, and all others then."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def send(self, number: int) -> None:
        """A signal to it and to what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def said(self) -> str:
        return self.err.read_text(encoding="utf-8", errors="replace")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def members(
    command: Sequence[object], count: int, folder: Path, *, devices: int = 1, environment: Mapping[str, str]
) -> Iterator[list[Member]]:
    """Start `command` in `count` processes; what is left of them at the end is killed.

    Args:
        folder: for what they say.
        devices: CPU devices of each.
    """
    shared = {**environment, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    if count > 1:
        shared |= {"SPLITJAX_COORDINATOR": f"127.0.0.1:{free_port()}", "SPLITJAX_PROCESSES": str(count)}
    started: list[Member] = []
    try:
        for index in range(count):
            own = {"SPLITJAX_PROCESS": str(index)} if count > 1 else {}
            started.append(_start(list(map(str, command)), shared | own, folder, str(index)))
        yield started
    finally:
        for member in started:
            member.send(signal.SIGKILL)
            member.process.wait()


def _start(command: list[str], environment: Mapping[str, str], folder: Path, name: str) -> Member:
    out, err = (folder / f"{name}.{stream}" for stream in ("out", "err"))
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            cwd=ROOT, start_new_session=True,
        )
    return Member(process, out, err)


def wait(started: Sequence[Member], timeout: float = 500) -> list[int]:
    """Their exit codes.

    Raises:
        subprocess.TimeoutExpired: one does not end.
    """
    return [member.process.wait(timeout) for member in started]
