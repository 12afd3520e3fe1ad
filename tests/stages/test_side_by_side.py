"""A sweep in lanes: the losses of the same sweep phase by phase, and the same table after kills."""

from __future__ import annotations

import csv
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from splitjax import stages
from splitjax.config import Config, dump, from_dict, read_json
from splitjax.runs.executor import Executor
from splitjax.runs.run_folder import RunFolder
from splitjax.train import read_metrics
from tools.faults.world import command, environment, tiny_tree

SHAPE = {"d_model": 8, "n_layers": 1, "n_heads": 2}
SWEEP = {
    "models": [SHAPE, SHAPE | {"d_model": 12}], "d_pretrain": [0, "1k", "4k", "12k"], "d_special": [512, "2k", "6k"],
}
"""24 cells, the longest path of them 141 steps."""


def tree_of(corpus_file: Path, run: Path, loop: str, steps: int = 1) -> dict[str, Any]:
    tree = tiny_tree(corpus_file, run)
    return tree | {"sweep": SWEEP, "train": tree["train"] | {"expert_loop": loop, "steps_per_dispatch": steps}}


@pytest.fixture(scope="module")
def one_by_one(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The sweep phase by phase."""
    config = from_dict(tree_of(corpus_file, tmp_path_factory.mktemp("alone") / "run", "auto"))
    stages.prepare(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Executor, "together", False)
        stages.sweep(config)
    assert not (RunFolder(config.folder).path / "lanes.json").exists()
    return config


def losses_of(config: Config) -> dict[tuple[str, str], float]:
    with open(RunFolder(config.folder).observations, newline="") as file:
        return {(row["run"], row["domain"]): float(row["loss"]) for row in csv.DictReader(file)}


def logs_of(config: Config) -> dict[str, list[Any]]:
    logs = RunFolder(config.folder).phases.glob("*/metrics.jsonl")
    return {path.parent.name: [row["loss"] for row in read_metrics(path)] for path in logs}


@pytest.mark.slow
@pytest.mark.parametrize(("loop", "steps"), [("auto", 1), ("vmap", 1), ("vmap", 4)])
def test_24_cells_in_lanes_survive_three_kills_with_the_losses_of_one_by_one(
    one_by_one: Config, corpus_file: Path, tmp_path: Path, loop: str, steps: int
) -> None:
    tables, logs = [], []
    # Dispatched one by one a lane has the bits of its phase alone: the sweep phase by phase is the undisturbed one.
    for name, kills in (("killed", 3), ("whole", 0))[: 1 if loop == "auto" else 2]:
        run = tmp_path / name
        config = from_dict(tree_of(corpus_file, run, loop, steps))
        shutil.copytree(RunFolder(one_by_one.folder).data, run / "data")
        (run / "done").mkdir()
        shutil.copy(RunFolder(one_by_one.folder).path / "done" / "prepare.json", run / "done")
        (run / "config.yaml").write_text(dump(config))
        _sweep(run, kills)
        tables.append(RunFolder(config.folder).observations.read_bytes())
        groups = read_json(run / "lanes.json")["groups"]
        assert max(map(len, groups)) > 3, "or nothing went side by side"
        logs.append(logs_of(config))
        alone, together = losses_of(one_by_one), losses_of(config)
        assert alone.keys() == together.keys()
        assert len(alone) == 24 * 3
        assert max(abs(alone[key] - together[key]) for key in alone) <= 1e-5
    if loop == "auto":
        tables.append(RunFolder(one_by_one.folder).observations.read_bytes())
        logs.append(logs_of(one_by_one))
    assert tables[0] == tables[1]
    assert logs[0] == logs[1], "every loss of every step, bit for bit"


def _sweep(run: Path, kills: int) -> None:
    """The sweep as a command, with so many SIGKILLs once it trains."""
    rng = random.Random(7)
    for left in range(kills, -1, -1):
        process = subprocess.Popen(command("sweep", run), env=environment(), stderr=subprocess.DEVNULL)
        if left:
            before = _trained(run)
            while process.poll() is None and _trained(run) < before + 1:
                time.sleep(0.05)
            time.sleep(rng.uniform(0.0, 2.0))
            process.send_signal(signal.SIGKILL)
        assert process.wait() == (-signal.SIGKILL if left else 0)


def _trained(run: Path) -> int:
    """Checkpoints so far."""
    return sum(1 for _ in run.glob("phases/*/checkpoints/*/checkpoint.json"))
