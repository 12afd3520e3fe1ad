"""A step that mixes experts is caught in the program compiled for TPUs."""

from __future__ import annotations

import pytest

from splitjax.config import from_dict
from splitjax.parallel import has_compiler

from .expert_axis import crossing_kinds

TINY = {
    "data": {"sources": [{"type": "phonebook"}]},
    "model": {"d_model": 128, "n_layers": 2, "n_heads": 1, "d_ff": 256},
    "train": {"seq_len": 128, "batch_size": 2, "precision": "bfloat16", "layers": "scan", "remat": "full"},
    "budget": {"tokens": "20x"},
    "split": 0.5,
}


@pytest.mark.skipif(not has_compiler(), reason="libtpu is not installed (pip install splitjax[tpu])")
def test_a_wrong_step_is_caught_on_four_chips() -> None:
    """The right one is held to in tests/cli/test_compile.py and, large, in test_ahead_of_time.py."""
    assert "all-reduce" in crossing_kinds(from_dict(TINY), "v5e:2x2", 2, wrong=True)
