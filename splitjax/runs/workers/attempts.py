"""Whatever happens to single phases of a sweep, the others go on: retried, given up, told."""

from __future__ import annotations

import math
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from splitjax.config import UserError, write_record
from splitjax.config.processes.stopping import KILLED
from splitjax.parallel import hosts

from ..executor import Executor
from ..phase_record import FORMAT, Losses
from ..phase_tree import Phase, lost_with
from ..reporter import Reporter
from .side_by_side import train_together

ATTEMPTS = 3
"""Starts of a phase that fails for a reason that may pass."""


class SweepError(Exception):
    """Some cells of a sweep could not be had; the others are in observations.csv."""

    def __init__(self, told: str, killed: bool = False) -> None:
        super().__init__(told)
        self.exit_code = KILLED if killed else 1  # killed from outside: launchers start again


class Ledger:
    """What of a tree is done, given up, or lost with what was given up.

    Args:
        phases: parents before children.
        path: phase name → its folder, where `failed.json` goes.
        grown: called with the losses of all cells so far, whenever a phase with cells ended.
    """

    def __init__(
        self, phases: Sequence[Phase], path: Callable[[str], Path], reporter: Reporter, grown: Callable[[Losses], None]
    ) -> None:
        self.phases, self.losses = list(phases), Losses()
        self.failed: dict[str, str] = {}
        """Cell id → why it cannot be had."""
        self._path, self._reporter, self._grown = path, reporter, grown
        self._killed = True
        """Whether all that was given up was killed from outside."""
        self._attempts: Counter[str] = Counter()
        self._done: set[str] = set()
        self._gone: set[str] = set()

    def ready(self, phase: Phase) -> bool:
        """Whether it can start: its parent is done (or lies outside this tree)."""
        return phase.parent is None or phase.parent in self._done

    def closed(self, phase: Phase) -> bool:
        """Whether nothing is left to do for it: done, given up or lost."""
        if phase.parent in self._gone:
            self._gone.add(phase.name)
        return phase.name in self._done | self._gone

    def end(self, phase: Phase, losses: Losses) -> None:
        """It came to its end; a loss that is no number is a failure of its cell."""
        self._done.add(phase.name)
        bad = {cell for cell, by_domain in losses.items() if not all(map(math.isfinite, by_domain.values()))}
        if bad:
            self._killed = False
            self._give_up(phase, "the validation loss is not finite: lower train.learning_rate", sorted(bad))
        elif hosts.first():
            (self._path(phase.name) / "failed.json").unlink(missing_ok=True)
        self.losses |= {cell: by_domain for cell, by_domain in losses.items() if cell not in bad}
        if losses:
            self._grown(self.losses)

    def fail(self, phase: Phase, reason: str, *, passing: bool = True, killed: bool = False) -> None:
        """It was cut short.

        Args:
            passing: whether another attempt may go better.
            killed: whether its process was, from outside.
        """
        self._attempts[phase.name] += 1
        made = self._attempts[phase.name]
        if passing and made < ATTEMPTS:
            self._reporter.say(f"{phase.name}: {reason}; attempt {made + 1} of {ATTEMPTS}")
            return
        self._gone.add(phase.name)
        self._killed = self._killed and killed
        self._give_up(phase, reason, lost_with(phase, self.phases))

    def told(self, parts: str = "") -> None:
        """Raise SweepError if there are failed cells, naming them."""
        if self.failed:
            reasons = "; ".join(f"{cell}: {reason}" for cell, reason in list(self.failed.items())[:5])
            more = f"; and {len(self.failed) - 5} more" if len(self.failed) > 5 else ""
            count = f"{len(self.failed)} of {len(self.failed) + len(self.losses)} cells{parts}"
            again = "The same command tries them again; the others are done."
            raise SweepError(f"{count} failed: {reasons}{more}. {again}", self._killed)

    def _give_up(self, phase: Phase, reason: str, cells: list[str]) -> None:
        self._reporter.say(f"{phase.name}: given up: {reason}", "red")
        self.failed |= dict.fromkeys(cells, reason)
        record = {"format": FORMAT, "attempts": self._attempts[phase.name] or 1, "reason": reason, "cells": cells}
        hosts.from_first(lambda: write_record(self._path(phase.name) / "failed.json", record))


def run_here(ledger: Ledger, executor: Executor, groups: Sequence[Sequence[Phase]] = ()) -> None:
    """Every phase of the tree in this process, one after another, or group after group.

    Args:
        groups: phases to train side by side, parents before children; (): each alone.
    """
    for group in groups or [[phase] for phase in ledger.phases]:
        if len(group) > 1:
            _side_by_side(ledger, executor, group)
        for phase in group:
            while not ledger.closed(phase):
                try:
                    losses = executor.attempt(phase)
                except Exception as error:
                    if hosts.several():
                        raise  # the other processes would wait for us in a step
                    _fail(ledger, phase, error)
                else:
                    ledger.end(phase, losses)


def _side_by_side(ledger: Ledger, executor: Executor, group: Sequence[Phase]) -> None:
    """A group at once. Where that fails, or a part is lost already, what is left of it goes one by one."""
    if any(ledger.closed(phase) or not ledger.ready(phase) for phase in group):
        return
    try:
        made = train_together(executor, group)
    except Exception as error:
        executor.reporter.say(f"{len(group)} phases side by side: {reason_of(error)[0]}; now one by one")
        return
    for phase in group:
        outcome = made[phase.name]
        if isinstance(outcome, UserError):
            _fail(ledger, phase, outcome)
        else:
            ledger.end(phase, outcome)


def _fail(ledger: Ledger, phase: Phase, error: Exception) -> None:
    reason, passing = reason_of(error)
    ledger.fail(phase, reason, passing=passing)


def reason_of(error: Exception) -> tuple[str, bool]:
    """Why an attempt failed, in one line, and whether another may go better."""
    if isinstance(error, UserError):
        return str(error), False
    last = (traceback.extract_tb(error.__traceback__) or [None])[-1]
    place = f" ({Path(last.filename).name}:{last.lineno})" if last else ""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}{place}", True
