"""Processes on this machine: what each is told, and when they are started again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from splitjax import launching
from splitjax.config import UserError, load
from splitjax.launching import Options, Request
from splitjax.launching.local import Local, visible_gpus


def request(config: Path, **options: Any) -> Request:
    return Request(str(config), ("train.batch_size=8",), load(config), Options(**options))


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def test_each_process_is_told_its_place(config: Path) -> None:
    processes = Local().processes(request(config, processes=3), port=1234)
    for rank, process in enumerate(processes):
        assert process.label == str(rank)
        assert process.command[1:] == ["-P", "-m", "splitjax", "run", str(config), "train.batch_size=8"]
        assert process.environment == {
            "SPLITJAX_COORDINATOR": "127.0.0.1:1234",
            "SPLITJAX_PROCESSES": "3",
            "SPLITJAX_PROCESS": str(rank),
            "JAX_NUM_CPU_DEVICES": "1",
        }


def test_a_mesh_says_how_many_cpu_devices_there_are(config: Path) -> None:
    overrides = ["train.mesh={fsdp: 2, tensor: 3}"]
    asked = Request(str(config), tuple(overrides), load(config, overrides), Options(processes=3))
    assert {each.environment["JAX_NUM_CPU_DEVICES"] for each in Local().processes(asked, port=1)} == {"2"}
    with pytest.raises(UserError, match="a mesh of 6 devices cannot be shared by 4"):
        Local().processes(Request(str(config), (), asked.config, Options(processes=4)), port=1)


def test_one_process_is_no_cluster(config: Path) -> None:
    (only,) = Local().processes(request(config), port=1)
    assert not [name for name in only.environment if name.startswith("SPLITJAX")]


def test_gpus_are_shared_out_evenly(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setenv("XLA_FLAGS", "--xla_mine=1")
    processes = Local().processes(request(config, processes=2), port=1)
    assert [each.environment["CUDA_VISIBLE_DEVICES"] for each in processes] == ["4,5", "6,7"]
    flags = processes[0].environment["XLA_FLAGS"].split()
    assert len(flags) > 3
    assert flags[-1] == "--xla_mine=1", "what the user has set comes last and so holds"
    with pytest.raises(UserError, match="4 GPUs cannot be shared by 3"):
        Local().processes(request(config, processes=3), port=1)


def test_gpus_are_counted_by_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\n[ $1 = --list-gpus ] && echo GPU 0: H100 && echo GPU 1: H100\n")
    smi.chmod(0o755)
    assert visible_gpus() == ["0", "1"]


def program(folder: Path, body: str) -> list[str]:
    """A run that counts its starts in `starts`, then does `body`."""
    count = f"import sys; f = open({str(folder / 'starts')!r}, 'a'); f.write('.'); f.close()"
    starts = f"n = len(open({str(folder / 'starts')!r}).read())"
    return [sys.executable, "-c", f"{count}; {starts}; {body}"]


@pytest.mark.parametrize(
    ("body", "retries", "starts", "code"),
    [
        ("sys.exit(143 if n < 3 else 0)", 10, 3, 0),  # preempted twice
        ("sys.exit(143)", 1, 2, 143),  # as often as told
        ("sys.exit(143)", 0, 1, 143),
        ("sys.exit(2)", 10, 1, 2),  # a mistake stays one
        ("sys.exit(0)", 10, 1, 0),
    ],
)
def test_what_was_preempted_starts_again(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, retries: int, starts: int, code: int
) -> None:
    monkeypatch.setattr(Request, "command", lambda self, *words: program(tmp_path, body))
    assert launching.launch(str(config), on="local", retries=retries) == code
    assert len((tmp_path / "starts").read_text()) == starts


def test_a_restart_and_a_death_are_told(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    body = "import os, time; sys.exit(143) if n < 3 and os.environ['SPLITJAX_PROCESS'] == '1' else time.sleep(1)"
    monkeypatch.setattr(Request, "command", lambda self, *words: program(tmp_path, body))
    assert launching.launch(str(config), on="local", processes=2, retries=5) == 0
    told = capfd.readouterr().err
    assert "process 1 ended with exit code 143; ending the other 1" in told
    assert "starting again from the last checkpoint (1 of 5)" in told
