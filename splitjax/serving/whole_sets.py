"""A folder of many files that appears whole or not at all, in a new place or in an empty folder that stays."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitjax.config import UserError, beside
from splitjax.runs.locks import LOCK, is_held, lock

from .export_record import FILE

_PARTIAL = ".partial"


@contextmanager
def whole_or_not(out: Path) -> Iterator[Path]:
    """A working folder whose content lies in `out` in the end; it is removed where anything fails.

    A folder that was there before is filled and never removed: it may be a mount, a link, or where the user stands.
    export.json comes last.

    Raises:
        UserError: `out` is not an empty or a new folder, or the disk refuses.
    """
    mend = "Free space or give --out another folder."
    try:
        found = _refuse_used(out)
        _remove_leftovers(out)
        work = beside(out / FILE if found else out.absolute(), _PARTIAL.removeprefix("."))
        try:
            work.mkdir(parents=True)
            with lock(work / LOCK):  # while it is held nobody takes the folder for a leftover
                yield work
                (work / LOCK).unlink()
                _move(work, out, found)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where=str(out), mend=mend) from error


def _refuse_used(out: Path) -> bool:
    """Whether the folder is there, empty.

    Raises:
        UserError: it holds something, or something else has its name.
    """
    mend = "Give --out a new folder."
    if "\0" in str(out):
        raise UserError("no system takes NUL in a name", where=repr(str(out)), mend=mend)
    if not os.path.lexists(out):
        return False
    if not out.is_dir():
        raise UserError("exists and is no folder", where=str(out), mend=mend)
    if any(not path.name.endswith(_PARTIAL) for path in out.iterdir()):
        raise UserError("exists and is not empty", where=str(out), mend=mend)
    return True


def _remove_leftovers(out: Path) -> None:
    """Remove what an export into `out` left behind when it was killed: a working folder that nobody holds any more."""
    places = [(out, f".{FILE}.*"), (out.absolute().parent, f".{glob.escape(out.absolute().name[:40])}.*")]
    for folder, pattern in places:
        for path in folder.glob(pattern + _PARTIAL) if folder.is_dir() else ():
            if (path / LOCK).exists() and not is_held(path / LOCK):
                shutil.rmtree(path, ignore_errors=True)


def _move(work: Path, out: Path, found: bool) -> None:
    if not found:
        os.replace(work, out)
        return
    for path in sorted(work.iterdir(), key=lambda path: path.name == FILE):
        os.replace(path, out / path.name)
