"""Preparation, here or in a child process, so that what it imports never stays in a training process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from splitjax import data
from splitjax.config import Config, UserError
from splitjax.config.processes import children
from splitjax.config.processes.stopping import Killed
from splitjax.runs.reporter import Reporter


def inputs_of(config: Config) -> dict[str, Any]:
    """What the prepared data depend on."""
    tree = config.resolved()
    for key in ("workers", "runner"):
        tree["data"].pop(key)  # the same bytes come out whoever makes them
    inputs = {"data": data.as_prepared(tree["data"]), "seed": config.seed}
    return inputs if config.data.domains.small == "refuse" else inputs | {"windows": windows_of(config)}


def windows_of(config: Config) -> tuple[int, int]:
    """Held-out windows that every domain must fill, and the tokens of each."""
    return config.evaluate.windows, config.train.seq_len


def here(config: Config, out: Path, reporter: Reporter, anew: bool = False) -> None:
    """Prepare in this process; `anew` also where data stand."""

    def tell(what: str, share: float, left: float) -> None:
        _show(reporter, what, share, left)

    data.prepare(config.data, out, seed=config.seed, progress=tell, windows=windows_of(config), anew=anew)


def in_child(
    config: Config, out: Path, reporter: Reporter, locks: tuple[int, ...] = (), anew: bool = False
) -> None:
    """Prepare in a child process; its progress and its errors come back as lines of JSON.

    The child never outlives this process: it ends when its standard input closes, however this process died.

    Args:
        locks: descriptors of the run folder's locks. The child holds them too, so that nobody works in the folder
            before both are gone.

    Raises:
        UserError: what the child refused, or that it died.
    """
    words = [str(out), *map(str, windows_of(config)), *(["--anew"] if anew else [])]
    command = children.python("-m", "splitjax.stages.preparation_child", *words)
    # A platform with one device of ours must not be opened twice: the child works on the CPU.
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,  # Ctrl-C comes to us alone; the child would answer with a traceback
        pass_fds=locks,
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(config.resolved()) + "\n")
        child.stdin.flush()
        for line in child.stdout:
            message = _parse(line)
            if "killed" in message:
                raise Killed(message["killed"])
            if "error" in message:
                raise UserError(**message["error"])
            if "what" in message:
                _show(reporter, message["what"], message["share"], message["left"])
        code = child.wait()
        if code == -signal.SIGKILL:
            raise Killed("the process that prepares the data was killed (out of memory?); lower data.workers")
        if code:
            raise UserError(f"preparation ended with exit code {code}", mend="Its last lines are above.")
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()


def _show(reporter: Reporter, what: str, share: float, left: float) -> None:
    reporter.now(f"{what}, {100 * share:.0f} % prepared")
    reporter.progress(share, left)


def _parse(line: str) -> dict[str, Any]:
    """A message of the child's; anything a library printed beside them goes to stderr."""
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if isinstance(message, dict) and message.keys() & {"what", "error", "killed"}:
        return message
    sys.stderr.write(line)
    return {}
