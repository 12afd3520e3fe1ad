"""Telling somebody that preparation is alive, and how far it is in time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from splitjax.config import Source, is_remote

from .spool import Spool

Report = Callable[[str, float, float], None]
"""Hears what is done, the share of the whole time that is over (it only rises), and the seconds left."""
Tell = Callable[[float], None]
_UNPACKED = 4.0
"""Bytes of text in a byte of a compressed file, about."""
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".parquet")


class Speeds(NamedTuple):
    """Bytes of text a second, about, as two cores do it; the time left of stages that have not begun rests on them."""

    reading: float = 16e6
    learning: float = 15e6
    """A tokenizer; it takes `learnt` seconds whatever the text."""
    learnt: float = 2.5
    tokenising: float = 2.5e6
    grouping: float = 7e5
    """A clusterer."""
    assigning: float = 4e6
    writing: float = 11e6


_SURE = 0.25
"""From this share of a stage on its own pace alone counts, not what was foreseen of it."""
_AT_LEAST = 0.1
"""What has outlasted what was foreseen of it takes at least this share of its time again."""


def left_of(share: float, spent: float, foreseen: float) -> float:
    """Seconds left of a stage when it told of a share done, `spent` seconds after it began; `foreseen` of all of it."""
    expected = foreseen - spent
    own = spent * (1 - share) / share if share else expected
    trust = min(1.0, share / _SURE) if expected > 0 else 1.0
    return trust * own + (1 - trust) * expected


def outlasting(left: float, since: float) -> float:
    """Seconds left of what had `left` when it last told something, `since` seconds ago."""
    return max(left - since, _AT_LEAST * since, 0.0)


class Progress:
    """Calls `report` when a stage moves, and every second while nothing does.

    Args:
        clock: seconds; injected so that tests need no sleep.
    """

    def __init__(self, report: Report | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock = report or (lambda what, share, left: None), clock
        self._what, self._share, self._began = "start", 0.0, clock()
        self._start = self._told = self._began
        self._over = 0.0
        self._foreseen: dict[str, float] = {}
        self._lock = threading.Lock()

    def foresee(self, seconds: Mapping[str, float]) -> None:
        """What stages are expected to take."""
        self._foreseen |= seconds

    @contextmanager
    def stage(self, what: str, measure: Callable[[], float] | None = None) -> Iterator[Tell]:
        """A part of the whole; yields a function to tell how much of it is done, 0 to 1.

        Args:
            measure: looks how much of it is done, where that shows before anybody tells.
        """
        self._what, self._share, self._began = what, 0.0, self._clock()
        ended = threading.Event()
        self.tell(0.0)
        heart = threading.Thread(target=self._beat, args=(ended, measure), daemon=True)
        heart.start()
        try:
            yield self.tell
        finally:
            ended.set()
            heart.join()
        self._foreseen.pop(what, None)
        self.tell(1.0)

    def tell(self, share: float) -> None:
        """So much of the stage at work is done."""
        with self._lock:  # the heart beats on another thread
            self._share, self._told = max(self._share, min(share, 1.0)), self._clock()
            self._say(self._told)

    def seconds_left(self, now: float) -> float:
        """Of the whole, as far as it is foreseen."""
        here = outlasting(left_of(self._share, self._told - self._began, self._foreseen.get(self._what, 0.0)),
                          now - self._told)
        return here + sum(seconds for what, seconds in self._foreseen.items() if what != self._what)

    def _say(self, now: float) -> None:
        spent, left = now - self._start, self.seconds_left(now)
        self._over = max(self._over, spent / (spent + left) if spent + left else 0.0)
        self._report(self._what, self._over, left)

    def _beat(self, ended: threading.Event, measure: Callable[[], float] | None) -> None:
        while not ended.wait(1.0):
            if measure is not None:
                self.tell(measure())
                continue
            with self._lock:
                self._say(self._clock())


class Reading:
    """How much of the text of all parts is read, by the bytes on disk: whoever reads them."""

    def __init__(self, parts: Sequence[tuple[Source, str]], spools: Sequence[Spool]) -> None:
        self._expected = [_text_bytes(source, part) for source, part in parts]
        self._spools = spools
        self._read: dict[int, int] = {}

    def total(self) -> float:
        """Bytes of text that there will be: those read, and what the others should hold."""
        known = [each for each in self._expected if each]
        mean = sum(self._read.values()) / len(self._read) if self._read else sum(known) / len(known) if known else 0.0
        return sum(self._read.get(i, each or mean) for i, each in enumerate(self._expected))

    def share(self) -> float:
        """Of them read so far."""
        begun = 0.0
        for i, spool in enumerate(self._spools):
            if i in self._read:
                continue
            size = _size(spool, "txt")
            if size is None:
                break  # parts are begun in order
            if spool.path("size.npy").exists():
                self._read[i] = size
            else:
                begun += min(size, 0.95 * (self._expected[i] or size))
        whole = self.total()
        return (sum(self._read.values()) + begun) / whole if whole else 0.0


def tokens_written(spools: Sequence[Spool]) -> int:
    """Bytes of tokens on disk so far."""
    return sum(_size(spool, "tokens") or 0 for spool in spools)


def _size(spool: Spool, kind: str) -> int | None:
    try:
        return os.stat(spool.path(kind)).st_size
    except OSError:
        return None


def _text_bytes(source: Source, part: str) -> float:
    """Of a part that has not been read, about; 0 where nothing tells."""
    if source.path is None or is_remote(part):
        return float(source.max_chars or 0)
    try:
        return os.stat(part).st_size * (_UNPACKED if part.lower().endswith(_COMPRESSED) else 1.0)
    except OSError:
        return 0.0
