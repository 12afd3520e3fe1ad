"""Metrics, sinks, the account of time, and compiled programs that are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from splitjax import stages
from splitjax.config import Config, from_dict
from splitjax.parallel import Chip
from splitjax.runs import phase_watch, program_cache
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import Cell
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.trackers import scalars, sinks_of
from splitjax.train import CAUSES, StepReport, read_metrics
from tools.faults.world import tiny_tree

ROW = {"tokens": 64, "loss": [1.0, 2.0], "grad_norm": [0.5, None], "rate": [0.1, 0.1], "skipped": [0, 1], "idle": 0,
       "tokens_per_s": 9.0, "epoch": 0.25}


@pytest.fixture
def config(corpus_file: Path, tmp_path: Path) -> Config:
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.5, "sweep": None, "log": "tensorboard"}
    return from_dict(tree)


def quiet(path: Path) -> Reporter:
    return Reporter(Console(file=open(path, "w"), width=200))


def test_a_phase_leaves_metrics_events_and_an_account_of_time(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is an extra: pip install 'splitjax[tensorboard]'")
    stages.prepare(config)
    monkeypatch.setattr(phase_watch, "chip_of", lambda kind: Chip("test", 1e9, 1, 1))
    job = Job(config, RunFolder(config.folder), quiet(tmp_path / "told"))
    phases = job.phases([Cell(config.model, 6, 4)])
    job.executor().run(phases)
    folder = tmp_path / "run"
    last = phases[-1]
    rows = read_metrics(folder / "phases" / last.name / "metrics.jsonl")
    assert {"loss", "grad_norm", "rate", "skipped", "tokens_per_s", "epoch", "mfu"} <= set(rows[-1])
    assert 0 < rows[0]["epoch"] < rows[-1]["epoch"]
    assert rows[-1]["mfu"] > 0
    assert list((folder / "tensorboard" / last.name).glob("events*"))
    times = [json.loads(line) for line in (folder / "times.jsonl").read_text().splitlines()]
    assert {row["phase"] for row in times} == {phase.name for phase in phases}
    assert all(set(row["seconds"]) == set(CAUSES) for row in times)
    assert sum(row["tokens"] for row in times) == sum(phase.steps(3) for phase in phases) * job.clock.tokens_per_step
    assert sum(row["seconds"]["steps"] for row in times) > 0
    assert sum(row["seconds"]["compile"] for row in times) > 0


def test_figures_are_named_by_domain() -> None:
    told = scalars(ROW, ("a", "b"))
    assert told["loss/b"] == 2.0
    assert told["gradient norm/a"] == 0.5
    assert "gradient norm/b" not in told
    assert (told["skipped steps/b"], told["epoch"], told["tokens a second"]) == (1.0, 0.25, 9.0)
    assert scalars(ROW | {"loss": [3.0]}, ("a", "b"))["loss"] == 3.0


def test_a_sink_without_its_package_is_one_line(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with quiet(tmp_path / "told") as reporter:
        assert sinks_of(config, tmp_path, ("a",), reporter) == []
        reporter.console.file.flush()
    told = (tmp_path / "told").read_text()
    assert told.count("tensorboardX is not installed (pip install 'splitjax[tensorboard]')") == 1


def test_wandb_is_a_run_a_phase_and_offline_without_credentials(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []
    logged: list[dict[str, Any]] = []

    class Run:
        define_metric = staticmethod(lambda *_, **__: None)
        finish = staticmethod(lambda: logged.append({"finished": True}))
        log = staticmethod(logged.append)

    def init(**settings: Any) -> Run:
        begun.append(settings)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    asked = config.model_copy(update={"log": ("wandb",)})
    (sink,) = sinks_of(asked, tmp_path, ("a", "b"), quiet(tmp_path / "told"))
    for phase in ("one", "one", "two"):
        sink.write(phase, ROW)
    assert [row["name"] for row in begun] == ["one", "two"]
    assert {row["mode"] for row in begun} == {"offline"}
    assert begun[0]["id"] != begun[1]["id"]
    assert logged[0]["loss/a"] == 1.0
    assert logged[2] == {"finished": True}


def test_the_cache_of_programs_is_private_movable_and_can_be_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPLITJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert program_cache.folder() == tmp_path / "splitjax" / "programs"
    monkeypatch.setenv("SPLITJAX_CACHE", "off")
    assert program_cache.folder() is None
    monkeypatch.setenv("SPLITJAX_CACHE", str(tmp_path / "mine"))
    monkeypatch.delenv("XLA_FLAGS")  # compiled as plainly as in other tests, the program would not be worth keeping
    old = tmp_path / "mine" / "x-cache"
    old.parent.mkdir()
    old.write_bytes(b"x")
    os.utime(old, (time.time() - 40 * 86400,) * 2)
    script = """
