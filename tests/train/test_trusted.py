"""Which checkpoints a phase believes, and for how long it keeps them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from splitjax.config import ReadError, Train, UserError, whole_files
from splitjax.train import Phase, Trainer, checkpoint, record, run_phase, starts

from .helpers import STEP, Batches, make_trainer, recipe


def train(trainer: Trainer, folder: Path, stop: int, identity: str = "mine") -> None:
    begin, phase = starts.init(trainer, 0), Phase(0, stop * STEP)
    run_phase(trainer, begin, Batches(1), phase, folder, meta={"identity": identity})


def test_a_checkpoint_copied_from_another_run_is_refused_by_name(trainer: Trainer, tmp_path: Path) -> None:
    train(trainer, tmp_path / "other", 2, "another")
    theirs = checkpoint.at(tmp_path / "other" / "checkpoints", 2 * STEP)
    ours = shutil.copytree(theirs, checkpoint.at(tmp_path / "run" / "checkpoints", 2 * STEP))
    with pytest.raises(UserError, match=f"{ours}: a checkpoint of another run or phase"):
        train(trainer, tmp_path / "run", 4)
    with pytest.raises(UserError, match="another run or phase"):
        checkpoint.belongs(ours, "mine")
    assert checkpoint.belongs(ours, "another") == ours
    shutil.rmtree(ours)
    train(trainer, tmp_path / "run", 4)


def test_a_checkpoint_from_before_the_word_goes_on(trainer: Trainer, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 16, trainer.init(0), {})
    assert checkpoint.restore_latest(tmp_path, identity="mine") is not None


def test_experts_of_two_runs_are_no_set(trainer: Trainer, tmp_path: Path) -> None:
    target = tmp_path / "checkpoints" / record.name_of(16)
    parts = [record.part_of(target, k, target.name) for k in range(2)]
    for part, identity in zip(parts, ("mine", "another"), strict=True):
        checkpoint.save(part.parent, 16, trainer.init(0), {"identity": identity})
    with pytest.raises(UserError, match=f"{parts[1]}: a checkpoint of another run"):
        record.write_set(target, parts)
    assert not target.exists()


@pytest.mark.parametrize("victim", ["checkpoint.json", "0.0"])
def test_a_checkpoint_that_cannot_be_read_stops_the_run_and_stays(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    """It may be whole: to train anew would throw away what an answer of the disk hides for a while."""
    train(trainer, tmp_path, 2)
    real = whole_files.open_record

    def refuse(path: Any, most: int) -> Any:
        if Path(path).name == victim and f"{2 * STEP:015d}" in str(path):
            raise OSError(5, "Input/output error")
        return real(path, most)

    monkeypatch.setattr(whole_files, "open_record", refuse)
    with pytest.raises(ReadError, match=f"{victim}: .*Input/output error"):
        train(trainer, tmp_path, 4)
    monkeypatch.undo()
    assert checkpoint.saved(tmp_path / "checkpoints") == [2 * STEP]


def test_what_the_system_does_not_tell_is_not_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any) -> None:
        raise PermissionError(13, "Permission denied")

    assert not record.is_there(tmp_path / "none")
    monkeypatch.setattr("os.stat", refuse)
    with pytest.raises(ReadError, match="Permission denied"):
        record.is_there(tmp_path / "none")


def test_keep_last_keeps_the_newest_of_keep_every_and_every_mark(tmp_path: Path) -> None:
    trainer = make_trainer(expert_loop="scan", keep_every=2 * STEP, keep_last=2)
    phase = Phase(0, 11 * STEP, save_at=(STEP, 4 * STEP))
    run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, tmp_path)
    assert checkpoint.saved(tmp_path / "checkpoints") == [STEP * t for t in (1, 4, 8, 10, 11)]


def test_keep_last_is_no_part_of_the_recipe_and_goes_with_keep_every() -> None:
    assert recipe(keep_every=10, keep_last=2).recipe() == recipe(keep_every=10).recipe()
    with pytest.raises(ValueError, match="keep_last limits what keep_every keeps"):
        Train(keep_last=2)
