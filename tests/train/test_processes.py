"""The same experts on one device, on four, and on several processes of one machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from splitjax.train import checkpoint, path_tokens, read_metrics
from tools.faults.cluster import free_port

from .helpers import STEP, events, same_bits
from .processes import STEPS, run_name

ROOT = Path(__file__).parents[2]


def begin(folder: Path, count: int, devices: int, loop: str, kind: str = "quick") -> list[subprocess.Popen]:
    command = [sys.executable, "-m", "tests.train.processes", str(free_port()), str(count)]
    return [
        subprocess.Popen(
            [*command, str(index), str(devices), str(folder), loop, kind], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for index in range(count)
    ]


def finish(processes: list[subprocess.Popen], code: int = 0) -> None:
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == code, said


def losses(folder: Path) -> np.ndarray:
    return np.array([row["loss"] for row in read_metrics(folder / "metrics.jsonl")], float)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """A folder that holds the seed and the run on one device."""
    folder = tmp_path_factory.mktemp("processes")
    finish(begin(folder, 1, 1, "scan"))
    return folder


@pytest.mark.parametrize(
    ("count", "devices", "loop"),
    [
        (2, 2, "vmap"),
        pytest.param(1, 4, "scan", marks=pytest.mark.slow),
        pytest.param(4, 1, "scan", marks=pytest.mark.slow),
    ],
)
def test_losses_do_not_depend_on_devices_and_processes(alone, count, devices, loop):
    finish(begin(alone, count, devices, loop))
    here, there = alone / run_name(1, 1, "scan"), alone / run_name(count, devices, loop)
    assert losses(there).shape == (STEPS["quick"], 4)
    assert losses(there) == pytest.approx(losses(here), abs=1e-5)
    # Saved by all processes, read by one: the same experts within rounding.
    one, other = (checkpoint.restore_latest(run / "checkpoints")[0] for run in (here, there))
    assert path_tokens(other).tolist() == path_tokens(one).tolist()
    assert np.asarray(other.params["embedding"]) == pytest.approx(np.asarray(one.params["embedding"]), abs=1e-5)


@pytest.mark.slow
def test_an_expert_that_skips_goes_back_alike_on_several_processes(tmp_path):
    runs = [tmp_path / run_name(count, devices, "scan") for count, devices in ((1, 1), (2, 2))]
    finish(begin(tmp_path, 1, 1, "scan", "broken"))
    finish(begin(tmp_path, 2, 2, "scan", "broken"))
    for run in runs:
        lineage = checkpoint.about(checkpoint.at(run / "checkpoints", STEPS["broken"] * STEP))["lineage"]
        assert lineage["rollbacks"] == [{"expert": 1, "at": 14 * STEP, "to": 9 * STEP}]
        assert events(run) == [(14, 9)]
    one, other = (checkpoint.restore_latest(run / "checkpoints")[0] for run in runs)
    assert other.skipped_K.tolist() == one.skipped_K.tolist() == [0, 3, 0, 0]
    assert np.asarray(other.params["embedding"]) == pytest.approx(np.asarray(one.params["embedding"]), abs=1e-5)


def stopped(alone: Path, name: str, told: int) -> tuple[Path, Path, Path]:
    """Two processes that SIGTERM to one of them ended in the middle.

    Returns:
        A folder for a run that nothing stops, theirs, and their log.
    """
    whole, broken = alone / f"whole{name}", alone / f"broken{name}"
    for folder in (whole, broken):
        folder.mkdir()
        (folder / "seed").symlink_to(alone / "seed")
    processes = begin(broken, 2, 1, "scan", "slow")
    log = broken / run_name(2, 1, "scan") / "metrics.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) > 5):
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        time.sleep(0.05)
    processes[told].send_signal(signal.SIGTERM)
    finish(processes, code=143)
    saved = checkpoint.saved(log.parent / "checkpoints")
    assert len(saved) == 1
    assert 0 < saved[0] < STEPS["slow"] * STEP
    return whole, broken, log


def test_sigterm_to_one_process_saves_on_all_and_the_run_resumes_bit_for_bit(alone):
    whole, broken, log = stopped(alone, "", told=1)
    finish(begin(broken, 2, 1, "scan", "long"))  # the same without the delay between steps
    finish(begin(whole, 2, 1, "scan", "long"))
    runs = [folder / log.parent.name / "checkpoints" for folder in (whole, broken)]
    assert same_bits(*(checkpoint.restore(checkpoint.at(run, STEPS["long"] * STEP))[0] for run in runs))
    assert np.array_equal(losses(whole / log.parent.name), losses(log.parent))


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one_bit_for_bit(alone):
    whole, broken, log = stopped(alone, "-hosts", told=0)
    log.parent.rename(broken / run_name(1, 2, "scan"))
    finish(begin(broken, 1, 2, "scan", "long"))
    finish(begin(whole, 2, 1, "scan", "long"))
    ends = [checkpoint.at(folder / "checkpoints", STEPS["long"] * STEP)
            for folder in (whole / run_name(2, 1, "scan"), broken / run_name(1, 2, "scan"))]
    assert same_bits(*(checkpoint.restore(end)[0] for end in ends))
