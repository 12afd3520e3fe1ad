"""SIGKILL at random moments of whole runs, the same command again, until each ends; then compare what counts."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from .runs import compare, config_in, fingerprint, finish, moment_of
from .world import command, environment, write_corpus

MOMENTS = ("prepare", "save", "split", "seed", "experts", "fit", "plan", "evaluate", "report")
"""Where a kill can be aimed; the other half of the kills fall at any time."""
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def kill_runs(folder: Path, count: int, seed: int, say: Any = print) -> dict[str, Any]:
    """Kill `count` times over as many runs as needed.

    Returns:
        Counts by moment, the number of runs, and what differed from the undisturbed run (must be empty).
    """
    rng = random.Random(seed)
    corpus = write_corpus(folder / "docs.jsonl")
    whole = finish(config_in(folder, corpus, "whole"))
    wanted = fingerprint(whole)
    hits: collections.Counter[str] = collections.Counter()
    differences: list[str] = []
    runs = 0
    while sum(hits.values()) < count:
        runs += 1
        config = config_in(folder, corpus, f"run{runs}")
        while sum(hits.values()) < count and (moment := _start_and_kill(config, rng)) is not None:
            hits[moment] += 1
            say(f"run {runs}, kill {sum(hits.values())}: {moment}")
        run = finish(config)
        differences += [f"run {runs}: {name}" for name in compare(wanted, fingerprint(run))]
        shutil.rmtree(config.parent)
        say(f"run {runs} ended, {len(differences)} differences so far")
    return {"kills": sum(hits.values()), "runs": runs, "by_moment": dict(hits), "differences": differences,
            "observations": len((whole / "observations.csv").read_text().splitlines()) - 1,
            "checkpoints": sum(name.startswith("checkpoint ") for name in wanted)}


def _start_and_kill(config: Path, rng: random.Random) -> str | None:
    """Start the run and kill it: its moment, or None where it ended before."""
    run = config.parent / "run"
    process = subprocess.Popen(command("run", config), env=environment(), start_new_session=True, **SILENT)
    aimed = rng.choice(MOMENTS) if rng.random() < 0.5 else None
    # Mostly the whole group, as a machine dies; sometimes the process alone, as the kernel kills what has no memory.
    group, began, limit = rng.random() < 0.7, time.monotonic(), rng.uniform(0.2, 25.0)
    while process.poll() is None:
        if (moment_of(run) == aimed) if aimed else (time.monotonic() - began > limit):
            time.sleep(rng.uniform(0, 0.02 if aimed in ("save", "split", "plan") else 0.4) if aimed else 0)
            break
        time.sleep(0.002)
    if process.poll() is not None:
        return None
    moment = moment_of(run)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
    process.wait()
    return moment
