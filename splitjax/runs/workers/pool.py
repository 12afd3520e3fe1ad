"""Several phases of a sweep at a time, each in a worker process of this machine; a worker that dies is replaced."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from splitjax.config import UserError
from splitjax.config.processes import children

from ..job import Job
from ..phase_tree import Phase
from ..telling.phase_words import phase_words
from ..telling.time_left import Load
from .attempts import Ledger

_PATIENCE = 120.0
"""Seconds that a worker told to stop has to finish its step and save."""
Message = dict[str, Any]


class Worker:
    """A child process that trains one phase after another; see `working`.

    It holds the folder's lock too and ends as soon as this process does, so nobody can start the sweep again while it
    still writes.
    """

    def __init__(self, job: Job, jobs: int, inbox: queue.Queue[tuple[Worker, Message | None]]) -> None:
        self.phase: Phase | None = None
        command = children.python("-m", "splitjax.runs.workers.worker")
        environment = dict(os.environ)
        # Workers share one accelerator: none may take three quarters of its memory for itself.
        environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / jobs:.3f}")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            start_new_session=True,  # Ctrl-C comes to us alone; we pass it on
            pass_fds=job.folder.locks,
        )
        self._send({"config": job.config.resolved(), "command": job.command})
        threading.Thread(target=self._read, args=(inbox,), daemon=True).start()

    def begin(self, phase: Phase) -> None:
        self.phase = phase
        self._send({"phase": phase.name})

    def stop(self) -> None:
        """Tell it to save and end."""
        with contextlib.suppress(OSError):
            self.process.send_signal(signal.SIGTERM)

    def close(self, seconds: float) -> None:
        """Wait for its end, and make it."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def _send(self, message: Message) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # a dead one is told by the end of its output
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def _read(self, inbox: queue.Queue[tuple[Worker, Message | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict) and "tell" in message:
                inbox.put((self, message))
            else:
                sys.stderr.write(line)  # what a library printed
        inbox.put((self, None))


def run_in_workers(ledger: Ledger, job: Job, jobs: int) -> None:
    """Every phase of the tree, `jobs` at a time, parents before children."""
    inbox: queue.Queue[tuple[Worker, Message | None]] = queue.Queue()
    job.reporter.train_at_once(jobs)
    with _workers(job, min(jobs, len(ledger.phases)), inbox) as workers:
        while True:
            for worker in workers:
                if worker.phase is None and (phase := _next(ledger, workers)):
                    worker.begin(phase)
            busy = [worker.phase for worker in workers if worker.phase]
            if not busy:
                break
            job.reporter.now("; ".join(phase_words(phase, job.clock.tokens_per_step) for phase in busy[:2])
                             + (f" and {len(busy) - 2} more" if len(busy) > 2 else ""))
            worker, message = inbox.get()
            if message is None:
                if worker in workers:
                    workers[workers.index(worker)] = Worker(job, len(workers), inbox)
                    _died(worker, ledger)
            else:
                _hear(worker, message, ledger, job)
    job.reporter.train_at_once(1)


@contextmanager
def _workers(job: Job, count: int, inbox: queue.Queue[tuple[Worker, Message | None]]) -> Iterator[list[Worker]]:
    workers = [Worker(job, count, inbox) for _ in range(count)]
    patience = 0.0
    try:
        yield workers
    except BaseException:
        patience = _PATIENCE
        raise
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.close(patience if worker.phase else 5.0)


def _next(ledger: Ledger, workers: list[Worker]) -> Phase | None:
    """The first phase that can start and nobody has."""
    taken = {worker.phase.name for worker in workers if worker.phase}
    for phase in ledger.phases:
        if not ledger.closed(phase) and phase.name not in taken and ledger.ready(phase):
            return phase
    return None


def _hear(worker: Worker, message: Message, ledger: Ledger, job: Job) -> None:
    reporter, tell = job.reporter, message["tell"]
    if tell == "advance":
        reporter.advance(*message["values"])
    elif tell == "start":
        reporter.start(*message["values"])
    elif tell == "beside":
        reporter.beside(*message["values"])
    elif tell == "skip":
        reporter.skip(message["phase"], Load(**message["load"]))
    elif tell == "replan":
        reporter.replan(Load(**message["load"]))
    elif tell == "phase_done":
        reporter.phase_done(*message["values"])
    elif tell == "say":
        reporter.say_once(*message["values"])
    elif worker.phase is not None:
        phase, worker.phase = worker.phase, None
        if tell == "end":
            ledger.end(phase, message["losses"])
        else:
            ledger.fail(phase, message["reason"], passing=message["passing"])


def _died(worker: Worker, ledger: Ledger) -> None:
    worker.close(5.0)
    code = worker.process.returncode
    if worker.phase is not None:
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        killed = code == -signal.SIGKILL
        ledger.fail(worker.phase, f"its process ended {how}" + (" (out of memory?)" if killed else ""), killed=killed)


def platform_of_workers() -> str:
    """What workers train on ("cpu", "gpu", "tpu"), without opening the devices here: they belong to the workers."""
    command = children.python("-c", "import jax; print(jax.default_backend())")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"JAX finds no device ({(done.stderr.splitlines() or ['no reason given'])[-1]})")
    return done.stdout.split()[-1]
