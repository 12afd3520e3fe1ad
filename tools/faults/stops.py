"""SIGSTOP or SIGKILL of one of four processes in training: the others name it and end; the run goes on after."""

from __future__ import annotations

import collections
import os
import random
import re
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from splitjax.parallel import beats

from .cluster import Member, members, wait
from .proc import children, told_of
from .runs import compare, config_in, fingerprint, moment_of, run_of
from .world import MAIN_ALONE, command, environment, write_corpus

PROCESSES = 4
LIMIT = 15.0
"""Step time-out of the runs that are stopped, in seconds (SPLITJAX_STEP_TIMEOUT)."""
WITHIN = 3 * LIMIT + 30
"""The longest that the others may take: before the first step of a phase the time-out counts three times, and process
0, where it is the stopped one, is asked for up to 20 s before it counts as missing."""
TRAINING = ("seed", "split", "experts", "save")


def stop_runs(folder: Path, count: int, seed: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Stop or kill a process of `count` runs, in turn: stop one of `splitjax run` on four processes, stop one of
    `splitjax launch`, kill one of `splitjax run` (the launcher ends the others of a killed one itself).

    After the others have ended, the stopped process is killed and the same command continues; the launcher does both
    itself.

    Returns:
        Counts by moment and by process, seconds until the others had ended, and what was not as promised (must be
        empty).
    """
    rng = random.Random(seed)
    corpus = write_corpus(folder / "docs.jsonl")
    whole = config_in(folder, corpus, "whole", changes=MAIN_ALONE)
    finish_on(whole, PROCESSES)
    wanted = fingerprint(run_of(whole))
    moments, victims = collections.Counter[str](), collections.Counter[str]()
    took, wrong, case = list[float](), list[str](), 0
    while case < count:
        config = config_in(folder, corpus, f"stop{case}", changes=MAIN_ALONE)
        victim, name = rng.randrange(PROCESSES), list(WAYS)[case % len(WAYS)]
        told = WAYS[name](config, victim, rng)
        if told is None:
            say(f"{name}: ended before it could be stopped; again")
        else:
            case += 1
            moment, seconds, faults = told
            moments[moment], victims[f"process {victim}"] = moments[moment] + 1, victims[f"process {victim}"] + 1
            took.append(seconds)
            off = faults + compare(wanted, fingerprint(run_of(config)))
            wrong += [f"stop {case}, {name}, process {victim}: {fault}" for fault in off]
            say(f"{case}: {name}, process {victim} in {moment}: {seconds:.0f} s, {off or 'as undisturbed'}")
        shutil.rmtree(config.parent)
    return {"stops": count, "by_moment": dict(moments), "by_process": dict(victims), "step_timeout": LIMIT,
            "others_ended_after": {"median": round(statistics.median(took), 1), "most": round(max(took), 1)},
            "differences": wrong}


def finish_on(config: Path, processes: int, *words: str, limit: float = 900) -> None:
    """Run to the end on so many processes."""
    codes, said = run_on(config, processes, *words, limit=limit)
    if any(codes):
        sys.exit(f"chaos: a run failed on {processes} processes: {codes}\n{said[-2000:]}")


def run_on(config: Path, processes: int, *words: str, limit: float = 900) -> tuple[list[int], str]:
    """(exit codes, what the first of them that failed said) of a run on so many processes."""
    run = command("run", config, *words)
    with members(run, processes, config.parent, environment=environment()) as started:
        codes = wait(started, limit)
        return codes, next((one.said() for one, code in zip(started, codes, strict=True) if code), "")


def _stop_run(
    config: Path, victim: int, rng: random.Random, number: int = signal.SIGSTOP
) -> tuple[str, float, list[str]] | None:
    """(moment, seconds until the others had ended, what was wrong), or None where the run ended before."""
    limited = environment() | {beats.STEP_TIMEOUT: str(LIMIT)}
    with members(command("run", config), PROCESSES, config.parent, environment=limited) as started:
        moment = wait_for_training(config, rng, lambda: any(one.process.poll() is not None for one in started))
        if moment is None:
            return None
        started[victim].process.send_signal(number)
        began = time.monotonic()
        others = [one for index, one in enumerate(started) if index != victim]
        faults = _ends_without_0(others) if number == signal.SIGKILL and victim == 0 else _ends_of(others, victim)
        seconds = time.monotonic() - began
    finish_on(config, PROCESSES)
    return moment, seconds, faults


def _ends_of(others: Sequence[Member], victim: int) -> list[str]:
    """What was not as promised at the ends of the others."""
    codes = wait(others, 2 * WITHIN)
    faults = [f"exit codes {codes}"] if set(codes) != {beats.STUCK} else []
    for one, code in zip(others, codes, strict=True):
        if not names(one.said(), victim):
            last = [line for line in one.said().splitlines() if line.startswith("splitjax: ")]
            faults.append(f"one that ended with {code} names another: {last}")
    return faults


def _ends_without_0(others: Sequence[Member]) -> list[str]:
    """The same where the process that holds them together was killed: mostly JAX ends them, in its own words."""
    codes = wait(others, 2 * WITHIN)
    return [f"exit codes {codes}"] if not set(codes) <= {-signal.SIGABRT, beats.STUCK} else []


def names(said: str, victim: int) -> bool:
    """Whether a line of splitjax names this process, and no other, as the one that keeps it waiting."""
    lines = [line for line in said.splitlines() if re.match(r"(\[\d\] )?splitjax: (no step|waited|lost touch)", line)]
    accused = {number for line in lines for number in re.findall(r"process(?:es)? (\d+)", line)}
    return accused == {str(victim)}


def _stop_launch(config: Path, victim: int, rng: random.Random) -> tuple[str, float, list[str]] | None:
    """As `_stop_run`; the launcher ends what is left and starts again by itself."""
    limited = environment() | {beats.STEP_TIMEOUT: str(LIMIT)}
    launch = command("launch", config, "--on", "local", "--processes", PROCESSES)
    with members(launch, 1, config.parent, environment=limited) as (launcher,):
        moment = wait_for_training(config, rng, lambda: launcher.process.poll() is not None)
        found = _processes_of(launcher.process.pid)
        if moment is None or victim not in found:
            return None
        try:
            os.kill(found[victim], signal.SIGSTOP)
        except ProcessLookupError:
            return None
        began = time.monotonic()
        while "starting again" not in launcher.said() and launcher.process.poll() is None:
            time.sleep(0.1)
            if time.monotonic() - began > 2 * WITHIN:
                break
        # The launcher gives what hangs 30 s after SIGTERM before it kills it.
        seconds = time.monotonic() - began - 30
        codes = wait([launcher], 900)
        faults = [] if codes == [0] else [f"exit code {codes[0]}: {launcher.said()[-500:]}"]
        if not names(launcher.said(), victim):
            faults.append("the launched processes do not name it")
        if f"ended with exit code {beats.STUCK}" not in launcher.said():
            faults.append(f"no process ended with {beats.STUCK}")
    return moment, seconds, faults


WAYS: dict[str, Callable[[Path, int, random.Random], tuple[str, float, list[str]] | None]] = {
    "run": _stop_run, "launch": _stop_launch, "run, killed": partial(_stop_run, number=signal.SIGKILL),
}
"""How a process is lost."""


def _processes_of(launcher: int) -> dict[int, int]:
    """SPLITJAX_PROCESS → pid of the processes that a launcher started and that are still there."""
    found = {}
    for child in children(launcher):
        told = re.search(rb"\0SPLITJAX_PROCESS=(\d+)\0", b"\0" + told_of(child, "environ"))
        if told:
            found[int(told[1])] = child
    return found


def wait_for_training(config: Path, rng: random.Random, ended: Callable[[], bool]) -> str | None:
    """Wait until a run trains, and a random while longer: its moment then, or None where it is not training by then."""
    aimed = rng.choice(TRAINING)
    while moment_of(run_of(config)) != aimed or (aimed != "split" and not _steps(config)):
        if ended():
            return None
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 1.5 if aimed in ("seed", "experts") else 0.05))
    moment = moment_of(run_of(config))
    return moment if moment in TRAINING and not ended() else None


def _steps(config: Path) -> bool:
    """Whether a step was made."""
    return any(log.stat().st_size > 200 for log in run_of(config).glob("phases/*/metrics.jsonl"))
