"""Full and read-only disks, on a small file system of their own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from splitjax import cli
from splitjax.config import UserError
from splitjax.train import Phase, checkpoint, run_phase, starts
from tools.faults.world import tiny_tree, write_corpus

from .helpers import STEP, Batches, same_bits


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB that is ours alone."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free; remove the file to mend it."""
    with open(disk / "filler", "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return disk / "filler"


def test_a_full_disk_leaves_the_last_good_checkpoint_and_the_run_goes_on_from_it(trainer, small_disk, tmp_path):
    phase = Phase(0, 10 * STEP, save_at=(5 * STEP,))
    whole = run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, tmp_path / "whole")

    run = small_disk / "run"

    def fill_after_seven(report):
        if report.tokens == 7 * STEP:
            while not checkpoint.saved(run / "checkpoints"):  # it is written in the background
                time.sleep(0.01)
            fill(small_disk)

    with pytest.raises(UserError, match=r"(not written|cannot be written).*(No space left|ENOSPC|RESOURCE_EXHAUSTED)"):
        run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, run, on_step=fill_after_seven)
    assert checkpoint.saved(run / "checkpoints") == [5 * STEP]
    checkpoint.restore(checkpoint.at(run / "checkpoints", 5 * STEP))
    (small_disk / "filler").unlink()
    assert same_bits(run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, run), whole)


@pytest.mark.parametrize("command", ["run", "prepare", "sweep"])
def test_a_read_only_disk_is_refused_in_one_line(command, small_disk, tmp_path, capsys):
    tree = tiny_tree(write_corpus(tmp_path / "docs.jsonl", 120), small_disk / "run")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert cli.main([command, str(tmp_path / "c.yaml")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("splitjax: ")]
    assert len(said) == 1
    assert "cannot be written (Read-only file system)" in said[0]
    assert str(small_disk / "run") in said[0]


def test_a_full_disk_in_preparation_is_told_by_name_and_leaves_nothing(small_disk, tmp_path, capsys):
    tree = tiny_tree(write_corpus(tmp_path / "docs.jsonl", 120), small_disk / "run")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    filler = fill(small_disk)
    with open(filler, "r+b") as file:
        file.truncate(filler.stat().st_size - (64 << 10))
    assert cli.main(["prepare", str(tmp_path / "c.yaml")]) == 2
    said = capsys.readouterr().err
    assert "No space left" in said or "cannot be written" in said
    assert not (small_disk / "run" / "data").exists()
    assert not (small_disk / "run" / ".data.partial").exists()
