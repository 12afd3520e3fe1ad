"""Experts as jobs of their own: in what order, which go on, which start again; played by a small program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from splitjax import launching
from splitjax.config import UserError, load
from splitjax.launching import Request
from splitjax.launching.local import expert_shares

# A run of three experts: writes down what it is asked, lists the experts that have no file of their own yet, and lets
# expert 1 end with CODES, one start after another.
PROGRAM = """\
import pathlib, sys
here, codes, (verb, *rest) = pathlib.Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
with open(here / "told", "a") as file:
    file.write(" ".join([verb, *rest[1:]]) + "\\n")
if verb == "train" and "--expert" not in rest:
    for k in range(3):
        if not (here / f"done{k}").exists():
            print("splitjax train c.yaml --expert", k)
elif verb == "train":
    k = int(rest[-1])
    times = (here / "told").read_text().count(f"--expert {k}\\n")
    code = int(codes[times - 1]) if k == 1 else 0
    if not code:
        (here / f"done{k}").touch()
    sys.exit(code)
"""
SEPARATE = "train.placement=separate"


@pytest.fixture
def separate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


@pytest.fixture
def play(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separate: None) -> Callable[..., list[str]]:
    (tmp_path / "program.py").write_text(PROGRAM)

    def run(codes: str, *, ends: int, **options: object) -> list[str]:
        command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path), codes]
        monkeypatch.setattr(Request, "command", lambda self, verb, *rest: [*command, verb, self.path, *rest])
        assert launching.launch(str(config), [SEPARATE], on="local", **options) == ends
        return (tmp_path / "told").read_text().splitlines()

    return run


def test_the_seed_then_all_experts_then_the_join(play: Callable[..., list[str]]) -> None:
    told = play("0", ends=0)
    assert told[:2] == ["prepare", "train"]
    assert sorted(told[2:5]) == [f"train --expert {k}" for k in range(3)]
    assert told[5:] == ["run"]


def test_a_crash_of_one_leaves_the_others_and_is_the_answer(
    play: Callable[..., list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = play("9", ends=9)
    assert "run" not in told
    assert {path.name for path in tmp_path.glob("done*")} == {"done0", "done2"}
    assert "expert 1 ended with exit code 9" in capfd.readouterr().err


def test_the_preempted_one_alone_starts_again(play: Callable[..., list[str]]) -> None:
    told = play("143,75,0", ends=0)
    assert [told.count(f"train --expert {k}") for k in range(3)] == [1, 3, 1]
    assert told[-1] == "run"


def test_it_starts_again_as_often_as_told(play: Callable[..., list[str]]) -> None:
    assert play("143,143,143", ends=143, retries=1).count("train --expert 1") == 2


def test_gpus_are_for_one_expert_each(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    request = Request(str(config), (), load(config))
    seen = {count: [share["CUDA_VISIBLE_DEVICES"] for share in expert_shares(request, count)] for count in (2, 8)}
    assert seen == {2: ["0,1", "2,3"], 8: ["0", "1", "2", "3", "4"]}


def test_the_dry_run_is_bash_and_more_processes_are_refused(script: Callable[..., str], separate: None) -> None:
    text = script("local", SEPARATE)
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    assert "train.placement=separate --expert $k &" in text or "--expert $k train.placement=separate &" in text
    with pytest.raises(UserError, match="--processes means nothing with"):
        script("local", SEPARATE, processes=2)
