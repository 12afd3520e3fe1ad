from __future__ import annotations

import pytest

from splitjax.train import Interrupted, Phase, checkpoint, run_phase, starts
from splitjax.train.saving import ASK_EVERY, SavePolicy

from .helpers import STEP, Batches, make_trainer, recipe, same_bits
from .test_loop import stop_after


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def kinds(policy, steps, clock=None, seconds=0.0):
    made = []
    for t in range(steps):
        if clock:
            clock.now += seconds
        made.append(policy.after(t * 10, (t + 1) * 10))
    return made


def test_marks_are_kept():
    assert kinds(SavePolicy(recipe(), {20, 40}), 4) == [None, "keep", None, "keep"]


def test_every_n_tokens_is_kept_at_the_first_step_beyond():
    assert kinds(SavePolicy(recipe(keep_every=25), {50}), 5) == [None, None, "regular", None, "keep"]


def test_minutes_make_temporary_ones_and_any_save_winds_the_clock():
    clock = Clock()
    made = kinds(SavePolicy(recipe(checkpoint_minutes=1.0), {10 * ASK_EVERY * 3}, clock), 6 * ASK_EVERY, clock, 2.5)
    assert {t + 1: kind for t, kind in enumerate(made) if kind} == {
        ASK_EVERY * 2: "temporary",  # 80 s; after 16 steps it was 40 s
        ASK_EVERY * 3: "keep",
        ASK_EVERY * 5: "temporary",
    }


def test_a_stop_saves_what_is_not_saved_anyway():
    policy = SavePolicy(recipe(), {20})
    assert policy.after(0, 10, stopping=True) == "temporary"
    assert policy.after(10, 20, stopping=True) == "keep"


def test_the_next_checkpoint_replaces_temporary_ones(trainer, tmp_path):
    stack = trainer.init(0)
    with checkpoint.Writer(tmp_path) as writer:
        for tokens, temporary in ((1, False), (2, True), (3, True), (4, False), (5, True)):
            writer.save(tokens, stack, {}, temporary=temporary)
            writer.wait()
            assert tokens in checkpoint.saved(tmp_path)
    assert checkpoint.saved(tmp_path) == [1, 4, 5]


def test_a_phase_keeps_every_n_tokens_and_no_checkpoint_of_an_interruption(tmp_path):
    trainer = make_trainer(expert_loop="scan", keep_every=4 * STEP)
    whole = run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(0, 10 * STEP), tmp_path / "whole")
    with pytest.raises(Interrupted):
        run_phase(
            trainer, starts.init(trainer, 0), Batches(1), Phase(0, 10 * STEP), tmp_path / "p", on_step=stop_after(5)
        )
    assert 6 * STEP in checkpoint.saved(tmp_path / "p" / "checkpoints")
    resumed = run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(0, 10 * STEP), tmp_path / "p")
    assert same_bits(resumed, whole)
    assert checkpoint.saved(tmp_path / "p" / "checkpoints") == [STEP * t for t in (4, 8, 10)]
