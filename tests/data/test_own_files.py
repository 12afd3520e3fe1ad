"""Folders and files as people have them: odd names, any compression, a byte order mark, what editors leave behind."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from splitjax.config import Source, UserError, find_files
from splitjax.data import sources

TEXTS = ["one é", "two", "three"]
LINES = "".join(json.dumps({"text": text, "domain": "a"}) + "\n" for text in TEXTS).encode()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data, ".gz": gzip.compress, ".zst": zstd, ".bz2": bz2.compress, ".xz": lzma.compress,
}


def read(path: Path | str, **options: object) -> list[str]:
    source = Source.model_validate({"type": "jsonl", "path": str(path)} | options)
    return [document.text for part in sources.parts(source) for document in sources.read(source, part)]


@pytest.mark.parametrize("name", ["d.jsonl{}", "D.JSONL{}", "no-ending-tells"])
@pytest.mark.parametrize("packed", PACK)
def test_every_compression_is_read_whatever_the_name(packed: str, name: str, tmp_path: Path) -> None:
    ending = packed.upper() if name.isupper() else packed
    (tmp_path / name.format(ending)).write_bytes(PACK[packed](LINES))
    assert read(tmp_path / name.format(ending)) == TEXTS


@pytest.mark.parametrize("packed", PACK)
def test_a_byte_order_mark_is_no_text(packed: str, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(PACK[packed](b"\xef\xbb\xbf" + LINES))
    (tmp_path / "d.txt").write_bytes(PACK[packed]("\ufeffone\ntwo\ufeff\n".encode()))
    assert read(tmp_path / "d.jsonl") == TEXTS
    assert read(tmp_path / "d.txt", type="text") == ["one\ntwo\ufeff\n"]
    assert read(tmp_path / "d.txt", type="text", document="line") == ["one", "two\ufeff"]


@pytest.mark.parametrize("packed", [ending for ending in PACK if ending])
def test_a_name_that_promises_a_compression_must_keep_it(packed: str, tmp_path: Path) -> None:
    path = tmp_path / f"d.jsonl{packed}"
    path.write_bytes(LINES)
    with pytest.raises(UserError, match=f"{path.name}: cannot be read to its end \\(not {packed[1:]}\\)"):
        read(path)
    path.write_bytes(PACK[packed](LINES * 500)[:-9])
    with pytest.raises(UserError, match=f"{path.name}: cannot be read to its end"):
        read(path)
    path.write_bytes(b"")
    assert read(path) == []


def test_a_text_that_begins_like_bzip2_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("BZh9 is what bzip2 files begin with")
    assert read(tmp_path / "d.txt", type="text") == ["BZh9 is what bzip2 files begin with"]


FOUND = ["a.jsonl", "b.jsonl.gz", "c.json", "d.json.gz", "e.ndjson", "f.JSONL.XZ", "sub/g.jsonl.bz2", "sub/h.json.zst"]
LEFT = ["a.jsonl.bak", "a.jsonl.tmp", "a.jsonl~", "notes.txt", "jsonl", "x.jsonlines.old", ".hidden.jsonl"]


def test_a_folder_finds_the_same_endings_as_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in FOUND:
        packed = next((ending for ending in PACK if ending and name.lower().endswith(ending)), "")
        (tmp_path / name).write_bytes(PACK[packed](LINES))
    for name in LEFT:
        (tmp_path / name).write_text("not a JSON line")
    source = Source(type="jsonl", path=str(tmp_path))
    assert sources.parts(source) == sorted(str(tmp_path / name) for name in FOUND)
    assert read(tmp_path) == TEXTS * len(FOUND)
    patterns = ("**/*.json*", "**/*.ndjson", "**/*.JSON*")
    by_pattern = [part for pattern in patterns for part in find_files(f"{tmp_path}/{pattern}")]
    assert set(sources.parts(source)) <= set(by_pattern)


def test_a_folder_of_texts_leaves_what_editors_leave(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md", "c", "a.txt.bak", "a.txt~", ".a.txt.swp", "b.tmp", "d.part"):
        (tmp_path / name).write_text(name)
    assert read(tmp_path, type="text") == ["a.txt", "b.md", "c"]


@pytest.mark.parametrize("name", ["run [1]", "what?", "all*", "[ab]"])
def test_a_name_that_exists_is_meant_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / f"{name}.jsonl").write_bytes(LINES)
    (tmp_path / "all of them").mkdir()
    (tmp_path / "all of them" / "a.jsonl").write_bytes(LINES)
    assert read(tmp_path / name) == TEXTS
    assert read(tmp_path / name / f"{name}.jsonl") == TEXTS
    assert read(tmp_path / "all of *" / "*.jsonl") == TEXTS


def test_a_folder_without_such_files_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"no such file.*names ending in \.jsonl, \.ndjson, \.json are read, compre"):
        read(tmp_path)


def test_a_fault_far_into_a_long_file_is_told_by_its_byte(tmp_path: Path) -> None:
    data = ("a" * ((1 << 20) - 1) + "é").encode() + b"x" * 50 + b"\xff" + b"y" * 9  # é lies across two stretches
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(UserError, match=rf"a\.txt: not UTF-8 \(invalid start byte at byte {(1 << 20) + 51}\)"):
        read(tmp_path / "a.txt", type="text")
    (tmp_path / "a.txt").write_bytes(data[: (1 << 20)])
    with pytest.raises(UserError, match=rf"unexpected end of data at byte {(1 << 20) - 1}\)"):
        read(tmp_path / "a.txt", type="text")
