"""One whole tiny run for all tests of a session, whichever process they are in; what its processes do is watched."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.faults.world import write_corpus

from .tiny import tiny_tree

# Read by every process of the run, before anything else: attempts to reach a network are recorded and refused, and at
# the end it tells which heavy packages it had loaded.
WATCH = """
import atexit, ipaddress, os, socket, sys

def local(address):
    if not isinstance(address, tuple):
        return True  # a Unix socket
    try:
        return address[0] in ("", "localhost") or ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return False

def guard(event, arguments):
    address = {"socket.connect": lambda: arguments[1], "socket.sendto": lambda: arguments[1],
               "socket.getaddrinfo": lambda: (arguments[0] or "", arguments[1])}.get(event)
    if address is not None and not local(address()):
        with open(os.path.join(os.environ["WATCHED"], "attempts"), "a") as log:
            log.write(f"{sys.argv} {event} {address()}\\n")
        raise OSError(f"no network: {address()}")


def loaded():
    heavy = sorted(set(sys.modules) & {"tensorflow", "seqio", "apache_beam", "transformers", "torch"})
    with open(os.path.join(os.environ["WATCHED"], "loaded"), "a") as log:
        log.write(f"{os.path.basename(sys.argv[0])}: {heavy}\\n")

sys.addaudithook(guard)
atexit.register(loaded)
"""


def watched(folder: Path) -> dict[str, str]:
    """The environment of processes that write what they do to `attempts` and `loaded` of a folder."""
    (folder / "watch").mkdir(parents=True)
    (folder / "watch" / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    path = f"{folder / 'watch'}:{os.environ.get('PYTHONPATH', Path.cwd())}"
    online = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    return online | {"PYTHONPATH": path, "WATCHED": str(folder)}


def made_once(tmp_path_factory: pytest.TempPathFactory, **changes: Any) -> Path:
    """`splitjax run` of `tiny_tree` with changes: a folder with `tiny.yaml`, `run`, `stdout`, `stderr`, what was seen.

    The first process of a session that asks for it makes it; the others wait. Nobody may change it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / ("split-run" if changes else "whole-run")
    with open(folder.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "stdout").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _make(folder, changes)
    return folder


def _make(folder: Path, changes: Mapping[str, Any]) -> None:
    tree = tiny_tree(write_corpus(folder / "docs.jsonl", documents=360), folder / "run") | changes
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "splitjax", "run", str(folder / "tiny.yaml")],
                          capture_output=True, text=True, timeout=400, env=watched(folder))
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr, encoding="utf-8")
    (folder / "stdout").write_text(done.stdout, encoding="utf-8")


def copied(whole: Path, to: Path) -> Path:
    """The same run in a folder of its own, which may be changed. Returns its config."""
    shutil.copytree(whole / "run", to / "run", ignore=shutil.ignore_patterns(".lock"))
    tree = yaml.safe_load((whole / "tiny.yaml").read_text(encoding="utf-8")) | {"run_dir": str(to / "run")}
    (to / "tiny.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return to / "tiny.yaml"
