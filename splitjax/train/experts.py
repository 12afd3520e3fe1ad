"""A phase under its placement: all experts in one stack, or each apart.

`stacked` is one program over all experts. `serial` takes one after another through the same step, so that only one
is in memory while it trains. An expert trained apart is a phase of its own in `expert-<k>`; `join` makes the set
readable as the [K, …] stack it would have been.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from splitjax.parallel import hosts

from . import checkpoint, idle, record
from .guards.early import EarlyStop
from .loop import CHECKPOINTS, Streams, run_stacked
from .metrics import join_metrics, of_expert
from .phase import OnStep, Phase, StepReport
from .stack import Stack
from .starts import Start
from .step import Trainer


def run_phase(
    trainer: Trainer,
    begin: Start,
    stream: Streams,
    phase: Phase,
    folder: Path,
    *,
    meta: dict[str, Any] | None = None,
    on_step: OnStep | None = None,
    early: EarlyStop | None = None,
) -> Stack:
    """Train all experts from `phase.start` to `phase.stop` under `train.placement`; see `run_stacked`.

    Under `separate` they have been trained by jobs of their own (`run_expert`), and are joined here. What it leaves in
    `folder` and what it returns do not depend on the placement.
    """
    if trainer.train.placement == "stacked" or begin.experts == 1:
        return run_stacked(trainer, begin, stream, phase, folder, meta=meta, on_step=on_step, early=early)
    if not set(_marks(phase)) <= set(checkpoint.saved(folder / CHECKPOINTS)):
        for expert in range(begin.experts) if trainer.train.placement == "serial" else ():
            run_expert(
                trainer, begin, stream.pick([expert]), phase, folder, expert, meta=meta, on_step=on_step, early=early
            )
        hosts.from_first(lambda: join(folder, phase, begin.experts))
    stack, told = checkpoint.restore(checkpoint.at(folder / CHECKPOINTS, phase.end), None, trainer.placement.leaf)
    idle.refuse(trainer, stack, phase, told, folder)
    return stack


def run_expert(
    trainer: Trainer,
    begin: Start,
    stream: Streams,
    phase: Phase,
    folder: Path,
    expert: int,
    *,
    meta: dict[str, Any] | None = None,
    on_step: OnStep | None = None,
    early: EarlyStop | None = None,
) -> Stack:
    """Train one expert of a phase apart: in this process (`serial`), or as a job of its own (`separate`).

    Args:
        begin: the start of all experts.
        stream: of this expert alone, (1, B, T).
        phase: of all experts.
        folder: of the phase; this expert's own is `expert-<k>` in it.
        expert: k.
    """
    k = begin.experts

    def report(step: StepReport) -> dict[str, Any] | None:
        loss_K, skipped_K = np.full(k, np.nan), np.zeros(k, int)
        loss_K[expert], skipped_K[expert] = step.loss_K[0], step.skipped_K[0]
        if on_step is None:
            return None
        row = of_expert(step.row, expert, k)
        return on_step(dataclasses.replace(step, loss_K=loss_K, skipped_K=skipped_K, row=row))

    about = {"phase": folder.name} | (meta or {}) | {"expert": expert}
    own = phase.only(expert, k)
    mine = early.only(expert) if early else None
    return run_stacked(
        trainer, begin.only(expert), stream, own, _part(folder, expert), meta=about, on_step=report, early=mine
    )


def finished(folder: Path, phase: Phase, experts: int, expert: int) -> bool:
    """Whether an expert of a phase, trained apart, has come to its end with all its checkpoints (not verified)."""
    stop = int(phase.stops(experts)[expert])
    return {min(mark, stop) for mark in _marks(phase)} <= set(checkpoint.saved(_part(folder, expert) / CHECKPOINTS))


def join(folder: Path, phase: Phase, experts: int) -> None:
    """Make one phase of experts that were trained apart: a checkpoint at each mark, one metrics.jsonl.

    Raises:
        UserError: an expert has not been trained to its end; names its folder.
    """
    stops = phase.stops(experts)
    for mark in _marks(phase):
        parts = [checkpoint.at(_part(folder, k) / CHECKPOINTS, min(mark, int(stop))) for k, stop in enumerate(stops)]
        record.write_set(checkpoint.at(folder / CHECKPOINTS, mark), parts)
    join_metrics(folder, [_part(folder, expert) for expert in range(experts)])


def _marks(phase: Phase) -> list[int]:
    return sorted({*phase.save_at, phase.end})


def _part(folder: Path, expert: int) -> Path:
    return folder / f"expert-{expert}"
