from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .memory import ONE_COPY_MB

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.train.memory", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("k", [1, 4])
def test_a_split_and_a_restore_hold_the_experts_and_little_else(tmp_path, k):
    run(str(tmp_path), "make", "1")
    over = float(run(str(tmp_path), "split", str(k)))
    local_shards = k * ONE_COPY_MB  # the host is the device here
    assert local_shards * 0.9 < over < local_shards + 0.6 * ONE_COPY_MB
