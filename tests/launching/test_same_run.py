"""A run launched on several processes, here and on Slurm, is the run that one process makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny import tiny_tree

from .test_slurm import cluster, hand_in, missing, wait  # noqa: F401 - cluster is a fixture

pytestmark = pytest.mark.slow


def config_in(folder: Path, corpus_file: Path, tokens: str = "3k") -> Path:
    """A run with its split fixed."""
    tree = tiny_tree(corpus_file, folder / "run") | {"split": 0.5, "sweep": None, "budget": {"tokens": tokens}}
    (folder / "c.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder / "c.yaml"


def splitjax(*words: object, **popen: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "splitjax", *map(str, words)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, capture_output=True, text=True, timeout=580, env=environment, **popen)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, corpus_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    done = splitjax("run", config_in(folder, corpus_file))
    assert done.returncode == 0, done.stderr
    return folder / "run"


def losses(run: Path) -> Iterator[tuple[str, list[float]]]:
    for name, model in json.loads((run / "results.json").read_text(encoding="utf-8"))["models"].items():
        yield name, model["test"]["domains"]


def assert_same(run: Path, reference: Path) -> None:
    wanted, found = dict(losses(reference)), dict(losses(run))
    assert found.keys() == wanted.keys()
    for name, domains in wanted.items():
        assert found[name] == pytest.approx(domains, abs=1e-5), name


def test_four_processes_here(alone: Path, tmp_path: Path, corpus_file: Path) -> None:
    done = splitjax("launch", config_in(tmp_path, corpus_file), "--on", "local", "--processes", 4)
    assert done.returncode == 0, done.stderr
    assert "[0] " in done.stdout
    assert_same(tmp_path / "run", alone)


def test_experts_apart_here(alone: Path, tmp_path: Path, corpus_file: Path) -> None:
    done = splitjax("launch", config_in(tmp_path, corpus_file), "--on", "local", "train.placement=separate")
    assert done.returncode == 0, done.stderr
    assert "[expert 2]" in done.stderr
    assert_same(tmp_path / "run", alone)


@pytest.mark.skipif(bool(missing), reason=f"no Slurm here: {', '.join(missing)}")
@pytest.mark.parametrize("processes", [1, 2])
def test_one_node_of_slurm(
    cluster: None, alone: Path, tmp_path: Path, corpus_file: Path, processes: int, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    done = splitjax(
        "launch", config_in(tmp_path, corpus_file), "--on", "slurm", "--processes", processes, "--dry-run",
    )
    assert done.returncode == 0, done.stderr
    job = hand_in(done.stdout)
    ended = wait(job, "COMPLETED", "FAILED", "CANCELLED", seconds=500)
    log = tmp_path / "run" / "logs" / f"slurm-{job}.log"
    assert ended.startswith("COMPLETED"), log.read_text()
    assert_same(tmp_path / "run", alone)


def test_a_smaller_mesh_takes_the_run_up(tmp_path: Path, corpus_file: Path) -> None:
    """Told to go on four processes, taken up on two: the same losses, and it says what changed."""
    (tmp_path / "whole").mkdir()
    whole = splitjax("run", config_in(tmp_path / "whole", corpus_file, "40k"))
    assert whole.returncode == 0, whole.stderr
    config = config_in(tmp_path, corpus_file, "40k")
    command = [sys.executable, "-m", "splitjax", "launch", str(config), "--on", "local", "--processes"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    first = subprocess.Popen(
        [*command, "4"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not list(tmp_path.glob("run/phases/*/metrics*.jsonl")):
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    _, told = first.communicate(timeout=200)
    assert first.returncode == 143, told
    assert not (tmp_path / "run" / "results.json").exists()
    again = splitjax("launch", config, "--on", "local", "--processes", 2)
    assert again.returncode == 0, again.stderr
    assert "resumed on" in again.stderr, again.stderr
    assert "4 processes" in again.stderr
    assert_same(tmp_path / "run", tmp_path / "whole" / "run")
