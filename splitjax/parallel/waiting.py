"""What waiting at the start is made of: a clock that tells whom it is for, and a connection read by lines."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from .beats import STUCK, names

EVERY = 10.0
"""Seconds between two lines that tell who is waited for; the first comes sooner."""
_FIRST = 4.0
_LINE = 4096
"""Bytes that a line may have; a stranger who sends more is let go."""
_NAMED = 16
"""As many of the missing are named."""


class AwayError(Exception):
    """Others did not come, or went away: the same command may be started again."""

    exit_code = STUCK


class Who(NamedTuple):
    """This process among the others, and where process 0 is."""

    host: str
    port: int
    processes: int
    process: int


class Clock:
    """Tells in time who is waited for, and ends at the limit.

    Args:
        limit: seconds.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._began = time.monotonic()
        self._next = min(_FIRST, limit)

    def look(self, awaited: Callable[[], str]) -> None:
        """Say whom this process waits for, if it is time to.

        Raises:
            AwayError: it has waited as long as it may.
        """
        waited = time.monotonic() - self._began
        if waited >= self.limit:
            raise AwayError(f"waited {self.limit:g} s at the start for {awaited()}; the same command goes on from here")
        if waited >= self._next:
            self._next += EVERY
            print(f"splitjax: waiting at the start for {awaited()} ({waited:.0f} s of {self.limit:g})",
                  file=sys.stderr, flush=True)


class Line:
    """A connection that is read and written by lines, without waiting."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a host that lost its power says no farewell
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000)
        self.connection, self.since, self.open = connection, time.monotonic(), True
        self.process: int | None = None
        self._read = b""

    def lines(self) -> list[str]:
        """What has come in whole lines since the last call; `open` turns False at its end."""
        try:
            while chunk := self.connection.recv(_LINE):
                self._read += chunk
                if len(self._read) > _LINE:
                    break
            self.open = False
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
        *whole, self._read = self._read.split(b"\n")
        return [line.decode("ascii", "replace") for line in whole]

    def say(self, text: str) -> None:
        try:
            self.connection.sendall(text.encode("ascii", "replace") + b"\n")
        except OSError:  # also where its buffer is full: it has not read for long
            self.open = False

    def refuse(self, text: str) -> None:
        self.say(text)
        self.open = False

    def close(self) -> None:
        self.connection.close()


def named(processes: set[int], count: int) -> str:
    """In words; of many the first."""
    shown = sorted(processes)
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return f"{names(shown[:_NAMED])}{more} of {count}"
