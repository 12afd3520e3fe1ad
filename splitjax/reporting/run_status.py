"""What of a run is done, running or failed, read from its folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitjax.config import Config, UserError, format_count, load, read_json, read_record
from splitjax.model import n_params
from splitjax.runs import operational
from splitjax.runs.job import Job
from splitjax.runs.locks import LOCK, is_held
from splitjax.runs.phase_record import FORMAT, read_phase
from splitjax.runs.plan_record import parse_plan
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import STAGES, RunFolder

from .goodput import goodput


def status(folder: RunFolder) -> dict[str, Any]:
    """State of every stage and phase.

    Returns:
        ``{run_dir, running, stages: {name: "done" | "not done" | "out of date: why"}, phases: {name: "done" | "begun"
        | "failed" | "of another config"}, cells: {id: "done" | "begun" | "waiting" | "failed: why"}, progress (of the
        process at work, see `Reporter.state`), failures: [{what, reason}], goodput (see `goodput`), changes
        (of operational keys, see `operational.read`), report, decision}``; report and decision only where they
        belong to the run as it is.

    Raises:
        UserError: no run there.
    """
    if not folder.config.exists():
        raise UserError("no such run", where=str(folder.path), mend="Start it with 'splitjax run CONFIG.yaml'.")
    tree = load(folder.config)
    stages = {stage: _stage(folder, stage) for stage in STAGES}
    told = parse_plan(folder) if folder.plan.exists() else {}
    job = _job(tree, folder)
    phases = {}
    for record in sorted(folder.phases.glob("*/phase.json")):
        phases[record.parent.name] = _state(record.parent) if _ours(job, record.parent) else "of another config"
    running, cells = is_held(folder.path / LOCK), _cells(job)
    progress = _progress(folder)
    return {
        "run_dir": str(folder.path),
        "running": running,
        "stages": stages,
        "phases": phases,
        "cells": cells,
        "progress": progress if running and "failed" not in progress else None,
        "failures": _failures(job, cells, progress),
        "goodput": _goodput(job),
        "changes": operational.read(folder.changes),
        "report": str(folder.report) if stages["report"] == "done" else None,
        "decision": told.get("decision") if stages["plan"] == "done" else None,
    }


def _progress(folder: RunFolder) -> dict[str, Any]:
    """What the process at work tells of itself, or the last one told that did not end well."""
    try:
        return read_json(folder.progress) if folder.progress.exists() else {}
    except UserError:
        return {}  # caught between two writes


def _failures(job: Job | None, cells: Mapping[str, str], progress: Mapping[str, Any]) -> list[dict[str, str]]:
    """Cells of the sweep by their size and tokens, and what the last process ended with."""
    found = []
    if job is not None and job.config.sweep is not None:
        quantum = job.clock.tokens_per_step
        for cell in job.sweep_cells:
            state, _, reason = cells[cell.id].partition(": ")
            if state == "failed":
                size, d, s = map(format_count, (n_params(cell.model), cell.pretrain * quantum, cell.special * quantum))
                seed = "" if cell.seed is None else f", seed {cell.seed}"
                found.append({"what": f"N = {size}, D = {d}, D′ = {s}{seed}", "reason": reason})
    if "failed" in progress:
        found.append({"what": progress["stage"], "reason": progress["failed"]})
    return found


def cells_of(config: Config, folder: RunFolder) -> dict[str, str]:
    """State of every cell of the sweep; empty before the data are prepared."""
    return _cells(_job(config, folder))


def _cells(job: Job | None) -> dict[str, str]:
    if job is None or job.config.sweep is None:
        return {}
    states = dict.fromkeys((cell.id for cell in job.sweep_cells), "waiting")
    for record in sorted(job.folder.phases.glob("*/phase.json")):
        if not _ours(job, record.parent):
            continue
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
    return _goodput(_job(config, folder))


def _goodput(job: Job | None) -> dict[str, Any] | None:
    if job is None or not job.folder.times.exists():
        return None
    return goodput(job.folder, job.clock.experts, job.clock.tokens_per_step)


def _stage(folder: RunFolder, stage: str) -> str:
    if folder.done(stage) is None:
        return "not done"
    fault = folder.fault(stage)
    return f"out of date: {fault}" if fault else "done"


def _job(config: Config, folder: RunFolder) -> Job | None:
    """None before the data are prepared."""
    return Job(config, folder, Reporter()) if (folder.data / "manifest.json").exists() else None


def _ours(job: Job | None, phase: Path) -> bool:
    """Whether a phase was begun by the config of the run and on its data; else it will be trained anew."""
    record = read_phase(phase)
    told = record["phase"]
    if job is None:
        return True
    return {"name", "model", "seeds"} <= told.keys() and record["identity"] in job.identities(told)


def _state(phase: Path) -> str:
    if (phase / "failed.json").exists():
        return "failed"
    return "done" if (phase / "done.json").exists() else "begun"
