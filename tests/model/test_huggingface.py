"""The same weights in transformers' own Llama and Qwen3 classes give the same logits."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitjax import config
from splitjax.config import UserError
from splitjax.model import (
    LanguageModel,
    from_huggingface,
    huggingface_config,
    model_of_config,
    n_params_total,
    to_huggingface,
)

VOCAB = 37


@st.composite
def shapes(draw: st.DrawFn) -> config.Model:
    kv_heads = draw(st.integers(1, 2))
    return config.Model(
        d_model=draw(st.sampled_from([24, 48])),  # Llama's class wants a multiple of the heads
        n_layers=draw(st.integers(1, 2)),
        n_heads=kv_heads * draw(st.integers(1, 3)),
        n_kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([4, 10])),
        d_ff=draw(st.sampled_from([32, 40])),
        qk_norm=draw(st.booleans()),
        tied_embeddings=draw(st.booleans()),
        rope_theta=draw(st.sampled_from([100.0, 10_000.0, 1e6])),
        norm_eps=draw(st.sampled_from([1e-6, 1e-5, 0.1])),
    )


def _random(cfg: config.Model, seed: int) -> Any:
    """Parameters far from their initial values, so that no gain is 1."""
    like = jax.eval_shape(LanguageModel(cfg, VOCAB).init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(0.0, 0.4, leaf.shape).astype(np.float32), like)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cfg=shapes(), seed=st.integers(0, 99), data=st.data())
def test_logits_equal_those_of_transformers(cfg: config.Model, seed: int, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch", reason="needs the hf extra")
    transformers = pytest.importorskip("transformers", reason="needs the hf extra")
    params = _random(cfg, seed)
    told = huggingface_config(cfg, VOCAB, 64)
    kind = transformers.AutoConfig.for_model(**told)
    theirs = transformers.AutoModelForCausalLM.from_config(kind, attn_implementation="eager").eval()
    tensors = {name: torch.from_numpy(np.array(tensor)) for name, tensor in to_huggingface(params).items()}
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert set(missing) <= ({"lm_head.weight"} if cfg.tied_embeddings else set())
    assert not unexpected

    # Documents of one window stand alone in theirs: the mask must make ours agree.
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    rng = np.random.default_rng(seed)
    documents = [np.concatenate([[0], rng.integers(1, VOCAB, length)]) for length in lengths]
    ours = LanguageModel(cfg, VOCAB).logits(params, np.concatenate(documents)[None].astype(np.int32))[0]
    with torch.no_grad():
        each = [theirs(torch.from_numpy(document)[None]).logits[0].numpy() for document in documents]
    np.testing.assert_allclose(ours, np.concatenate(each), rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(cfg=shapes(), seed=st.integers(0, 99))
def test_weights_come_back_as_they_went(cfg: config.Model, seed: int) -> None:
    params = _random(cfg, seed)
    tensors = to_huggingface(params)
    assert sum(tensor.size for tensor in tensors.values()) == n_params_total(cfg, VOCAB)
    jax.tree.map(np.testing.assert_array_equal, from_huggingface(tensors, cfg), params)


@given(cfg=shapes())
def test_a_config_comes_back_as_it_went(cfg: config.Model) -> None:
    assert model_of_config(huggingface_config(cfg, VOCAB, 64)) == (cfg, VOCAB)


def test_a_shape_that_llama_refuses_is_refused_before_export() -> None:
    shape = config.Model(d_model=16, n_heads=3, head_dim=4, qk_norm=False)
    with pytest.raises(UserError, match="16 is no multiple of n_heads=3"):
        huggingface_config(shape, VOCAB, 64)


@pytest.mark.parametrize("cap", ["attention_cap", "logit_cap"])
def test_soft_caps_are_refused_before_export(cap: str) -> None:
    shape = config.Model(d_model=16, n_heads=2).model_copy(update={cap: 30.0})
    with pytest.raises(UserError, match=f"no '{cap}'"):
        huggingface_config(shape, VOCAB, 64)


def test_a_foreign_checkpoint_is_refused_by_name() -> None:
    cfg = config.Model(d_model=16, n_layers=1, n_heads=2, d_ff=32)
    tensors = to_huggingface(_random(cfg, 0))
    with pytest.raises(UserError, match=r"'model.layers.0.self_attn.q_proj.bias' is no part"):
        from_huggingface(tensors | {"model.layers.0.self_attn.q_proj.bias": np.zeros(16)}, cfg)
    del tensors["model.norm.weight"]
    with pytest.raises(UserError, match=r"'model.norm.weight' is missing"):
        from_huggingface(tensors, cfg)


@pytest.mark.parametrize(
    ("key", "value"),
    [("model_type", "mamba"), ("hidden_act", "gelu"), ("attention_bias", True), ("use_sliding_window", True),
     ("rope_scaling", {"rope_type": "yarn"}), ("rope_parameters", {"rope_type": "llama3"})],
)
def test_an_unknown_feature_is_refused_by_name(key: str, value: object) -> None:
    told = huggingface_config(config.Model(d_model=16, n_layers=1, n_heads=2), VOCAB, 64)
    with pytest.raises(UserError, match="rope_scaling" if key == "rope_parameters" else key):
        model_of_config(told | {key: value})
