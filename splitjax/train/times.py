"""Where the wall time of a process goes, by cause: what was useful, and what was not."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CAUSES = ("steps", "compile", "data", "checkpoint", "evaluation", "other")
"""steps: the loop, less what follows; data: waiting for a batch; checkpoint: saving and restoring; other: the rest."""
_COMPILE = "/jax/core/compile/backend_compile_duration"


class WallTime:
    """Seconds by cause. One thread works on one thing at a time: an inner cause pauses the outer one.

    Args:
        clock: seconds; injected so that tests need no sleep.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._causes = clock, ["other"]
        self._since, self._seconds = clock(), defaultdict[str, float](float)

    @contextmanager
    def spent(self, cause: str) -> Iterator[None]:
        """What runs inside is counted as `cause`."""
        self._book()
        self._causes.append(cause)
        try:
            yield
        finally:
            self._book()
            self._causes.pop()

    def compiled(self, seconds: float) -> None:
        """So many of the seconds that are running now went to the compiler."""
        self._seconds["compile"] += seconds
        self._seconds[self._causes[-1]] -= seconds

    def so_far(self) -> dict[str, float]:
        """Seconds by cause, of `CAUSES`."""
        self._book()
        return {cause: self._seconds[cause] for cause in CAUSES}

    def _book(self) -> None:
        now = self._clock()
        self._seconds[self._causes[-1]] += now - self._since
        self._since = now


wall = WallTime()
"""Of this process."""
_listening = False


def listen_to_compiler() -> None:
    """Have JAX tell `wall` of its compilations; once a process."""
    global _listening
    if not _listening:
        import jax

        def hear(event: str, duration_secs: float, **_: str | int) -> None:
            if event == _COMPILE:
                wall.compiled(duration_secs)

        jax.monitoring.register_event_duration_secs_listener(hear)
        _listening = True
