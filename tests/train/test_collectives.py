from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_no_collective_crosses_the_expert_axis_and_a_wrong_step_is_caught():
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.collectives"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    for line in lines[:2]:
        loop, count, crossings = line.split(maxsplit=2)
        assert int(count) > 0, "no collective at all: the check would pass on nothing"
        assert crossings == "[]", f"{loop}: {crossings}"
    assert "all-" in lines[2]
