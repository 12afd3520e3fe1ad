"""The predictor against our own rows on cards."""

from __future__ import annotations

import pytest

from splitjax.config import load
from splitjax.planning.compiled_step import compile_step
from splitjax.planning.own_rows import OWN_ROWS, OwnRow


@pytest.mark.parametrize("row", OWN_ROWS, ids=lambda row: f"{row.experts}x{row.model}-batch-{row.batch_size}")
def test_time_within_20_and_memory_within_10_percent(row: OwnRow) -> None:
    model = f"model={{preset: {row.model}, qk_norm: false, tied_embeddings: true}}"
    config = load("configs/bench/gpu_2048.yaml", [model, f"train.batch_size={row.batch_size}", "train.remat=none"])
    said = compile_step(config, f"{row.chip}:1", experts=row.experts, analytic=True)
    assert said.step_time == pytest.approx(row.step_time, rel=0.20)
    assert said.bytes_per_device / 2**30 == pytest.approx(row.memory, rel=0.10)
    assert said.fits
