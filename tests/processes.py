"""Several processes of one machine as one JAX cluster, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_all(
    command: Sequence[object], *, count: int, folder: Path, devices: int = 1, timeout: float = 500
) -> list[Ended]:
    """Run `command` in `count` processes that find each other by the SPLITJAX_ variables; wait for all of them.

    Args:
        folder: for their output.
        devices: CPU devices of each.
    """
    cluster = {
        "SPLITJAX_COORDINATOR": f"127.0.0.1:{free_port()}", "SPLITJAX_PROCESSES": str(count), "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
    }  # fmt: skip
    # Into files: a process whose pipe nobody reads would stop, and with it all the others.
    files = [[open(folder / f"{index}.{name}", "w+") for name in ("out", "err")] for index in range(count)]  # noqa: SIM115
    processes = [
        subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdout=out, stderr=err,
            env=os.environ | cluster | {"SPLITJAX_PROCESS": str(index)},
        )
        for index, (out, err) in enumerate(files)
    ]  # fmt: skip
    try:
        codes = [process.wait(timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    ended = []
    for code, pair in zip(codes, files, strict=True):
        texts = []
        for file in pair:
            file.seek(0)
            texts.append(file.read())
            file.close()
        ended.append(Ended(code, *texts))
    return ended
