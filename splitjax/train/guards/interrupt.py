"""Ctrl-C and SIGTERM: finish the step, save, stop."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

import jax

from splitjax.config.processes.stopping import heard
from splitjax.parallel import beats, hosts


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
    """While open, SIGINT and SIGTERM only set `received`. What is not saved SPLITJAX_GRACE seconds later is lost: the
    process ends, and the last checkpoint stands. A second SIGINT ends it at once.

    Outside the main thread, where Python delivers no signals, it does nothing. On several processes JAX has taken
    SIGTERM (see `hosts.told_to_stop`) and a handler set after it would break that; SIGINT is left to Python.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}
        self._grace = beats.seconds(beats.GRACE)
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._timer is not None:
            self._timer.cancel()

    def stop_after(self, step: int) -> int | None:
        """The signal to obey after this step (all processes hear of it at the same one), or None."""
        if self.received is None and hosts.told_to_stop(step):
            self._stop(signal.SIGTERM)
        return self.received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        heard()
        if self.received is None:
            self._stop(number)
        elif number == signal.SIGINT:
            os._exit(128 + number)  # a save under way is whole or no save

    def _stop(self, number: int) -> None:
        self.received = number
        why = f"{signal.Signals(number).name}: not saved within {self._grace:.0f} s; the last checkpoint stands"
        self._timer = threading.Timer(self._grace, beats.give_up, (why, 128 + number))
        self._timer.daemon = True
        self._timer.start()
