"""The model as pure functions: what a loss may depend on, and that stacking experts changes nothing."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitjax import config
from splitjax.model import LanguageModel

from .conftest import VOCAB


def test_is_a_static_closure(model: LanguageModel) -> None:
    twin = LanguageModel(model.cfg.model_copy(), VOCAB, base_width=16, z_loss=1e-2)
    assert twin == model
    assert hash(twin) == hash(model)


def test_init_gives_float32_with_layers_stacked(model: LanguageModel, params: dict[str, Any]) -> None:
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert {leaf.shape[0] for leaf in jax.tree.leaves(params["layers"])} == {model.cfg.n_layers}
    first, second = params["layers"]["ffn"]["gate"]["kernel"]
    assert not np.allclose(first, second)


def test_objective_is_cross_entropy_plus_z_loss(model: LanguageModel, params: Any, tokens_BT: Any) -> None:
    objective, metrics = model.loss(params, tokens_BT)
    logits_BSV = model.logits(params, tokens_BT[:, :-1])
    log_z = jax.nn.logsumexp(logits_BSV, axis=-1)
    nll_BS = log_z - jnp.take_along_axis(logits_BSV, tokens_BT[:, 1:, None], axis=-1)[..., 0]
    np.testing.assert_allclose(model.token_losses(params, tokens_BT), nll_BS, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], nll_BS.mean(), rtol=1e-5)
    np.testing.assert_allclose(objective, nll_BS.mean() + 1e-2 * (log_z**2).mean(), rtol=1e-5)


@cache
def _token_losses(model: LanguageModel) -> Any:
    return jax.jit(model.token_losses)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_token_sees_its_own_document_and_no_future(
    model: LanguageModel, params: Any, tokens_BT: np.ndarray, data: st.DataObject
) -> None:
    opening = data.draw(st.integers(0, 80), label="a document opens here")
    later = data.draw(st.integers(opening, 80), label="position after which tokens change")
    tokens = tokens_BT[:1].copy()
    tokens[0, opening] = 0
    other = tokens.copy()
    other[0, :opening] = data.draw(st.integers(1, VOCAB - 1))
    other[0, later + 1 :] = data.draw(st.integers(0, VOCAB - 1))
    losses = _token_losses(model)
    # Target t + 1 is predicted from position t, so losses[opening:later] stay inside what is common.
    before, after = losses(params, tokens)[0], losses(params, other)[0]
    np.testing.assert_array_equal(before[opening:later], after[opening:later])


def test_a_token_does_see_its_own_document(model: LanguageModel, params: Any, tokens_BT: Any) -> None:
    changed = tokens_BT.copy()
    changed[0, 0] = changed[0, 0] % (VOCAB - 1) + 1
    difference = np.abs(model.token_losses(params, tokens_BT) - model.token_losses(params, changed))
    assert difference[0, 1:29].min() > 0
    assert difference[0, 30:].max() == 0


@pytest.mark.slow  # test_step has the loop forms of the trainer
def test_experts_in_a_stack_are_independent(model: LanguageModel, tokens_BT: Any) -> None:
    stack = jax.vmap(model.init)(jax.random.split(jax.random.key(1), 2))
    batch_KBT = jnp.stack([tokens_BT, tokens_BT[::-1]])
    gradient = jax.value_and_grad(model.loss, has_aux=True)
    together = jax.jit(jax.vmap(gradient, spmd_axis_name="expert"))(stack, batch_KBT)
    in_turn = jax.jit(lambda stack, batch: jax.lax.map(lambda pair: gradient(*pair), (stack, batch)))(stack, batch_KBT)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), together, in_turn)


def test_bfloat16_arithmetic_keeps_float32_parameters(model: LanguageModel, params: Any, tokens_BT: Any) -> None:
    low = dataclasses.replace(model, precision="bfloat16")
    gradient = jax.jit(jax.value_and_grad(low.loss, has_aux=True))
    (_, metrics), grads = gradient(params, tokens_BT)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype("float32")}
    exact = model.loss(params, tokens_BT)[1]["loss"]
    assert 0 < abs(float(metrics["loss"] - exact)) < 0.02 * float(exact)


def test_every_key_of_the_shape_is_heard(model: LanguageModel, params: Any, tokens_BT: Any) -> None:
    """A config key that the model ignored would leave shapes and losses as they are."""
    changes: dict[str, Any] = {
        "d_model": 64, "n_layers": 3, "n_heads": 2, "n_kv_heads": 4, "head_dim": 16, "d_ff": 64,
        "qk_norm": False, "tied_embeddings": True, "rope_theta": 100.0, "norm_eps": 0.1,
        "attention_cap": 0.5, "logit_cap": 2.0, "attention_bias": "qkv",
        "rope_scaling": {"type": "linear", "factor": 4.0},
    }
    assert set(changes) == set(config.Model.model_fields)
    base = model.loss(params, tokens_BT)[1]["loss"]
    for key, value in changes.items():
        cfg = config.Model.model_validate(model.cfg.model_dump() | {key: value})
        other = dataclasses.replace(model, cfg=cfg)
        # What changes no shape must change the loss of the same parameters.
        shapes = jax.tree.map(jnp.shape, jax.eval_shape(other.init, jax.random.key(0)))
        assert shapes != jax.tree.map(jnp.shape, params) or other.loss(params, tokens_BT)[1]["loss"] != base, key
