"""SIGKILL at random moments of whole runs, the same command again, until each ends; then compare what counts."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from .world import command, environment, tiny_tree, write_corpus

MOMENTS = ("prepare", "save", "split", "seed", "experts", "fit", "plan", "evaluate", "report")
"""Where a kill can be aimed; the other half of the kills fall at any time."""
DATED = ("made", "provenance", "hash")
"""Of a record: dates, and the hash of all of it, dates included."""
CLOCK = ("tokens_per_s", "check")
"""Of a row of metrics: its speed, and its checksum, which covers the speed."""
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
            "checkpoints": sum(name.startswith("checkpoint ") for name in wanted)}  # fmt: skip


def fingerprint(run: Path) -> dict[str, Any]:
    """Everything of a finished run that must not depend on how often it was killed.

    Of every kept checkpoint the hashes of all its arrays, the table of observations, the law, the plan, the results
    and the losses of every step, without dates and speeds.
    """
    found: dict[str, Any] = {}
    for record in sorted(run.glob("phases/*/checkpoints/*/checkpoint.json")):
        phase, _, tokens, _ = record.relative_to(run / "phases").parts
        found[f"checkpoint {phase}/{tokens}"] = _arrays(record)
    found["observations.csv"] = (run / "observations.csv").read_text()
    for name in ("law.json", "plan.json", "main.json", "results.json", "data/manifest.json"):
        tree = json.loads((run / name).read_text())
        found[name] = {key: value for key, value in tree.items() if key not in DATED}
    for log in sorted(run.glob("phases/*/metrics.jsonl")):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        found[f"metrics {log.parent.name}"] = [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]
    return found


def _arrays(record: Path) -> dict[str, str]:
    """Hash of each array file; Orbax's own files beside them hold the time."""
    files = json.loads(record.read_text())["files"]
    return {name: digest for name, digest in files.items() if "/" in name}


def compare(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what differs or is missing."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def moment_of(run: Path) -> str:
    """What a run is doing, read from its folder alone."""
    if not (run / "done" / "prepare.json").exists():
        return "prepare"
    for record in run.glob("phases/*/phase.json"):
        if not (record.parent / "done.json").exists():
            return _moment_of_phase(record.parent)
    done = {path.stem for path in (run / "done").glob("*.json")}
    following = {"sweep": "fit", "fit": "plan", "plan": "train", "train": "evaluate", "evaluate": "report"}
    return next((then for stage, then in reversed(following.items()) if stage in done), "sweep")


def _moment_of_phase(phase: Path) -> str:
    checkpoints = phase / "checkpoints"
    names = [path.name for path in checkpoints.iterdir()] if checkpoints.is_dir() else []
    if any(not (checkpoints / name / "checkpoint.json").exists() for name in names):
        return "save"
    if ".experts" not in phase.name:
        return "seed"
    return "experts" if (phase / "metrics.jsonl").exists() or ".experts" in phase.name.rsplit(".", 1)[0] else "split"


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


def config_in(folder: Path, corpus: Path, name: str) -> Path:
    """Write the tiny config of a run `name` in `folder`."""
    (folder / name).mkdir(parents=True)
    path = folder / name / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_tree(corpus, folder / name / "run")), encoding="utf-8")
    return path


def finish(config: Path) -> Path:
    """Run to the end; the run folder."""
    done = subprocess.run(command("run", config), env=environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"chaos: a run failed\n{done.stderr[-2000:]}")
    return config.parent / "run"
