"""Steps before the timed ones, until nothing is compiled any more."""

from __future__ import annotations

from collections.abc import Callable

_QUIET, _MOST = 2, 12


def until_settled(step: Callable[[], object], compiled: Callable[[], int]) -> int:
    """Step until two steps in a row have compiled nothing: the second also finds memory and kernels chosen.

    Args:
        step: one training step.
        compiled: how many programs have been compiled so far.

    Returns:
        Steps made, at most 12.
    """
    quiet, programs = 0, -1
    for made in range(1, _MOST + 1):
        step()
        quiet = quiet + 1 if compiled() == programs else 0
        programs = compiled()
        if quiet == _QUIET:
            return made
    return _MOST
