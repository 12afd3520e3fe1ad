"""Modules that lie in the folder where the user stands are run by no process of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from splitjax.config import Data, to_yaml
from splitjax.config.processes import children
from splitjax.data.prepare_parts import ReadPart
from splitjax.data.runners import runner
from splitjax.data.spool import Spool
from splitjax.runs.workers.pool import platform_of_workers
from tests.tiny import tiny_tree

ROOT = Path(__file__).parents[2]
TRAP = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\nraise SystemExit('trapped')\n"
NAMES = ("numpy", "jax", "pydantic", "yaml", "rich", "pickle", "json", "grain", "tokenizers", "queue")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder full of traps, with this package found elsewhere."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(TRAP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def untouched(folder: Path) -> bool:
    return not list(folder.glob("*.ran"))


def test_the_trap_works(here: Path) -> None:
    subprocess.run([sys.executable, "-c", "import numpy"], capture_output=True)
    assert not untouched(here)


def test_a_run_and_its_children_import_nothing_from_where_the_user_stands(here: Path, corpus_file: Path) -> None:
    (here / "c.yaml").write_text(to_yaml(tiny_tree(corpus_file, here / "run") | {"sweep": None, "split": 0.5}))
    command = [sys.executable, "-m", "splitjax", "run", "c.yaml", "budget.tokens=1k", "data.sources.0.path=none.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "none.jsonl: no such file" in done.stderr, "from the child that prepares"
    assert untouched(here)


def test_workers_of_a_sweep_and_of_a_preparation(here: Path) -> None:
    assert platform_of_workers() == "cpu"
    (here / "docs.jsonl").write_text('{"text": "some words"}\n')
    data = Data.model_validate({"sources": [{"type": "jsonl", "path": "docs.jsonl"}], "workers": 2})
    parts = [ReadPart(Spool(here, name), data.sources[0], "docs.jsonl", data) for name in "ab"]
    runner(data)(parts, lambda fraction: None)
    assert all(spool.labels() == [None] for spool in (Spool(here, name) for name in "ab"))
    assert untouched(here)
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_checkout_that_was_never_installed_still_finds_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr("importlib.metadata.distribution", _missing)
    assert children.python("x") == [sys.executable, "x"]
    monkeypatch.chdir("/")
    assert children.python("x") == [sys.executable, "-P", "x"]


def _missing(name: str) -> None:
    raise children.metadata.PackageNotFoundError(name)
