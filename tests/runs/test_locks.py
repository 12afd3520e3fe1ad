"""Locks: one holder a name, whatever comes and goes while others wait."""

from __future__ import annotations

import errno
import fcntl
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from splitjax.config import UserError
from splitjax.runs import locks
from splitjax.runs.locks import is_held, lock
from splitjax.runs.run_folder import RunFolder


def test_a_refused_command_leaves_the_lock_that_another_waits_for(tmp_path: Path) -> None:
    """Else the one who waits gets a file without a name, and the next comer another file of that name."""
    refused, waiting, late = (RunFolder(tmp_path / "run") for _ in range(3))
    got, done = threading.Event(), threading.Event()

    def wait() -> None:
        with waiting.locked():
            got.set()
            done.wait(10)

    with refused.locked():
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not got.wait(0.2)
        refused.forget_if_empty()
    try:
        assert got.wait(5)
        with pytest.raises(UserError, match="another splitjax process"), late.locked():
            raise AssertionError("two processes in one folder")
    finally:
        done.set()
        waiter.join()


def test_whoever_waited_for_a_lock_that_was_removed_locks_the_one_in_its_place(tmp_path: Path) -> None:
    path, got = tmp_path / ".lock", threading.Event()
    with ExitStack() as first:
        first.enter_context(lock(path))

        def wait() -> None:
            with lock(path):
                got.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not got.wait(0.2)
        path.unlink()
        with lock(path):  # somebody who came after
            first.close()
            assert not got.wait(0.3)
    waiter.join()
    assert got.is_set()


def test_parts_share_a_folder_with_each_other_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.0)
    with RunFolder(tmp_path).locked("1"), RunFolder(tmp_path).locked("2"):
        for part in (None, "1"):
            with pytest.raises(UserError, match="another splitjax process"), RunFolder(tmp_path).locked(part):
                raise AssertionError("two processes in one part")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_named_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=f"{tmp_path}: this file system has no locks"), lock(tmp_path / ".lock"):
        raise AssertionError("worked without a lock")
    (tmp_path / ".lock").touch()
    assert not is_held(tmp_path / ".lock")


def test_asking_who_holds_a_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_held(path)
    with lock(path):
        assert is_held(path)
    assert not is_held(path)
