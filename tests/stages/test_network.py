"""A job on local files asks nobody on the network: every attempt, in any of its processes, is recorded and refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tools.faults.world import command, tiny_tree

GUARD = """
import ipaddress, os, socket, sys

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
        with open(os.environ["GUARD_LOG"], "a") as log:
            log.write(f"{sys.argv} {event} {address()}\\n")
        raise OSError(f"no network: {address()}")

sys.addaudithook(guard)
"""


def test_a_job_makes_no_connection(tmp_path: Path, corpus_file: Path) -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.5, "sweep": None, "budget": {"tokens": "2k"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    path = f"{tmp_path / 'guard'}:{os.environ.get('PYTHONPATH', Path.cwd())}"
    environment = os.environ | {"PYTHONPATH": path, "GUARD_LOG": str(tmp_path / "attempts")}
    environment.pop("HF_HUB_OFFLINE", None)
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    assert subprocess.run([sys.executable, "-c", reach], env=environment, capture_output=True).returncode
    assert (tmp_path / "attempts").read_text(), "the guard sees an attempt"
    (tmp_path / "attempts").unlink()
    done = subprocess.run(command("run", tmp_path / "c.yaml"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "attempts").exists(), (tmp_path / "attempts").read_text()
