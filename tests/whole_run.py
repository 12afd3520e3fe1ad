"""One whole tiny run for all tests of a session, whichever process they are in."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.faults.world import write_corpus

from .tiny import tiny_tree


def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`splitjax run` of `tiny_tree`: a folder with `tiny.yaml`, `run`, and what was said, `stdout` and `stderr`.

    The first process of a session that asks for it makes it; the others wait. Nobody may change it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "whole-run"
    with open(base / "whole-run.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "stdout").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    tree = tiny_tree(write_corpus(folder / "docs.jsonl", documents=360), folder / "run")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "splitjax", "run", str(folder / "tiny.yaml")],
                          capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr, encoding="utf-8")
    (folder / "stdout").write_text(done.stdout, encoding="utf-8")


def copied(whole: Path, to: Path) -> Path:
    """The same run in a folder of its own, which may be changed. Returns its config."""
    shutil.copytree(whole / "run", to / "run", ignore=shutil.ignore_patterns(".lock"))
    tree = yaml.safe_load((whole / "tiny.yaml").read_text(encoding="utf-8")) | {"run_dir": str(to / "run")}
    (to / "tiny.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return to / "tiny.yaml"
