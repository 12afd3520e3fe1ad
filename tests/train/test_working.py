"""A stack in the hands of the loop: the same experts whatever form steps through them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.parallel import make_mesh
from splitjax.train import Phase, Stack, Trainer, run_phase, starts
from splitjax.train.working_stack import Dispatched, Whole, working

from .helpers import STEP, Batches, Bigram, FirstTokens, Poisoned, make_trainer, put, recipe, same_bits


def stepped(trainer: Trainer, stream: Batches, experts: int = 3, steps: int = 3) -> tuple[Stack, list]:
    held = working(trainer, trainer.init(range(experts)))
    controls = trainer.controls(np.full(experts, 1e-2), STEP)
    metrics = [held.step(put(trainer, stream.batch(t)), controls) for t in range(steps)]
    return held.stack(), metrics


def test_dispatched_experts_have_the_bits_of_the_scanned_ones_and_their_metrics():
    one, one_metrics = stepped(make_trainer(expert_loop="dispatch"), Batches(3))
    other, other_metrics = stepped(make_trainer(expert_loop="scan"), Batches(3))
    assert same_bits(one, other)
    assert same_bits(one_metrics, other_metrics)


def test_a_nan_of_one_dispatched_expert_leaves_the_others_bit_for_bit():
    trainer = make_trainer(Poisoned(), expert_loop="dispatch")
    hit, _ = stepped(trainer, FirstTokens(3, {(1, 1): 1}))
    spared, _ = stepped(trainer, FirstTokens(3))
    for leaf, other in zip(jax.tree.leaves(hit.params), jax.tree.leaves(spared.params), strict=True):
        assert (np.asarray(leaf)[[0, 2]] == np.asarray(other)[[0, 2]]).all()
    assert hit.skipped_K.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("loop", "experts", "form"),
    [("auto", 3, Dispatched), ("auto", 1, Whole), ("dispatch", 3, Dispatched), ("scan", 3, Whole), ("vmap", 3, Whole)],
)
def test_the_form_is_the_one_asked_for(loop, experts, form):
    trainer = make_trainer(expert_loop=loop)  # auto: on one CPU device, as these tests run
    assert isinstance(working(trainer, trainer.init(range(experts))), form)


def test_a_stack_that_is_dealt_out_is_not_held_twice():
    trainer = make_trainer(expert_loop="dispatch")
    stack = trainer.init([0, 1])
    held = working(trainer, stack)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(stack))
    assert held.stack().experts == 2


def test_a_copy_taken_between_steps_is_left_alone_by_the_next():
    trainer = make_trainer(expert_loop="dispatch")
    held = working(trainer, trainer.init([0, 1]))
    before = held.stack()
    kept = jax.tree.map(np.array, before)
    held.step(put(trainer, Batches(2).batch(0)), trainer.controls(np.full(2, 1e-2), STEP))
    assert same_bits(before, kept)
    assert not same_bits(held.stack(), kept)


@pytest.mark.parametrize("loop", ["dispatch", "scan"])
def test_a_program_compiled_ahead_is_the_one_that_steps(loop):
    trainer = make_trainer(expert_loop=loop)
    held = working(trainer, trainer.init([0, 1]))
    work = put(trainer, Batches(2).batch(0)), trainer.controls(np.full(2, 1e-2), STEP)
    planned = held.compile(*work).memory_analysis()
    held.step(*work)
    assert trainer._step._cache_size() == 0  # nothing was compiled a second time
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(held.stack()))
    assert planned.argument_size_in_bytes * held.programs == pytest.approx(whole, rel=0.2)


def test_experts_on_several_groups_of_devices_cannot_be_dispatched(monkeypatch):
    trainer = Trainer(Bigram(), recipe(expert_loop="dispatch"), make_mesh())
    monkeypatch.setattr(type(trainer.placement), "expert_groups", 2)
    with pytest.raises(UserError, match="2 groups of devices"):
        _ = trainer.loop_form


def test_a_phase_leaves_the_same_experts_whatever_the_form(tmp_path):
    phase = Phase(start=0, stop=(4 * STEP, 8 * STEP, 8 * STEP), decay_from=4 * STEP, decay_to=8 * STEP)
    made = {}
    for loop in ("scan", "dispatch"):
        trainer = make_trainer(expert_loop=loop)
        begin = starts.init(trainer, [0, 1, 2])
        made[loop] = run_phase(trainer, begin, Batches(3), phase, tmp_path / loop)
    assert same_bits(made["scan"], made["dispatch"])
