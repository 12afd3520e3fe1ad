"""Names that no system takes, and messages that nobody could read: one line each, of a length for people."""

from __future__ import annotations

import errno
import gzip
import os
import time
from pathlib import Path

import pytest

from splitjax import cli
from splitjax.config import UserError, find_files, to_yaml
from splitjax.evaluate import task_files, tasks

LONG = {"a long name": "n" * 300, "a long path": "a/" * 3000, "NUL": "a\0b"}
COMMANDS = (
    "run @", "status @", "plan --law @ --params 1M --tokens 1M --experts 2", "plan @", "generate @ x", "evaluate @",
    "report @", "data show @", "config @", "predict --law @ --params 1M --pretrain 1M", "launch @ --on slurm --dry-run",
    "fit @", "sweep @ --dry-run", "compile @ --topology v5e:2x2", "train @",
    "run c.yaml evaluate.tasks=['@']", "run c.yaml seed_from={path: '@'}", "run c.yaml run_dir=@",
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tree = {"data": {"sources": [{"type": "jsonl", "path": "d.jsonl"}]}, "budget": {"tokens": "1k"}, "split": 0.5}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(to_yaml(tree))
    return tmp_path / "c.yaml"


def line(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (only,) = said.err.splitlines()
    assert only.startswith("splitjax: ")
    assert len(only) < 2100
    return only


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_no_system_takes_is_a_line(
    config: Path, capsys: pytest.CaptureFixture[str], kind: str, command: str
) -> None:
    words = [word.replace("~", " ").replace("@", LONG[kind]) for word in command.replace(": '", ":~'").split(" ")]
    line(words, capsys)
    assert [path.name for path in config.parent.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ELOOP, errno.EIO, errno.ESTALE])
def test_a_folder_of_another_user_is_a_line_with_its_name(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path) -> bool:
        raise OSError(number, "no", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert "c.yaml: no." in line(["status", "c.yaml"], capsys)


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [BOMB, f"{BOMB}data: *a11\nbudget: *a11\nname: *a11\nsweep: *a11\nevaluate: {{tasks: *a11}}\n", "a: &a [*a]\n",
     f"name: {'v' * 2_000_000}\n", f"? {'k' * 2_000_000}\n: 1\n", "".join(f"key{i}: 1\n" for i in range(3_000)),
     "a: " + "[" * 3000],
)
def test_bombs_of_aliases_and_of_length_are_refused_in_no_time_and_in_a_line(
    config: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    config.write_text(text)
    began = time.process_time()
    line(["run", "c.yaml"], capsys)
    assert time.process_time() - began < 20


def test_a_long_message_keeps_both_ends() -> None:
    told = str(UserError("a" * 10_000 + "z", where="/runs/" + "b" * 10_000 + "/c.yaml", mend="d" * 10_000))
    assert len(told) < 2000
    assert told.startswith("/runs/b")
    assert "b/c.yaml: aaa" in told


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "src" / "a" / ".hidden").mkdir(parents=True)
    for name in ("d.jsonl", "a/e.jsonl", "a/.hidden/f.jsonl", "a/.g.jsonl"):
        (tmp_path / "src" / name).touch()
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "h.jsonl").touch()
    for number in range(3):
        (tmp_path / "src" / "a" / f"loop{number}").symlink_to("..")
    (tmp_path / "src" / "link").symlink_to("../else")
    (tmp_path / "src" / "self").symlink_to("self")
    found = find_files(str(tmp_path / "src"))
    assert [Path(path).relative_to(tmp_path / "src").as_posix() for path in found] == [
        "a/e.jsonl", "d.jsonl", "link/h.jsonl",
    ]


@pytest.mark.parametrize("depth", [100, 900, 990, 1100, 100_000])
def test_deep_json_is_a_line_wherever_it_is_read(
    config: Path, capsys: pytest.CaptureFixture[str], depth: int
) -> None:
    deep = "[" * depth + "]" * depth
    for name, words in (
        ("law.json", ["plan", "--law", "law.json", "--params", "1M", "--tokens", "1M", "--experts", "2"]),
        ("t.jsonl", ["fit", "t.jsonl"]),
        ("export.json", ["generate", ".", "x"]),
    ):
        (config.parent / name).write_text(deep if name != "t.jsonl" else '{"loss": ' + deep + "}\n")
        line(words, capsys)
    (config.parent / "law.json").write_text('{"format": "splitjax.law", "version": 1, "hash": "x", "a": ' + deep + "}")
    line(["predict", "--law", "law.json", "--params", "1M", "--pretrain", "1M"], capsys)




@pytest.mark.parametrize("command", ["run @", "config @", "evaluate @", "plan --law @ --params 1M --tokens 1M"])
def test_a_device_without_an_end_is_refused_at_once(
    config: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (config.parent / "zero").symlink_to("/dev/zero")
    line([word.replace("@", "zero") for word in command.split(" ")], capsys)


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_task_that_is_a_device_or_a_pipe_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    for name, read in (("t.yaml", task_files.read), ("t.jsonl", tasks.read), ("t.jsonl.gz", tasks.read)):
        place = tmp_path / name
        if kind == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to("/dev/zero")
        with pytest.raises(UserError, match=f"{place}: .*not a regular file"):
            read(place)


def test_a_task_that_unpacks_to_more_than_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_MOST", 1000)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b" " * 100_000))
    with pytest.raises(UserError, match="unpacks to more than"):
        tasks.read(tmp_path / "t.jsonl.gz")
