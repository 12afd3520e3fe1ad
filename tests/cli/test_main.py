"""The words on the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from splitjax import cli
from splitjax.parallel import beats
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


FAILS = """
import sys, time, jax
from splitjax import cli
from splitjax.config import UserError
from splitjax.parallel import beats, hosts, join_cluster
join_cluster()
hosts.meet("here")
beats.LINGER = 4.0
def fails(args):
    {how}
def raises(error):
    raise error
cli._dispatch = fails
sys.exit(cli.main(["run"]))
"""
ALONE = "if jax.process_index() == 1: raise {}\n    time.sleep(60)"


@pytest.mark.parametrize(
    ("how", "codes", "first", "second"),
    [
        (ALONE.format("KeyError('a bug')"), [1, 1], "splitjax: process 1 ended: 'a bug'\n", "KeyError: 'a bug'\n"),
        (ALONE.format("UserError('no room')"), [2, 2], "splitjax: process 1 ended: no room\n", "splitjax: no room\n"),
        ("hosts.from_first(lambda: raises(UserError('no such file')))", [2, 2], "splitjax: no such file\n", ""),
        ("hosts.from_first(lambda: raises(jax.errors.JaxRuntimeError('INTERNAL: a bug')))", [1, 1],
         "JaxRuntimeError: INTERNAL: a bug\n", "splitjax: process 0 ended: INTERNAL: a bug\n"),
        (ALONE.format("BrokenPipeError"), [141, 141], "splitjax: process 1 ended: BrokenPipeError\n", ""),
        ("if jax.process_index() == 1: time.sleep(3) or raises(UserError('no room'))  # the other waits at its end",
         [2, 2], "splitjax: process 1 ended: no room\n", "splitjax: no room\n"),
    ],
)
def test_all_processes_end_where_one_fails(
    tmp_path: Path, how: str, codes: list[int], first: str, second: str
) -> None:
    """At an orderly end JAX would wait for the others, and they for the one that failed."""
    limited = os.environ | {beats.STEP_TIMEOUT: "10"}
    with cluster.members([sys.executable, "-c", FAILS.format(how=how)], 2, tmp_path, environment=limited) as two:
        assert cluster.wait(two, 40) == codes
        said = ["".join(line for line in one.said().splitlines(True) if "Gloo" not in line) for one in two]
        assert first in said[0]
        assert second in said[1]
        assert said[0].count("splitjax: ") + said[1].count("splitjax: ") <= 2
