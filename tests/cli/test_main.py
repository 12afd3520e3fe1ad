"""The words on the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from splitjax import cli
from tools.faults import cluster


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in cli.COMMANDS)


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_has_help(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "splitjax", command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: splitjax {command}")


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pln"]) == 2
    assert capsys.readouterr().err == "splitjax: unknown command 'pln'. Did you mean 'plan'?\n"


@pytest.mark.parametrize("args", [["run"], ["run", "--nonsense", "x.yaml"], ["run", "missing.yaml"], ["status", "/"]])
def test_bad_arguments_are_one_line_and_exit_code_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_stop_has_its_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for stop, code in ((KeyboardInterrupt(), 130), (cli.Terminated(), 143)):

        def stopped(args: list[str], stop: BaseException = stop) -> int:
            raise stop

        monkeypatch.setattr(cli, "_dispatch", stopped)
        assert cli.main(["run"]) == code
        assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["fit", "c.yaml", "--bootstrap", "3"],
        ["fit", "t.csv", "train.batch_size=3"],
        ["plan", "c.yaml", "--experts", "3"],
        ["plan", "c.yaml", "--law", "law.json"],
        ["plan"],
    ],
)
def test_options_of_the_other_form_are_refused_not_ignored(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


FAILS_ALONE = """
import sys, time, jax
from splitjax import cli
from splitjax.parallel import hosts, join_cluster
join_cluster()
hosts.meet("here")
def fails(args):
    raise KeyError("a bug")
cli._dispatch = fails
if jax.process_index() == 1:
    sys.exit(cli.main(["run"]))
time.sleep(60)
"""


def test_a_process_that_fails_alone_does_not_wait_for_the_others_at_its_end(tmp_path: Path) -> None:
    with cluster.members([sys.executable, "-c", FAILS_ALONE], 2, tmp_path, environment=os.environ) as two:
        assert two[1].process.wait(40) == 1
        assert two[1].said().rstrip().endswith("KeyError: 'a bug'")
        assert two[0].process.poll() is None
