"""The fault suite itself, in small: a run that nothing changed must count as unchanged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("what", "count"), [("kills", 4), ("flips", 40)])
def test_a_few_faults_lose_nothing(what: str, count: int, tmp_path: Path) -> None:
    words = [sys.executable, "tools/chaos.py", what, "--count", str(count), "--folder", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads(done.stdout[done.stdout.index("\n{\n") :])
    assert told.get("kills", told.get("cases")) == count
    assert told["differences"] == []
