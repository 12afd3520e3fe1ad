"""Buckets (gs://, s3://) as sources, tables and tokenizers, on Arrow's own file system over a folder: no network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from splitjax.config import Source, UserError, find_files, from_dict, hash_file, is_remote, paths, read_json, write_json
from splitjax.data import prepare, sources
from splitjax.data.documents import digest
from splitjax.data.tokenizing.fast_tokenizer import bytes_tokenizer
from splitjax.law import Table

from .conftest import rows_of, settings, write_jsonl
from .test_sources import EXPECTED, MAKERS


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the bucket `gs://bucket`."""
    folder = tmp_path / "cloud" / "bucket"
    folder.mkdir(parents=True)
    system = fs.SubTreeFileSystem(str(folder.parent), fs.LocalFileSystem())
    monkeypatch.setattr(paths, "file_system", lambda path: (system, path.partition("://")[2]))
    return folder


def remote(tree: dict[str, Any], bucket: Path, scheme: str = "gs") -> dict[str, Any]:
    return tree | {"path": str(tree["path"]).replace(str(bucket), f"{scheme}://bucket")}


@pytest.mark.parametrize("scheme", ["gs", "s3"])
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_source_reads_from_a_bucket(make: Callable[[Path], dict[str, Any]], bucket: Path, scheme: str) -> None:
    source = Source.model_validate(remote(make(bucket), bucket, scheme))
    parts = sources.parts(source)
    found = [doc for part in parts for doc in sources.read(source, part, bytes_tokenizer())]
    assert sorted((digest(doc.text.encode()), doc.label) for doc in found) == EXPECTED
    assert all(part.startswith(f"{scheme}://bucket/") for part in parts)
    local = parts[0].replace(f"{scheme}://bucket", str(bucket))
    assert sources.identity(source, parts[0]) == hash_file(local)


def test_prepared_data_do_not_depend_on_where_they_came_from(bucket: Path, tmp_path: Path) -> None:
    path = write_jsonl(bucket / "d.jsonl", rows_of(60))
    here = prepare(settings(path), tmp_path / "here", seed=0)
    there = prepare(settings("gs://bucket/*.jsonl"), tmp_path / "there", seed=0)
    assert here.hash == there.hash


def test_a_tokenizer_and_a_table_from_a_bucket(bucket: Path, tmp_path: Path) -> None:
    path = write_jsonl(bucket / "d.jsonl", rows_of(60))
    prepare(settings(path), tmp_path / "first", seed=0)
    shutil.copy(next((tmp_path / "first").rglob("tokenizer.json")), bucket / "t.json")
    tokenizer = {"type": "huggingface", "path": "gs://bucket/t.json"}
    prepare(settings(path, tokenizer=tokenizer), tmp_path / "second", seed=0)
    (bucket / "runs.csv").write_text("n_params,d_pretrain,d_special,loss\n1000,1,2,3.5\n")
    table = Table.read("gs://bucket/runs.csv")
    np.testing.assert_allclose(table.loss, 3.5)
    write_json(bucket / "law.json", {"kind": 1})
    assert read_json("s3://bucket/law.json") == {"kind": 1}


def test_what_is_not_there_is_named(bucket: Path) -> None:
    for pattern in ("gs://bucket/none/*.jsonl", "gs://bucket/none.jsonl", "gs://bucket"):
        with pytest.raises(UserError, match=f"{pattern}: no such file".replace("*", r"\*")):
            sources.parts(Source(type="jsonl", path=pattern))
    with pytest.raises(UserError, match=r"gs://bucket/t\.csv: (no such table|not readable)"):
        Table.read("gs://bucket/t.csv")
    with pytest.raises(UserError, match="no ftp:// paths"):
        is_remote("ftp://x/y")


def test_a_bucket_that_answers_with_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class System:
        def get_file_info(self, *_: object) -> None:
            raise PermissionError("403 Forbidden")

        def open_input_file(self, *_: object) -> None:
            raise PermissionError("403 Forbidden")

    monkeypatch.setattr(paths, "file_system", lambda path: (System(), path))
    with pytest.raises(UserError, match=r"gs://b/\*: cannot be listed .403 Forbidden"):
        sources.parts(Source(type="jsonl", path="gs://b/*"))
    with pytest.raises(UserError, match=r"gs://b/law\.json: not readable as JSON .403 Forbidden"):
        read_json("gs://b/law.json")


def test_nothing_is_written_to_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"gs://b/law\.json: a bucket is only read here"):
        write_json("gs://b/law.json", {})
    tree: dict[str, Any] = {"data": {"sources": [{"type": "phonebook"}]}, "budget": {"tokens": 1000}, "split": 0.5}
    with pytest.raises(UserError, match="run_dir must lie on a file system, not at gs://b/run: mount the bucket"):
        from_dict(tree | {"run_dir": "gs://b/run"})
    assert not list(tmp_path.iterdir())


PATTERNS = ["*", "*.x", "a/*", "**/*.x", "a/**/*.x*", "?", "[ab]*", "[!a]*", "*/b.x", ".*", "d[[]1].x", "a"]
NAMES = st.sampled_from(["a", "b.x", "c.x.gz", ".h.x", "d[1].x", "e-f.x"])


@given(
    files=st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=6),
    pattern=st.sampled_from(PATTERNS),
)
def test_a_glob_means_the_same_in_a_bucket(
    tmp_path_factory: pytest.TempPathFactory, files: list[str], pattern: str
) -> None:
    """`glob` of the standard library over the same tree is the reference."""
    folder = tmp_path_factory.mktemp("glob") / "bucket"
    folder.mkdir()
    for name in files:
        path = folder / name
        if not path.exists() and not any((folder / part).is_file() for part in map(str, Path(name).parents)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
    system = fs.SubTreeFileSystem(str(folder.parent), fs.LocalFileSystem())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "file_system", lambda path: (system, path.partition("://")[2]))
        there = [name.removeprefix("gs://bucket/") for name in find_files(f"gs://bucket/{pattern}")]
    here = [str(Path(name).relative_to(folder)) for name in find_files(f"{folder}/{pattern}")]
    assert sorted(there) == sorted(here)
