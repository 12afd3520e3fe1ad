"""What of a run is done, running or failed, read from its folder alone."""

from __future__ import annotations

import fcntl
from typing import Any

from splitjax.config import UserError, read_json

from .folder import STAGES, RunFolder


def status(folder: RunFolder) -> dict[str, Any]:
    """State of every stage and phase.

    Returns:
        ``{run_dir, running, stages: {name: "done" | "not done"}, phases: {name: "done" | "begun"}}``

    Raises:
        UserError: no run there.
    """
    if not folder.config.exists():
        raise UserError("no such run", where=str(folder.path), mend="Start it with 'splitjax run CONFIG.yaml'.")
    done = {stage: folder.done(stage) is not None for stage in STAGES}
    phases = {}
    for record in sorted(folder.phases.glob("*/phase.json")):
        finished = (record.parent / "done.json").exists()
        phases[record.parent.name] = "done" if finished else "begun"
    return {
        "run_dir": str(folder.path),
        "running": _is_locked(folder),
        "stages": {stage: "done" if ended else "not done" for stage, ended in done.items()},
        "phases": phases,
        "report": str(folder.report) if folder.report.exists() else None,
        "decision": read_json(folder.plan).get("decision") if folder.plan.exists() else None,
    }


def _is_locked(folder: RunFolder) -> bool:
    """Whether a process works in the folder now."""
    lock = folder.path / ".lock"
    if not lock.exists():
        return False
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
