"""Disks that fill up in the middle of a run, and folders that turn read-only."""

from __future__ import annotations

import collections
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .mounts import fill, read_only, small_disk
from .runs import begun, compare, config_in, fingerprint, finish, moment_of, refusal, size_of, splitjax, stopped
from .world import MAIN_ALONE, write_corpus

Say = Callable[[str], None]


RUNS: tuple[dict[str, Any], ...] = (MAIN_ALONE, {})
"""Every other run with a sweep."""


def fill_runs(folder: Path, count: int, seed: int, say: Say = print) -> dict[str, Any]:
    """Run `count` times on a small disk that holds a random part of what a run needs; then make room and go on.

    Returns:
        Counts by what the run was doing when the disk was full, and what was not as promised (must be empty).
    """
    rng = random.Random(seed)
    corpus = write_corpus(folder / "docs.jsonl")
    configs = [config_in(folder, corpus, f"whole{kind}", changes=RUNS[kind]) for kind in range(min(count, len(RUNS)))]
    wholes = list(map(finish, configs))
    wanted, needed = list(map(fingerprint, wholes)), list(map(size_of, wholes))
    moments, wrong = collections.Counter[str](), list[str]()
    for case in range(count):
        kind = case % len(RUNS)
        with small_disk(folder / "disk", str(2 * needed[kind])) as disk:
            config = config_in(folder, corpus, f"disk{case}", disk / "run", RUNS[kind])
            # Half of the times in the first fifth: there lie the data and the first phases.
            room = int(needed[kind] * rng.uniform(0.005, 0.2 if rng.random() < 0.5 else 0.95))
            filler = fill(disk, leave=room)
            code, told, plain = refusal(splitjax("run", config))
            moment = moment_of(disk / "run") if (disk / "run").exists() else "prepare"
            filler.unlink()
            faults = [] if plain and _tells_of_space(code, told) else [f"exit code {code}: {told[:500]}"]
            faults += compare(wanted[kind], fingerprint(finish(config)))
        shutil.rmtree(config.parent)
        moments[moment] += 1
        wrong += [f"disk {case}, {room} bytes: {fault}" for fault in faults]
        say(f"{case + 1}: full in {moment}, at {room / needed[kind]:.0%} of a run: {told[:160]}: {faults or 'mended'}")
    return {"full_disks": count, "bytes_needed": needed, "by_moment": dict(moments), "differences": wrong}


def _tells_of_space(code: int, told: str) -> bool:
    """Whether it ended as a mistake of the disk; a sweep goes on with its other cells, and then has its own code."""
    expected = code == 2 or (code == 1 and "cells failed" in told)
    return expected and any(word in told for word in ("No space left", "ENOSPC", "RESOURCE_EXHAUSTED"))


def lock_runs(folder: Path, count: int, seed: int, say: Say = print) -> dict[str, Any]:
    """Make a folder of a run read-only `count` times, run the command, make it writable and run it again.

    Returns:
        Counts of outcomes by folder, and what was not as promised (must be empty).
    """
    corpus = write_corpus(folder / "docs.jsonl")
    config = config_in(folder, corpus, "whole", changes=MAIN_ALONE)
    finished = finish(config)
    wanted = fingerprint(finished)
    copies = {"half": stopped(finished, folder / "half"), "begun": begun(finished, folder / "begun")}
    table: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in FOLDERS}
    wrong: list[str] = []
    for case in range(count):
        name = list(FOLDERS)[case % len(FOLDERS)]
        outcome, faults = _lock(config, copies | {"finished": finished}, folder / "locked", name, wanted)
        table[name][outcome] += 1
        wrong += [f"{name}: {fault}" for fault in faults]
        say(f"{case + 1}: {name}: {outcome} {faults or ''}")
    return {"cases": count, "by_folder": {name: dict(told) for name, told in table.items()}, "differences": wrong}


FOLDERS = {
    "run folder, before anything": ("", ""),
    "run folder, stopped in its main run": ("half", ""),
    "run folder, finished": ("finished", ""),
    "data folder, before anything": ("begun", "data"),
    "data folder, stopped in its main run": ("half", "data"),
    "folder of an unfinished phase": ("half", "phases/*"),
    "its checkpoints": ("half", "phases/*/checkpoints"),
    "done records": ("half", "done"),
}
"""What is read-only: of which run, and which folder in it ("*": of a phase that is not finished)."""


def _lock(
    config: Path, runs: dict[str, Path], work: Path, name: str, wanted: dict[str, Any]
) -> tuple[str, list[str]]:
    """(outcome, what was not as promised) of one folder."""
    kind, part = FOLDERS[name]
    shutil.rmtree(work, ignore_errors=True)
    if kind:
        shutil.copytree(runs[kind], work)
    target = next((path for path in sorted(work.glob(part)) if _open(work, path)), work / part) if part else work
    target.mkdir(parents=True, exist_ok=True)
    before = _listing(work)
    with read_only(target):
        done = splitjax("run", config, f"run_dir={work}")
    code, told, plain = refusal(done)
    faults = []
    if code:
        outcome = "refused"
        named = "cannot be written" in told and str(work) in told
        faults += [] if code == 2 and plain and named else [f"exit code {code}: {done.stderr[-600:]}"]
        if not part and _listing(work) != before:
            faults.append("the refusal left something")
    else:
        outcome = "not written to"
    again = splitjax("run", config, f"run_dir={work}")
    faults += compare(wanted, fingerprint(work)) if again.returncode == 0 else [f"after it: {again.stderr[-600:]}"]
    return outcome, faults


def _open(work: Path, path: Path) -> bool:
    """Whether it belongs to a phase that is not finished, or to none."""
    parts = path.relative_to(work).parts
    return parts[0] != "phases" or not (work / "phases" / parts[1] / "done.json").exists()


def _listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.startswith(".lock"))
