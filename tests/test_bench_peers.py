"""The command that makes the table beside PyTorch, at a shape that costs little."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_every_contender_has_a_row_at_its_best_batch() -> None:
    pytest.importorskip("torch", reason="needs torch and the hf extra")
    done = subprocess.run(
        [sys.executable, ROOT / "tools/bench_peers.py", ROOT / "configs/bench/gpu_2048.yaml", "train.seq_len=128",
         "data.tokenizer.vocab_size=512", "--models", "0.3M,1M", "--batches", "1,2", "--rounds", "1", "--steps", "1"],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| 0.3M", "| 1M"))]
    names = {"splitjax", "torch compile", "torch eager", "plain jax"}
    assert [{row[1] for row in rows if row[0] == f"| {model}"} for model in ("0.3M", "1M")] == [names, names]
    assert all(row[2] in ("1", "2") and float(row[4].replace(",", "")) > 0 for row in rows)
    assert "bfloat16, 128 tokens a window; matmul ceiling" in done.stdout
