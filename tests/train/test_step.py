from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from splitjax.train import Controls, Stack, Trainer, path_tokens, pick

from .helpers import STEP, Batches, FirstTokens, Poisoned, leaves, make_trainer, put, same_bits, transformer_trainer


def run(trainer: Trainer, stack: Stack, stream: Batches, steps: int = 3, **controls: object) -> tuple[Stack, list]:
    metrics = []
    for t in range(steps):
        given = trainer.controls(np.full(stack.experts, 1e-2), STEP, **controls)
        stack, made = trainer.step(stack, put(trainer, stream.batch(t)), given)
        metrics.append(made)
    return stack, metrics


@pytest.mark.fused
def test_loop_forms_agree_and_scan_gives_an_expert_the_bits_it_has_alone():
    by_scan, by_vmap = (transformer_trainer(expert_loop=loop) for loop in ("scan", "vmap"))
    one, one_metrics = run(by_scan, by_scan.init([0, 1, 2]), Batches(3))
    other, other_metrics = run(by_vmap, by_vmap.init([0, 1, 2]), Batches(3))
    for a, b in zip(one_metrics, other_metrics, strict=True):
        assert np.asarray(a.loss_K) == pytest.approx(np.asarray(b.loss_K), abs=1e-5)
    assert path_tokens(one).tolist() == path_tokens(other).tolist() == [3 * STEP] * 3
    for k in range(3):
        alone, _ = run(by_scan, by_scan.init(k), Batches([k]))
        assert same_bits(pick(one, [k]), alone)


@pytest.mark.parametrize(("loop", "scans"), [("scan", True), ("vmap", False), ("auto", True)])
def test_the_loop_form_is_the_one_asked_for(loop, scans):
    trainer = make_trainer(expert_loop=loop)  # auto: scan inside a program, on the CPU these tests run on
    batch = put(trainer, Batches(2).batch(0))
    program = jax.make_jaxpr(trainer._stack_step)(trainer.init([0, 1]), batch, trainer.controls(np.ones(2), STEP))
    assert ("scan" in str(program)) == scans


@pytest.mark.parametrize("loop", ["scan", "vmap"])
def test_a_nan_skips_that_expert_and_leaves_the_others_bit_for_bit(loop):
    trainer = make_trainer(Poisoned(), expert_loop=loop)
    after, metrics = run(trainer, trainer.init([0, 1, 2]), FirstTokens(3, {(1, 1): 1}))
    undisturbed, _ = run(trainer, trainer.init([0, 1, 2]), FirstTokens(3))
    assert same_bits(pick(after, [0, 2]), pick(undisturbed, [0, 2]))
    assert np.isnan(metrics[1].loss_K[1])
    assert after.skipped_K.tolist() == [0, 1, 0]
    assert after.steps_K.tolist() == [3, 2, 3]
    assert path_tokens(after).tolist() == [3 * STEP] * 3  # the batch was read: data and schedule go on
    assert all(np.isfinite(leaf).all() for leaf in leaves(after.params))


def test_a_skipped_step_keeps_parameters_and_moments():
    trainer = make_trainer(Poisoned(), expert_loop="scan")
    tokens = FirstTokens(1, {(0, 0): 1}).batch(0)
    before = trainer.init(0)
    kept = jax.tree.map(np.array, before)
    after, _ = trainer.step(before, put(trainer, tokens), trainer.controls(np.full(1, 1e-2), STEP))
    assert same_bits((after.params, after.mu, after.nu), (kept.params, kept.mu, kept.nu))


def test_an_inactive_expert_keeps_its_whole_state(trainer):
    start, _ = run(trainer, trainer.init([0, 1]), Batches(2))
    kept = jax.tree.map(np.array, pick(start, [0]))
    after, _ = run(trainer, start, Batches(2), active_K=np.array([False, True]))
    assert same_bits(pick(after, [0]), kept)
    assert after.steps_K.tolist() == [3, 6]


def test_rates_and_clips_are_each_expert_s_own(trainer):
    stream = Batches([0, 0])
    stack = trainer.init([0, 0])
    given = trainer.controls(np.array([0.0, 1e-2]), STEP)
    still, _ = trainer.step(stack, put(trainer, stream.batch(0)), given)
    assert same_bits(pick(still, [0]).params, trainer.init(0).params)
    assert not same_bits(pick(still, [1]).params, trainer.init(0).params)
    clip_K = np.array([1e-3, 1e3], np.float32)
    clipped, metrics = run(trainer, trainer.init([0, 0]), stream, 1, clip_K=clip_K)
    norm = float(metrics[0].grad_norm_K[0])
    assert metrics[0].grad_norm_K[0] == metrics[0].grad_norm_K[1]  # reported before the clip
    mu = [optax.tree.norm(pick(clipped, [k]).mu) / 0.1 for k in range(2)]
    assert [float(one) for one in mu] == pytest.approx([1e-3, norm], rel=1e-4)


def test_controls_compile_nothing_and_steps_transfer_nothing_unasked(trainer):
    stack = trainer.init([0, 1])
    batch = put(trainer, Batches(2).batch(0))
    stack, _ = trainer.step(stack, batch, trainer.controls(np.full(2, 1e-2), STEP))
    compiled = trainer._step._cache_size()
    with jax.transfer_guard("disallow"):
        for active in ([True, False], [False, True]):
            given = trainer.controls(np.array([1e-3, 2e-3]), STEP, np.array([0.1, 0.2]), np.array(active))
            stack, metrics = trainer.step(stack, batch, given)
            jax.device_get(metrics)
    assert trainer._step._cache_size() == compiled


def test_a_fresh_stack_and_a_stepped_one_take_the_same_program():
    trainer = make_trainer()
    run(trainer, trainer.init(0), Batches(1))
    assert trainer._step._cache_size() == 1


def test_the_stack_is_donated(trainer):
    stack = trainer.init([0, 1])
    trainer.step(stack, put(trainer, Batches(2).batch(0)), trainer.controls(np.full(2, 1e-2), STEP))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(stack))


def test_metrics_are_the_model_s_own_loss(trainer):
    stack = trainer.init(0)
    batch = Batches(1).batch(0)
    params = jax.tree.map(lambda leaf: leaf[0], stack.params)
    objective, aux = trainer.model.loss(params, jnp.asarray(batch[0]))
    _, metrics = trainer.step(stack, put(trainer, batch), trainer.controls(np.full(1, 1e-2), STEP))
    assert float(metrics.loss_K[0]) == pytest.approx(float(aux["loss"]), abs=1e-6)
    assert float(objective) > float(aux["loss"])  # z-loss is trained on, not reported


def test_seeds_differ(trainer):
    both = trainer.init([0, 1])
    assert same_bits(pick(both, [1]), trainer.init(1))
    assert not same_bits(pick(both, [0]), pick(both, [1]))


def test_controls_hold_what_was_given(trainer):
    given = trainer.controls(np.array([0.1, 0.2]), 7)
    assert isinstance(given, Controls)
    assert given.clip_K.tolist() == [1.0, 1.0]
    assert given.tokens_K.tolist() == [7, 7]
    assert given.active_K.tolist() == [True, True]
