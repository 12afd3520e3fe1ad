"""Where the tasks of preparation run. The result does not depend on it: tasks pass everything on through files."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Protocol


class Task(Protocol):
    """Reads files, writes files."""

    def run(self) -> None: ...


def run_tasks(tasks: Sequence[Task], workers: int, tell: Callable[[float], None]) -> None:
    """Run all tasks, in this process or in `workers` of them.

    Raises:
        UserError: what a task refused; the others are stopped.
    """
    if workers == 1 or len(tasks) == 1:
        for done, task in enumerate(tasks, 1):
            task.run()
            tell(done / len(tasks))
        return
    # spawn: a fork would copy locks held by the threads of JAX and of the tokenizer.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_one_thread)
    try:
        futures = [pool.submit(_run, task) for task in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            tell(done / len(tasks))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run(task: Task) -> None:
    task.run()


def _one_thread() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
