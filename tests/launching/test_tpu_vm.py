"""TPU VMs against a gcloud that refuses what is not documented, and the workers' script in a scratch home."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from splitjax import launching

HERE = Path(__file__).parent
FLAGS = json.loads((HERE / "gcloud_flags.json").read_text(encoding="utf-8"))["commands"]
Start = Callable[..., list[list[str]]]
NAME = "tiny-run-rt5zxod2"  # base32 of the first five bytes of the SHA-256 of gs://b/runs/Tiny.Run


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cloud"
    (folder / "bin").mkdir(parents=True)
    (folder / "state").write_text("")
    fake = shlex.join([sys.executable, str(HERE / "fake_gcloud.py")])
    program(folder / "bin", "gcloud", f'exec {fake} "$@"')
    program(folder / "bin", "sleep", "exit 0")
    monkeypatch.setenv("FAKE_GCLOUD", str(folder))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def start(cloud: Path, config: Path) -> Start:
    def run(action: str = "start", **options: object) -> list[list[str]]:
        place = {"topology": "v5p:4x4x4", "zone": "z", "bucket": "b"} | options
        (cloud / "calls").write_text("")
        assert launching.launch(str(config), ["train.batch_size=8"], on="tpu-vm", action=action, **place) == 0
        return [json.loads(line) for line in (cloud / "calls").read_text().splitlines()]

    return run


def verbs(calls: list[list[str]]) -> list[str]:
    return [call[0] for call in calls if call[0] != "describe"]


def test_a_first_start_creates_waits_and_starts_every_worker(start: Start, cloud: Path, config: Path) -> None:
    calls = start()
    assert verbs(calls) == ["create", "scp", "ssh"]
    create = next(call for call in calls if call[0] == "create")
    assert {NAME, "--spot", "--accelerator-type=v5p-128", "--runtime-version=v2-alpha-tpuv5"} <= set(create)
    assert {"--worker=all", "--node=all", "--command=bash start.sh"} <= set(calls[-1])
    assert {path.name for path in (cloud / "home").iterdir()} == {"start.sh", config.name}
    assert (cloud / "home" / config.name).read_bytes() == config.read_bytes()


def test_the_same_command_resumes(start: Start, cloud: Path) -> None:
    start()
    assert verbs(start()) == ["scp", "ssh"], "the machines are there: only the run is started"
    (cloud / "state").write_text("SUSPENDED")
    assert verbs(start()) == ["delete", "create", "scp", "ssh"], "taken away: asked for again"


def test_a_request_that_fails_ends_in_an_error(cloud: Path, config: Path) -> None:
    (cloud / "state").write_text("PROVISIONING FAILED")
    place = {"topology": "v5p:4x4x4", "zone": "z", "bucket": "b"}
    assert launching.launch(str(config), on="tpu-vm", **place) == 1
    assert '"scp"' not in (cloud / "calls").read_text()


def test_logs_and_delete(start: Start) -> None:
    start()
    assert verbs(start("logs")) == ["ssh"]
    (delete,) = start("delete")
    assert {"delete", NAME, "--force", "--quiet"} <= set(delete)


def test_several_slices_and_a_wheel(start: Start, cloud: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "splitjax-0-py3-none-any.whl"
    wheel.write_bytes(b"")
    create = start(topology="2xv6e:8x8", package=str(wheel), project="p", on_demand=True)[1]
    assert {"--node-count=2", f"--node-prefix={NAME}", "--project=p"} <= set(create)
    assert "--spot" not in create
    assert (cloud / "home" / wheel.name).exists()
    assert f"./{wheel.name}[tpu]" in (cloud / "home" / "start.sh").read_text()


def test_the_fake_refuses_what_is_not_documented(cloud: Path) -> None:
    for args in (["create", "x", "--zone=z", "--spott"], ["destroy", "x", "--zone=z"], ["delete", "x"]):
        command = ["gcloud", "compute", "tpus", "queued-resources", *args]
        assert subprocess.run(command, capture_output=True).returncode == 2, args


@pytest.fixture
def worker(start: Start, cloud: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A home with what was copied, where pip and uv do nothing and the run is a script of ours."""
    program(cloud / "bin", "python3", "exit 0")
    program(cloud / "bin", "gcsfuse", 'echo "$@" >>"$HOME/mounts"')
    program(cloud / "bin", "mountpoint", 'grep -qs bucket "$HOME/mounts"')
    home = cloud / "home"

    def run(body: str, **options: object) -> subprocess.CompletedProcess[str]:
        start(**options)
        (home / "splitjax-venv" / "bin").mkdir(parents=True, exist_ok=True)
        program(home / "splitjax-venv" / "bin", "python", body)
        environment = os.environ | {"HOME": str(home)}
        return subprocess.run(["bash", "start.sh"], cwd=home, env=environment, capture_output=True, text=True)

    return run


