"""What of a run is done, running or failed, read from its folder alone."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

from splitjax.config import Config, UserError, load, read_record
from splitjax.runs.job import Job
from splitjax.runs.phase_record import FORMAT, read_phase
from splitjax.runs.plan_record import read_plan
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import STAGES, RunFolder

from .goodput import goodput


def status(folder: RunFolder) -> dict[str, Any]:
    """State of every stage and phase.

    Returns:
        ``{run_dir, running, stages: {name: "done" | "not done"}, phases: {name: "done" | "begun" | "failed"}, cells:
        {id: "done" | "begun" | "waiting" | "failed: why"}, goodput (see `goodput`), report, decision}``

    Raises:
        UserError: no run there.
    """
    if not folder.config.exists():
        raise UserError("no such run", where=str(folder.path), mend="Start it with 'splitjax run CONFIG.yaml'.")
    tree = load(folder.config)
    done = {stage: folder.done(stage) is not None for stage in STAGES}
    phases = {}
    for record in sorted(folder.phases.glob("*/phase.json")):
        phases[record.parent.name] = _state(record.parent)
    return {
        "run_dir": str(folder.path),
        "running": _is_locked(folder),
        "stages": {stage: "done" if ended else "not done" for stage, ended in done.items()},
        "phases": phases,
        "cells": cells_of(tree, folder),
        "goodput": goodput_of(tree, folder),
        "report": str(folder.report) if folder.report.exists() else None,
        "decision": read_plan(folder).get("decision") if folder.plan.exists() else None,
    }


def cells_of(config: Config, folder: RunFolder) -> dict[str, str]:
    """State of every cell of the sweep; empty before the data are prepared."""
    if config.sweep is None or not (folder.data / "manifest.json").exists():
        return {}
    cells = Job(config, folder, Reporter()).sweep_cells
    states = dict.fromkeys((cell.id for cell in cells), "waiting")
    for record in sorted(folder.phases.glob("*/phase.json")):
        state, failure = _state(record.parent), record.parent / "failed.json"
        ended = read_phase(record.parent)["phase"]["ends"]
        told = dict.fromkeys(ended, state)
        if state == "failed":
            found = read_record(failure, "the record of a failure", {"format": FORMAT}, "Remove it.")
            told = dict.fromkeys(found["cells"], f"failed: {found['reason']}")
        states |= {cell: state for cell, state in told.items() if cell in states}
    return states


def goodput_of(config: Config, folder: RunFolder) -> dict[str, Any] | None:
    """Where the training time went; None before anything was trained."""
    if not (folder.times.exists() and (folder.data / "manifest.json").exists()):
        return None
    clock = Job(config, folder, Reporter()).clock
    return goodput(folder, clock.experts, clock.tokens_per_step)


def _state(phase: Path) -> str:
    if (phase / "failed.json").exists():
        return "failed"
    return "done" if (phase / "done.json").exists() else "begun"


def _is_locked(folder: RunFolder) -> bool:
    """Whether a process works in the folder now."""
    lock = folder.path / ".lock"
    if not lock.exists():
        return False
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
