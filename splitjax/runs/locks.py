"""Locks of a run folder: files that stay where they are, held through the kernel and gone with the process."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitjax.config import UserError

LOCK = ".lock"
LOCK_SECONDS = 2.0
_HELD = (errno.EWOULDBLOCK, errno.EACCES)  # what flock answers where another holds it


@contextmanager
def lock(path: Path, shared: bool = False) -> Iterator[int]:
    """Hold the lock `path`, its folder made if need be; yields its descriptor, for child processes to hold too.

    Args:
        shared: beside others who ask for it so.

    Raises:
        UserError: another holds it and does not end within seconds (its workers may outlive it by a moment), or the
            file system has no locks.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        descriptor = _open(path)
        try:
            _acquire(descriptor, path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, deadline)
            if _is_at(descriptor, path):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        # Somebody removed the file while we waited, maybe with its folder: who opens that name now locks another file.


def is_held(path: Path) -> bool:
    """Whether a process holds the lock; False where that cannot be asked."""
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    return False


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=str(path.parent)) from error


def _acquire(descriptor: int, path: Path, how: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                raise UserError(
                    f"this file system has no locks ({error.strerror})", where=str(path.parent),
                    mend="Pick a run_dir on one that has them: two runs in one folder would spoil it.",
                ) from error
            if time.monotonic() > deadline:
                raise UserError("another splitjax process is working in it", where=str(path.parent)) from None
            time.sleep(0.05)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file that was opened still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
