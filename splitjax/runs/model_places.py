"""Where the models of the main run lie: which phase, at which step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from splitjax.config import UserError, did_you_mean
from splitjax.train import checkpoint

from .job import Job
from .phase_record import plain, read_phase
from .phase_tree import Cell, Phase
from .plan_record import main_tree

SEED = "seed"


@dataclass(frozen=True)
class Place:
    """A stack of the main run: its phase, and the step it was saved at."""

    phase: Phase
    step: int

    def checkpoint(self, job: Job) -> Path:
        """The folder of its checkpoint."""
        return checkpoint.at(job.folder.phase(self.phase.name) / "checkpoints", self.step * job.clock.tokens_per_step)


def places(job: Job, cells: Mapping[str, Cell] | None = None) -> dict[str, Place]:
    """Every model of the main run by name; "seed" is the stack of one that the planned split starts from.

    Raises:
        UserError: there is no plan yet.
    """
    cells = main_tree(job) if cells is None else cells
    phases = {phase.name: phase for phase in job.phases(cells.values())}
    ends = {cell: phase for phase in phases.values() for cell in phase.ends}
    found = {name: Place(ends[cell], cell.path) for name, cell in cells.items()}
    last = found["planned"].phase
    while last.on == "domains":
        parent = phases[str(last.parent)]
        if last.splits:
            return found | {SEED: Place(parent, last.start)}
        last = parent
    return found


def find(job: Job, name: str) -> Place:
    """A trained model of the main run.

    Raises:
        UserError: no such model, not trained yet, or by another config, on other data, or not the weights that
            were trained.
    """
    known = places(job)
    if name not in known:
        raise UserError(f"no model '{name}' in this run", where=str(job.folder.path), mend=did_you_mean(name, known))
    place = known[name]
    saved = place.checkpoint(job) / "checkpoint.json"
    if not saved.exists():
        raise UserError(f"model '{name}' is not trained yet", where=str(job.folder.path),
                        mend="Run 'splitjax run' or 'splitjax train' first.")
    job.folder.same_weights(saved)
    if read_phase(job.folder.phase(place.phase.name))["identity"] not in job.identities(plain(place.phase)):
        raise UserError(f"model '{name}' was trained by another config or on other data", where=str(job.folder.path),
                        mend="Run 'splitjax run' or 'splitjax train': it is trained anew.")
    return place
