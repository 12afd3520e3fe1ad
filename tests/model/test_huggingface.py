"""The same weights in transformers' own Llama, Qwen2 and Qwen3 classes give the same logits."""

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


LLAMA3 = {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}
"""At a base of 10,000 and heads of 10 the five frequencies are kept, between (0.4 of it) and divided."""


def scalings() -> st.SearchStrategy[config.RopeScaling | None]:
    return st.sampled_from([None, config.RopeScaling(type="linear", factor=2.5), config.RopeScaling(**LLAMA3)])


@st.composite
def shapes(draw: st.DrawFn) -> config.Model:
    kv_heads = draw(st.integers(1, 2))
    qk_norm = draw(st.booleans())
    return config.Model(
        d_model=draw(st.sampled_from([24, 48])),  # Llama's class wants a multiple of the heads
        n_layers=draw(st.integers(1, 2)),
        n_heads=kv_heads * draw(st.integers(1, 3)),
        n_kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([4, 10])),
        d_ff=draw(st.sampled_from([32, 40])),
        qk_norm=qk_norm,
        attention_bias=draw(st.sampled_from([None, "all"] if qk_norm else [None, "qkv", "all"])),
        rope_scaling=draw(scalings()),
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
    ours = jax.jit(LanguageModel(cfg, VOCAB).logits)(params, np.concatenate(documents)[None].astype(np.int32))[0]
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


def _published(name: str) -> dict[str, Any]:
    """A config.json as these models' makers publish it, smaller."""
    small = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 4, "num_hidden_layers": 2,
             "num_key_value_heads": 2, "vocab_size": VOCAB, "hidden_act": "silu", "initializer_range": 0.02,
             "attention_dropout": 0.0, "use_cache": True, "torch_dtype": "bfloat16", "transformers_version": "4.43.0"}
    llama = small | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False,
        "bos_token_id": 3, "eos_token_id": [4, 5], "max_position_embeddings": 128, "pretraining_tp": 1, "head_dim": 6,
        "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": True,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 32, "rope_type": "llama3"},
    }
    qwen = small | {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "bos_token_id": 3, "eos_token_id": 4,
        "max_position_embeddings": 128, "max_window_layers": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "sliding_window": 32, "tie_word_embeddings": False, "use_mrope": False, "use_sliding_window": False,
    }
    newer = {key: value for key, value in llama.items() if key not in ("rope_theta", "rope_scaling")}
    return {
        "llama 3.2": llama,
        "llama 3.1": llama | {"tie_word_embeddings": False, "rope_scaling": llama["rope_scaling"] | {"factor": 8.0}},
        "qwen2.5": qwen,
        "qwen2.5 tied": qwen | {"tie_word_embeddings": True},
        "transformers 5": newer | {"rope_parameters": llama["rope_scaling"] | {"rope_theta": 500000.0}},
        "default": newer | {"rope_parameters": {"rope_type": "default", "rope_theta": 300.0}},
        "linear": llama | {"rope_scaling": {"type": "linear", "factor": 4.0}},
        "old context beside": newer | {"original_max_position_embeddings": 48, "rope_parameters": {
            "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 2.0}},
        "attention bias": llama | {"attention_bias": True, "rope_scaling": None},
    }[name]


@pytest.mark.parametrize("name", [
    "llama 3.2", "llama 3.1", "qwen2.5", "qwen2.5 tied", "transformers 5", "default", "linear", "old context beside",
    "attention bias",
])
def test_a_published_config_is_the_model_that_transformers_makes_of_it(name: str) -> None:
    torch = pytest.importorskip("torch", reason="needs the hf extra")
    transformers = pytest.importorskip("transformers", reason="needs the hf extra")
    told = _published(name)
    cfg, vocab = model_of_config(told)
    theirs = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**_published(name)), attn_implementation="eager").eval().float()
    params = _random(cfg, 1)
    tensors = {key: torch.from_numpy(np.array(tensor)) for key, tensor in to_huggingface(params).items()}
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert set(missing) <= ({"lm_head.weight"} if cfg.tied_embeddings else set())
    assert not unexpected
    document = np.random.default_rng(0).integers(1, VOCAB, (1, 100))
    document[0, 0] = 0
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(document)).logits.numpy()
    ours = LanguageModel(cfg, vocab).logits(params, document.astype(np.int32))
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)
    if cfg.rope_scaling is not None:
        plain = LanguageModel(cfg.model_copy(update={"rope_scaling": None}), vocab)
        assert np.abs(plain.logits(params, document.astype(np.int32)) - wanted).max() > 0.1


