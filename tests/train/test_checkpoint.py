from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitjax.config import UserError, write_record
from splitjax.train import Phase, checkpoint, pick, run_phase, starts
from splitjax.train.store import Saver, rows_by_expert

from .helpers import STEP, Batches, make_trainer, put, same_bits


@pytest.fixture(scope="module")
def stack(trainer):
    stack = trainer.init([0, 1, 2])
    batch = put(trainer, Batches(3).batch(0))
    return trainer.step(stack, batch, trainer.controls(np.full(3, 1e-2), STEP))[0]


@pytest.fixture(scope="module")
def saved(stack, tmp_path_factory):
    return checkpoint.save(tmp_path_factory.mktemp("checkpoints"), 16, stack, {"note": "kept"})


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / saved.name)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_saved_comes_back(stack, saved):
    back, meta = checkpoint.restore(saved)
    assert same_bits(back, stack)
    assert jax.tree.structure(back) == jax.tree.structure(stack)
    assert meta == {"note": "kept", "experts": 3}


@pytest.mark.parametrize("experts", [[1], [2, 0], [0, 0, 0, 0, 0]])
def test_experts_are_read_in_the_order_asked_for(stack, saved, experts):
    assert same_bits(checkpoint.restore(saved, experts)[0], pick(stack, experts))


def test_an_expert_is_read_without_the_files_of_the_others(stack, copy):
    for file in files(copy / "state"):
        if file.name.split(".")[0] in ("0", "2"):
            file.unlink()
    assert same_bits(checkpoint.restore(copy, [1])[0], pick(stack, [1]))
    with pytest.raises(UserError, match="missing"):
        checkpoint.restore(copy, [2])


def test_a_chunk_holds_one_expert(saved):
    assert all(rows_by_expert(path.parent.parent, path.parent.name) for path in files(saved) if path.name == ".zarray")


def test_orbax_itself_can_read_it(stack, saved):
    import orbax.checkpoint as ocp

    with pytest.warns(UserWarning, match="Sharding"):
        tree = ocp.PyTreeCheckpointer().restore(saved / "state")
    assert same_bits(tree["params"], stack.params)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_bit_goes_unnoticed(copy, data):
    file = data.draw(st.sampled_from(files(copy)), label="file")
    whole = file.read_bytes()
    place = data.draw(st.integers(0, max(len(whole) * 8 - 1, 0)), label="bit")
    broken = bytearray(whole) or bytearray(b"x")
    broken[place // 8] ^= 1 << place % 8
    file.write_bytes(broken)
    try:
        with pytest.raises(UserError) as error:
            checkpoint.restore(copy)
    finally:
        file.write_bytes(whole)
    assert str(file) in str(error.value)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_missing_or_cut_file_goes_unnoticed(copy, data):
    file = data.draw(st.sampled_from(files(copy)), label="file")
    whole = file.read_bytes()
    if whole and data.draw(st.booleans(), label="cut"):
        file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1), label="length")])
    else:
        file.unlink()
    try:
        with pytest.raises(UserError) as error:
            checkpoint.restore(copy)
    finally:
        file.write_bytes(whole)
    assert str(file) in str(error.value) or "no complete checkpoint" in str(error.value)


def test_a_version_that_cannot_be_read_is_named(copy):
    record = json.loads((copy / "checkpoint.json").read_text())
    (copy / "checkpoint.json").write_text(json.dumps(record | {"version": 99}))
    with pytest.raises(UserError, match="this one: 99"):
        checkpoint.restore(copy)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd"])
@pytest.mark.parametrize("part", ["leaves", "files"])
def test_a_record_that_points_outside_its_folder_is_refused(copy, part, name):
    record = json.loads((copy / "checkpoint.json").read_text())
    record[part][name] = next(iter(record[part].values()))
    del record["hash"]
    write_record(copy / "checkpoint.json", record)
    with pytest.raises(UserError, match="outside its checkpoint"):
        checkpoint.restore(copy)


def test_experts_it_does_not_have_are_refused(saved):
    with pytest.raises(UserError, match="holds 3"):
        checkpoint.restore(saved, [3])


