"""A process that was killed alone leaves nobody behind who writes in the run folder."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import yaml

from splitjax.config import load
from tools.faults.proc import told_of
from tools.faults.world import command, tiny_tree

WORKERS = textwrap.dedent("""
    import os, pathlib, sys, time
    from splitjax.data.runners import _in_processes

    class Sleep:
        def run(self):
            pathlib.Path(sys.argv[1], str(os.getpid())).touch()
            time.sleep(100)

    if __name__ == "__main__":
        _in_processes([Sleep(), Sleep()], print, 2)
""")


def wait_for(what, seconds: float = 30.0):
    """The first true value of `what`."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def gone(pid: int) -> bool:
    # Nobody may be there to collect it: a zombie writes nothing either.
    return told_of(pid, "stat").rpartition(b")")[2].split()[:1] in ([], [b"Z"])


def slow_config(folder: Path) -> Path:
    """A config whose preparation takes minutes: it hashes a source of 100 GB, all of it a hole."""
    with open(folder / "docs.jsonl", "wb") as file:
        file.truncate(100 << 30)
    (folder / "c.yaml").write_text(yaml.safe_dump(tiny_tree(folder / "docs.jsonl", folder / "run")))
    return folder / "c.yaml"


def test_a_preparation_ends_with_its_parent_and_holds_the_lock_until_then(tmp_path: Path) -> None:
    slow_config(tmp_path)
    process = subprocess.Popen(command("run", tmp_path / "c.yaml"), stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: (tmp_path / "run" / ".data.partial").exists() and children.read_text())
    child = int(children.read_text().split()[0])
    os.kill(child, signal.SIGSTOP)  # the worst case: it cannot notice yet
    process.kill()
    process.wait()
    with open(tmp_path / "run" / ".lock") as lock:
        assert not _free(lock)
        os.kill(child, signal.SIGCONT)
        wait_for(lambda: gone(child))
        wait_for(lambda: _free(lock))  # its last threads may outlive the first by a moment


def test_ctrl_c_in_a_preparation_is_told_in_one_line_and_leaves_nobody(tmp_path: Path) -> None:
    run = command("run", slow_config(tmp_path))
    with subprocess.Popen(run, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            child = int(wait_for(children.read_text).split()[0])
            # Out of reach of a terminal's Ctrl-C, which it would answer with a traceback: the parent passes it on.
            wait_for(lambda: os.getsid(child) == child)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody in it, whatever they are at
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()  # nobody goes on hashing where this fails
    assert process.returncode == 130
    assert "Traceback" not in said
    assert gone(child)


def _free(lock) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def test_the_child_reads_its_config_and_ends_when_its_input_closes(tmp_path: Path) -> None:
    config = load(slow_config(tmp_path))
    child = subprocess.Popen(
        [sys.executable, "-m", "splitjax.stages.preparation_child", str(tmp_path / "out"), "8", "32"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    child.stdin.write(json.dumps(config.resolved()) + "\n")
    child.stdin.flush()
    wait_for((tmp_path / ".out.partial").exists)
    assert child.poll() is None
    child.stdin.close()
    assert child.wait(20) == 1


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "pool.py").write_text(WORKERS)
    pids = tmp_path / "pids"
    pids.mkdir()
    process = subprocess.Popen([sys.executable, tmp_path / "pool.py", pids])
    wait_for(lambda: len(list(pids.iterdir())) == 2)
    process.kill()
    process.wait()
    workers = [int(path.name) for path in pids.iterdir()]
    wait_for(lambda: all(map(gone, workers)))