def test_biases_and_scaling_are_told_of_the_model() -> None:
    assert model_of_config(_published("qwen2.5"))[0].attention_bias == "qkv"
    assert model_of_config(_published("attention bias"))[0].attention_bias == "all"
    found = model_of_config(_published("llama 3.2"))[0].rope_scaling
    assert found == config.RopeScaling(type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                       original_max_position_embeddings=32)


def test_queries_normalised_and_biased_as_no_class_has_it_are_refused_before_export() -> None:
    shape = config.Model(d_model=16, n_heads=2, qk_norm=True, attention_bias="qkv")
    with pytest.raises(UserError, match="attention_bias=qkv is Qwen2's"):
        huggingface_config(shape, VOCAB, 64)


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
    [("model_type", "mamba"), ("hidden_act", "gelu"), ("mlp_bias", True), ("use_sliding_window", True),
     *(("rope_scaling", {"rope_type": kind, "factor": 2.0}) for kind in ("yarn", "dynamic", "longrope", ["linear"])),
     ("rope_parameters", {"type": "yarn"}), ("rope_scaling", "linear"), ("rope_scaling", {"type": "linear"}),
     ("rope_scaling", {"type": "linear", "factor": -1.0}), ("rope_scaling", {"type": "linear", "factor": True}),
     ("rope_scaling", {"type": "linear", "factor": 2.0, "beta_fast": 3}),
     ("rope_parameters", {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}),
     ("rope_parameters", {"full_attention": {"rope_type": "default"}}),
     ("rope_parameters", {"partial_rotary_factor": 0.5}), ("rope_theta", "many")],
)
def test_an_unknown_feature_is_refused_by_name(key: str, value: object) -> None:
    told = huggingface_config(config.Model(d_model=16, n_layers=1, n_heads=2), VOCAB, 64)
    with pytest.raises(UserError, match=f"'?{key}") as refused:
        model_of_config(told | {key: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("value", "said"), [
    ({"rope_type": "yarn", "factor": 2.0}, "'rope_scaling' of type 'yarn' asks for a feature .* Known: default"),
    ({"rope_type": "llama3", "factor": 2.0}, "'rope_scaling.low_freq_factor' is missing"),
    ({"type": "linear", "factor": 2.0, "beta_fast": 3}, "'rope_scaling.beta_fast' is not known"),
])
def test_what_a_scaling_lacks_or_has_too_much_is_named(value: dict[str, Any], said: str) -> None:
    told = huggingface_config(config.Model(d_model=16, n_layers=1, n_heads=2), VOCAB, 64)
    with pytest.raises(UserError, match=said):
        model_of_config(told | {"rope_scaling": value})


@pytest.mark.parametrize(("scaling", "said"), [
    ({"type": "yarn", "factor": 2.0}, "linear"),
    ({"type": "linear"}, "factor"),
    ({"type": "llama3", "factor": 2.0}, "type=llama3 needs 'low_freq_factor'"),
    ({"type": "linear", "factor": 2.0, "high_freq_factor": 2.0}, "type=linear takes no 'high_freq_factor'"),
    (LLAMA3 | {"high_freq_factor": 0.5}, "high_freq_factor=0.5 is not above low_freq_factor"),
])
def test_a_config_of_ours_is_held_to_the_same(scaling: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config.Model.model_validate({"rope_scaling": scaling})


def test_a_model_without_them_is_written_as_before_there_were_such_keys() -> None:
    told = config.Model().model_dump(mode="json")
    assert not {"attention_bias", "rope_scaling"} & told.keys()
    both = config.Model(qk_norm=False, attention_bias="qkv", rope_scaling=config.RopeScaling(**LLAMA3))
    assert config.Model.model_validate(both.model_dump(mode="json")) == both
