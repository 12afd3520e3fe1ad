"""`placement: separate`: every expert a job of its own; a killed one leaves the others running."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splitjax import cli
from splitjax.train import checkpoint
from tests.processes import start_all
from tests.train.helpers import same_bits

from .test_processes import tree


def splitjax(*args: object) -> int:
    return cli.main(list(map(str, args)))


def start(config: Path, expert: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "splitjax", "train", str(config), "--expert", str(expert)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@pytest.fixture
def stacked(split_run: Path) -> Path:
    """The same run as one program."""
    return split_run / "run"


def commands(text: str) -> list[str]:
    return [line.split()[-1] for line in text.splitlines() if line.startswith("splitjax train ")]


def test_jobs_of_experts_join_into_the_run_that_one_program_makes(
    stacked: Path, tmp_path: Path, corpus_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tree(corpus_file, tmp_path, placement="separate")
    assert splitjax("train", config, "--expert", 0) == 2
    assert "no prepared data" in capfd.readouterr().err
    assert splitjax("prepare", config) == 0
    assert splitjax("train", config) == 0
    assert commands(capfd.readouterr().out) == ["0", "1", "2"]
    jobs = [start(config, expert) for expert in range(3)]
    phases = tmp_path / "run" / "phases"
    deadline = time.monotonic() + 200
    while not list(phases.glob("*/expert-1")) and jobs[1].poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    jobs[1].kill()
    assert [job.wait(300) for job in jobs] == [0, -9, 0], "the others go on"

    assert splitjax("run", config) == 2
    told = capfd.readouterr().err
    assert "the seeds are trained, experts 1 are not" in told
    assert splitjax("train", config) == 0
    assert commands(capfd.readouterr().out) == ["1"]
    (job,) = start_all([sys.executable, "-m", "splitjax", "train", config, "--expert", 1], count=1, folder=tmp_path)
    assert job.code == 0, job.stderr
    assert splitjax("run", config, "--json") == 0
    found = json.loads(capfd.readouterr().out)["models"]
    wanted = json.loads((stacked / "results.json").read_text())["models"]
    for name, model in wanted.items():
        assert found[name]["test"]["domains"] == pytest.approx(model["test"]["domains"], abs=1e-5)
    for end in stacked.glob("phases/*experts*/checkpoints/*"):
        ours, theirs = (checkpoint.restore(run / end.relative_to(stacked))[0] for run in (tmp_path / "run", stacked))
        assert same_bits(ours, theirs), "on one CPU device not only within 1e-5; the killed one too"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--expert", "9"], "--expert 9: there are experts 0 to 2"),
        (["--expert", "0", "--redo", "train"], "--redo with --expert"),
        (["--expert", "0", "train.placement=stacked"], "--expert 0: experts are stacked, none is a job of its own"),
        (["--expert", "0", "evaluate.prefix=4"], "was made with another config"),
    ],
)
def test_an_expert_that_cannot_be_a_job_is_refused(
    stacked: Path, overrides: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert splitjax("train", stacked, "train.placement=separate", *overrides) == 2
    assert message in capfd.readouterr().err
