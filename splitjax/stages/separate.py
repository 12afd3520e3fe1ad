"""`placement: separate`: the seeds are one job, each expert is another, and the first joins what the others made."""

from __future__ import annotations

from collections.abc import Sequence

from splitjax.config import UserError
from splitjax.parallel import hosts
from splitjax.runs.cells import all_cells
from splitjax.runs.executor import Executor
from splitjax.runs.job import Job
from splitjax.runs.phase_record import Losses
from splitjax.runs.phase_tree import Phase
from splitjax.runs.phase_work import work_of
from splitjax.runs.plan_record import main_tree
from splitjax.runs.telling.time_left import Load


class ExpertsLeft(UserError):  # noqa: N818 - what is left to do, no fault
    """The seeds are trained; experts are still to come.

    Attributes:
        experts: indices of theirs.
    """

    def __init__(self, experts: Sequence[int]) -> None:
        self.experts = tuple(experts)
        super().__init__(
            f"the seeds are trained, experts {', '.join(map(str, experts))} are not", where="train.placement=separate",
            mend="Start 'splitjax train CONFIG --expert K' for each, then this command again.",
        )


def train_or_join(executor: Executor, phases: Sequence[Phase]) -> Losses:
    """Train what is not an expert; join the experts, if all their jobs have come to their end.

    Raises:
        ExpertsLeft: some have not.
    """
    experts = [phase for phase in phases if phase.on == "domains"]
    losses = executor.run(phase for phase in phases if phase.on == "mixture")

    def left() -> list[int]:
        return sorted({expert for phase in experts for expert in executor.experts_left(phase)})

    if missing := hosts.from_first(left):
        for phase in experts:
            executor.begin_apart(phase)
        raise ExpertsLeft(missing)
    return losses | executor.run(experts)


def train_expert(job: Job, expert: int) -> None:
    """Every phase of one expert of the main run: this job does nothing else.

    Raises:
        UserError: there is no such expert, it is not to be trained apart, or its seed is not trained.
    """
    if job.config.train.placement != "separate":
        raise UserError(
            f"experts are {job.config.train.placement}, none is a job of its own", where=f"--expert {expert}",
            mend="Set train.placement=separate.",
        )
    domains = job.corpus.domains
    if not 0 <= expert < len(domains):
        raise UserError(f"there are experts 0 to {len(domains) - 1}", where=f"--expert {expert}")
    phases = [phase for phase in job.phases(all_cells(job.config, main_tree(job))) if phase.on == "domains"]
    work = work_of(phases, job.config, len(domains), job.vocab_size) / len(domains)
    job.reporter.plan_work(Load(work, len(phases), 1))
    job.reporter.stage("train", f"expert {expert} ({domains[expert]}): {len(phases)} phases", len(phases))
    executor = job.main_executor(expert)
    for phase in phases:
        executor.train_apart(phase, expert)
    job.reporter.finish(f"expert {expert} ({domains[expert]})")
