"""A small model, its parameters and a batch: built once for the whole room."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from splitjax import config
from splitjax.model import LanguageModel

VOCAB = 61


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    shape = config.Model(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48)
    return LanguageModel(shape, VOCAB, base_width=16, z_loss=1e-2)


@pytest.fixture(scope="session")
def params(model: LanguageModel) -> dict[str, Any]:
    return jax.jit(model.init)(jax.random.key(0))


@pytest.fixture(scope="session")
def tokens_BT() -> np.ndarray:
    tokens = np.random.default_rng(0).integers(1, VOCAB, (3, 81)).astype(np.int32)
    tokens[0, 30] = tokens[1, 0] = tokens[1, 80] = tokens[2, 40] = tokens[2, 41] = 0
    return tokens
