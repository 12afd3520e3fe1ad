"""Counts by arithmetic against what the arrays and the traced program hold."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitjax import config
from splitjax.model import LanguageModel, flops_per_token, logical_axes, n_params, n_params_total, work


@st.composite
def shapes(draw: st.DrawFn) -> config.Model:
    kv_heads = draw(st.integers(1, 3))
    return config.Model(
        d_model=draw(st.sampled_from([8, 24, 40])),
        n_layers=draw(st.integers(1, 3)),
        n_heads=kv_heads * draw(st.integers(1, 3)),
        n_kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([4, 10])),
        d_ff=draw(st.sampled_from([None, 56])),
        qk_norm=draw(st.booleans()),
        attention_bias=draw(st.sampled_from([None, "qkv", "all"])),
        tied_embeddings=draw(st.booleans()),
    )


@settings(max_examples=20, deadline=None)
@given(shapes(), st.integers(2, 99))
def test_parameters_are_those_of_the_arrays(cfg: config.Model, vocab: int) -> None:
    params: Any = jax.eval_shape(LanguageModel(cfg, vocab).init, jax.random.key(0))
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(node)) for name, node in params.items()}
    assert n_params_total(cfg, vocab) == sum(sizes.values())
    assert n_params(cfg) == sizes["layers"] + sizes["final_norm"]


@settings(max_examples=20, deadline=None)
@given(shapes(), st.integers(2, 99))
def test_every_leaf_has_axes(cfg: config.Model, vocab: int) -> None:
    params: Any = jax.eval_shape(LanguageModel(cfg, vocab).init, jax.random.key(0))
    sizes = {"embed": cfg.d_model, "layers": cfg.n_layers, "ffn": cfg.width_of_ffn, "vocab": vocab}
    sizes |= {"heads": cfg.n_heads * cfg.width_of_head, "kv_heads": cfg.kv_heads * cfg.width_of_head}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        axes = logical_axes(tuple(entry.key for entry in path), leaf.ndim)
        assert all(sizes[name] == length for name, length in zip(axes, leaf.shape, strict=True) if name)
        assert logical_axes(tuple(entry.key for entry in path), leaf.ndim + 1) == ("expert", *axes)


def _matmul_flops(jaxpr: Any, *, batched: bool) -> float:
    """FLOPs of the products in a traced program: those with batch axes (attention) or without (weights)."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), (batch, _) = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            if bool(batch) == batched:
                depth = math.prod(left[axis] for axis in contracted)
                total += 2.0 * depth * math.prod(equation.outvars[0].aval.shape)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += _matmul_flops(inner, batched=batched)
    return total


@settings(max_examples=5, deadline=None)
@given(shapes())
def test_flops_are_those_of_the_traced_step(cfg: config.Model) -> None:
    model, batch, length = LanguageModel(cfg, 31), 2, 64
    params = jax.eval_shape(model.init, jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((batch, length + 1), jnp.int32)
    traced = jax.make_jaxpr(jax.grad(lambda p, t: model.loss(p, t)[0]))(params, tokens)
    attention = 6.0 * cfg.n_layers * cfg.n_heads * cfg.width_of_head * length
    # The first layer's input is a lookup, yet its gradient is taken: every matrix is used three times.
    weights = _matmul_flops(traced.jaxpr, batched=False) / (batch * length)
    assert weights == flops_per_token(cfg, 31, length) - attention
    # At this length attention is one block, so nothing is skipped: twice the halved count.
    assert _matmul_flops(traced.jaxpr, batched=True) / (batch * length) == 2 * attention


@pytest.mark.parametrize(("remat", "passes"), [("none", 3), ("dots", 3), ("full", 4)])
def test_what_a_token_reads_and_writes(remat: Any, passes: int) -> None:
    """D = 8, F = 20, six query heads of 2 on three of keys: H = 12, N = 6.

    Inputs and outputs of q, k and v (3 · 8 + 12 + 2 · 6), of the output (12 + 8), of gate and up (2 · 8 + 2 · 20), of
    down (20 + 8): 152. Between them: norms 4 · 8, rotations 2 · 18, the kernel
    2 · 12 + 2 · 6, the gate 3 · 20, residuals 4 · 8: 196. Two layers, two bytes; logits 100 · (12 + 6).
    """
    shape = config.Model(d_model=8, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=2, d_ff=20)
    assert work.traffic_per_token(shape, 100, remat) == 2 * passes * 2 * (152 + 196) + 1800
    assert work.traffic_per_token(shape, 100, remat, 4) == 4 * passes * 2 * (152 + 196) + 2400
    assert work.traffic_per_step(1000.0, 4) == 4 * 2 * 1000 + (2 * 12 + 4) * 250
