"""Starts are counted where they bring nothing, in Python and in the bash that clusters run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from splitjax.launching.restarts import Restarts

from .test_tpu_vm import program


def save(run: Path, tokens: int) -> None:
    path = run / "phases" / "p" / "checkpoints" / str(tokens) / "checkpoint.json"
    path.parent.mkdir(parents=True)
    path.touch()


def test_preemptions_of_a_run_that_gets_on_are_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    restarts = Restarts(str(tmp_path), 2)
    for tokens in range(5):
        save(tmp_path, tokens)
        assert restarts.again(143)
    assert [restarts.again(137) for _ in range(3)] == [True, True, False]
    told = capsys.readouterr().err.splitlines()
    assert told[4] == "splitjax: starting again from the last checkpoint"
    assert told[5:] == [
        "splitjax: starting again from the last checkpoint (1 of 2)",
        "splitjax: starting again from the last checkpoint (2 of 2)",
        "splitjax: ended with code 137, 3 times without progress: given up (--retries 2)",
    ]
    assert not restarts.again(2)
    assert not Restarts(str(tmp_path), 0).again(143)
    assert capsys.readouterr().err == "splitjax: ended with code 143: given up (--retries 0)\n"


def test_a_batch_script_counts_the_same_way(script: Callable[..., str], tmp_path: Path) -> None:
    """The script itself, with a srun that is preempted and a scontrol that writes down."""
    run, tools = tmp_path / "a run's", tmp_path / "bin"
    tools.mkdir()
    (run / "logs").mkdir(parents=True)
    program(tools, "srun", 'echo x >>"$STARTS"; [ "$(wc -l <"$STARTS")" -gt 3 ] || mkdir -p "$SAVED/$RANDOM$RANDOM"; '
            'for f in "$SAVED"/*; do touch "$f/checkpoint.json"; done; exit 143')
    program(tools, "scontrol", 'echo "$@" >>"$REQUEUED"')
    program(tools, "sbatch", 'cat >"$BATCH"')
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}", "STARTS": str(tmp_path / "starts"), "BATCH": str(tmp_path / "batch"),
        "SAVED": str(run / "phases" / "p" / "checkpoints"), "REQUEUED": str(tmp_path / "requeued"), "SLURM_JOB_ID": "7",
    }
    text = script("slurm", f"run_dir={run}", retries=2)
    subprocess.run(["bash", "-euo", "pipefail", "-c", text], env=environment, check=True)
    starts = 0
    while starts < 10:
        starts += 1
        done = subprocess.run(["bash", tmp_path / "batch"], env=environment, capture_output=True, text=True)
        assert done.returncode == 143
        if "given up" in done.stderr:
            break
    assert done.stderr == "splitjax: code 143, 3 times without progress: given up (--retries 2)\n"
    assert starts == 6, "three that got on, and three that brought nothing"
    assert (tmp_path / "requeued").read_text().splitlines() == ["requeue 7"] * 5


def test_a_worker_of_a_tpu_gives_up_aloud(script: Callable[..., str], tmp_path: Path) -> None:
    text = script("tpu-vm", f"run_dir={tmp_path / 'run'}", topology="v5p:2x2x2", zone="z", retries=1)
    assert "times without progress: given up (--retries 1)" in text
