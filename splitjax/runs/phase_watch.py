"""What is told of a phase while it trains: progress, figures of each step, sinks, and where the time went."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from splitjax.parallel import chip_of, hosts
from splitjax.train import StepReport, listen_to_compiler, wall

from .reporter import Reporter
from .run_folder import RunFolder
from .trackers import Sink

_ROW_SECONDS = 30.0
"""A killed process loses at most so many seconds of its account of time."""


class TimeLog:
    """Rows of times.jsonl: what a phase spent since the row before, seconds by cause and tokens stepped."""

    def __init__(self, folder: RunFolder, phase: str) -> None:
        listen_to_compiler()
        self._path, self._phase = folder.times, phase
        self._written, self._before, self._tokens = time.monotonic(), wall.so_far(), 0

    def step(self, tokens: int) -> None:
        self._tokens += tokens
        if time.monotonic() - self._written > _ROW_SECONDS:
            self.write()

    def write(self) -> None:
        now = wall.so_far()
        spent = {cause: round(seconds - self._before[cause], 3) for cause, seconds in now.items()}
        if hosts.first():
            append(self._path, {"phase": self._phase, "seconds": spent, "tokens": self._tokens})
        self._written, self._before, self._tokens = time.monotonic(), now, 0


class Watch:
    """Hears of the steps of one phase; use it as a context.

    Args:
        work: of one step of one model, in the reporter's units.
        flops: of training one token.
        step_tokens: of one model.
        devices: that the phase runs on.
    """

    def __init__(
        self, folder: RunFolder, reporter: Reporter, sinks: list[Sink], phase: str,
        *, work: float, flops: float, step_tokens: int, devices: int,
    ) -> None:
        self._reporter, self._sinks, self._phase, self._work, self._tokens = reporter, sinks, phase, work, step_tokens
        chip = chip_of(jax.devices()[0].device_kind)
        self._utilisation = flops / (chip.flops * devices) if chip else None
        self._times = TimeLog(folder, phase)

    def __enter__(self) -> Watch:
        self._began = self._last = time.monotonic()
        self._stepping = 0.0
        return self

    def __exit__(self, *error: object) -> None:
        self._times.write()
        if error[0] is None:
            self._reporter.phase_done(time.monotonic() - self._began - self._stepping)

    def on_step(self, report: StepReport) -> dict[str, Any]:
        """Further figures of the step for its row."""
        now = time.monotonic()
        # The first step waits for the compiler and the checkpoint: that is no speed.
        seconds = now - self._last if self._last != self._began else 0.0
        self._last, self._stepping = now, self._stepping + seconds
        losses = report.loss_K[np.isfinite(report.loss_K)]
        loss = float(losses.mean()) if len(losses) else None
        self._reporter.advance(self._work * report.experts, seconds, report.tokens_per_s, loss)
        self._times.step(self._tokens * report.experts)
        figures = {}
        if self._utilisation is not None:
            figures["mfu"] = round(report.tokens_per_s * self._utilisation, 4)
        for sink in self._sinks:
            sink.write(self._phase, {**report.row, **figures})
        return figures


def append(path: Path, row: dict[str, Any]) -> None:
    """One line, whole: several processes may write to one file."""
    line = json.dumps(row, separators=(",", ":")) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
