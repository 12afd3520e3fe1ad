"""How often a run is started again: the ceiling is on starts that bring nothing, not on preemptions."""

from __future__ import annotations

import sys
from pathlib import Path

from .quoting import quote
from .request import RESTART_CODES, Request

_MADE = ("done/*.json", "phases/*/done.json", "phases/*/checkpoints/*/checkpoint.json",
         "phases/*/expert-*/checkpoints/*/checkpoint.json")
"""What a start leaves behind that got on."""


class Restarts:
    """Counts starts without progress.

    Args:
        folder: of the run.
        most: starts without progress that are allowed after the first.
    """

    def __init__(self, folder: str, most: int) -> None:
        self._folder, self._most = Path(folder), most
        self._without, self._made = 0, self._look()

    def again(self, code: int) -> bool:
        """Whether a run that ended with this code is started once more; says so, or why not."""
        if code not in RESTART_CODES:
            return False
        made = self._look()
        self._without = self._without + 1 if made == self._made else 0
        self._made = made
        if self._without > self._most or not self._most:
            times = f", {self._without} times without progress" if self._most else ""
            told = f"ended with code {code}{times}: given up (--retries {self._most})"
        else:
            of = f" ({self._without} of {self._most})" if self._without else ""
            told = f"starting again from the last checkpoint{of}"
        print(f"splitjax: {told}", file=sys.stderr, flush=True)
        return self._without <= self._most and bool(self._most)

    def _look(self) -> frozenset[str]:
        return frozenset(str(path) for pattern in _MADE for path in self._folder.glob(pattern))


def made_in_bash(request: Request) -> str:
    """A bash function `made`: a mark that changes when the run has got on."""
    places = " ".join(f"{quote(request.config.folder)}/{pattern}" for pattern in _MADE)
    return f"made() {{ (shopt -s nullglob; printf '%s\\n' {places}) | cksum; }}"


def too_often(most: int) -> str:
    """The condition in bash under which `tries` starts without progress are the last."""
    return f"[ $tries -gt {most} ]" if most else "true"
