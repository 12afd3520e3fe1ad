"""The stages as functions: the same for the command line and for a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console

from splitjax.config import Config, UserError, disk_errors, hash_json, read_json
from splitjax.data import changed_sources
from splitjax.evaluate import routers
from splitjax.parallel import hosts
from splitjax.planning import auto_rounds
from splitjax.planning.run_costs import main_work, rest_of, sweep_work, whole_work
from splitjax.reporting.results_view import Results
from splitjax.reporting.verdict import verdict
from splitjax.runs import operational
from splitjax.runs.devices import Devices
from splitjax.runs.job import Job
from splitjax.runs.plan_record import read_plan
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.workers.pool import platform_of_workers
from splitjax.scoring import zero_shot

from . import sequence
from .law_after import run_law_after
from .separate import train_expert

AFTER_SWEEP: tuple[Callable[[Job], None], ...] = (
    sequence.run_fit, sequence.run_plan, sequence.run_train, sequence.run_evaluate, sequence.run_report,
)


def _refuse(config: Config, jobs: int) -> None:
    """What no run folder is needed to see.

    Raises:
        UserError: a number of jobs that cannot be, or a router or a file of tasks that does not exist.
    """
    if jobs < 1:
        raise UserError(f"{jobs} jobs", where="--jobs", mend="Give 1 or more.")
    if jobs > 1 and hosts.several():
        raise UserError(f"{jobs} jobs on several processes", where="--jobs", mend="Give one or the other.")
    routers.check(config.evaluate.routers)
    zero_shot.files(config)


@contextmanager
def job_of(
    config: Config,
    *,
    redo: str | None = None,
    command: str = "",
    reporter: Reporter | None = None,
    lock: str | None = None,
    jobs: int = 1,
) -> Iterator[Job]:
    """Open the run folder of a config for work: claimed, locked, with progress.

    Args:
        lock: the share of the folder that this job works on, beside others; None: all of it.

    Of several processes the first holds the lock, writes and tells; the others work with it in silence.

    Raises:
        UserError: the folder was made with another config, another process works in it, or the config names
            a router or a file of tasks that does not exist.
    """
    _refuse(config, jobs)
    folder = RunFolder(config.folder)
    undo: list[Callable[[], None]] = []
    job = None
    with ExitStack() as held:

        def claim() -> str:
            held.enter_context(folder.locked(lock))
            undo.append(folder.taken())
            folder.claim(config, redo)
            return hash_json(config.resolved())

        if hosts.from_first(claim) != hash_json(config.resolved()):
            raise UserError("this process was started with another config than process 0", where=config.folder)
        try:
            quiet = None if hosts.first() else Console(quiet=True)
            with disk_errors(folder.path), reporter or Reporter(quiet) as told:
                told.file = folder.progress if hosts.first() and lock is None else None
                job = Job(config, folder, told, command or f"splitjax.run({config.name!r})", redo=redo)
                job.platform = platform_of_workers() if jobs > 1 else None
                for line in operational.told(folder.changed):
                    told.say(line)
                _name_changed_sources(job)
                yield job
        except UserError:
            _leave(folder, job, undo)
            raise


def _leave(folder: RunFolder, job: Job | None, undo: list[Callable[[], None]]) -> None:
    """A command that is refused before it made anything leaves nothing behind, and what stood as it was."""
    if hosts.first():
        if job is None or not job.ran:
            undo[0]()
        folder.forget_if_empty()


def _name_changed_sources(job: Job) -> None:
    """Say which files are not what the data were prepared from; the data themselves are whole without them."""
    if not hosts.first() or job.redo == "prepare" or job.folder.done("prepare") is None:
        return
    for line in changed_sources(job.config.data, job.folder.data)[:10]:
        job.reporter.say(f"{line} since the data were prepared; --redo prepare takes it up")


def run(config: Config, *, jobs: int = 1, **options: Any) -> Results:
    """Every stage that is not done yet, in order.

    Args:
        config: from `splitjax.load`.
        jobs: phases of the sweep to train at a time.
        options: `redo` (a stage to make anew, with all after it), `command` (for the record), `reporter`.

    Returns:
        results.json as a dict, and `verdict` (see `reporting.verdict.Verdict`).
    """
    with job_of(config, jobs=jobs, **options) as job:
        if config.train.mesh and jobs == 1:  # with more jobs the devices belong to the workers
            Devices.of(config, 1)  # a mesh that is not here is refused before hours of preparation
        sequence.run_prepare(job)
        if config.sweep and config.sweep.auto:
            auto_rounds.begin(job)
        job.reporter.plan_work(whole_work(job, jobs))
        job.reporter.plan_rest(rest_of(job))
        sequence.run_sweep(job, jobs)
        for stage in AFTER_SWEEP:
            stage(job)
        if not job.ran:
            job.reporter.say("Nothing to do: every stage is done.")
        return _answer(job)


def _answer(job: Job) -> Results:
    """results.json and what it says."""

    def read() -> list[dict[str, Any]]:
        results = read_json(job.folder.results)
        return [results | {"verdict": verdict(job.folder).to_json()}, read_plan(job.folder)]

    return Results(*hosts.from_first(read))


def prepare(config: Config, **options: Any) -> dict[str, Any]:
    """Sources → prepared data, in this process. Returns what `splitjax prepare --json` prints."""
    with job_of(config, **options) as job:
        sequence.run_prepare(job, in_child=False)
        return job.corpus.manifest.summary()


def sweep(config: Config, *, jobs: int = 1, part: tuple[int, int] | None = None, **options: Any) -> None:
    """The small runs that feed the law → observations.csv.

    Args:
        jobs: phases to train at a time, each in a process of its own; 1: in this one.
        part: (i, n): only the i-th of n parts, which share nothing; `sweep` without it gathers them.

    Raises:
        SweepError: some cells failed for good; the others are done.
        UserError: a part of a sweep that chooses its cells round by round: no part of it stands alone.
    """
    if config.sweep is None:
        raise UserError("the config has no sweep", where="sweep", mend="See docs/sweeps.md for its keys.")
    if config.sweep.auto and part is not None:
        raise UserError("a sweep that chooses its cells has no parts", where="--part", mend="Use --jobs.")
    with job_of(config, lock="part-{}-of-{}".format(*part) if part else None, jobs=jobs, **options) as job:
        if config.sweep.auto:
            auto_rounds.begin(job)
        if part is None:
            job.reporter.plan_work(sweep_work(job, jobs))
            sequence.run_sweep(job, jobs)
        else:
            sequence.run_part(job, *part, jobs=jobs)


def fit_run(config: Config, *, with_results: bool = False, **options: Any) -> dict[str, Any]:
    """The run's observations → law.json. (For any table: `splitjax.fit`.)

    Args:
        with_results: after the main run, fit again with its own models among the rows → law_after.json, and draw the
            page anew where there is one; `law.json` and the plan stay.
    """
    with job_of(config, **options) as job:
        if with_results:
            run_law_after(job)
            if job.folder.belongs("evaluate") and job.folder.report.exists():
                sequence.run_report(job)
            return read_json(job.folder.law_after)
        sequence.run_fit(job)
        return read_json(job.folder.law)


def plan_run(config: Config, **options: Any) -> dict[str, Any]:
    """The run's law and budget → plan.json. (For any law: `splitjax.plan`.)"""
    with job_of(config, **options) as job:
        sequence.run_plan(job)
        return read_json(job.folder.plan)


def train(config: Config, *, expert: int | None = None, **options: Any) -> None:
    """Seed → split → experts, and the baselines. Needs a plan; an explicit `split` makes its own.

    Args:
        expert: under `placement: separate`, train this expert alone, beside other jobs that train the others.

    Raises:
        ExpertsLeft: under `separate`, jobs of experts have not come to their end; all else is trained.
    """
    if expert is not None:
        if options.get("redo"):
            raise UserError("--redo with --expert", where="splitjax train", mend="Make the stage anew without it.")
        with job_of(config, lock=f"expert-{expert}", **options) as job:
            train_expert(job, expert)
        return
    with job_of(config, **options) as job:
        job.reporter.plan_work(main_work(job))
        if config.split is not None:
            sequence.run_plan(job)
        sequence.run_train(job)


def evaluate(config: Config, **options: Any) -> Results:
    """Every main model on the test split → results.json. Returns what `run` does."""
    with job_of(config, **options) as job:
        sequence.run_evaluate(job)
        return _answer(job)


def report(config: Config, **options: Any) -> str:
    """The page. Returns its path."""
    with job_of(config, **options) as job:
        sequence.run_report(job)
        return str(job.folder.report)
