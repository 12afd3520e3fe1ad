"""The fault suite itself, in small: a run that nothing changed must count as unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import chaos
from tools.faults import moved, proc, stops

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("what", "count"), [("kills", 4), ("flips", 40), ("stop", 3), ("disk", 2), ("readonly", 8), ("hosts", 2)]
)
def test_a_few_faults_lose_nothing(what: str, count: int, tmp_path: Path) -> None:
    words = [sys.executable, "tools/chaos.py", what, "--count", str(count), "--folder", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if chaos.NEEDS_ROOT in done.stderr:
        pytest.skip(chaos.NEEDS_ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads(done.stdout[done.stdout.index("\n{\n") :])
    assert count in told.values()
    assert told["differences"] == []


def test_what_needs_root_is_refused_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(chaos.mounts, "allowed", lambda: False)
    monkeypatch.setattr(sys, "argv", ["chaos.py", "disk", "--folder", str(tmp_path)])
    assert chaos.main() == 2
    assert capsys.readouterr().err == f"chaos: disk {chaos.NEEDS_ROOT}\n"


def test_all_runs_every_fault_and_says_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = []

    def run(what: str, folder: Path, args: object) -> dict[str, list[str]]:
        asked.append(what)
        return {"differences": ["a bit"] if what == "flips" else []}

    monkeypatch.setattr(chaos.mounts, "allowed", lambda: False)
    monkeypatch.setattr(chaos, "_run", run)
    monkeypatch.setattr(sys, "argv", ["chaos.py", "all", "--folder", str(tmp_path)])
    assert chaos.main() == 1
    assert asked == ["kills", "flips", "stop", "hosts"]
    told = json.loads(capsys.readouterr().out)
    assert told["disk"] == told["readonly"] == {"skipped": chaos.NEEDS_ROOT, "differences": []}


def test_only_the_stopped_process_may_be_accused() -> None:
    line = "splitjax: no step came to its end for 15 s after step 7: process 2 of 4 gives no sign of life"
    assert stops.names(f"[1] {line}\n", 2)
    assert stops.names("splitjax: lost touch after step 7: process 2 of 4 gives no sign of life (UNKNOWN)\n", 2)
    assert not stops.names(line, 1)
    assert not stops.names(line.replace("process 2", "processes 1, 2"), 2)
    assert not stops.names("", 2)


def test_a_process_that_is_gone_has_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may go before its launcher is asked, between the list and the one look, or while it waits to be collected."""
    wait = [sys.executable, "-c", "input()"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE, env=os.environ | {"SPLITJAX_PROCESS": "1"}) as ended:
        ended.communicate()
    assert proc.children(ended.pid) == []
    assert stops._processes_of(ended.pid) == {}
    with subprocess.Popen(wait, stdin=subprocess.PIPE, env=os.environ | {"SPLITJAX_PROCESS": "2"}) as alive:
        assert stops._processes_of(os.getpid())[2] == alive.pid
        monkeypatch.setattr(stops, "children", lambda launcher: [ended.pid, alive.pid])
        assert stops._processes_of(os.getpid()) == {2: alive.pid}
        with open(f"/proc/{alive.pid}/task/{alive.pid}/stat", "rb") as stat:  # opened while it is there
            alive.communicate()
            monkeypatch.setattr(proc.Path, "read_bytes", lambda path: stat.read())
            assert proc.told_of(alive.pid, "stat") == b""


def test_figures_are_compared_within_rounding_and_the_rest_exactly() -> None:
    assert moved.apart({"a": [1.0, None], "b": "x"}, {"a": [1.0 + 5e-6, None], "b": "x"})[0] == []
    off, largest = moved.apart({"a": [1.0, 2.0], "b": "x"}, {"a": [1.0, 2.1], "b": "y"})
    assert off == ["a 1: 2.0 and 2.1", "b: x and y"]
    assert largest == pytest.approx(0.1)
