"""Options of `sweep`, `run` and `status` reach what they are about."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from splitjax import cli, stages
from splitjax.cli import status as command
from splitjax.reporting import run_status

CONFIG = str(Path(__file__).parents[2] / "configs" / "demo_quick.yaml")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Keyword arguments of `stages.sweep` and `stages.run`."""
    calls: list[dict[str, Any]] = []
    for name in ("sweep", "run"):
        monkeypatch.setattr(stages, name, lambda config, **options: calls.append(options) or {})
    return calls


def test_jobs_and_part_reach_the_sweep(heard: list[dict[str, Any]]) -> None:
    assert cli.main(["sweep", CONFIG]) == 0
    assert cli.main(["sweep", CONFIG, "--jobs", "3", "--part", "2/4"]) == 0
    assert [(call["jobs"], call["part"]) for call in heard] == [(1, None), (3, (2, 4))]


def test_jobs_reach_the_run(heard: list[dict[str, Any]]) -> None:
    assert cli.main(["run", CONFIG, "--jobs", "2", "--json"]) == 0
    assert heard[0]["jobs"] == 2


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "a/b", "1/0"])
def test_a_part_that_is_none_is_refused(part: str, heard: list[dict[str, Any]]) -> None:
    assert cli.main(["sweep", CONFIG, "--part", part]) == 2
    assert not heard


def test_no_jobs_and_no_sweep_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = f"run_dir={tmp_path / 'run'}"
    assert cli.main(["sweep", CONFIG, run_dir, "--jobs", "0"]) == 2
    assert cli.main(["sweep", CONFIG, run_dir, "sweep=null", "split=0.5"]) == 2
    assert cli.main(["sweep", CONFIG, run_dir, "sweep=null", "split=0.5", "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert "0 jobs" in told
    assert told.count("the config has no sweep") == 2
    assert not (tmp_path / "run").exists()


def test_the_state_of_the_cells_is_told_as_json(
    heard: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_status, "cells_of", lambda config, folder: {"a.D1.S0": "done"})
    assert cli.main(["sweep", CONFIG, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"cells": {"a.D1.S0": "done"}}


def test_a_watch_ends_with_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = {"run_dir": "r", "stages": {"sweep": "not done"}, "phases": {"t": "begun"}, "goodput": None,
            "progress": None, "failures": [], "changes": []}
    states = iter([
        told | {"running": True, "cells": {"a": "begun", "b": "waiting"}},
        told | {"running": True, "cells": {"a": "failed: no room", "b": "begun"}},
        told | {"running": False, "cells": {"a": "failed: no room", "b": "done"},
                "failures": [{"what": "N = 3k, D = 0, D′ = 4k", "reason": "no room"}]},
    ])
    monkeypatch.setattr(run_status, "status", lambda folder: next(states))
    monkeypatch.setattr(command, "SECONDS", 0.0)
    assert cli.main(["status", CONFIG, "--watch"]) == 0
    shown = capsys.readouterr().out
    assert "not running" in shown
    assert "N = 3k, D = 0, D′ = 4k: no room" in shown
    assert next(states, None) is None


def test_the_state_of_a_run_at_work_is_how_far_it_is() -> None:
    progress = {"stage": "sweep", "what": "experts from 4k tokens, 3 of 5", "loss": 4.5, "trained": 0.25,
                "seconds_left": 70.0}
    told = {"run_dir": "r", "stages": {}, "phases": {}, "goodput": None, "failures": [], "cells": {}, "running": True,
            "changes": [{"made": "2026-11-26", "train": {"remat": ["none", "full"]}}]}
    console = Console(file=io.StringIO(), width=80)
    console.print(command.table(told | {"progress": progress}))
    shown = console.file.getvalue()
    for words in ("sweep: experts from 4k tokens, 3 of 5", "loss 4.500, 25 % trained, 1:10 left", "remat none → full"):
        assert words in shown
    prepares = {"stage": "prepare", "what": "reading, 40 % prepared", "loss": None, "trained": None,
                "seconds_left": None, "stage_seconds_left": 80.0}
    assert command._progress(prepares) == "1:20 left to prepare"
