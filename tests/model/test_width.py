"""Width transfer: groups, and that one rate moves models of every width alike."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax import config
from splitjax.model import LanguageModel
from splitjax.train import Trainer


def test_groups_follow_fan_in(model: LanguageModel, params: Any) -> None:
    groups = model.groups(params)
    layers = groups["layers"]
    assert layers["attention"]["query"]["kernel"] == (16 / 32, True, True)
    assert layers["attention"]["out"]["kernel"] == (16 / 32, True, True)
    assert layers["ffn"]["down"]["kernel"] == (16 / 48, True, True)
    assert groups["head"]["kernel"] == (16 / 32, True, False)
    assert groups["embed"]["embedding"] == (1.0, False, False)
    assert layers["attention"]["query_norm"]["scale"] == layers["ffn_norm"]["scale"] == (1.0, False, False)


@pytest.mark.parametrize("transfer", [True, False])
def test_a_bias_has_the_rate_itself_no_decay_and_no_muon(transfer: bool) -> None:
    shape = config.Model(d_model=32, n_heads=2, n_layers=1, attention_bias="all")
    biased = LanguageModel(shape, 64, base_width=16, transfer=transfer)
    attention = biased.groups(jax.eval_shape(biased.init, jax.random.key(0)))["layers"]["attention"]
    for name in ("query", "key", "value", "out"):
        assert attention[name]["bias"] == (1.0, False, False)


def test_groups_ignore_the_expert_axis(model: LanguageModel, params: Any) -> None:
    stack = jax.tree.map(lambda leaf: leaf[None], params)
    assert model.groups(stack) == model.groups(params)


def test_a_tied_head_moves_through_the_last_norm() -> None:
    tied = LanguageModel(config.Model(d_model=32, n_heads=2, n_layers=1, tied_embeddings=True), 64, base_width=16)
    groups = tied.groups(jax.eval_shape(tied.init, jax.random.key(0)))
    assert groups["final_norm"]["scale"] == (16 / 32, False, False)
    assert groups["layers"]["ffn_norm"]["scale"] == (1.0, False, False)


def _logit_change(d_model: int, tied: bool) -> float:
    """How far ten sign-descent steps (Adam's first ones) move the logits."""
    cfg = config.Model(d_model=d_model, n_layers=2, n_heads=d_model // 16, tied_embeddings=tied)
    model = LanguageModel(cfg, 64, base_width=32)
    start = jax.jit(model.init)(jax.random.key(0))
    groups = model.groups(start)
    tokens = jax.random.randint(jax.random.key(1), (4, 33), 1, 64)

    @jax.jit
    def step(params: Any) -> Any:
        gradient = jax.grad(lambda p: model.loss(p, tokens)[0])(params)
        return jax.tree.map(lambda p, g, group: p - 3e-3 * group.rate * jnp.sign(g), params, gradient, groups)

    params = start
    for _ in range(10):
        params = step(params)
    logits = jax.jit(model.logits)
    change = logits(params, tokens) - logits(start, tokens)
    return float(jnp.sqrt((change**2).mean()))


def _muon_change(d_model: int) -> float:
    """How far ten steps of Muon move the logits."""
    cfg = config.Model(d_model=d_model, n_layers=2, n_heads=d_model // 16)
    recipe = config.Train(optimizer="muon", base_width=32, batch_size=4, seq_len=32)
    model = LanguageModel.under(recipe, cfg, 64)
    trainer = Trainer(model, recipe)
    start = trainer.init(0)
    first = jax.tree.map(lambda leaf: jnp.array(leaf[0]), start.params)
    tokens_KBT = jax.random.randint(jax.random.key(1), (1, 4, 33), 1, 64)
    stack = start
    for _ in range(10):
        stack, _ = trainer.step(stack, tokens_KBT, trainer.controls(np.full(1, 3e-3), 128))
    last = jax.tree.map(lambda leaf: leaf[0], stack.params)
    # The layers alone: embedding and head move by Adam, which the test below is about.
    change = model.logits(first | {"layers": last["layers"]}, tokens_KBT[0]) - model.logits(first, tokens_KBT[0])
    return float(jnp.sqrt((change**2).mean()))


@pytest.mark.slow
def test_one_rate_moves_every_width_alike_under_muon() -> None:
    changes = [_muon_change(width) for width in (32, 64, 128)]
    assert max(changes) < 1.6 * min(changes), changes


@pytest.mark.parametrize("tied", [pytest.param(False, marks=pytest.mark.slow), True])
def test_one_rate_moves_every_width_alike(tied: bool) -> None:
    """The coordinate check: under a plain rate the change would grow fourfold from 32 to 128."""
    changes = [_logit_change(width, tied) for width in (32, 128)]
    assert max(changes) < 1.6 * min(changes), changes
    np.testing.assert_array_less(0.1, changes)
