"""Names and shapes of Hugging Face's Llama, Qwen2 and Qwen3 checkpoints; needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from splitjax import config
from splitjax.config import UserError

from .language_model import Params

# Our path → (their name, transposed). Theirs are (out, in), ours (in, out).
_ENDS: dict[tuple[str, ...], tuple[str, bool]] = {
    ("embed", "embedding"): ("model.embed_tokens.weight", False),
    ("final_norm", "scale"): ("model.norm.weight", False),
    ("head", "kernel"): ("lm_head.weight", True),
}
_LAYER: dict[tuple[str, ...], tuple[str, bool]] = {
    ("attention_norm", "scale"): ("input_layernorm.weight", False),
    ("attention", "query", "kernel"): ("self_attn.q_proj.weight", True),
    ("attention", "key", "kernel"): ("self_attn.k_proj.weight", True),
    ("attention", "value", "kernel"): ("self_attn.v_proj.weight", True),
    ("attention", "out", "kernel"): ("self_attn.o_proj.weight", True),
    ("attention", "query", "bias"): ("self_attn.q_proj.bias", False),
    ("attention", "key", "bias"): ("self_attn.k_proj.bias", False),
    ("attention", "value", "bias"): ("self_attn.v_proj.bias", False),
    ("attention", "out", "bias"): ("self_attn.o_proj.bias", False),
    ("attention", "query_norm", "scale"): ("self_attn.q_norm.weight", False),
    ("attention", "key_norm", "scale"): ("self_attn.k_norm.weight", False),
    ("ffn_norm", "scale"): ("post_attention_layernorm.weight", False),
    ("ffn", "gate", "kernel"): ("mlp.gate_proj.weight", True),
    ("ffn", "up", "kernel"): ("mlp.up_proj.weight", True),
    ("ffn", "down", "kernel"): ("mlp.down_proj.weight", True),
}


def to_huggingface(params: Params) -> dict[str, np.ndarray]:
    """Parameters of one model (no expert axis) under Hugging Face's names, one entry a layer."""
    return {name: tensor for path, leaf in _leaves(params) for name, tensor in huggingface_tensors(path, leaf)}


def huggingface_tensors(path: tuple[str, ...], leaf: Any) -> Iterator[tuple[str, np.ndarray]]:
    """One leaf of a model's parameters (no expert axis) under Hugging Face's names: one tensor, or one a layer."""
    array = np.asarray(leaf)
    if path[0] != "layers":
        name, transposed = _ENDS[path]
        yield name, array.T if transposed else array
        return
    name, transposed = _LAYER[path[1:]]
    for index, layer in enumerate(array):
        yield f"model.layers.{index}.{name}", layer.T if transposed else layer


def from_huggingface(tensors: Mapping[str, Any], cfg: config.Model) -> Params:
    """Parameters of one model from tensors under Hugging Face's names; float32.

    Raises:
        UserError: a tensor is missing, is not part of this architecture, or has another shape.
    """
    left = set(tensors)
    if cfg.tied_embeddings:
        left.discard("lm_head.weight")  # some writers store the tied head a second time
    left -= {name for name in left if name.endswith("rotary_emb.inv_freq")}  # old writers stored what theta gives

    def take(name: str, transposed: bool) -> np.ndarray:
        if name not in left:
            raise UserError(f"tensor '{name}' is missing", where="Hugging Face checkpoint")
        left.remove(name)
        array = np.asarray(tensors[name], np.float32)
        return array.T if transposed else array

    params: Params = {}
    for path, (name, transposed) in _present(_ENDS, cfg).items():
        _put(params, path, take(name, transposed))
    for path, (name, transposed) in _present(_LAYER, cfg).items():
        layers = [take(f"model.layers.{index}.{name}", transposed) for index in range(cfg.n_layers)]
        _put(params, ("layers", *path), np.stack(layers))
    if left:
        raise UserError(
            f"tensor '{min(left)}' is no part of this architecture", where="Hugging Face checkpoint",
            mend=f"By its config it is {architecture(cfg)} with attention_bias={cfg.attention_bias}.",
        )
    return params


def huggingface_config(cfg: config.Model, vocab_size: int, seq_len: int, end_id: int = 0) -> dict[str, Any]:
    """What `config.json` must say for transformers to load these weights.

    Raises:
        UserError: transformers' Llama class refuses the shape, or it has soft caps.
    """
    if caps := [key for key in ("attention_cap", "logit_cap") if getattr(cfg, key)]:
        raise UserError(f"Llama and Qwen3 have no '{caps[0]}'", where="model", mend="Such a model cannot be exported.")
    if cfg.qk_norm and cfg.attention_bias == "qkv":
        raise UserError("attention_bias=qkv is Qwen2's, qk_norm is Qwen3's: transformers has neither class with both",
                        where="model", mend="Choose attention_bias=all, or qk_norm=false.")
    kind = architecture(cfg)
    if not cfg.qk_norm and cfg.d_model % cfg.n_heads:
        raise UserError(
            f"d_model={cfg.d_model} is no multiple of n_heads={cfg.n_heads}, as Llama in transformers demands",
            where="model", mend="Choose another shape, or qk_norm (Qwen3).",
        )
    return {
        "architectures": [f"{kind}ForCausalLM"],
        "model_type": kind.lower(),
        "vocab_size": vocab_size,
        "hidden_size": cfg.d_model,
        "intermediate_size": cfg.width_of_ffn,
        "num_hidden_layers": cfg.n_layers,
        "num_attention_heads": cfg.n_heads,
        "num_key_value_heads": cfg.kv_heads,
        "head_dim": cfg.width_of_head,
        "hidden_act": "silu",
        "rms_norm_eps": cfg.norm_eps,
        "rope_theta": cfg.rope_theta,
        **({"rope_scaling": _scaling(cfg.rope_scaling)} if cfg.rope_scaling else {}),
        "tie_word_embeddings": cfg.tied_embeddings,
        **({} if kind == "Qwen2" else {"attention_bias": cfg.attention_bias == "all"}),
        "mlp_bias": False,
        "max_position_embeddings": seq_len,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "torch_dtype": "float32",
        "use_cache": True,
    }


def architecture(cfg: config.Model) -> str:
    """The class of transformers that these weights fit: "Llama", "Qwen2" or "Qwen3"."""
    return "Qwen3" if cfg.qk_norm else "Qwen2" if cfg.attention_bias == "qkv" else "Llama"


def _scaling(scaling: config.RopeScaling) -> dict[str, Any]:
    """As `rope_scaling` of a config.json has it."""
    told = {"rope_type": scaling.type, "factor": scaling.factor}
    return told if scaling.type == "linear" else told | {
        "low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_max_position_embeddings,
    }


def _present(table: Mapping[tuple[str, ...], tuple[str, bool]], cfg: config.Model) -> dict[Any, Any]:
    absent = {"head"} if cfg.tied_embeddings else set()
    absent |= set() if cfg.qk_norm else {"query_norm", "key_norm"}
    biased = {None: (), "qkv": ("query", "key", "value"), "all": ("query", "key", "value", "out")}[cfg.attention_bias]
    return {
        path: entry for path, entry in table.items()
        if not absent.intersection(path) and (path[-1] != "bias" or path[-2] in biased)
    }


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(tree, Mapping):
        return [(path, tree)]
    return [leaf for name, child in tree.items() for leaf in _leaves(child, (*path, name))]


def _put(tree: Params, path: tuple[str, ...], leaf: np.ndarray) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf
