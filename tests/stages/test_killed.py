"""A child that was killed from outside is told as that, with a code after which launchers start again."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from splitjax.config import Data, from_dict
from splitjax.config.processes import children
from splitjax.config.processes.stopping import Killed
from splitjax.data.runners import runner
from splitjax.launching.request import RESTART_CODES
from splitjax.runs.reporter import Reporter
from splitjax.stages import preparation
from tests.tiny import tiny_tree


def test_a_preparation_that_was_killed(corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(children, "python", lambda *words: command)
    config = from_dict(tiny_tree(corpus_file, tmp_path / "run"))
    with pytest.raises(Killed, match=r"out of memory\?") as caught:
        preparation.in_child(config, tmp_path / "data", Reporter())
    assert caught.value.exit_code in RESTART_CODES


def test_a_worker_of_a_preparation_that_was_killed() -> None:
    data = Data.model_validate({"sources": [{"type": "jsonl", "path": "x"}], "workers": 2})
    dies = SimpleNamespace(run=functools.partial(os._exit, 1))
    with pytest.raises(Killed, match=r"out of memory\?"):
        runner(data)([dies, dies], lambda fraction: None)


def test_the_codes_that_launchers_restart() -> None:
    assert set(RESTART_CODES) == {143, 75, 137}
