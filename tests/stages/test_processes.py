"""`splitjax run` on several processes and devices: the same run as on one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import Ended, start_all
from tests.tiny import ONE_SPLIT, tiny_tree


def tree(corpus_file: Path, folder: Path, **train: Any) -> Path:
    """The config of `split_run`, in a folder of its own."""
    made = tiny_tree(corpus_file, folder / "run") | ONE_SPLIT
    made["train"] |= train
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


def run(config: Path, *overrides: str, count: int = 1, devices: int = 1) -> list[Ended]:
    command = [sys.executable, "-m", "splitjax", "run", config, "--json", *overrides]
    return start_all(command, count=count, folder=config.parent, devices=devices)


@pytest.mark.parametrize(
    ("count", "devices", "mesh", "placement", "layout"),
    [
        (2, 3, None, "stacked", "expert 3 × data 1 × fsdp 2 × tensor 1"),
        pytest.param(2, 1, {"data": 2}, "serial", None, marks=pytest.mark.slow),
        pytest.param(1, 4, {"expert": 4}, "stacked", "3 experts share 1 groups", marks=pytest.mark.slow),
        pytest.param(4, 1, {"fsdp": 2, "tensor": 2}, "stacked", None, marks=pytest.mark.slow),
    ],
)
def test_a_run_does_not_depend_on_processes_and_devices(
    split_run: Path, tmp_path: Path, corpus_file: Path, count: int, devices: int, mesh: Any, placement: str,
    layout: str | None,
) -> None:
    config = tree(corpus_file, tmp_path, mesh=mesh, placement=placement)
    first, *others = run(config, count=count, devices=devices)
    assert first.code == 0, first.stderr
    for other in others:
        assert other.code == 0, other.stderr
        assert not other.stdout
        assert "train" not in other.stderr, "progress is told once"
    assert json.loads(first.stdout)["windows"] == 8
    assert layout is None or layout in first.stderr
    found, wanted = (json.loads((folder / "run" / "results.json").read_text()) for folder in (tmp_path, split_run))
    assert found["models"].keys() == wanted["models"].keys()
    for name, model in found["models"].items():
        assert model["test"]["domains"] == pytest.approx(wanted["models"][name]["test"]["domains"], abs=1e-5)
    (again,) = run(config, "train.mesh=null")
    assert again.code == 0, again.stderr
    assert "Nothing to do" in again.stderr, "where it ran is no part of what it is"


def test_a_mistake_ends_all_processes_and_is_told_once(tmp_path: Path) -> None:
    config = tree(tmp_path / "nothing.jsonl", tmp_path)
    first, other = run(config, count=2)
    assert (first.code, other.code) == (2, 2)
    assert "nothing.jsonl" in first.stderr
    assert "nothing.jsonl" not in other.stderr
    assert not (tmp_path / "run").exists(), "a refusal leaves nothing"


def test_a_mesh_of_other_devices_is_refused(tmp_path: Path, corpus_file: Path) -> None:
    (done,) = run(tree(corpus_file, tmp_path), "train.mesh={fsdp: 2}")
    assert done.code == 2
    assert "train.mesh: a mesh of expert 1 × data 1 × fsdp 2 × tensor 1 is 2 devices, 1 are here" in done.stderr
    assert not (tmp_path / "run").exists()
