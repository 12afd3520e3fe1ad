"""How a process of ours hears that it must end: where Python cannot run the handler of a signal, and from a launcher
that is gone."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

GRACE, _GRACE_SECONDS = "SPLITJAX_GRACE", 30.0
LAUNCHER = "SPLITJAX_LAUNCHER"
"""Variable with the descriptor of a pipe of which the launcher alone holds the other end."""
KILLED = 75
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SLACK = 1.0
"""Seconds by which the thread may hear of a signal after its handler has run."""
_heard_at = float("-inf")
_watching = False


class Killed(Exception):  # noqa: N818 - what happened to a process, no fault of anybody's code
    """A process of ours was killed from outside; to start again may go better.

    Attributes:
        exit_code: one after which launchers start again.
    """

    exit_code = KILLED


def heard() -> None:
    """Called by whatever handles a signal that stops: the main thread is in Python, and sees to the end."""
    global _heard_at
    _heard_at = time.monotonic()


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """The handler of SIGINT outside the training loop."""
    heard()
    raise KeyboardInterrupt


def watch() -> None:
    """Let a second thread end this process where a signal came and its handler has not run in the grace time.

    Python runs handlers between two of its own steps, and the main thread may be inside the compiler or wait for a
    device for minutes. A second Ctrl-C ends it at once there too. Call it in the main thread.
    """
    global _watching
    if _watching:
        return
    _watching = True
    ours, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(ours,), daemon=True, name="signals").start()


def end_with_launcher() -> None:
    """Watch the launcher, where one started this process: at its end, however it came, save and end as at SIGTERM."""
    told = os.environ.pop(LAUNCHER, "")
    if told.isdigit():
        threading.Thread(target=_wait, args=(int(told),), daemon=True, name="launcher").start()


def _listen(pipe: int) -> None:
    while True:
        for number in os.read(pipe, 64):
            if number in _STOPS:
                _give_time(pipe, number)


def _give_time(pipe: int, number: int) -> None:
    came, grace = time.monotonic(), _grace()
    while _heard_at < came - _SLACK:
        left = came + grace - time.monotonic()
        again = select.select([pipe], [], [], min(0.1, max(left, 0.0)))[0]
        second = bool(again) and signal.SIGINT in os.read(pipe, 64)
        if _heard_at >= came - _SLACK:
            return
        if left <= 0 or second:
            why = "again" if second else f"and nothing was heard of it for {grace:.0f} s"
            print(f"splitjax: {signal.Signals(number).name} {why}: the process was inside the compiler or a device; "
                  "the last checkpoint stands", file=sys.stderr, flush=True)
            os._exit(128 + number)


def _grace() -> float:
    try:
        return float(os.environ.get(GRACE) or _GRACE_SECONDS)
    except ValueError:
        return _GRACE_SECONDS  # told where it is read for the training loop


def _wait(descriptor: int) -> None:
    try:
        os.set_inheritable(descriptor, False)
        os.read(descriptor, 1)  # nothing is ever sent
    except OSError:
        return  # no pipe of ours: another process handed the variable on
    os.kill(os.getpid(), signal.SIGTERM)