from splitjax.runs import program_cache
program_cache.use()
import jax, jax.numpy as jnp
f = jax.jit(lambda x: sum(jnp.tanh(x @ x * i).sum() for i in range(40)))
print(float(f(jnp.eye(8))))
"""
    told = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(2)
    ]
    assert told[0].stdout == told[1].stdout
    assert [done.stderr for done in told] == ["", ""]
    assert list((tmp_path / "mine").glob("*-cache"))
    assert not old.exists()


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container under a number that is nobody: `~` stays `~`, and no folder of that name is made."""
    for name in ("SPLITJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert program_cache.folder() is None


@pytest.mark.parametrize(("taken_up_at", "before"), [(0, 0.0), (2, 2 * 3.0)])
def test_steps_of_an_earlier_process_leave_the_job_and_are_no_pace(
    tmp_path: Path, taken_up_at: int, before: float
) -> None:
    """Three experts for 5 steps of 10 tokens from 40 on; one unit of work a step and expert."""
    heard = list[tuple[str, tuple[Any, ...]]]()
    names = ("start", "advance", "beside", "phase_done", "replan")
    reporter = types.SimpleNamespace(**{
        name: lambda *args, name=name: heard.append((name, args)) for name in names
    })
    phase = types.SimpleNamespace(name="experts", start=4, stop=9)
    watch = phase_watch.Watch(
        RunFolder(tmp_path), reporter, [], [phase], [3],  # type: ignore[arg-type]
        new=True, work=1.0, flops=1.0, step_tokens=10, devices=1,
    )
    with watch:
        for step in range(taken_up_at, 5):
            loss_K, skipped_K = np.ones(3), np.zeros(3, int)
            watch.on_step(StepReport(40 + 10 * (step + 1), 40, 90, 3, loss_K, skipped_K, 1.0, {}))
    told = [args for name, args in heard if name == "start"]
    assert [(new, work) for new, _, work in told] == [(True, before)]
    assert before + sum(args[0] for name, args in heard if name == "advance") == 5 * 3
    assert next(args[1] for name, args in heard if name == "advance") == 0, "the first step waits for the compiler"
    assert [name for name, _ in heard][-2:] == ["beside", "phase_done"]
    assert "replan" not in dict(heard)


def test_phases_side_by_side_share_the_seconds_by_their_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 and 10 tokens: three quarters and one; 8 seconds of steps after 2, and 1 of saving. Then one alone."""
    accounts = iter([Counter(steps=2.0), Counter(steps=10.0, checkpoint=1.0), Counter(steps=11.0, checkpoint=1.0),
                     Counter(steps=11.5, checkpoint=1.0)])
    monkeypatch.setattr(phase_watch.wall, "so_far", lambda: next(accounts))
    folder: Any = types.SimpleNamespace(times=tmp_path / "times.jsonl")
    log = phase_watch.TimeLog(folder, "a", "b")
    for tokens, phase in ((10, None), (10, "b"), (20, "a")):
        log.step(tokens, phase)
    log.write()
    log.step(5, "b")
    log.write()
    log.write()
    assert [json.loads(line) for line in (tmp_path / "times.jsonl").read_text().splitlines()] == [
        {"phase": "a", "seconds": {"steps": 6.0, "checkpoint": 0.75}, "tokens": 30},
        {"phase": "b", "seconds": {"steps": 2.0, "checkpoint": 0.25}, "tokens": 10},
        {"phase": "b", "seconds": {"steps": 1.0, "checkpoint": 0.0}, "tokens": 5},
        {"phase": "a", "seconds": {"steps": 0.5, "checkpoint": 0.0}, "tokens": 0},
    ]


@pytest.mark.parametrize(("devices", "mfu"), [(1, 0.4), (4, 0.1)])
def test_utilisation_is_of_the_peak_of_all_devices(
    devices: int, mfu: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2e6 FLOPs a token at 200 tokens/s are 4e8 a second, of chips of 1e9."""
    monkeypatch.setattr(phase_watch, "chip_of", lambda kind: Chip("test", 1e9, 1, 1))
    folder: Any = types.SimpleNamespace(times=tmp_path / "times.jsonl")
    phase: Any = types.SimpleNamespace(name="a", start=0, stop=10)
    watch = phase_watch.Watch(folder, quiet(tmp_path / "told"), [], [phase], [1], new=True, work=1.0, flops=2e6,
                              step_tokens=16, devices=devices)
    report: Any = types.SimpleNamespace(experts=1, tokens=16, start=0, tokens_per_s=200.0, loss_K=np.array([2.0]))
    with watch:
        assert watch.together(report) == {"mfu": mfu}
