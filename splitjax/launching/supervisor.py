"""Several processes as one job: prefixed output, one signal to all, all end when one fails."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import IO

from splitjax.config.processes.stopping import LAUNCHER, heard

_POLL_SECONDS = 0.1
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What JAX's coordination service and the C++ runtime exit with when a peer is gone: a consequence, not a cause.
_CONSEQUENCES = (-signal.SIGABRT, 128 + signal.SIGABRT)


@dataclass(frozen=True)
class Process:
    """A command.

    Attributes:
        label: its name in the output ("0", "expert 3"); "" leaves its lines as they are.
        environment: what it has beside ours.
        answer: where the lines of its standard output go instead of to ours.
    """

    label: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    answer: list[str] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a group ended.

    Attributes:
        codes: exit code of each process; 128 + n where signal n ended it.
        first: index of the process that ended badly first, or None.
        signal: the signal that we were sent, or None.
    """

    codes: tuple[int, ...]
    first: int | None = None
    signal: int | None = None

    @property
    def code(self) -> int:
        """Ours: 128 + n after signal n, else that of the first process that ended badly, else 0."""
        if self.signal is not None:
            return 128 + self.signal
        return self.codes[self.first] if self.first is not None else 0


class _Group:
    """The processes, their output, and the signals that we pass on."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self.labels = [process.label for process in processes]
        self.received: int | None = None
        self._before: dict[int, object] = {}
        self._write = threading.Lock()
        self.children: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []
        self._processes = processes
        self._alive, self._ours = os.pipe()  # its end tells the children that we are gone, however we died

    def __enter__(self) -> _Group:
        if threading.current_thread() is threading.main_thread():
            for number in _PASSED_ON:
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._before[number] = signal.signal(number, self._receive)
        try:
            for process in self._processes:
                self._start(process)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def codes(self) -> list[int | None]:
        return [child.poll() for child in self.children]

    def send(self, number: int) -> None:
        for child in self.children:
            if child.poll() is None:
                try:
                    os.killpg(child.pid, number)  # its own helpers too: data workers, a preparing child
                except ProcessLookupError:
                    continue

    def say_ends(self, failed: Sequence[int], codes: Sequence[int | None], verb: str) -> None:
        """Name processes that ended badly, and what becomes of the others."""
        left = codes.count(None)
        rest = f"; {verb} the other {left}" if left else ""
        for index in failed:
            code = codes[index] or 0
            how = f"ended with exit code {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
            how += " (out of memory?)" if -code == signal.SIGKILL else ""
            label = self.labels[index]
            who = f"process {label}" if label.isdigit() else label or "the process"
            with self._write, contextlib.suppress(OSError, ValueError):
                print(f"splitjax: {who} {how}{rest}", file=sys.stderr, flush=True)

    def _start(self, process: Process) -> None:
        # Its own session: the terminal's Ctrl-C must not reach it beside ours, since a second signal ends at once.
        child = subprocess.Popen(
            process.command, env=os.environ | process.environment | {LAUNCHER: str(self._alive)},
            start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", pass_fds=[self._alive],
        )
        self.children.append(child)
        for stream, out, answer in ((child.stdout, sys.stdout, process.answer), (child.stderr, sys.stderr, None)):
            assert stream is not None
            reader = threading.Thread(target=self._copy, args=(process.label, stream, out, answer), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _copy(self, label: str, stream: IO[str], out: IO[str] | None, answer: list[str] | None) -> None:
        before, heard = f"[{label}] " if label else "", out is not None
        for text in stream:
            if answer is not None:
                answer.append(text)
            elif heard and out is not None:
                with self._write:
                    try:
                        out.write(before + text if text.endswith("\n") else f"{before}{text}\n")
                        out.flush()
                    except (OSError, ValueError):  # nobody reads ours any more: read on, or the child would wait for us
                        heard = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        heard()
        # Several JAX processes can agree on a step to save at for SIGTERM alone, so Ctrl-C becomes one.
        self.send(signal.SIGTERM if self.received is None else signal.SIGKILL)
        self.received = self.received or number

    def _close(self) -> None:
        self.send(signal.SIGKILL)
        for child in self.children:
            child.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        for end in (self._alive, self._ours):
            os.close(end)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def supervise(processes: Sequence[Process], *, together: bool = True, grace: float = 30.0) -> Outcome:
    """Run all to their ends.

    Args:
        processes: started at once.
        together: when one ends badly, end the others; False leaves them alone.
        grace: seconds between SIGTERM and SIGKILL for the others.
    """
    first: int | None = None
    deadline = float("inf")
    ended: set[int] = set()
    with _Group(processes) as group:
        while True:
            codes = group.codes()
            fresh = [index for index, code in enumerate(codes) if code is not None and index not in ended]
            ended.update(fresh)
            failed = [index for index in fresh if codes[index]]
            if failed and group.received is None and (first is None or not together):
                first = _cause(failed, codes) if first is None else first
                group.say_ends([first] if together else failed, codes, "ending" if together else "going on with")
                if together:
                    group.send(signal.SIGTERM)
                    deadline = time.monotonic() + grace
            if None not in codes:
                return Outcome(tuple(_plain(code or 0) for code in codes), first, group.received)
            if time.monotonic() > deadline:
                group.send(signal.SIGKILL)
            time.sleep(_POLL_SECONDS)


def _cause(failed: Sequence[int], codes: Sequence[int | None]) -> int:
    """Of those found dead at once, one that did not merely lose its peer."""
    return next((index for index in failed if codes[index] not in _CONSEQUENCES), failed[0])


def _plain(code: int) -> int:
    return code if code >= 0 else 128 - code
