"""Telling somebody that preparation is alive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, float], None]


class Progress:
    """Calls `report(what, fraction of the whole)` when a stage moves, and every second while nothing does."""

    def __init__(self, report: Report | None) -> None:
        self._report = report or (lambda what, fraction: None)
        self._now = ("start", 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, what: str, start: float, stop: float) -> Iterator[Callable[[float], None]]:
        """A part of the whole from `start` to `stop`; yields a function to tell how much of it is done."""

        def tell(fraction: float) -> None:
            self._now = (what, start + (stop - start) * fraction)
            with self._lock:  # the heart beats on another thread
                self._report(*self._now)

        ended = threading.Event()
        tell(0.0)
        heart = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        heart.start()
        try:
            yield tell
            tell(1.0)
        finally:
            ended.set()
            heart.join()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(1.0):
            with self._lock:
                self._report(*self._now)
