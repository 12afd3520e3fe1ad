"""Files written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import (
    UserError,
    beside,
    check_target,
    hash_file,
    hash_json,
    read_json,
    write_atomic,
    write_json,
)
from splitjax.config import whole_files as module

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=plain)
def test_json_reads_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "deep" / "value.json"
    try:
        write_json(path, value)
    except UnicodeEncodeError:  # a lone surrogate is no text
        assert not path.exists()
        return
    assert read_json(path) == value
    assert [each.name for each in path.parent.iterdir()] == ["value.json"]


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": math.nan, "b": (math.inf, 1.0), "c": {3: -math.inf}})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 1.0], "c": {"3": None}}


def test_a_fault_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    write_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(UserError, match=r"x\.txt: cannot be written \(No space left on device\)"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(source: str, target: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "x.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomic(tmp_path / "file" / "x.txt", "new")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json: not readable as JSON"):
        read_json(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.json: no such file"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match=r"x\.bin: cannot be read"):
        hash_file(tmp_path / "x.bin")


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 7)
    (tmp_path / "x").write_bytes(content)
    assert hash_file(tmp_path / "x") == hashlib.blake2b(content, digest_size=16).hexdigest()


@given(st.dictionaries(st.text(), plain))
def test_a_hash_ignores_order_and_sees_every_change(value: dict[str, Any]) -> None:
    assert hash_json(dict(reversed(value.items()))) == hash_json(value)
    assert hash_json({**value, "new key " + "".join(value): 1}) != hash_json(value)


@pytest.mark.parametrize("kind", ["folder", "device", "pipe", "nothing", "inside a file", "NUL", "long", "."])
def test_a_place_that_no_file_can_take_is_refused_and_stays_what_it_is(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "x"
    if kind == "folder":
        place.mkdir()
    elif kind == "device":
        os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "nothing":
        place.symlink_to("nothing")
    elif kind == "inside a file":
        place.touch()
        place = place / "y"
    else:
        place = {"NUL": Path("a\0b"), "long": tmp_path / ("n" * 300), ".": Path(".")}[kind]
    before = [(path.name, path.lstat().st_mode) for path in tmp_path.iterdir()]
    for write in (lambda: check_target(place), lambda: write_atomic(place, "text")):
        with pytest.raises(UserError):
            write()
    assert [(path.name, path.lstat().st_mode) for path in tmp_path.iterdir()] == before


def test_a_name_as_long_as_a_file_system_takes_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("n" * 255), "text")
    assert (tmp_path / ("n" * 255)).read_text() == "text"


def test_two_containers_with_one_process_id_take_two_temporary_names(tmp_path: Path) -> None:
    assert beside(tmp_path / "x") != beside(tmp_path / "x")
