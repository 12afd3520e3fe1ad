"""When to save: marks and every n tokens for keeps, every t minutes for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

from splitjax.config import Train
from splitjax.parallel import hosts

Kind = Literal["keep", "regular", "temporary"]
"""For good, until `train.keep_last` newer ones are there, or until the next one is."""
ASK_EVERY = 16
"""Steps between two looks at the clock: on several processes one clock decides and the others wait to hear it."""


class SavePolicy:
    """Decides after each step.

    Args:
        train: keep_every (tokens) and checkpoint_minutes.
        marks: path tokens that are always kept.
        clock: seconds; injected so that tests need not sleep.
    """

    def __init__(self, train: Train, marks: Iterable[int], clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._seconds = train.keep_every, 60 * train.checkpoint_minutes
        self._marks, self._clock = frozenset(marks), clock
        self._saved_at = clock()
        self._steps = 0

    def after(self, before: int, tokens: int, *, steps: int = 1, stopping: bool = False) -> Kind | None:
        """What to save after so many steps from `before` to `tokens`; all processes hear the same."""
        looks = (self._steps + steps) // ASK_EVERY > self._steps // ASK_EVERY
        self._steps += steps
        kind: Kind | None = None
        if tokens in self._marks:
            kind = "keep"
        elif self.regular(before, tokens):
            kind = "regular"
        elif stopping or (looks and hosts.agree(self._clock() - self._saved_at > self._seconds)):
            kind = "temporary"
        if kind:
            self._saved_at = self._clock()
        return kind

    def keeps(self, before: int, tokens: int) -> bool:
        """Whether what a step from `before` to `tokens` leaves is kept, whatever the clock says."""
        return tokens in self._marks or self.regular(before, tokens)

    def regular(self, before: int, tokens: int) -> bool:
        """Whether `train.keep_every` keeps what a step from `before` to `tokens` leaves."""
        return self._every is not None and tokens // self._every > before // self._every