def test_the_newest_good_checkpoint_is_used_and_the_damaged_one_named(stack, tmp_path, caplog):
    with checkpoint.Writer(tmp_path) as writer:
        for tokens in (16, 32, 48):
            writer.save(tokens, stack, {"at": tokens})
    victim = next(file for file in files(checkpoint.at(tmp_path, 48)) if file.name == "1.0")
    victim.write_bytes(b"\0" * victim.stat().st_size)
    (checkpoint.at(tmp_path, 32) / "checkpoint.json").unlink()
    with caplog.at_level(logging.WARNING):
        back, meta, tokens = checkpoint.restore_latest(tmp_path)
    assert tokens == meta["at"] == 16
    assert same_bits(back, stack)
    assert str(victim) in caplog.text


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert checkpoint.restore_latest(tmp_path / "absent") is None
    with pytest.raises(UserError, match="no complete checkpoint"):
        checkpoint.restore(tmp_path)


def test_what_a_killed_save_left_is_removed_by_the_next_writer(stack, tmp_path):
    checkpoint.save(tmp_path, 16, stack, {})
    torn = shutil.copytree(checkpoint.at(tmp_path, 16), checkpoint.at(tmp_path, 32))
    (torn / "checkpoint.json").unlink()
    (torn / "state").rename(torn / "state.orbax-checkpoint-tmp")
    assert checkpoint.saved(tmp_path) == [16]
    checkpoint.Writer(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.at(tmp_path, 16).name]


def test_a_second_save_waits_for_the_first_and_replaces_a_damaged_one(stack, tmp_path):
    damaged = checkpoint.save(tmp_path, 16, stack, {})
    next(iter(files(damaged / "state"))).write_bytes(b"")
    with checkpoint.Writer(tmp_path) as writer:
        for tokens in (16, 32, 48):
            writer.save(tokens, stack, {})
    assert checkpoint.saved(tmp_path) == [16, 32, 48]
    for tokens in (16, 32, 48):
        checkpoint.restore(checkpoint.at(tmp_path, tokens))


def test_an_error_in_the_background_surfaces_and_leaves_nothing_half_written(stack, tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 16, stack, {})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("splitjax.train.record.hash_file", full)
    writer = checkpoint.Writer(tmp_path)
    writer.save(32, stack, {})
    writer._pending.exception()
    with pytest.raises(UserError, match="No space left"):
        writer.check()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.at(tmp_path, 16).name]


def test_the_values_saved_are_those_before_the_donation(trainer, tmp_path):
    stack = trainer.init([0, 1, 2])
    kept, batch = [], put(trainer, Batches(3).batch(0))
    with checkpoint.Writer(tmp_path) as writer:
        for t in range(5):
            kept.append(jax.tree.map(np.array, stack))
            writer.save(t, stack, {})
            for _ in range(3):
                stack, _ = trainer.step(stack, batch, trainer.controls(np.full(3, 1e-2), STEP))
    for t in range(5):
        assert same_bits(checkpoint.restore(checkpoint.at(tmp_path, t))[0], kept[t])


def test_an_error_of_the_devices_is_no_fault_of_the_disk(stack, tmp_path, monkeypatch):
    """A process that died breaks the barrier of a save: who is gone is told by those who look for it."""

    def breaks(saver, wait=Saver.wait):
        wait(saver)
        raise jax.errors.JaxRuntimeError("UNKNOWN: reset by peer")

    monkeypatch.setattr(Saver, "wait", breaks)
    writer = checkpoint.Writer(tmp_path)
    target = writer.save(0, stack, {})
    with pytest.raises(jax.errors.JaxRuntimeError, match="reset by peer"):
        writer.wait()
    assert not target.exists()


def test_the_end_of_a_path_that_nobody_goes_on_from_keeps_no_moments(tmp_path):
    trainer = make_trainer()
    phase = Phase(0, 4 * STEP, decay_from=2 * STEP, decay_to=4 * STEP, save_at=(2 * STEP,), closed=True)
    whole = run_phase(trainer, starts.init(trainer, 0), Batches(1), replace(phase, closed=False), tmp_path / "whole")
    run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, tmp_path / "closed")
    last = checkpoint.at(tmp_path / "closed" / "checkpoints", 4 * STEP)
    stack, _ = checkpoint.restore(last)
    assert stack.mu == stack.nu == {}
    assert same_bits(stack.params, whole.params)
    assert not list(last.glob("state/mu*"))
    assert checkpoint.restore(checkpoint.at(last.parent, 2 * STEP))[0].mu, "a mark before the end may be gone on from"
    again = run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, tmp_path / "closed")
    assert same_bits(again.params, whole.params), "what is done is read, not made again"
    with pytest.raises(UserError, match="holds no moments"):
        starts.branch(trainer, last)()
