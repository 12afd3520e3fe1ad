"""Prepare again: anew where it is asked for, and a refused command leaves everything as it was."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from splitjax import cli
from splitjax.config import hash_file, read_json
from splitjax.data import Corpus, prepare
from tests.data.conftest import rows_of, settings, write_jsonl

TREE: dict[str, Any] = {
    "budget": {"tokens": "2k"}, "split": 0.5, "sweep": None, "train": {"seq_len": 32, "batch_size": 2},
    "evaluate": {"prefix": 8, "windows": 2}, "model": {"d_model": 16, "n_layers": 1, "n_heads": 1},
}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source, its config, and a run prepared and planned from it."""
    folder = tmp_path_factory.mktemp("again")
    write_jsonl(folder / "d.jsonl", rows_of(60))
    data = {"sources": [{"type": "jsonl", "path": "d.jsonl"}], "tokenizer": {"type": "bytes"},
            "validation": 0.2, "test": 0.2}
    (folder / "c.yaml").write_text(json.dumps(TREE | {"run_dir": "run", "data": data}))
    here = os.getcwd()
    os.chdir(folder)
    assert cli.main(["prepare", "c.yaml"]) == 0
    assert cli.main(["plan", "c.yaml"]) == 0
    os.chdir(here)
    return folder


@pytest.fixture
def folder(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ready, tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    return tmp_path / "again"


def everything(folder: Path) -> dict[str, str]:
    files = (path for path in (folder / "run").rglob("*") if path.is_file() and not path.name.startswith(".lock"))
    return {str(path.relative_to(folder)): hash_file(path) for path in files}


def test_a_changed_key_is_taken_up_by_redo_prepare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prepare", "c.yaml", "data.validation=0.3"]) == 2
    assert "--redo prepare" in capsys.readouterr().err
    before = Corpus.open(folder / "run" / "data").manifest
    assert cli.main(["prepare", "c.yaml", "data.validation=0.3", "--redo", "prepare"]) == 0
    after = Corpus.open(folder / "run" / "data").manifest
    assert after.counts("tokens", "validation") > before.counts("tokens", "validation")
    assert not (folder / "run" / "done" / "plan.json").exists(), "all after it is stale"
    assert sorted(path.name for path in (folder / "run").iterdir() if "partial" in path.name) == []


def test_a_changed_source_is_taken_up_by_redo_prepare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(folder / "d.jsonl", rows_of(70))
    assert cli.main(["prepare", "c.yaml", "--redo", "prepare"]) == 0
    capsys.readouterr()
    manifest = Corpus.open(folder / "run" / "data").manifest
    assert sum(sum(manifest.counts("documents", split)) for split in ("train", "validation", "test")) == 210
    assert cli.main(["prepare", "c.yaml"]) == 0
    assert "since the data were prepared" not in capsys.readouterr().err


@pytest.mark.parametrize("what", ["has changed", "is gone", "is new"])
@pytest.mark.parametrize("command", ["prepare", "plan"])
def test_a_source_that_is_not_what_it_was_is_named_by_the_next_command(
    what: str, command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder / "c.yaml").read_text().replace('"d.jsonl"', '"*.jsonl"')
    (folder / "c.yaml").write_text(text)
    write_jsonl(folder / "e.jsonl", rows_of(10, seed=5))
    assert cli.main(["prepare", "c.yaml", "--redo", "prepare"]) == 0
    assert cli.main(["plan", "c.yaml"]) == 0
    name = "f.jsonl" if what == "is new" else "e.jsonl"
    capsys.readouterr()
    assert cli.main([command, "c.yaml"]) == 0
    assert "since" not in capsys.readouterr().err
    if what == "is gone":
        (folder / name).unlink()
    else:
        write_jsonl(folder / name, rows_of(3))
    assert cli.main([command, "c.yaml"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "since the data were prepared" in line]
    assert told == [f"{name} {what} since the data were prepared; --redo prepare takes it up"]


@pytest.mark.parametrize(
    "args",
    [
        ["data.validation=0.3"],
        ["data.sources=[{type: jsonl, path: nowhere.jsonl}]", "--redo", "prepare"],
        ["evaluate.windows=5000", "--redo", "sweep"],
        ["data.tokenizer={type: huggingface, path: none.json}", "--redo", "prepare"],
        ["--redo", "prepares"],
    ],
)
def test_a_refused_command_changes_nothing_on_disk(args: list[str], folder: Path) -> None:
    before = everything(folder)
    assert cli.main(["prepare", "c.yaml", *args]) == 2
    assert everything(folder) == before
    assert cli.main(["plan", "c.yaml"]) == 0
    assert everything(folder) == before, "nothing to do, as before"


def test_two_sources_of_one_file_are_two_sources(tmp_path: Path) -> None:
    rows = [row | {"title": f"{row['text'][::-1]} again"} for row in rows_of(40)]
    path = str(write_jsonl(tmp_path / "d.jsonl", rows))
    source = {"type": "jsonl", "path": path}
    data = settings("", sources=[source, source | {"text_field": "title", "label": "titles"}])
    manifest = prepare(data, tmp_path / "out", seed=0)
    assert manifest.domains == ("lab", "law", "sea", "titles")
    assert [row["part"] for row in manifest.sources] == [path, path]
    assert prepare(data, tmp_path / "out", seed=0) == manifest, "it stands"
    assert read_json(tmp_path / "out" / "manifest.json")["sources"][0]["part"] == path
