"""Before JAX is given the cluster: do all processes come?

JAX's own meeting waits in C++. It is deaf to signals, names nobody, and aborts at its limit. So the processes gather
here first, over plain TCP on the coordinator's own port, which is let go before JAX takes it: no second port has to be
free or open. The connections stay until JAX is ready, so that one that dies in between is noticed too.

One line a message. To process 0: `splitjax join PROCESS COUNT`, then `ready`. From it: `here P P …` every second,
`go`, `ready`, `taken` (by another process: come again), `no WHY` (a mistake), `end WHY`.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Iterable

from splitjax.config import UserError

from .waiting import AwayError, Clock, Line, Who, named

_LOOK = 0.2
_TELL = 1.0
_STRANGER = 10.0
"""Seconds that a connection may stay without a name."""


class Host:
    """Process 0's side.

    Raises:
        UserError: its port cannot be had.
    """

    def __init__(self, who: Who) -> None:
        self.who = who
        bound = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "").rpartition(":")[2]
        self._listener = _listen(int(bound) if bound.isdecimal() else who.port)
        self._select = selectors.DefaultSelector()
        self._select.register(self._listener, selectors.EVENT_READ)
        self._lines: dict[int, Line] = {}
        self._ready: set[int] = set()
        self._strangers: list[Line] = []
        self._told = 0.0

    def gather(self, clock: Clock) -> None:
        """Wait until every process has come, and tell them to go on."""
        while len(self._lines) < self.who.processes - 1:
            self._turn(_LOOK)
            clock.look(self._awaited)
        self._select.unregister(self._listener)
        self._listener.close()  # JAX takes the port
        self._drop(self._strangers)
        self._strangers = []
        self._tell("go")

    def gone(self) -> str:
        """Who went away after all had come; "" while nobody has."""
        self._turn(0.0)
        lost = set(range(1, self.who.processes)) - set(self._lines) - self._ready
        return f"{named(lost, self.who.processes)} went away while the processes joined" if lost else ""

    def ready(self) -> None:
        """JAX holds the processes together from here on."""
        self._tell("ready")
        self._drop(self._lines.values())

    def end(self, why: str) -> None:
        """Tell the others that this is the end, and give them a moment to hear it before the port goes."""
        self._tell(f"end {why}")
        until = time.monotonic() + 2.0
        while any(line.open for line in self._lines.values()) and time.monotonic() < until:
            self._turn(_LOOK)
        self._drop(self._lines.values())
        self._listener.close()

    def _turn(self, wait: float) -> None:
        for key, _ in self._select.select(wait):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._hear(key.data)
        for line in [*self._strangers, *self._lines.values()]:
            late = line.process is None and time.monotonic() > line.since + _STRANGER
            if late or not line.open:
                self._forget(line)
        if time.monotonic() > self._told + _TELL:
            self._told = time.monotonic()
            self._tell(f"here 0 {' '.join(map(str, sorted(self._lines)))}")

    def _accept(self) -> None:
        try:
            line = Line(self._listener.accept()[0])
        except OSError:  # it has left already, or there is no room for more
            return
        self._strangers.append(line)
        self._select.register(line.connection, selectors.EVENT_READ, line)

    def _hear(self, line: Line) -> None:
        for text in line.lines():
            match text.split():
                case ["splitjax", "join", process, count] if line.process is None:
                    self._seat(line, process, count)
                case ["ready"] if line.process is not None:
                    self._ready.add(line.process)
                case _:
                    line.open = False

    def _seat(self, line: Line, process: str, count: str) -> None:
        if count != str(self.who.processes):
            line.refuse(f"no process 0 counts {self.who.processes} processes, this one {count[:9]}")
        elif not process.isdecimal() or not 0 < int(process) < self.who.processes:
            line.refuse(f"no there is no process {process[:9]} of {self.who.processes}")
        elif int(process) in self._lines:
            line.say("taken")  # until it is let go as a stranger, and comes again
        else:
            line.process = int(process)
            self._lines[line.process] = line
            self._strangers.remove(line)

    def _forget(self, line: Line) -> None:
        self._select.unregister(line.connection)
        line.close()
        if line in self._strangers:
            self._strangers.remove(line)
        elif line.process is not None:
            del self._lines[line.process]

    def _tell(self, text: str) -> None:
        for line in self._lines.values():
            line.say(text)

    def _drop(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._select.unregister(line.connection)
            line.close()

    def _awaited(self) -> str:
        return named(set(range(1, self.who.processes)) - set(self._lines), self.who.processes)


class Guest:
    """The side of every other process."""

    def __init__(self, who: Who) -> None:
        self.who = who
        self._line: Line | None = None
        self._here: set[int] = set()
        self._ready = False
        self._unread: list[str] = []
        self._trouble = "does not answer"

    def gather(self, clock: Clock) -> None:
        """Wait until process 0 says that every process has come.

        Raises:
            UserError: process 0 counts otherwise than this one.
        """
        while True:
            self._line = self._dial(clock)
            self._line.say(f"splitjax join {self.who.process} {self.who.processes}")
            while self._line.open:
                texts = iter(self._line.lines())
                if any(self._go(text) for text in texts):
                    self._unread = [*texts]  # where "ready" or "end" came with it
                    return
                time.sleep(_LOOK)
                clock.look(self._awaited)
            self._line.close()
            self._here = set()

    def gone(self) -> str:
        """Why process 0 is gone; "" while it is there, or once JAX holds the processes together."""
        if self._ready or self._line is None:
            return ""
        texts, self._unread = [*self._unread, *self._line.lines()], []
        for text in texts:
            self._ready = self._ready or text == "ready"
            if text.startswith("end "):
                return text.removeprefix("end ")
        lost = not self._line.open and not self._ready
        return f"process 0 of {self.who.processes} went away while the processes joined" if lost else ""

    def ready(self) -> None:
        """JAX holds the processes together from here on."""
        if self._line is not None:
            self._line.say("ready")
            self._line.close()

    def end(self, why: str) -> None:
        """Process 0 sees that this one goes."""
        if self._line is not None:
            self._line.close()

    def _go(self, text: str) -> bool:
        match text.split():
            case ["go"]:
                return True
            case ["here", *present]:
                self._here = {int(one) for one in present if one.isdecimal()}
            case ["taken"]:
                self._trouble = f"knows another process {self.who.process}"
            case ["no", *why]:
                raise UserError(" ".join(why), where=f"{self.who.host}:{self.who.port}",
                                mend="Each process needs a number of its own, and all the same count.")
            case ["end", *why]:
                raise AwayError(" ".join(why))
            case _:  # JAX's own service of a job that is still there, or a stranger's
                assert self._line is not None
                self._line.open, self._trouble = False, "is something else"
        return False

    def _dial(self, clock: Clock) -> Line:
        found: list[socket.socket] = []
        stop = threading.Event()
        # In a thread: to look a name up is deaf to signals.
        threading.Thread(target=_connect, args=(self.who, found, stop), daemon=True).start()
        try:
            while not found:
                time.sleep(_LOOK)
                clock.look(self._awaited)
        finally:
            stop.set()
        return Line(found[0])

    def _awaited(self) -> str:
        if not self._here:
            return f"process 0 of {self.who.processes} ({self.who.host}:{self.who.port} {self._trouble})"
        missing = set(range(self.who.processes)) - self._here - {self.who.process}
        return named(missing, self.who.processes) if missing else "process 0 to go on"


def _connect(who: Who, found: list[socket.socket], stop: threading.Event) -> None:
    while not stop.wait(_LOOK):
        try:
            connection = socket.create_connection((who.host, who.port), timeout=5.0)
        except OSError:
            continue
        if connection.getsockname() == connection.getpeername():  # on one machine a port may reach itself
            connection.close()
            continue
        found.append(connection)
        return


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise UserError(f"process 0 cannot listen on port {port} ({error.strerror})",
                        mend="Another job may hold it; take another port.") from None
