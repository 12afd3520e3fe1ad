"""Where an export may go, what it leaves, and what it takes up of one that was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from splitjax.config import UserError
from splitjax.runs.locks import LOCK, lock
from splitjax.serving.whole_sets import whole_or_not


def fill(out: Path) -> None:
    with whole_or_not(out) as work:
        (work / "code").mkdir()
        (work / "export.json").write_text("{}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_made_beforehand_is_filled_and_never_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o750)
    before = out.stat()
    with contextlib.suppress(KeyboardInterrupt), whole_or_not(out) as work:
        (work / "half").touch()
        raise KeyboardInterrupt
    assert names(out) == []
    fill(out)
    assert names(out) == ["code", "export.json"]
    assert (out.stat().st_ino, out.stat().st_mode) == (before.st_ino, before.st_mode)


def test_where_the_user_stands_and_a_link_are_folders_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("there")
    monkeypatch.chdir(tmp_path / "here")
    fill(Path("."))
    fill(Path("../link"))
    assert names(tmp_path / "here") == names(tmp_path / "there") == ["code", "export.json"]
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["here", "link", "there"]


@pytest.mark.parametrize("kind", ["device", "pipe", "file", "link to nothing", "used", "NUL"])
def test_what_is_no_empty_folder_is_refused(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "device":
        out = Path("/dev/null")
    elif kind == "pipe":
        os.mkfifo(out)
    elif kind == "file":
        out.touch()
    elif kind == "link to nothing":
        out.symlink_to("nothing")
    elif kind == "used":
        out.mkdir()
        (out / "precious").touch()
    else:
        out = tmp_path / "a\0b"
    before = names(tmp_path)
    with pytest.raises(UserError, match=r"no folder|not empty|NUL"):
        fill(out)
    assert names(tmp_path) == before


@pytest.mark.parametrize("found", [True, False])
def test_what_a_killed_export_left_goes_and_what_one_at_work_holds_stays(tmp_path: Path, found: bool) -> None:
    out = tmp_path / "set"
    if found:
        out.mkdir()
    with contextlib.suppress(ZeroDivisionError), whole_or_not(out) as work:
        killed = shutil.copytree(work, work.with_name(work.name.replace(".partial", "0.partial")))
        raise ZeroDivisionError
    assert (killed / LOCK).exists()
    with whole_or_not(out) as other:
        (other / "theirs").touch()
        assert not killed.exists()
        with contextlib.suppress(ZeroDivisionError), whole_or_not(out):
            assert (other / "theirs").exists()
            raise ZeroDivisionError
    assert names(out) == ["theirs"]


def test_a_lock_of_a_leftover_is_free(tmp_path: Path) -> None:
    with lock(tmp_path / LOCK):
        pass
    assert names(tmp_path) == [LOCK]
