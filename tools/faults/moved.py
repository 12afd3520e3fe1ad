"""A run that is interrupted on n processes goes on with m: the same batches, the same tables within rounding."""

from __future__ import annotations

import csv
import itertools
import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from splitjax.train import read_metrics

from .cluster import members, wait
from .runs import config_in, finish, refusal, run_of
from .stops import run_on, wait_for_training
from .world import MAIN_ALONE, command, environment, write_corpus

COUNTS = (1, 2, 4)
CLOSE = 1e-5
"""Nats a token: what another mesh may change."""


def move_runs(folder: Path, count: int, seed: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Interrupt `count` runs and continue each on another number of processes, all pairs of 1, 2, 4 in turn.

    Returns:
        Counts by pair, the largest difference of a loss, and what was not as promised (must be empty).
    """
    rng = random.Random(seed)
    corpus = write_corpus(folder / "docs.jsonl")
    whole = figures(finish(config_in(folder, corpus, "whole", changes=MAIN_ALONE)))
    pairs = list(itertools.product(COUNTS, COUNTS))
    table, wrong, furthest, case = dict[str, str](), list[str](), 0.0, 0
    while case < count:
        before, after = pairs[case % len(pairs)]
        config = config_in(folder, corpus, f"moved{case}", changes=MAIN_ALONE)
        how = _interrupt(config, before, rng)
        if how is None:
            say(f"{before} to {after}: ended before it was interrupted; again")
        else:
            case += 1
            faults = _refused(config, after) if after > 1 else []
            codes, said = run_on(config, after)
            off, largest = apart(whole, figures(run_of(config))) if not any(codes) else ([said[-600:]], 0.0)
            furthest = max(furthest, largest)
            wrong += [f"{before} to {after}, {how}: {fault}" for fault in faults + off]
            table[f"{before} to {after}"] = how
            say(f"{case}: {before} to {after} processes, {how}: {largest:.1e} {faults + off or ''}")
        shutil.rmtree(config.parent)
    return {"cases": count, "by_pair": table, "largest_difference_of_a_loss": furthest, "differences": wrong}


def _interrupt(config: Path, processes: int, rng: random.Random) -> str | None:
    """Begin a run and end it in training by SIGTERM to one process or SIGKILL to all; None where it ended before."""
    with members(command("run", config), processes, config.parent, environment=environment()) as started:
        moment = wait_for_training(config, rng, lambda: any(one.process.poll() is not None for one in started))
        if moment is None:
            return None
        if rng.random() < 0.5:
            return f"SIGKILL to all in {moment}"  # at the end of this block
        started[rng.randrange(processes)].process.send_signal(signal.SIGTERM)
        codes = wait(started)
    return f"SIGTERM to one in {moment}" if set(codes) == {143} else None


def _refused(config: Path, processes: int) -> list[str]:
    """A mesh of devices that these processes do not have must be refused in one line."""
    codes, said = run_on(config, processes, f"train.mesh={{fsdp: {processes + 1}}}")
    _, told, plain = refusal((codes[0], said))
    return [] if set(codes) == {2} and plain and "train.mesh" in told else [f"a mesh that is not here: {codes}, {told}"]


def figures(run: Path) -> dict[str, Any]:
    """Every loss of a run, and what stands beside it: tables, and the curve of every phase."""
    found: dict[str, Any] = {}
    if (run / "observations.csv").exists():
        with open(run / "observations.csv", newline="", encoding="utf-8") as file:
            found |= {f"observation {row['run']} {row['domain']}": _plain(row) for row in csv.DictReader(file)}
    found["main.json"] = json.loads((run / "main.json").read_text())["models"]
    results = json.loads((run / "results.json").read_text())
    for name, model in results["models"].items():
        found[f"results of {name}"] = {key: model.get(key) for key in ("test", "tokens", "cell", "epochs")}
    for log in sorted(run.glob("phases/*/metrics.jsonl")):
        found[f"curve of {log.parent.name}"] = [[row["tokens"], row["loss"], row["rate"]] for row in read_metrics(log)]
    return found


def _plain(row: dict[str, str]) -> dict[str, Any]:
    return row | {"loss": float(row["loss"])}


def apart(one: Any, other: Any, name: str = "") -> tuple[list[str], float]:
    """(names of what differs by more than rounding, the largest difference of a number)."""
    if isinstance(one, float) and isinstance(other, int | float):
        return ([] if abs(one - other) <= CLOSE else [f"{name}: {one} and {other}"]), abs(one - other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        parts = [(key, one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [(str(index), *pair) for index, pair in enumerate(zip(one, other, strict=True))]
    else:
        return ([] if one == other else [f"{name}: {one!s:.80} and {other!s:.80}"]), 0.0
    told = [apart(a, b, f"{name} {key}".strip()) for key, a, b in parts]
    return [line for lines, _ in told for line in lines], max((largest for _, largest in told), default=0.0)
