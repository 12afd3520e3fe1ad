"""A step that never ends: whoever waits says for whom, shows its stacks and exits, so that a launcher starts anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from splitjax.parallel import beats, hosts

FIRST_STEP = 3
"""The first step of a phase restores and compiles: it may take this many times the time-out."""


class Watchdog:
    """While open, ends the process when `beat` was not called for the step time-out, or for a minute while another
    process gives no sign of life: JAX ends what has lost a process after some minutes, and names nobody then.

    A collective that breaks because a process died is no bug of this one: it names who is gone and ends the same way.
    Where one process gives up, so do all (`beats.start`): some collectives break for a few and hang for the rest.

    Its own ticks are counted and not the clock: a process that was itself stopped for a while is not at fault.

    Args:
        limit: seconds; None: SPLITJAX_STEP_TIMEOUT.
        give_up: what ends the process; for tests.
    """

    def __init__(self, limit: float | None = None, give_up: Callable[[str], object] = beats.give_up) -> None:
        self._limit = beats.seconds(beats.STEP_TIMEOUT) if limit is None else limit
        self._give_up, self._tick = give_up, beats.tick(self._limit)
        self._left, self._step, self._steps = FIRST_STEP * self._limit, 0, 1
        self._quiet = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def dispatched(self, step: int, steps: int = 1) -> None:
        """The devices were given a step (counted from step 0), the last of so many in one program: of these each may
        take the time-out."""
        self._step = step
        if steps > self._steps:
            self._left, self._steps = self._left + (steps - self._steps) * self._limit, steps
        beats.dispatched(step)

    def beat(self) -> None:
        """Something came to its end: a step, a save."""
        self._left, self._quiet = self._steps * self._limit, 0.0

    def __enter__(self) -> Watchdog:
        if hosts.several():
            beats.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is not None and (who := beats.lost(error)):
                self._give_up(f"lost touch after step {self._step}: {who}")
        finally:
            self._closing.set()

    def _watch(self) -> None:
        while not self._closing.wait(self._tick):
            self._left -= self._tick
            self._quiet += self._tick
            if self._left < 0:
                who = f": {beats.missing(4 * self._tick)}" if hosts.several() else ""
                if not self._closing.is_set() and self._left < 0:
                    waited = self._steps * self._limit
                    self._give_up(f"no step came to its end for {waited:.0f} s after step {self._step}{who}")
                return
            if self._quiet >= beats.SILENCE and hosts.several():
                who = beats.missing(4 * self._tick, silent_alone=True)
                if who and self._quiet and not self._closing.is_set():  # else a step has ended meanwhile
                    self._give_up(f"no step came to its end for {self._quiet:.0f} s after step {self._step}: {who}")
                    return
                self._quiet = 0.0
