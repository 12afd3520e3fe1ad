"""Early stop, and what else may differ between experts as data of the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from splitjax.train import EarlyStop, Interrupted, Phase, Stack, checkpoint, path_tokens, pick, run_phase, starts

from .helpers import STEP, Batches, make_trainer, same_bits
from .test_loop import stop_after

END = 10 * STEP
PHASE = Phase(0, END, decay_from=6 * STEP, decay_to=END)


def rising_from(turns: Sequence[int], stack: Stack, experts: Sequence[int]) -> np.ndarray:
    """Validation losses that fall until an expert's turn (in steps) and rise after it."""
    steps = path_tokens(stack) / STEP
    return np.array([abs(step - turns[expert]) for step, expert in zip(steps, experts, strict=True)])


def early(*turns: int, patience: int | None = 2) -> EarlyStop:
    patience_K = tuple(patience for _ in turns)
    return EarlyStop(STEP, patience_K, lambda stack, experts: rising_from(turns, stack, experts))


@pytest.fixture(scope="module", params=["stacked", "serial"])
def trainer(request):
    return make_trainer(expert_loop="scan", placement=request.param)


@pytest.fixture(scope="module")
def seed(trainer, tmp_path_factory):
    return checkpoint.save(tmp_path_factory.mktemp("seed"), 0, trainer.init(0), {})


def go(trainer, seed, folder: Path, stop=None, phase=PHASE, on_step=None, start=None) -> Stack:
    begin = start or starts.split(trainer, seed, 3)
    return run_phase(trainer, begin, Batches(3), phase, folder, early=stop, on_step=on_step)


def test_an_expert_that_gets_no_better_is_frozen_and_the_others_do_not_notice(trainer, seed, tmp_path):
    stopped = go(trainer, seed, tmp_path / "early", early(99, 2, 99))
    told = go(trainer, seed, tmp_path / "told", phase=dataclasses.replace(PHASE, stop=(END, 4 * STEP, END)))
    assert path_tokens(stopped).tolist() == [END, 4 * STEP, END]
    assert same_bits(stopped, told)
    free = go(trainer, seed, tmp_path / "free", early(99, 2, 99, patience=None))
    assert same_bits(pick(stopped, [0, 2]), pick(free, [0, 2]))
    assert path_tokens(free).tolist() == [END] * 3


@pytest.mark.parametrize("steps", [3, 4, 5, 7])
def test_a_resumed_run_stops_the_same_experts_at_the_same_step(trainer, seed, tmp_path, steps):
    wanted = go(trainer, seed, tmp_path / "whole", early(6, 2, 99))
    assert path_tokens(wanted).tolist() == [8 * STEP, 4 * STEP, END]
    with pytest.raises(Interrupted):
        go(trainer, seed, tmp_path / "broken", early(6, 2, 99), on_step=stop_after(steps))
    assert same_bits(go(trainer, seed, tmp_path / "broken", early(6, 2, 99)), wanted)


def test_where_all_have_stopped_the_phase_ends_and_what_follows_leaves_them_alone(trainer, seed, tmp_path):
    heard = []
    stopped = go(trainer, seed, tmp_path / "p", early(2, 1, 2), on_step=heard.append)
    assert path_tokens(stopped).tolist() == [4 * STEP, 3 * STEP, 4 * STEP]
    assert max(report.tokens for report in heard) == 4 * STEP
    at = checkpoint.at(tmp_path / "p" / "checkpoints", END)
    assert same_bits(checkpoint.restore(at)[0], stopped)
    after = Phase(END, END + 2 * STEP)
    assert same_bits(go(trainer, seed, tmp_path / "q", phase=after, start=starts.branch(trainer, at)), stopped)


def test_one_that_has_stopped_stays_so_in_the_next_phase(trainer, seed, tmp_path):
    first = go(trainer, seed, tmp_path / "p", early(99, 2, 99))
    at = checkpoint.at(tmp_path / "p" / "checkpoints", END)
    after = go(trainer, seed, tmp_path / "q", phase=Phase(END, END + STEP), start=starts.branch(trainer, at))
    assert path_tokens(after).tolist() == [END + STEP, 4 * STEP, END + STEP]
    assert same_bits(pick(after, [1]), pick(first, [1]))


def test_rate_and_clip_of_an_expert_are_its_own(trainer, seed, tmp_path):
    differing = dataclasses.replace(PHASE, rate=(1.0, 0.5, 1.0), clip=(1.0, 1.0, 1e-3))
    own = go(trainer, seed, tmp_path / "own", phase=differing)
    plain = go(trainer, seed, tmp_path / "plain")
    half = make_trainer(expert_loop="scan", learning_rate=0.5e-2)
    tight = make_trainer(expert_loop="scan", clip=1e-3)
    for expert, other in ((0, plain), (1, go(half, seed, tmp_path / "half")), (2, go(tight, seed, tmp_path / "tight"))):
        assert same_bits(pick(own, [expert]), pick(other, [expert]))
    assert not same_bits(pick(own, [1]), pick(plain, [1]))
    assert not same_bits(pick(own, [2]), pick(plain, [2]))
