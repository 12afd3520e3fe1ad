"""Steps before the timed ones, until nothing is compiled or tuned any more."""

from __future__ import annotations

import time
from collections.abc import Callable

_FEWEST, _MOST = 2, 12
_ALIKE = 1.25
"""Two steps in a row that differ by no more than this factor: what is left is noise, not a compiler."""


def until_settled(
    step: Callable[[], object], compiled: Callable[[], int], clock: Callable[[], float] = time.perf_counter
) -> int:
    """Step until a step compiles nothing and takes as long as the one before, within a quarter.

    Args:
        step: one training step; returns when the device is done with it.
        compiled: how many programs have been compiled so far.

    Returns:
        Steps made, at most 12.
    """
    before, programs = 0.0, -1
    for made in range(1, _MOST + 1):
        start = clock()
        step()
        seconds = clock() - start
        alike = max(seconds, before) <= _ALIKE * min(seconds, before)
        if made >= _FEWEST and alike and compiled() == programs:
            return made
        before, programs = seconds, compiled()
    return _MOST
