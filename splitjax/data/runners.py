"""Where the tasks of preparation run. The result does not depend on it: tasks pass everything on through files."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, Protocol

from splitjax.config import Data, UserError
from splitjax.config.processes import children
from splitjax.config.processes.stopping import Killed


class Task(Protocol):
    """Reads files, writes files."""

    def run(self) -> None: ...


Tell = Callable[[float], None]
RunTasks = Callable[[Sequence[Task], Tell], None]


def runner(data: Data) -> RunTasks:
    """What runs a list of tasks to their end: this process, `workers` processes, or a Beam runner.

    It raises what a task refused, as one UserError; tasks that have not begun are left.
    """
    if data.runner != "local":
        return lambda tasks, tell: _on_beam(tasks, tell, data)
    if data.workers == 1:
        return _here
    return lambda tasks, tell: _in_processes(tasks, tell, data.workers)


def _here(tasks: Sequence[Task], tell: Tell) -> None:
    for done, task in enumerate(tasks, 1):
        task.run()
        tell(done / len(tasks))


def _in_processes(tasks: Sequence[Task], tell: Tell, workers: int) -> None:
    # spawn: a fork would copy locks held by the threads of JAX and of the tokenizer.
    context = multiprocessing.get_context("spawn")
    with children.safe_path():
        pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_begin_worker)
    try:
        with children.safe_path():
            futures = [pool.submit(_run, task) for task in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            tell(done / len(tasks))
    except BrokenProcessPool as error:
        raise Killed("a process that prepares the data was killed (out of memory?); lower data.workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run(task: Task) -> None:
    task.run()


def _begin_worker() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for ever, and write where the next preparation writes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _on_beam(tasks: Sequence[Task], tell: Tell, data: Data) -> None:
    """The tasks as elements of a Beam pipeline; its workers must see the same folder and files."""
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        mend = "pip install 'splitjax[beam]'"
        raise UserError("Apache Beam is not installed", where="data.runner", mend=mend) from None
    runner, *flags = shlex.split(data.runner)
    options = PipelineOptions(flags, save_main_session=False)
    try:
        with beam.Pipeline(runner, options=options) as pipeline:
            _ = pipeline | beam.Create(list(tasks)) | beam.Reshuffle() | beam.Map(_run)
    except Exception as error:  # a runner wraps what a worker raised, each in its own way
        raise _told(error) from error
    tell(1.0)


def _told(error: BaseException) -> BaseException:
    """The UserError behind a runner's exception, where there is one."""
    here: Any = error
    while here is not None:
        if isinstance(here, UserError):
            return here
        here = here.__cause__ or here.__context__
    for line in reversed(str(error).splitlines()):
        if "UserError: " in line:
            return UserError(line.partition("UserError: ")[2].partition(" [while running")[0])
    return error