def log(cloud: Path, lines: int) -> list[str]:
    """The worker's log, once it has so many lines."""
    path, end = cloud / "home" / "splitjax.log", time.monotonic() + 20
    while time.monotonic() < end and (not path.exists() or path.read_text().count("\n") < lines):
        time.sleep(0.05)
    return path.read_text().splitlines()


def test_a_worker_mounts_the_bucket_and_starts_again_after_a_preemption(worker, cloud: Path, config: Path) -> None:
    body = 'echo "$PWD $SPLITJAX_DISTRIBUTED $*"; n=$(wc -l <"$HOME/splitjax.log"); [ $n -lt 3 ] && exit 143; exit 0'
    done = worker(body)
    assert done.returncode == 0, done.stderr
    told = log(cloud, 3)
    home = cloud / "home"
    assert told == [f"{home}/bucket auto -P -m splitjax run {home}/{config.name} train.batch_size=8"] * 3
    assert (home / "mounts").read_text() == "--implicit-dirs b bucket\n"


@pytest.mark.parametrize(("code", "retries", "times"), [(2, 10, 1), (143, 1, 2), (134, 0, 1)])
def test_a_worker_starts_again_as_often_as_told_and_not_after_a_mistake(
    worker, cloud: Path, code: int, retries: int, times: int
) -> None:
    worker(f"echo ran; exit {code}", retries=retries)
    log(cloud, times)
    time.sleep(0.5)
    told = log(cloud, times)
    assert told[:times] == ["ran"] * times
    given_up = f"splitjax: code {code}, {times} times without progress: given up (--retries {retries})"
    assert told[times:] == ([given_up] if code != 2 else [])


def test_a_worker_runs_one_at_a_time(worker, cloud: Path) -> None:
    stop = cloud / "stop"
    body = f"echo ran; until [ -e {shlex.quote(str(stop))} ]; do read -t 0.1 <> <(:); done"
    worker(body)
    log(cloud, 1)
    assert "runs here already" in worker(body).stdout
    stop.write_text("")
    assert log(cloud, 1) == ["ran"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
@pytest.mark.parametrize("command", list(FLAGS))
def test_the_installed_gcloud_knows_the_documented_flags(command: str, tmp_path: Path) -> None:
    environment = os.environ | {"CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    told = subprocess.run(["gcloud", *command.split(), "--help"], capture_output=True, text=True, env=environment)
    page = re.sub(r"\x1b\[[\d;]*m", "", told.stdout)
    assert [flag for flag in FLAGS[command]["flags"] if not re.search(rf"{flag}\b", page)] == []


def test_a_key_reaches_the_worker_and_does_not_stay(worker, cloud: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3cr3t $HOME '")
    done = worker('echo "$WANDB_API_KEY"', env=("WANDB_API_KEY",))
    assert done.returncode == 0, done.stderr
    assert log(cloud, 1) == ["s3cr3t $HOME '"]
    assert not (cloud / "home" / "splitjax.env").exists()
    kept = [path.read_text() for path in (cloud / "home").glob("*.sh")] + [(cloud / "calls").read_text()]
    assert not any("s3cr3t" in text for text in kept)
