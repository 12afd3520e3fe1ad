"""A job on local files asks nobody on the network, and loads nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.whole_run import watched


def test_a_job_makes_no_connection(whole_run: Path, tmp_path: Path) -> None:
    """Every attempt, in any of its processes, is recorded and refused."""
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    command = [sys.executable, "-c", reach]
    assert subprocess.run(command, env=watched(tmp_path), capture_output=True).returncode
    assert (tmp_path / "attempts").read_text(), "an attempt is seen"
    assert not (whole_run / "attempts").exists(), (whole_run / "attempts").read_text()


def test_neither_preparation_nor_training_loads_tensorflow_seqio_or_beam(whole_run: Path) -> None:
    told = dict(line.split(": ") for line in (whole_run / "loaded").read_text().splitlines())
    assert {"__main__.py", "preparation_child.py"} <= told.keys(), "the run and its child"
    assert set(told.values()) == {"[]"}
