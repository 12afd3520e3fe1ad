"""The estimate against what the compiler said once (test_ahead_of_time.py asks it again)."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitjax.config import load
from splitjax.planning import compiled_step

CONFIGS = Path(__file__).parents[2] / "configs" / "tpu"
COMPILED = {
    ("1.3B_x8_v5e", "8xv5e:4x4"): 12.1,
    ("1.3B_x8_v5p", "v5p:4x4x4"): 44.3,
    ("1.3B_x8_v6e", "v6e:8x8"): 14.6,
    ("2.7B_x8_v5e", "8xv5e:4x4"): 12.6,
    ("2.7B_x8_v5p", "v5p:4x4x4"): 73.2,
    ("2.7B_x8_v6e", "v6e:8x8"): 24.2,
}
"""GiB a chip of eight experts; libtpu 0.0.42, jax 0.10.2, commit 4baafc0."""


@pytest.mark.parametrize(("name", "topology"), COMPILED)
def test_the_memory_of_a_preset_is_estimated_within_15_percent(name: str, topology: str) -> None:
    said = compiled_step.compile_step(load(CONFIGS / f"{name}.yaml"), topology, experts=8, analytic=True)
    assert said.bytes_per_device / 2**30 == pytest.approx(COMPILED[name, topology], rel=0.15)
