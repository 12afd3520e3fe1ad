"""Muon: the library's update, sized by width, with a state that every operation on stacks takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from splitjax.config import UserError
from splitjax.model import Group
from splitjax.train import Interrupted, Phase, checkpoint, concatenate, merge, pick, run_phase, starts
from splitjax.train.optimizer import second_moments, update

from .helpers import STEP, Batches, make_trainer, put, recipe, same_bits, transformer_trainer
from .test_loop import stop_after

PARAMS = {
    "layers": {"w": jax.random.normal(jax.random.key(0), (2, 6, 4)), "gain": jnp.ones((2, 6))},
    "embed": jax.random.normal(jax.random.key(1), (5, 6)),
}
GROUPS = {
    "layers": {"w": Group(0.5, True, hidden=True), "gain": Group(1.0, False)},
    "embed": Group(1.0, False),
}
RATE = 1e-2


def grads_at(t: int) -> dict:
    return jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(t + leaf.size), leaf.shape), PARAMS)


def ours(groups: dict = GROUPS, steps: int = 3, **changes: object) -> dict:
    train = recipe(optimizer="muon", **changes)
    params, mu, nu = PARAMS, jax.tree.map(jnp.zeros_like, PARAMS), second_moments(train, groups, PARAMS)
    for t in range(steps):
        params, mu, nu = update(train, groups, params, mu, nu, jnp.int32(t), grads_at(t), jnp.float32(RATE))
    return params


def test_matrices_follow_the_library_s_muon_and_the_rest_adamw():
    got = ours(weight_decay=0.3)
    # Of a 6x4 matrix the library's RMS-matched step is 0.2 sqrt(6) long; ours 0.2 sqrt(rate multiplier * 4).
    factor = np.sqrt(0.5 * 4) / np.sqrt(6)
    for layer in range(2):
        muon = optax.contrib.muon(RATE * factor, weight_decay=0.3 / factor, consistent_rms=0.2)
        params = PARAMS["layers"]["w"][layer]
        state = muon.init(params)
        for t in range(3):
            change, state = muon.update(grads_at(t)["layers"]["w"][layer], state, params)
            params = optax.apply_updates(params, change)
        assert np.asarray(got["layers"]["w"][layer]) == pytest.approx(np.asarray(params), abs=1e-5)
    adam = optax.adamw(RATE, b1=0.9, b2=0.98, weight_decay=0.0)
    rest, state = {"gain": PARAMS["layers"]["gain"], "embed": PARAMS["embed"]}, None
    state = adam.init(rest)
    for t in range(3):
        grads = grads_at(t)
        change, state = adam.update({"gain": grads["layers"]["gain"], "embed": grads["embed"]}, state, rest)
        rest = optax.apply_updates(rest, change)
    assert np.asarray(got["embed"]) == pytest.approx(np.asarray(rest["embed"]), abs=1e-6)
    assert np.asarray(got["layers"]["gain"]) == pytest.approx(np.asarray(rest["gain"]), abs=1e-6)


def test_the_update_at_base_width_is_as_large_as_adam_s():
    """A square matrix at base_width (multiplier 1), gradients of full rank: root mean square about 0.2 * rate."""
    leaf = {"w": jnp.zeros((64, 64))}
    groups, train = {"w": Group(1.0, False, hidden=True)}, recipe(optimizer="muon")
    gradient = {"w": jax.random.normal(jax.random.key(0), (64, 64))}
    after, _, nu = update(train, groups, leaf, leaf, {}, jnp.int32(0), gradient, jnp.float32(1.0))
    assert nu == {}  # no second moment to keep
    assert float(jnp.sqrt((after["w"] ** 2).mean())) == pytest.approx(0.2, rel=0.2)


def test_muon_keeps_second_moments_of_the_rest_alone():
    trainer = transformer_trainer(optimizer="muon")
    stack = trainer.init([0, 1])
    assert set(stack.nu["layers"]) == {"attention_norm", "ffn_norm", "attention"}
    assert set(stack.nu["layers"]["attention"]) == {"query_norm", "key_norm"}
    assert {"embed", "head", "final_norm"} < set(stack.nu)
    assert jax.tree.structure(stack.mu) == jax.tree.structure(stack.params)


@pytest.mark.slow
def test_loop_forms_agree_under_muon():
    after = []
    for loop in ("scan", "vmap"):
        trainer = transformer_trainer(optimizer="muon", expert_loop=loop)
        stack = trainer.init([0, 1])
        controls = trainer.controls(np.full(2, 1e-2), STEP)
        stack, _ = trainer.step(stack, put(trainer, Batches(2).batch(0)), controls)
        after.append(stack.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *after)


@pytest.fixture(scope="module")
def muon():
    return make_trainer(optimizer="muon", expert_loop="scan")


@pytest.mark.fused
def test_a_run_under_muon_splits_repacks_resumes_and_merges(muon, tmp_path):
    run_phase(muon, starts.init(muon, 0), Batches(1), Phase(0, 2 * STEP), tmp_path / "trunk")
    seed = checkpoint.at(tmp_path / "trunk" / "checkpoints", 2 * STEP)
    stops = tuple(STEP * t for t in (4, 7, 3, 7))  # half of the lanes end early: they are taken out

    def go(folder, trainer=muon, on_step=None):
        begin = starts.split(trainer, seed, 4)
        phase = Phase(2 * STEP, stops, origin=2 * STEP)
        return run_phase(trainer, begin, Batches(4), phase, tmp_path / folder, on_step=on_step)

    with pytest.raises(Interrupted):
        go("p", on_step=stop_after(2))
    whole = go("q")
    assert '"repack"' in (tmp_path / "q" / "metrics.jsonl").read_text()
    assert same_bits(go("p"), whole)
    assert same_bits(go("serial", make_trainer(optimizer="muon", expert_loop="scan", placement="serial")), whole)
    assert "kernel" not in whole.nu.get("head", {})
    again, _ = checkpoint.restore(checkpoint.at(tmp_path / "q" / "checkpoints", 7 * STEP), [3, 0])
    assert same_bits(again, concatenate([pick(whole, [3]), pick(whole, [0])]))
    mean = merge(whole)
    muon.step(mean, put(muon, Batches(1).batch(9)), muon.controls(np.full(1, 1e-2), STEP))


def test_moments_of_one_rule_do_not_go_on_under_the_other(muon, trainer, tmp_path):
    run_phase(muon, starts.init(muon, 0), Batches(1), Phase(0, STEP), tmp_path / "trunk")
    seed = checkpoint.at(tmp_path / "trunk" / "checkpoints", STEP)
    for begin in (starts.branch(trainer, seed), starts.split(trainer, seed, 2)):
        with pytest.raises(UserError, match=r"moments of muon cannot go on under adamw.*train\.optimizer=muon"):
            begin()
