"""The batch script on a real one-node Slurm (tools/slurm_node), skipped where Slurm is not installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from splitjax.config import UserError

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[..., str]
PROGRAMS = ("sbatch", "slurmctld", "slurmd", "munged")
missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"no Slurm here: {', '.join(missing)} (Debian: slurm-wlm, munge)")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([ROOT / "tools" / "slurm_node", "start", folder], capture_output=True, text=True)
    if started.returncode:
        pytest.skip(f"Slurm does not start here: {started.stderr.strip()[-300:]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield
    subprocess.run([ROOT / "tools" / "slurm_node", "stop", folder], check=True)


def say(command: str, *words: str) -> str:
    return subprocess.run([command, *words], capture_output=True, text=True, check=True).stdout


def hand_in(script: str) -> int:
    """Run what a dry run printed; returns the job's id."""
    done = subprocess.run(["bash", "-euo", "pipefail"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def state(job: int) -> str:
    found = re.search(r"JobState=(\w+) Reason=(\w+)", say("scontrol", "show", "job", str(job)))
    assert found
    return f"{found[1]} {found[2]}"


def wait(job: int, *states: str, seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (now := state(job)).startswith(states):
            return now
        time.sleep(0.3)
    raise AssertionError(f"job {job} is {state(job)}, not {states}")


# A run that tells who it is, and saves when told to.
PROGRAM = """\
import os, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
names = ("SPLITJAX_PROCESS", "SPLITJAX_PROCESSES", "SPLITJAX_COORDINATOR", "SLURM_LOCALID")
print("rank", *(os.environ.get(name) for name in names), flush=True)
end = time.monotonic() + float(sys.argv[1]) * (os.environ.get("SLURM_RESTART_COUNT", "0") == "0")
while not told and time.monotonic() < end:
    time.sleep(0.1)
print("saved" if told else "done", flush=True)
sys.exit(143 if told else 0)
"""


@pytest.fixture
def job(cluster: None, script: Script, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """Hand in a job whose run is PROGRAM for so many seconds."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def start(seconds: float, **options: object) -> tuple[int, Path]:
        text = script("slurm", f"run_dir={tmp_path / 'run'}", **options)
        ours = f"{sys.executable} -P -m splitjax run"
        assert ours in text
        text = text.replace(ours, f"{sys.executable} {tmp_path / 'program.py'} {seconds}")
        number = hand_in(text.replace("sleep 15", "sleep 5"))
        return number, tmp_path / "run" / "logs" / f"slurm-{number}.log"

    return start


def test_slurm_accepts_the_script(cluster: None, script: Script, tmp_path: Path) -> None:
    text = script("slurm", f"run_dir={tmp_path}", nodes=1, processes=2, sbatch=("--time=10",))
    text = text.replace("sbatch <<", "sbatch --test-only <<")
    done = subprocess.run(["bash"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "to start at" in done.stderr
    worse = subprocess.run(["bash"], input=text.replace("--requeue", "--requeueue"), capture_output=True, text=True)
    assert worse.returncode != 0


def test_every_rank_knows_its_place(job: Callable[..., tuple[int, Path]]) -> None:
    number, log = job(0, processes=2)
    wait(number, "COMPLETED")
    told = sorted(line for line in log.read_text().splitlines() if line.startswith("rank"))
    coordinator = told[0].split()[3]
    assert re.fullmatch(rf"{say('hostname', '-s').strip()}:\d+", coordinator)
    assert told == [f"rank {rank} 2 {coordinator} None" for rank in range(2)]


def test_a_sweep_in_parts_is_three_jobs_one_after_another(cluster: None, script: Script, tmp_path: Path) -> None:
    sweep = "sweep={models: [{d_model: 8}], d_pretrain: [1k], d_special: [0]}"
    text = script("slurm", f"run_dir={tmp_path / 'run'}", sweep, parts=3, processes=2)
    (tmp_path / "say").write_text(f'[ $1 = sweep ] || set -- $1\necho $1 $4 >>{tmp_path / "told"}\n')
    text = text.replace(f"{sys.executable} -P -m splitjax", f"bash {tmp_path / 'say'}")
    last = hand_in(text)
    wait(last, "COMPLETED", seconds=90)
    told = (tmp_path / "told").read_text().split("\n")[:-1]
    assert told[0] == "prepare"
    assert sorted(told[1:4]) == [f"sweep {part}/3" for part in (1, 2, 3)]
    assert told[4:] == ["run"] * 2


def test_parts_of_no_sweep_are_refused(script: Script) -> None:
    with pytest.raises(UserError, match="--parts shares out a sweep, and the config has none"):
        script("slurm", parts=2)


@pytest.mark.slow
def test_a_job_that_must_go_saves_and_comes_back(job: Callable[..., tuple[int, Path]]) -> None:
    """SIGTERM for the step, as Slurm sends it before the time limit: the job is queued again and then ends well."""
    number, log = job(60, processes=2)
    wait(number, "RUNNING")
    while log.read_text().count("rank") < 2 if log.exists() else True:
        time.sleep(0.2)
    say("scancel", "--signal=TERM", f"{number}.0")
    assert wait(number, "PENDING") == "PENDING BeginTime"
    assert log.read_text().count("saved") == 2
    say("scontrol", "update", f"JobId={number}", "StartTime=now")  # Slurm would let two minutes pass
    wait(number, "COMPLETED")
    assert log.read_text().count("done") == 2


@pytest.mark.slow
def test_the_time_limit_gives_time_to_save(job: Callable[..., tuple[int, Path]]) -> None:
    """Slurm's own clock: with a limit below the warning time, SIGTERM comes at once."""
    number, log = job(60, sbatch=("--time=1",))
    assert wait(number, "PENDING BeginTime", seconds=60)
    assert "saved" in log.read_text()
    say("scancel", str(number))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["delete", "retries"])
def test_a_job_that_shall_not_come_back_does_not(
    job: Callable[..., tuple[int, Path]], script: Script, way: str
) -> None:
    number, log = job(60, processes=2, retries=0 if way == "retries" else 10)
    while log.read_text().count("rank") < 2 if log.exists() else True:
        time.sleep(0.2)
    if way == "delete":
        subprocess.run(["bash", "-c", script("slurm", action="delete")], check=True)
    else:
        say("scancel", "--signal=TERM", f"{number}.0")
    ended = wait(number, "CANCELLED", "FAILED", "COMPLETED", "PENDING")
    assert ended.split()[0] == ("CANCELLED" if way == "delete" else "FAILED")
    assert log.read_text().count("saved") == 2


def test_a_failure_is_the_jobs_failure(job: Callable[..., tuple[int, Path]], tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; sys.exit(2)")
    number, _ = job(0)
    wait(number, "FAILED")
