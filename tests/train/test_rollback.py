"""An expert that skips step after step goes back to a kept checkpoint; the others keep every bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.train import Interrupted, Phase, Stack, checkpoint, path_tokens, pick, run_phase, starts
from splitjax.train.guards import rollback
from splitjax.train.schedule import schedule

from .helpers import BREAKS, KEPT, STEP, Brittle, FirstTokens, events, make_trainer, put, same_bits
from .processes import STEPS
from .test_loop import stop_after

END = STEPS["broken"]
PHASE = Phase(0, END * STEP)
SETTINGS = {"expert_loop": "scan", "keep_every": KEPT}


@pytest.fixture(autouse=True)
def _looks_after_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollback, "AFTER", 2)


FOUL = {(t, 1): 3 for t in range(12, 20)}
"""Eight batches of expert 1 are no good: it goes back at 14, 16 and 18, each time further."""


MOMENTS = [(BREAKS, 12), (BREAKS, 13), (BREAKS, 15), (FOUL, 14), (FOUL, 15), (FOUL, 17)]


@pytest.fixture(scope="module", params=["stacked", pytest.param("serial", marks=pytest.mark.slow)])
def trainer(request):
    return make_trainer(Brittle(), placement=request.param, **SETTINGS)


@pytest.fixture(scope="module")
def seed(trainer, tmp_path_factory):
    return checkpoint.save(tmp_path_factory.mktemp("seed"), 0, trainer.init(0), {})


def go(trainer, seed, folder: Path, first: dict, on_step=None, phase: Phase = PHASE) -> Stack:
    return run_phase(trainer, starts.split(trainer, seed, 3), FirstTokens(3, first), phase, folder, on_step=on_step)


def told(folder: Path, tokens: int = END * STEP) -> list[tuple[int, int, int]]:
    lineage = checkpoint.about(checkpoint.at(folder / "checkpoints", tokens))["lineage"]
    return [(one["expert"], one["at"] // STEP, one["to"] // STEP) for one in lineage.get("rollbacks", [])]


def by_hand(trainer, then: Stack, first: dict, begin: int, skipped: int) -> Stack:
    """Expert 1 as it was `then`, on from batch `begin` to the end."""
    stack = dataclasses.replace(
        then,
        tokens_K2=jnp.array([[0, begin * STEP]], jnp.uint32),
        skipped_K=jnp.array([skipped], jnp.int32),
    )
    text = FirstTokens([1], first)
    for t in range(begin, END):
        rate_K = schedule(trainer.train, np.array([(t + 0.5) * STEP]))
        stack, _ = trainer.step(stack, put(trainer, text.batch(t)), trainer.controls(rate_K, STEP))
    return stack


@pytest.mark.parametrize(
    ("first", "at", "to", "skipped", "wanted"),
    [
        (BREAKS, 14, 9, 3, [(14, 9)]),
        (FOUL, 18, 3, 8, [(14, 9), (16, 6), (18, 3), (20, None)]),
    ],
)
def test_it_takes_up_what_was_kept_and_goes_on_with_the_text_that_follows(
    trainer, seed, tmp_path, first, at, to, skipped, wanted
):
    stack, calm = go(trainer, seed, tmp_path / "run", first), go(trainer, seed, tmp_path / "calm", {})
    assert events(tmp_path / "run") == wanted
    assert told(tmp_path / "run") == [(1, *pair) for pair in wanted if pair[1]]
    assert path_tokens(stack).tolist() == [END * STEP] * 3, "what was spent stays spent"
    assert stack.skipped_K.tolist() == [0, skipped, 0]
    assert same_bits(pick(stack, [0, 2]), pick(calm, [0, 2]))
    kept = tmp_path / "run" / ("checkpoints" if trainer.train.placement == "stacked" else "expert-1/checkpoints")
    then = checkpoint.restore(checkpoint.at(kept, to * STEP), [1 if kept.parent.name == "run" else 0])[0]
    assert same_bits(pick(stack, [1]), by_hand(trainer, then, first, at, at - 12 if first is FOUL else 3))
    assert not events(tmp_path / "calm")


@pytest.mark.parametrize("other", [{"expert_loop": "dispatch"}, {"placement": "serial"}])
def test_experts_that_are_trained_one_by_one_go_back_alike(tmp_path, other):
    trainers = [make_trainer(Brittle(), **SETTINGS | changes) for changes in ({}, other)]
    seed = checkpoint.save(tmp_path / "seed", 0, trainers[0].init(0), {})
    folders = [tmp_path / "scanned", tmp_path / "other"]
    assert same_bits(*(go(trainer, seed, folder, BREAKS) for trainer, folder in zip(trainers, folders, strict=True)))
    for folder in folders:
        assert (events(folder), told(folder)) == ([(14, 9)], [(1, 14, 9)])


def test_without_it_the_expert_is_lost(seed, tmp_path):
    trainer = make_trainer(Brittle(), **SETTINGS | {"keep_every": None})
    assert go(trainer, seed, tmp_path, BREAKS).skipped_K.tolist() == [0, END - 11, 0]


@pytest.mark.parametrize(
    ("first", "steps"),
    [(FOUL, 13), (BREAKS, 14), *(pytest.param(first, steps, marks=pytest.mark.slow) for first, steps in MOMENTS)],
)
def test_a_resumed_run_goes_back_as_an_undisturbed_one(trainer, seed, tmp_path, first, steps):
    whole = go(trainer, seed, tmp_path / "whole", first)
    with pytest.raises(Interrupted):
        go(trainer, seed, tmp_path / "run", first, stop_after(steps + END * (trainer.train.placement == "serial")))
    assert same_bits(go(trainer, seed, tmp_path / "run", first), whole)
    for look in (events, told):
        assert look(tmp_path / "run") == look(tmp_path / "whole")


def test_nothing_is_compiled_anew_but_the_choice_of_rows(tmp_path):
    trainer = make_trainer(Brittle(), **SETTINGS)
    seed = checkpoint.save(tmp_path / "seed", 0, trainer.init(0), {})
    go(trainer, seed, tmp_path / "run", BREAKS)
    assert trainer._step._cache_size() == 1


def test_one_that_cannot_be_helped_leaves_the_others_alone(trainer, seed, tmp_path):
    foul = {(t, 1): 3 for t in range(8, END)}
    stack, calm = go(trainer, seed, tmp_path / "run", foul), go(trainer, seed, tmp_path / "calm", {})
    assert same_bits(pick(stack, [0, 2]), pick(calm, [0, 2]))
    assert events(tmp_path / "run")[:3] == [(10, 6), (12, 3), (14, None)]


def test_a_model_alone_that_cannot_be_helped_ends_in_one_line(trainer, tmp_path):
    foul = FirstTokens(1, {(t, 0): 3 for t in range(99)})
    with pytest.raises(UserError) as refusal:
        run_phase(trainer, starts.init(trainer, 0), foul, PHASE, tmp_path / "trunk")
    said = "every step is skipped, and no older checkpoint is left to go back to"
    assert str(refusal.value).startswith(f"{tmp_path / 'trunk'}: {said}")
    assert "train.learning_rate" in str(refusal.value)
    with pytest.raises(UserError, match="every step is skipped"):
        run_phase(trainer, starts.init(trainer, 0), foul, PHASE, tmp_path / "trunk")


def test_a_damaged_checkpoint_is_passed_over_aloud(tmp_path, caplog):
    trainer = make_trainer(Brittle(), **SETTINGS)
    seed = checkpoint.save(tmp_path / "seed", 0, trainer.init(0), {})

    def damage(report):
        if report.tokens == 13 * STEP:
            file = checkpoint.at(tmp_path / "run" / "checkpoints", 9 * STEP) / "state" / "params.embedding" / "1.0.0"
            file.write_bytes(b"\0" * file.stat().st_size)

    go(trainer, seed, tmp_path / "run", BREAKS, damage)
    assert events(tmp_path / "run") == [(14, 6)]
    assert "params.embedding/1.0.0: file of a checkpoint is damaged" in caplog.text


def test_only_so_many_checkpoints_are_remembered():
    back = rollback.Rollback(1, 0, np.zeros(1, int))
    for tokens in range(1, 100):
        back.after(tokens, kept=True)
    assert back.to_json()["left"] == [list(range(100 - rollback.DEPTH, 100))]
