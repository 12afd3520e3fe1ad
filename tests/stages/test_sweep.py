"""A sweep on real components: workers that die, cells that fail, parts, growth, splits that a law picks."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from splitjax import cli, stages
from splitjax.config import Config, UserError, dump, from_dict
from splitjax.reporting.run_status import cells_of
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import tokens_trained
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.workers.attempts import SweepError
from splitjax.train import read_metrics
from tests.law.synthetic import exact, table
from tools.faults.proc import children, told_of
from tools.faults.world import tiny_tree

SHAPE = {"d_model": 8, "n_layers": 1, "n_heads": 2}
SWEEP = {"models": [SHAPE, SHAPE | {"d_model": 12}], "d_pretrain": ["2k"], "d_special": [0, 512]}
Make = Callable[..., Config]


@pytest.fixture(scope="module")
def prepared(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "run"
    stages.prepare(from_dict(tiny_tree(corpus_file, folder) | {"sweep": SWEEP}))
    return folder


@pytest.fixture
def make(prepared: Path, corpus_file: Path, tmp_path: Path) -> Make:
    """A config whose run folder is prepared already."""

    def made(sweep: dict[str, Any], name: str = "run", **changes: Any) -> Config:
        folder = tmp_path / name
        config = from_dict(tiny_tree(corpus_file, folder) | {"sweep": sweep} | changes)
        (tmp_path / f"{name}.yaml").write_text(dump(config))
        if not folder.exists():
            shutil.copytree(prepared / "data", folder / "data")
            (folder / "done").mkdir()
            shutil.copy(prepared / "done" / "prepare.json", folder / "done")
            (folder / "config.yaml").write_text(dump(config))
        return config

    return made


def trained_tokens(config: Config) -> int:
    """Tokens of the steps in all logs."""
    step = config.train.batch_size * config.train.seq_len
    logs = RunFolder(config.folder).phases.glob("*/metrics.jsonl")
    return sum(len([x for x in row["loss"] if x is not None]) for log in logs for row in read_metrics(log)) * step


def tree_tokens(config: Config) -> int:
    job = Job(config, RunFolder(config.folder), Reporter())
    return tokens_trained(job.sweep_phases, job.clock.experts, job.clock.tokens_per_step)


def observed(config: Config) -> bytes:
    return RunFolder(config.folder).observations.read_bytes()


def test_workers_and_parts_end_like_one_process_and_train_each_trunk_once(make: Make) -> None:
    one, two, parted = make(SWEEP, "one"), make(SWEEP, "two"), make(SWEEP, "parted")
    stages.sweep(one)
    assert trained_tokens(one) == tree_tokens(one)
    with open(RunFolder(one.folder).observations, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3
    assert {row["run"] for row in rows} == set(cells_of(one, RunFolder(one.folder)))
    assert {row["trunk"] for row in rows} == {row["run"].split(".")[0] for row in rows}
    for part in (1, 2, 3):
        stages.sweep(parted, part=(part, 3))
        assert not RunFolder(parted.folder).observations.exists()
    stages.sweep(parted)
    assert observed(parted) == observed(one)
    assert trained_tokens(parted) == tree_tokens(one)
    _kill_one_worker_while(lambda: stages.sweep(two, jobs=2))
    assert observed(two) == observed(one)
    assert trained_tokens(two) == tree_tokens(one)


def _kill_one_worker_while(work: Callable[[], None]) -> None:
    """SIGKILL to the first worker seen, once it had time to begin."""

    def strike() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for child in children(os.getpid()):
                if b"splitjax.runs.workers.worker" in told_of(child, "cmdline"):
                    time.sleep(4)
                    os.kill(child, signal.SIGKILL)
                    return
            time.sleep(0.1)

    killer = threading.Thread(target=strike)
    killer.start()
    work()
    killer.join()


def test_a_failed_cell_is_named_and_does_not_stop_the_others(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    config = make(SWEEP)
    stages.sweep(config)
    whole, folder = observed(config), RunFolder(config.folder)
    trunk = next(path for path in sorted(folder.phases.glob("d8*.trunk")))
    for phase in folder.phases.glob(f"{trunk.name}.*"):
        shutil.rmtree(phase)
    (folder.path / "done" / "sweep.json").unlink()
    for file in trunk.glob("checkpoints/*/state/**/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[::-1])
    path = str(Path(config.folder).with_suffix(".yaml"))
    assert cli.main(["sweep", path]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 4 cells failed" in told
    assert "damaged" in told
    assert observed(config).count(b"\n") == 1 + 2 * 3
    states = cells_of(config, folder)
    assert sorted(state.partition(":")[0] for state in states.values()) == ["done", "done", "failed", "failed"]
    assert cli.main(["status", path]) == 0
    assert "2 failed" in capsys.readouterr().out
    with pytest.raises(UserError, match="the sweep has not ended"):
        stages.commands.fit_run(config)
    shutil.rmtree(trunk)
    stages.sweep(config)
    assert observed(config) == whole


def test_observations_grow_as_cells_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from splitjax.runs.sweeping import observations

    sizes = []
    monkeypatch.setattr(observations, "write_atomic", lambda path, text: sizes.append(text.count("\n") - 1))
    with pytest.raises(UserError, match="cannot be read"):  # nothing was written for the record to hash
        stages.sweep(make({**SWEEP, "models": [SHAPE]}))
    assert sizes == [3, 6]


def test_a_larger_budget_continues_the_trunks(make: Make) -> None:
    small = make({**SWEEP, "models": [SHAPE]})
    stages.sweep(small)
    before = {path: path.stat().st_mtime_ns for path in RunFolder(small.folder).phases.glob("*/metrics.jsonl")}
    larger = make({**SWEEP, "models": [SHAPE], "d_pretrain": ["2k", "6k"]})
    with pytest.raises(UserError, match=r"sweep\.d_pretrain.*--redo sweep"):
        stages.sweep(larger)
    stages.sweep(larger, redo="sweep")
    assert trained_tokens(larger) == tree_tokens(larger)
    changed = {path.parent.name for path, made in before.items() if path.stat().st_mtime_ns != made}
    assert changed <= {next(iter(before)).parent.name.split(".")[0] + ".trunk"}, "only the trunk went on"
    rows = observed(small).decode().splitlines()
    assert len(rows) == 1 + 4 * 3


@pytest.mark.slow
def test_seeds_as_one_stack_are_the_seeds_alone(make: Make) -> None:
    sweep = {**SWEEP, "models": [SHAPE], "seeds": [0, 5]}
    alone, grouped = make(sweep, "alone"), make(sweep, "grouped")
    stages.sweep(alone)
    job = Job(grouped, RunFolder(grouped.folder), Reporter(), platform="gpu")
    assert {phase.seeds for phase in job.sweep_phases} == {(None, 5)}
    losses = job.sweep_executor().run(job.sweep_phases)
    with open(RunFolder(alone.folder).observations, newline="") as file:
        for row in csv.DictReader(file):
            assert losses[row["run"]][row["domain"]] == pytest.approx(float(row["loss"]), abs=2e-5)
    assert set(losses) == set(cells_of(grouped, RunFolder(grouped.folder)))


@pytest.fixture
def law(tmp_path: Path) -> Path:
    """A law about models of a few thousand parameters, not fitted: its parameters are known."""
    sizes = {"sizes": (1e3, 2e3, 4e3), "pretrain": (1e3, 4e3, 16e3), "special": (0.0, 500.0, 2e3)}
    known = dataclasses.replace(exact("effective_data", draws=20, spread=0.02), table=table("effective_data", **sizes))
    known.save(tmp_path / "law.json")
    return tmp_path / "law.json"


def test_a_law_fixes_every_split_before_the_first_cell(
    make: Make, law: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [SHAPE | {"d_model": d} for d in (8, 12, 16)]
    config = make({"models": shapes, "tokens": ["4k", "8k"], "split": "law", "law": str(law)})
    path, folder = str(Path(config.folder).with_suffix(".yaml")), RunFolder(config.folder)
    assert cli.main(["sweep", path, "--dry-run", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed["cells"]) == len(listed["picks"]) == 6
    assert not folder.splits.exists(), "a dry run writes nothing"
    monkeypatch.setattr(stages.sequence, "run_here", lambda *_: None)  # train nothing: the splits are the point
    with pytest.raises(UserError):
        stages.sweep(config)
    kept = json.loads(folder.splits.read_text())
    assert kept["picks"] == listed["picks"]
    assert len(kept["law"]["hash"]) == 32
    assert cli.main(["sweep", path, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == listed["cells"]
    changed = exact("effective_data", draws=20, spread=0.03)
    dataclasses.replace(changed, table=table("effective_data", sizes=(1e3, 2e3, 4e3))).save(law)
    assert cli.main(["sweep", path]) == 2
    assert f"{law}: changed since it picked the splits" in capsys.readouterr().err
    law.unlink()
    assert cli.main(["sweep", path, "--dry-run", "--json"]) == 0, "the splits that were fixed are enough"
    assert json.loads(capsys.readouterr().out)["cells"] == listed["cells"]


@pytest.mark.slow
def test_killed_at_three_random_moments_a_sweep_of_24_cells_ends_the_same(make: Make) -> None:
    shapes = [SHAPE | {"d_model": d} for d in (8, 12, 16)]
    sweep = {"models": shapes, "d_pretrain": [0, "1k", "4k"], "d_special": [0, 512, "1k"]}
    calm, killed = make(sweep, "calm"), make(sweep, "killed")
    stages.sweep(calm)
    assert len(cells_of(calm, RunFolder(calm.folder))) == 24
    command = [sys.executable, "-m", "splitjax", "sweep", f"{killed.folder}.yaml", "--jobs", "2"]
    rng = random.Random(5)
    ended = RunFolder(killed.folder).phases
    for phases in sorted(rng.sample(range(1, 34), 3)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(ended.glob("*/done.json"))) < phases:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1))
        assert process.poll() is None, "killed too late to say anything"
        process.kill()  # the sweep's own process alone: its workers must notice
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert observed(killed) == observed(calm)
    assert trained_tokens(killed) == trained_tokens(calm) == tree_tokens(calm)


def test_a_main_run_needs_a_plan_or_an_explicit_split(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(Path(make(SWEEP).folder).with_suffix(".yaml"))
    assert cli.main(["train", path]) == 2
    assert "stage plan has not run" in capsys.readouterr().err


def test_failures_raise_the_same_way_in_a_notebook(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from splitjax.runs.executor import Executor

    def broken(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Executor, "attempt", broken)
    with pytest.raises(SweepError, match="4 of 4 cells failed"):
        stages.sweep(make(SWEEP))
