"""What is told of a phase while it trains: progress, figures of each step, sinks, and where the time went."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from splitjax.parallel import chip_of, hosts
from splitjax.train import StepReport, listen_to_compiler, wall

from .phase_tree import Phase
from .reporter import Reporter
from .run_folder import RunFolder
from .telling.time_left import Load
from .trackers import Sink

_ROW_SECONDS = 30.0
"""A killed process loses at most so many seconds of its account of time."""


class TimeLog:
    """Rows of times.jsonl: what phases spent since the rows before, seconds by cause and tokens stepped.

    Phases that are trained side by side share the seconds by their tokens.

    Args:
        phases: the first bears what is spent without a step.
    """

    def __init__(self, folder: RunFolder, *phases: str) -> None:
        listen_to_compiler()
        self._path, self._phases = folder.times, phases
        self._written, self._before, self._tokens = time.monotonic(), wall.so_far(), Counter[str]()

    def step(self, tokens: int, phase: str | None = None) -> None:
        self._tokens[phase or self._phases[0]] += tokens
        if time.monotonic() - self._written > _ROW_SECONDS:
            self.write()

    def write(self) -> None:
        now = wall.so_far()
        spent = {cause: seconds - self._before[cause] for cause, seconds in now.items()}
        total = sum(self._tokens.values())
        for phase in self._phases if hosts.first() else ():
            tokens = self._tokens[phase]
            share = tokens / total if total else float(phase == self._phases[0])
            if share:
                seconds = {cause: round(share * each, 3) for cause, each in spent.items()}
                append(self._path, {"phase": phase, "seconds": seconds, "tokens": tokens})
        self._written, self._before, self._tokens = time.monotonic(), now, Counter()


class Watch:
    """Hears of the steps of a phase, or of several side by side; use it as a context.

    Args:
        phases: of one shape.
        models: that each of them trains.
        new: whether they are the first of their program here.
        work: of one step of one model, in the reporter's units.
        flops: of training one token.
        step_tokens: of one model.
        devices: that the phase runs on.
    """

    def __init__(
        self, folder: RunFolder, reporter: Reporter, sinks: list[Sink], phases: Sequence[Phase], models: Sequence[int],
        *, new: bool, work: float, flops: float, step_tokens: int, devices: int,
    ) -> None:
        self._reporter, self._sinks, self._work, self._tokens = reporter, sinks, work, step_tokens
        self._phases, self._new = [phase.name for phase in phases], new
        self._steps = [(phase.stop - phase.start, count) for phase, count in zip(phases, models, strict=True)]
        chip = chip_of(jax.devices()[0].device_kind)
        self._utilisation = flops / (chip.flops * devices) if chip else None
        self._kept = defaultdict[str, list[Mapping[str, Any]]](list)
        self._times = TimeLog(folder, *self._phases)

    def __enter__(self) -> Watch:
        self._began = self._last = time.monotonic()
        self._told = 0
        return self

    def __exit__(self, *error: object) -> None:
        self._times.write()
        for phase, rows in self._kept.items():  # trackers hold one phase open at a time
            for row in rows:
                self._send(phase, row)
        if error[0] is None:
            planned = sum(steps * models for steps, models in self._steps)
            if not self._told:  # an earlier process came to its end
                self._reporter.start(self._new, 0.0, self._work * planned)
            elif self._told != planned:  # experts stopped early
                self._reporter.replan(Load(self._work * (self._told - planned)))
            self._reporter.beside(time.monotonic() - self._last)
            for phase in self._phases:
                self._reporter.phase_done(phase)

    def on_step(self, report: StepReport) -> dict[str, Any]:
        """Further figures of a phase's step for its row."""
        figures = self.together(report)
        self.row(self._phases[0], {**report.row, **figures}, report.experts)
        return figures

    def together(self, report: StepReport) -> dict[str, Any]:
        """The same of a step of several phases, whose rows come by `row`."""
        now = time.monotonic()
        # The first step waits for the compiler and the checkpoint: that is no speed.
        seconds = now - self._last if self._told else 0.0
        if not self._told:
            self._begin(report, now - self._began)
        self._last, self._told = now, self._told + report.experts
        losses = report.loss_K[np.isfinite(report.loss_K)]
        loss = float(losses.mean()) if len(losses) else None
        self._reporter.advance(self._work * report.experts, seconds, report.tokens_per_s, loss)
        if self._utilisation is None:
            return {}
        return {"mfu": round(report.tokens_per_s * self._utilisation, 4)}

    def _begin(self, report: StepReport, waited: float) -> None:
        """The first step: what lies before it was made by an earlier process."""
        made = (report.tokens - report.start) // self._tokens - 1
        apart = len(self._steps) == report.experts == 1  # one expert after another: of the others nothing is known yet
        before = sum(min(made, steps) * (1 if apart else models) for steps, models in self._steps)
        self._reporter.start(self._new, waited, self._work * before)
        self._told = before

    def row(self, phase: str, row: Mapping[str, Any], experts: int) -> None:
        """A row of a phase's log, of a step that so many of its experts made."""
        self._times.step(self._tokens * experts, phase)
        if len(self._phases) == 1:
            self._send(phase, row)
        elif self._sinks:
            self._kept[phase].append(row)

    def _send(self, phase: str, row: Mapping[str, Any]) -> None:
        for sink in self._sinks:
            sink.write(phase, row)


def append(path: Path, row: dict[str, Any]) -> None:
    """One line, whole: several processes may write to one file."""
    line = json.dumps(row, separators=(",", ":")) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
