"""Full and read-only disks, on a small file system of their own."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from splitjax import cli
from splitjax.config import UserError, disk_errors
from splitjax.train import Phase, checkpoint, run_phase, starts, store
from tools.faults import mounts
from tools.faults.world import tiny_tree, write_corpus

from .helpers import STEP, Batches, same_bits, transformer_trainer

pytestmark = pytest.mark.skipif(not mounts.allowed(), reason="needs the right to mount a file system")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB that is ours alone."""
    with mounts.small_disk(tmp_path / "disk", "4m") as disk:
        yield disk


def config_on(disk: Path, tmp_path: Path) -> Path:
    tree = tiny_tree(write_corpus(tmp_path / "docs.jsonl", 120), disk / "run")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "c.yaml"


def test_a_full_disk_leaves_the_last_good_checkpoint_and_the_run_goes_on_from_it(trainer, small_disk, tmp_path):
    phase = Phase(0, 10 * STEP, save_at=(5 * STEP,))
    whole = run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, tmp_path / "whole")

    run = small_disk / "run"

    def fill_after_seven(report):
        if report.tokens == 7 * STEP:
            while not checkpoint.saved(run / "checkpoints"):  # it is written in the background
                time.sleep(0.01)
            mounts.fill(small_disk)

    with pytest.raises(UserError, match=r"not written \(No space left on device: needs \d.\d MB, has 0.0 MB\)"):
        run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, run, on_step=fill_after_seven)
    assert list((run / "checkpoints").iterdir()) == [checkpoint.at(run / "checkpoints", 5 * STEP)]
    checkpoint.restore(checkpoint.at(run / "checkpoints", 5 * STEP))
    (small_disk / "filler").unlink()
    assert same_bits(run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, run), whole)


@pytest.mark.parametrize("experts", [1, 3])
def test_the_room_that_is_asked_for_is_what_a_save_takes_and_not_much_more(experts, small_disk):
    one = transformer_trainer()
    stack = one.init(0) if experts == 1 else one.init([0] * experts)
    before = shutil.disk_usage(small_disk).used
    checkpoint.save(small_disk / "p", 0, stack, {})
    used = shutil.disk_usage(small_disk).used - before
    assert used <= store.size_on_disk(checkpoint.tree_of(stack)) <= 2 * used


def test_a_read_only_folder_of_checkpoints_is_named_before_a_save_begins(trainer, small_disk):
    stack = trainer.init(0)
    with checkpoint.Writer(small_disk) as writer, mounts.read_only(small_disk):
        with pytest.raises(UserError, match=f"^{small_disk}/0+16: cannot be written \\(Read-only file system\\)"):
            writer.save(STEP, stack, {})
        assert writer._writes._saver is None


@pytest.mark.parametrize("command", ["run", "prepare", "sweep"])
def test_a_read_only_disk_is_refused_in_one_line(command, small_disk, tmp_path, capsys):
    config = config_on(small_disk, tmp_path)
    with mounts.read_only(small_disk):
        assert cli.main([command, str(config)]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("splitjax: ")]
    assert len(said) == 1
    assert "cannot be written (Read-only file system)" in said[0]
    assert str(small_disk / "run") in said[0]


def test_a_full_disk_in_preparation_is_told_by_name_and_leaves_nothing(small_disk, tmp_path, capsys):
    config = config_on(small_disk, tmp_path)
    mounts.fill(small_disk, leave=64 << 10)
    assert cli.main(["prepare", str(config)]) == 2
    said = capsys.readouterr().err
    assert "No space left" in said or "cannot be written" in said
    assert not (small_disk / "run" / "data").exists()
    assert not (small_disk / "run" / ".data.partial").exists()


def test_what_a_disk_refuses_is_told_by_name_wherever_it_happens(small_disk):
    with mounts.read_only(small_disk):
        with pytest.raises(UserError) as refusal, disk_errors(small_disk):
            (small_disk / "done.json").unlink(missing_ok=True)
        assert str(refusal.value).startswith(f"{small_disk / 'done.json'}: cannot be written (Read-only file system)")
    with pytest.raises(UserError, match="cannot be written"), disk_errors("run"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), disk_errors(small_disk):  # a mistake of ours stays one
        (small_disk / "gone").read_text()
