"""Reading token by token with a cache gives what reading the whole gives."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax import config
from splitjax.model import LanguageModel
from splitjax.model.decode import empty_cache, extend

from .conftest import VOCAB

ROOM = 24
extend_ = jax.jit(extend, static_argnums=0)


@pytest.fixture(scope="module")
def document_BS() -> np.ndarray:
    tokens_BS = np.random.default_rng(1).integers(1, VOCAB, (2, ROOM)).astype(np.int32)
    tokens_BS[:, 0] = 0
    return tokens_BS


@pytest.mark.parametrize("cuts", [[ROOM], [1] * ROOM, [7, 1, 1, 9, 6]])
@pytest.mark.parametrize("layers", ["unroll", "scan"])
@pytest.mark.parametrize("caps", [
    {}, {"attention_cap": 0.5, "logit_cap": 2.0}, {"rope_scaling": config.RopeScaling(type="linear", factor=3.0)},
], ids=["plain", "caps", "scaling"])
def test_cached_logits_are_those_of_the_whole(
    model: LanguageModel, params: dict[str, Any], document_BS: np.ndarray, cuts: list[int], layers: Any, caps: Any
) -> None:
    model = dataclasses.replace(model, layers=layers, cfg=model.cfg.model_copy(update=caps))
    found, cache, start = [], empty_cache(model, 2, ROOM), 0
    for cut in cuts:
        part_BS = jnp.asarray(document_BS[:, start : start + cut])
        logits_BSV, cache = extend_(model, params, part_BS, start, cache)
        found.append(logits_BSV)
        start += cut
    np.testing.assert_allclose(np.concatenate(found, 1), model.logits(params, document_BS), atol=2e-5)


def test_padding_on_the_right_is_forgotten(
    model: LanguageModel, params: dict[str, Any], document_BS: np.ndarray
) -> None:
    padded_BS = document_BS.copy()
    padded_BS[:, 9:16] = 5
    _, cache = extend_(model, params, padded_BS[:, :16], 0, empty_cache(model, 2, ROOM))
    logits_BSV, _ = extend_(model, params, document_BS[:, 9:], 9, cache)
    np.testing.assert_allclose(logits_BSV, model.logits(params, document_BS)[:, 9:], atol=2e-5)


def test_a_tied_llama_in_bfloat16_decodes_near_its_whole(document_BS: np.ndarray) -> None:
    shape = config.Model(d_model=32, n_layers=2, n_heads=4, d_ff=48, qk_norm=False, tied_embeddings=True)
    model = LanguageModel(shape, VOCAB, precision="bfloat16")
    params = model.init(jax.random.key(0))
    cache, found = empty_cache(model, 2, ROOM), []
    assert cache.k_LBPNX.dtype == jnp.bfloat16
    for at in range(ROOM):
        logits_BSV, cache = extend_(model, params, document_BS[:, at : at + 1], at, cache)
        found.append(logits_BSV)
    whole = np.asarray(model.logits(params, document_BS))
    np.testing.assert_allclose(np.concatenate(found, 1), whole, atol=0.05 * np.abs(whole).max())
