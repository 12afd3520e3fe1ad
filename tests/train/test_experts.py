from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.data import Stream, stack
from splitjax.train import (
    Interrupted,
    Phase,
    checkpoint,
    join,
    path_tokens,
    pick,
    read_metrics,
    run_expert,
    run_phase,
    starts,
)

from .helpers import BATCH, SEQ, STEP, VOCAB, Batches, FirstTokens, Poisoned, make_trainer, same_bits
from .test_loop import stop_after

PHASE = Phase(0, tuple(STEP * t for t in (5, 4, 5)), decay_from=2 * STEP, decay_to=5 * STEP, save_at=(2 * STEP,))


@pytest.fixture(scope="module")
def serial():
    return make_trainer(expert_loop="scan", placement="serial")


@pytest.fixture(scope="module")
def seed(trainer, tmp_path_factory):
    return checkpoint.save(tmp_path_factory.mktemp("seed"), 0, trainer.init(0), {"phase": "trunk"})


def facts(folder):
    return [{name: row[name] for name in ("tokens", "loss", "rate", "skipped")} for row in read_metrics(folder)]


def test_serial_leaves_what_stacked_leaves(trainer, serial, seed, tmp_path):
    one = run_phase(trainer, starts.split(trainer, seed, 3), Batches(3), PHASE, tmp_path / "a" / "p")
    other = run_phase(serial, starts.split(serial, seed, 3), Batches(3), PHASE, tmp_path / "b" / "p")
    assert same_bits(one, other)
    assert facts(tmp_path / "a" / "p" / "metrics.jsonl") == facts(tmp_path / "b" / "p" / "metrics.jsonl")
    saved = [checkpoint.saved(tmp_path / run / "p" / "checkpoints") for run in "ab"]
    assert saved[0] == saved[1] == [2 * STEP, 5 * STEP]
    for tokens in saved[0]:
        (mine, about), (its, about_it) = (
            checkpoint.restore(checkpoint.at(tmp_path / run / "p" / "checkpoints", tokens), [2, 1]) for run in "ab"
        )
        assert same_bits(mine, its)
        changed = {"train"} | {key for key in about if about[key] == about_it.get(key)}
        assert set(about) == set(about_it) == changed
    assert (tmp_path / "b" / "p" / "expert-1" / "checkpoints").is_dir()


def test_a_finished_serial_phase_does_nothing_again(serial, seed, tmp_path):
    first = run_phase(serial, starts.split(serial, seed, 2), Batches(2), Phase(0, 2 * STEP), tmp_path)
    heard = []
    again = run_phase(
        serial, starts.split(serial, seed, 2), Batches(2), Phase(0, 2 * STEP), tmp_path, on_step=heard.append
    )
    assert same_bits(first, again)
    assert not heard


def test_serial_resumes_and_reports_every_expert_s_steps(serial, seed, tmp_path):
    heard = []

    def go(folder, on_step):
        begin = starts.split(serial, seed, 3)
        return run_phase(serial, begin, Batches(3), PHASE, tmp_path / folder, on_step=on_step)

    with pytest.raises(Interrupted):
        go("p", stop_after(7))
    assert same_bits(go("p", None), go("q", heard.append))
    assert [report.experts for report in heard] == [1] * 14
    assert [int(np.flatnonzero(~np.isnan(report.loss_K))[0]) for report in heard] == [0] * 5 + [1] * 4 + [2] * 5


def test_experts_trained_apart_join_into_a_stack(trainer, seed, tmp_path):
    begin = starts.split(trainer, seed, 3)
    for expert in (2, 0):  # in any order, by any process
        run_expert(trainer, begin, Batches([expert]), PHASE, tmp_path / "p", expert)
    with pytest.raises(UserError, match="expert-1"):
        join(tmp_path / "p", PHASE, 3)
    run_expert(trainer, begin, Batches([1]), PHASE, tmp_path / "p", 1)
    join(tmp_path / "p", PHASE, 3)
    at = checkpoint.at(tmp_path / "p" / "checkpoints", PHASE.end)
    stack, meta = checkpoint.restore(at)
    assert path_tokens(stack).tolist() == list(PHASE.stop)
    assert (meta["experts"], meta["phase"]) == (3, "p")
    assert same_bits(pick(stack, [1]), checkpoint.restore(at, [1])[0])


def test_a_set_reads_one_expert_without_the_others_and_names_the_damaged_one(serial, seed, tmp_path):
    run_phase(serial, starts.split(serial, seed, 2), Batches(2), Phase(0, STEP), tmp_path / "p")
    at = checkpoint.at(tmp_path / "p" / "checkpoints", STEP)
    victim = checkpoint.at(tmp_path / "p" / "expert-0" / "checkpoints", STEP) / "state" / "params.embedding" / "0.0.0"
    victim.write_bytes(b"\0" * victim.stat().st_size)
    checkpoint.restore(at, [1])
    with pytest.raises(UserError, match="expert-0"):
        checkpoint.restore(at)


def test_a_set_refuses_an_expert_that_was_trained_on_since(serial, trainer, seed, tmp_path):
    begin = starts.split(serial, seed, 2)
    run_phase(serial, begin, Batches(2), Phase(0, STEP), tmp_path / "p")
    part = tmp_path / "p" / "expert-0" / "checkpoints"
    checkpoint.save(part, STEP, trainer.init(5), {})
    with pytest.raises(UserError, match="not the checkpoint that this set was made of"):
        checkpoint.restore(checkpoint.at(tmp_path / "p" / "checkpoints", STEP))


def test_a_nan_in_one_expert_leaves_the_others_alone_under_every_placement(tmp_path):
    trainers = {name: make_trainer(Poisoned(), expert_loop="scan", placement=name) for name in ("stacked", "serial")}
    seed = checkpoint.save(tmp_path / "seed", 0, trainers["stacked"].init(0), {})
    clean = Phase(0, 3 * STEP)
    stacks = {
        (name, len(first)): run_phase(
            trainer, starts.split(trainer, seed, 3), FirstTokens(3, first), clean, tmp_path / f"{name}-{len(first)}"
        )
        for name, trainer in trainers.items()
        for first in ({}, {(1, 1): 1})
    }
    for name in trainers:
        assert same_bits(pick(stacks[name, 0], [0, 2]), pick(stacks[name, 1], [0, 2]))
        assert stacks[name, 1].skipped_K.tolist() == [0, 1, 0]
    assert same_bits(stacks["stacked", 1], stacks["serial", 1])


def test_phase_of_one_expert():
    own = dataclasses.replace(PHASE, decay_to=PHASE.stop).only(1, 3)
    assert own == Phase(0, 4 * STEP, 0, 2 * STEP, 4 * STEP, (2 * STEP,))


def test_the_streams_of_the_data_room_serve_every_placement(trainer, serial, seed, tmp_path):
    def domain(k: int) -> Stream:
        def item(index: int) -> np.ndarray:
            return np.random.default_rng([k, index]).integers(0, VOCAB, SEQ + 1, dtype=np.int32)

        return Stream(item, BATCH, 5 * k, lambda count: count / 100)

    streams = stack([domain(k) for k in range(3)])
    stacks = [
        run_phase(one, starts.split(one, seed, 3), streams, Phase(0, 4 * STEP), tmp_path / one.train.placement)
        for one in (trainer, serial)
    ]
    assert same_bits(*stacks)
    own = run_phase(
        trainer, starts.branch(trainer, seed), stack([domain(2)]), Phase(0, 4 * STEP), tmp_path / "third"
    )
    assert same_bits(pick(stacks[0], [2]), own)
