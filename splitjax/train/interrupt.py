"""Ctrl-C and SIGTERM: finish the step, save, stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

import jax

from splitjax.parallel import hosts


class Interrupted(BaseException):
    """The phase was told to stop and has saved where it was.

    Like KeyboardInterrupt not an Exception: nothing that handles errors may swallow it.

    Attributes:
        exit_code: 130 after SIGINT, 143 after SIGTERM.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"{signal.Signals(number).name}: saved; the same command goes on from here")


class Signals:
    """While open, SIGINT and SIGTERM only set `received`; a second one acts as it would have without us.

    Outside the main thread, where Python delivers no signals, it does nothing. On several processes JAX has taken
    SIGTERM (see `hosts.told_to_stop`) and a handler set after it would break that; SIGINT is left to Python.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def stop_after(self, step: int) -> int | None:
        """The signal to obey after this step (all processes hear of it at the same one), or None."""
        if self.received is None and hosts.told_to_stop(step):
            self.received = signal.SIGTERM
        return self.received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()
