"""Small and read-only file systems, for whoever may mount them. Root may write where permissions say no, so nothing
less shows what a full or a read-only disk does."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of our own at `folder` ("4m": 4 MB), gone at the end.

    Raises:
        PermissionError: this user may not mount.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """`folder` and what is in it, read-only for everybody.

    Raises:
        PermissionError: this user may not mount.
    """
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,ro,bind", folder)
        yield
    finally:
        _unmount(folder)


def allowed() -> bool:
    """Whether this user may mount."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), "64k"):
                return True
        except PermissionError:
            return False


def fill(disk: Path, leave: int = 0) -> Path:
    """Leave `leave` bytes free (whole blocks); the file to remove to make room again."""
    with open(disk / "filler", "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
        file.truncate(max(0, file.tell() - leave))
    return disk / "filler"


def _mount(*words: object) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr.strip() or "mount failed")


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)
