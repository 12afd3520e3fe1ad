"""A worker of `workers`: lines of JSON name phases on standard input, lines of JSON tell on standard output.

Its own standard output is the pipe alone; whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from rich.console import Console

from splitjax.config import from_dict
from splitjax.parallel import keep_freed_memory

from ..job import Job
from ..reporter import Reporter
from ..run_folder import RunFolder
from ..telling.time_left import Load
from .attempts import reason_of


class _Relay(Reporter):
    """Progress told to the process that asked."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(Console(file=sys.stderr))
        self._pipe = pipe

    def tell(self, what: str, **message: Any) -> None:
        self._pipe.write(json.dumps({"tell": what} | message) + "\n")
        self._pipe.flush()

    def advance(self, work: float, seconds: float, tokens_per_s: float, loss: float | None = None) -> None:
        self.tell("advance", values=[work, seconds, tokens_per_s, loss])

    def start(self, new: bool, seconds: float, before: float = 0.0) -> None:
        self.tell("start", values=[new, seconds, before])

    def beside(self, seconds: float) -> None:
        self.tell("beside", values=[seconds])

    def phase_done(self, phase: str) -> None:
        self.tell("phase_done", values=[phase])

    def skip(self, phase: str, load: Load) -> None:
        self.tell("skip", phase=phase, load=asdict(load))

    def replan(self, more: Load) -> None:
        self.tell("replan", load=asdict(more))

    def say(self, text: str, style: str = "") -> None:
        self.tell("say", values=[text, style])


def _work() -> int:
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    signal.signal(signal.SIGTERM, _terminated)
    keep_freed_memory()
    asked, relay = inbox.get(), _Relay(pipe)
    config = from_dict(asked["config"])
    job = Job(config, RunFolder(config.folder), relay, asked["command"])
    phases = {phase.name: phase for phase in job.sweep_phases}
    executor = job.sweep_executor()
    while True:
        phase = phases[inbox.get()["phase"]]
        try:
            losses = executor.attempt(phase)
        except Exception as error:
            reason, passing = reason_of(error)
            relay.tell("fail", reason=reason, passing=passing)
        else:
            relay.tell("end", losses=losses)


def _listen(inbox: queue.Queue[dict[str, Any]]) -> None:
    """Messages as they come. Their end is the end of the sweep's own process: stop at once, whatever runs."""
    for line in sys.stdin:
        inbox.put(json.loads(line))
    os._exit(1)


def _terminated(number: int, frame: object) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(_work())
    except BaseException as error:  # Interrupted: the training loop has saved
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        sys.exit(code)
